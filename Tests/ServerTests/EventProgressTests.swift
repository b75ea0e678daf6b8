// What a reader of events is sent, whatever the pieces: read back by the rules of the WHATWG, the data of all events together is the stream.

import StreamRules
import StreamStore
import Testing

@testable import Server

@Suite struct EventProgressTests {
    struct Event: Equatable {
        var kind = ""
        var data: [UInt8] = []
        var id = ""
    }

    /// An event-stream parser for what the server may send.
    static func parse(_ bytes: [UInt8]) -> [Event] {
        var events: [Event] = []
        var event = Event()
        var lines: [[UInt8]] = []
        for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).dropLast() {
            if line.isEmpty {
                event.data = Array(lines.joined(separator: [0x0A]))
                events.append(event)
                event = Event()
                lines = []
            } else if line.starts(with: "event: ".utf8) {
                event.kind = String(decoding: line.dropFirst(7), as: UTF8.self)
            } else if line.starts(with: "data:".utf8) {
                lines.append(Array(line.dropFirst(5).first == 0x20 ? line.dropFirst(6) : line.dropFirst(5)))
            } else if line.starts(with: "id:".utf8) {
                event.id = String(decoding: line.dropFirst(3), as: UTF8.self)
            } else {
                Issue.record("no such line: \(String(decoding: line, as: UTF8.self))")
            }
        }
        #expect(bytes.isEmpty || bytes.suffix(2) == [0x0A, 0x0A])
        return events
    }

    static func offset(_ position: UInt64) -> String { StreamOffset(position: position).description }
    static func control(_ position: UInt64, _ rest: String) -> Event {
        Event(kind: "control", data: Array("{\"streamNextOffset\":\"\(offset(position))\"\(rest)}".utf8), id: offset(position))
    }
    static let upToDate = ",\"streamCursor\":\"7\",\"upToDate\":true"
    static let behind = ",\"streamCursor\":\"7\""
    static let closed = ",\"upToDate\":true,\"streamClosed\":true"

    /// Reads `content` from `start` on with reads of at most `read` bytes and pieces of at most `piece`, until the reader has all.
    static func catchUp(
        _ content: [UInt8], type: String, from start: Int = 0, read: Int, piece: Int, closed: Bool = false, plan: [UInt64] = [],
        parts: Int = 1
    ) -> (bytes: [UInt8], pieces: Int, carry: Carry) {
        var progress = EventProgress(
            position: UInt64(start), form: EventEncoder.Form(ContentType(type)), carry: Carry(),
            plan: plan.isEmpty ? nil : EventPlan(plan, sharedIn: nil))
        var out: [UInt8] = []
        var pieces = 0
        while progress.position < UInt64(content.count) {
            let position = Int(progress.position)
            let end = min(position + read, content.count)
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: piece + ByteSink.reserve, alignment: 1)
            defer { memory.deallocate() }
            // The payload lies in several buffers, one of them empty.
            let cuts = (0...parts).map { position + (end - position) * $0 / parts }
            let buffers = zip(cuts, cuts.dropFirst()).flatMap { [$0..<$1, $1..<$1] }.map { range in
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: range.count, alignment: 1)
                copy.copyBytes(from: content[range])
                return UnsafeRawBufferPointer(copy)
            }
            defer { for buffer in buffers { buffer.deallocate() } }
            var sink = ByteSink(memory)
            _ = progress.encode(
                buffers, end: UInt64(end), tail: UInt64(content.count), closed: closed, cursor: 7, &sink)
            out += sink.bytes
            pieces += 1
            #expect(sink.count <= piece + ByteSink.reserve)
            if pieces > 10 * (content.count + 10) {
                Issue.record("it does not get on")
                break
            }
        }
        #expect(!progress.isInsideEvent)
        return (out, pieces, progress.encoder.carry)
    }

    /// One append, however large and however small the pieces, is one data and one control event.
    @Test(arguments: ["text/plain", "application/json", "image/png"], [(7, 11), (64, 1), (1, 64), (1000, 3), (4096, 4096)])
    func oneEventForOneAppend(type: String, sizes: (Int, Int)) throws {
        let content: [UInt8] =
            type == "application/json" ? Array((0..<40).map { "{\"n\":[\($0),\"é\"]},\n" }.joined().utf8) : Array("line\n é漢\r\n\n".utf8)
        let tail = UInt64(content.count)
        let (bytes, _, _) = Self.catchUp(content, type: type, read: sizes.0, piece: sizes.1, plan: [tail], parts: 3)
        let events = Self.parse(bytes)
        #expect(events.map(\.kind) == ["data", "control"])
        #expect(events.last == Self.control(tail, Self.upToDate))
        #expect(events.map(\.id) == [Self.offset(tail), Self.offset(tail)])
        #expect(bytes == Self.catchUp(content, type: type, read: 1 << 20, piece: 1 << 16, plan: [tail]).bytes)
    }

    /// Several appends of one publication: one data and one control event each, whichever piece they come in.
    @Test(arguments: ["text/plain", "application/octet-stream"], [false, true])
    func severalAppends(type: String, closes: Bool) {
        let content = Array("abcdefghi".utf8)
        let data = type == "text/plain" ? ["abc", "def", "ghi"] : ["YWJj", "ZGVm", "Z2hp"]
        let last = closes ? Self.closed : Self.upToDate
        let expected = data.enumerated().flatMap { index, text in
            let position = UInt64(3 * index + 3)
            return [
                Event(kind: "data", data: Array(text.utf8), id: Self.offset(position)),
                Self.control(position, index == 2 ? last : Self.behind),
            ]
        }
        for read in 1...10 {
            for piece in [1, 30, 200, 4096] {
                let (bytes, _, _) = Self.catchUp(content, type: type, read: read, piece: piece, closed: closes, plan: [3, 6, 9])
                #expect(Self.parse(bytes) == expected, "\(read) \(piece)")
            }
        }
    }

    /// Without a plan, a batch ends where a read does: of JSON behind a message, and a message larger than a read goes on to its end.
    @Test(arguments: [1, 2, 3, 5, 8, 13, 100])
    func batchesOfMessages(read: Int) throws {
        let messages = ["1", "[2,3]", "\"" + String(repeating: "x", count: 30) + "\"", "{}", "\",\""]
        let content = Array(messages.map { $0 + ",\n" }.joined().utf8)
        for piece in [1, 20, 4096] {
            let events = Self.parse(Self.catchUp(content, type: "application/json", read: read, piece: piece, parts: 2).bytes)
            let arrays = events.filter { $0.kind == "data" }.map { String(decoding: $0.data, as: UTF8.self) }
            let joined = arrays.map { $0.dropFirst().dropLast() }.joined(separator: ",\n")
            #expect(joined == messages.joined(separator: ",\n"), "\(read) \(piece)")
            #expect(events.indices.allSatisfy { events[$0].kind == ($0 % 2 == 0 ? "data" : "control") })
            #expect(events.last == Self.control(UInt64(content.count), Self.upToDate))
        }
    }

    /// Text read in batches: no event ends inside a character, and all of them together are the stream.
    @Test(arguments: 1...9)
    func batchesOfText(read: Int) {
        let text = "a😀b漢é\nx 漢字"
        let content = Array(text.utf8)
        for piece in [1, 9, 4096] {
            let (bytes, _, carry) = Self.catchUp(content, type: "text/plain", read: read, piece: piece)
            let events = Self.parse(bytes)
            for event in events { #expect(String(validating: event.data, as: UTF8.self) != nil) }
            #expect(Array(events.filter { $0.kind == "data" }.flatMap(\.data)) == content && carry.isEmpty)
        }
    }

    /// What is held back at the tail is before the offset that is told.
    @Test func heldBackAtTheTail() {
        let (bytes, _, carry) = Self.catchUp([0x61, 0xF0, 0x9F], type: "text/plain", read: 64, piece: 64)
        #expect(Self.parse(bytes) == [Event(kind: "data", data: [0x61], id: Self.offset(1)), Self.control(1, Self.upToDate)])
        #expect(carry.bytes == [0xF0, 0x9F])
    }

    /// The size of a piece does not depend on what the payload becomes.
    @Test func piecesAreBounded() {
        let (bytes, pieces, _) = Self.catchUp([UInt8](repeating: 0x0A, count: 20_000), type: "text/plain", read: 1 << 16, piece: 4096)
        #expect(bytes.count > 6 * 20_000 && pieces >= bytes.count / (4096 + ByteSink.reserve))
    }

    // MARK: Shared pieces

    @Test func aPieceIsSharedWhileItIsTrue() {
        let account = ByteAccount()
        var plan: EventPlan? = EventPlan([10], sharedIn: account)
        let progress = EventProgress(position: 10, form: .text, carry: Carry())
        let frames = EventFrames([UInt8](repeating: 1, count: 100).withUnsafeBytes { $0 })
        let now = EventPlan.Claim(tail: 10, closed: false)
        plan?.keep(frames, progress, claim: nil, at: 0, bound: 1 << 20)
        plan?.keep(frames, progress, claim: now, at: 1, bound: 1 << 20)
        #expect(account.held == 2 * frames.count)
        #expect(plan?.step(0, EventPlan.Claim(tail: 99, closed: true)) != nil)
        #expect(plan?.step(1, now) != nil)
        #expect(
            plan?.step(1, EventPlan.Claim(tail: 11, closed: false)) == nil && plan?.step(1, EventPlan.Claim(tail: 10, closed: true)) == nil)
        #expect(plan?.step(2, now) == nil)
        // Beyond the bound nothing is kept; old pieces make room for new ones.
        plan?.keep(frames, progress, claim: nil, at: 2, bound: account.held)
        #expect(plan?.step(2, now) == nil)
        for index in 2..<40 { plan?.keep(frames, progress, claim: nil, at: index, bound: 1 << 20) }
        #expect(plan?.step(39, now) != nil && plan?.step(24, now) != nil && plan?.step(23, now) == nil)
        #expect(account.held == 16 * frames.count)
        plan = nil
        #expect(account.held == 0)
    }

    @Test(arguments: [1, 15, 16, 255, 256, 4095, 70_000])
    func chunks(count: Int) {
        let content = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let frames = content.withUnsafeBytes { EventFrames($0) }
        #expect(Array(frames.bare.bytes) == content)
        #expect(Array(frames.chunked.bytes) == Array(String(count, radix: 16, uppercase: true).utf8) + [13, 10] + content + [13, 10])
    }
}
