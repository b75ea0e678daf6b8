// What live readers of events are sent: read back by the rules of the WHATWG, the data of all events together is the stream.

import StreamRules
import Testing

@testable import Server

@Suite struct EventFramesTests {
    struct Event: Equatable {
        var kind = ""
        var data: [UInt8] = []
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
            } else {
                Issue.record("no such line: \(String(decoding: line, as: UTF8.self))")
            }
        }
        #expect(bytes.isEmpty || bytes.suffix(2) == [0x0A, 0x0A])
        return events
    }

    static func control(_ position: UInt64, _ rest: String) -> Event {
        Event(kind: "control", data: Array("{\"streamNextOffset\":\"\(StreamOffset(position: position).description)\"\(rest)}".utf8))
    }
    static let upToDate = ",\"streamCursor\":\"7\",\"upToDate\":true"
    static let behind = ",\"streamCursor\":\"7\""
    static let closed = ",\"upToDate\":true,\"streamClosed\":true"

    /// Adds `pieces` as one payload.
    static func add(
        _ frames: inout EventFrames, _ pieces: [[UInt8]], end: UInt64, type: String, closed: Bool = false, upToDate: Bool = true
    ) {
        let memory = pieces.map { piece in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.count, alignment: 1)
            buffer.copyBytes(from: piece)
            return UnsafeRawBufferPointer(buffer)
        }
        defer { for buffer in memory { buffer.deallocate() } }
        frames.add(memory, end: end, contentType: ContentType(type), isEndOfClosed: closed, upToDate: upToDate, cursor: 7)
    }

    @Test(arguments: [[], [1], [0xC3], [0xF0, 0x9F], [0, 0, 0], [0xF0, 0x9F, 0x98]] as [[UInt8]])
    func carry(bytes: [UInt8]) {
        let carry = Carry(bytes)
        #expect(carry.count == bytes.count && carry.bytes == bytes)
        #expect((carry == Carry()) == bytes.isEmpty)
    }

    @Test func carriesDifferByLength() {
        #expect(Carry([0]) != Carry([0, 0]) && Carry([]) != Carry([0]) && Carry([1, 2]) != Carry([2, 1]))
    }

    // MARK: Text

    static let texts = ["é", "aé", "éa", "漢字", "😀", "a😀b漢é", "é\r\n漢\r😀\n", " leading", "\u{10FFFF}\u{800}\u{7FF}"]

    /// Cut in two appends at every byte: no event ends inside a character, offsets lie before what is held back.
    @Test(arguments: texts)
    func charactersCutAtEveryByte(text: String) {
        let bytes = Array(text.utf8)
        for cut in 0...bytes.count {
            var frames = EventFrames(carry: Carry())
            Self.add(&frames, [Array(bytes[..<cut])], end: UInt64(cut), type: "text/plain", upToDate: false)
            let first = Self.parse(frames.bytes)
            let boundary = (0...cut).last { String(validating: bytes[..<$0], as: UTF8.self) != nil }!
            #expect(frames.carry.bytes == Array(bytes[boundary..<cut]))
            if boundary > 0 {
                #expect(first.map(\.kind) == ["data", "control"])
                #expect(first.last == Self.control(UInt64(boundary), Self.behind))
            } else {
                #expect(first.isEmpty)
            }
            var next = EventFrames(carry: frames.carry)
            Self.add(&next, [Array(bytes[cut...])], end: UInt64(bytes.count), type: "text/plain")
            #expect(next.carry == Carry())
            let second = Self.parse(next.bytes)
            if boundary < bytes.count { #expect(second.last == Self.control(UInt64(bytes.count), Self.upToDate)) }
            // A line end becomes LF; one that is cut between CR and LF becomes two events that end and begin with a line.
            let data = (first + second).filter { $0.kind == "data" }
            for event in data { #expect(String(validating: event.data, as: UTF8.self) != nil) }
            let joined = Array(data.flatMap(\.data))
            let isInsideLineEnd = cut > 0 && cut < bytes.count && bytes[cut - 1] == 0x0D && bytes[cut] == 0x0A
            if !isInsideLineEnd { #expect(joined == Self.normalised(bytes), "cut at \(cut)") }
        }
    }

    static func normalised(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            if byte == 0x0A, index > 0, bytes[index - 1] == 0x0D { continue }
            result.append(byte == 0x0D ? 0x0A : byte)
        }
        return result
    }

    /// One byte at a time, in one publication, and each byte in pieces of the memory it lies in: the data is the stream.
    @Test(arguments: texts, [false, true])
    func byteByByte(text: String, closes: Bool) {
        let bytes = Array(text.utf8).filter { $0 != 0x0D }
        var frames = EventFrames(carry: Carry())
        for (index, byte) in bytes.enumerated() {
            let isLast = index == bytes.count - 1
            Self.add(&frames, [[], [byte], []], end: UInt64(index + 1), type: "text/plain", closed: closes && isLast, upToDate: isLast)
        }
        let events = Self.parse(frames.bytes)
        #expect(Array(events.filter { $0.kind == "data" }.flatMap(\.data)) == bytes)
        #expect(events.indices.allSatisfy { events[$0].kind == ($0 % 2 == 0 ? "data" : "control") })
        #expect(events.last == Self.control(UInt64(bytes.count), closes ? Self.closed : Self.upToDate))
        #expect(frames.carry == Carry())
        // A control event after each character, at its end.
        let ends = text.unicodeScalars.filter { $0 != "\r" }.reduce(into: [UInt64]()) {
            $0.append(($0.last ?? 0) + UInt64(UTF8.encode($1)!.count))
        }
        #expect(events.count == 2 * ends.count)
    }

    /// What is cut off at the end of a closed stream is sent as it is, and what can be no character is not held back.
    @Test(
        arguments: [
            ([0x61, 0xC3], false, [0x61], [0xC3]), ([0x61, 0xC3], true, [0x61, 0xC3], []),
            ([0xF0, 0x9F, 0x98], true, [0xF0, 0x9F, 0x98], []),
            ([0x61, 0x80], false, [0x61, 0x80], []), ([0xE0, 0x80], false, [0xE0, 0x80], []), ([0xFF], false, [0xFF], []),
            ([0xF0, 0x9F, 0x98], false, [], [0xF0, 0x9F, 0x98]),
        ] as [([UInt8], Bool, [UInt8], [UInt8])])
    func broken(bytes: [UInt8], closes: Bool, sent: [UInt8], held: [UInt8]) {
        var frames = EventFrames(carry: Carry())
        Self.add(&frames, [bytes], end: UInt64(bytes.count), type: "text/plain", closed: closes)
        #expect(Array(Self.parse(frames.bytes).filter { $0.kind == "data" }.flatMap(\.data)) == sent)
        #expect(frames.carry.bytes == held)
    }

    /// The end of the stream brings what was held back.
    @Test func closingBringsTheRest() {
        var frames = EventFrames(carry: Carry([0xF0, 0x9F]))
        Self.add(&frames, [], end: 12, type: "text/plain", closed: true)
        #expect(Self.parse(frames.bytes) == [Event(kind: "data", data: [0xF0, 0x9F]), Self.control(12, Self.closed)])
        #expect(frames.carry == Carry())
    }

    /// Held-back bytes that are still not complete stay, together with the new ones.
    @Test func heldBackStaysHeldBack() {
        var frames = EventFrames(carry: Carry([0xF0]))
        Self.add(&frames, [[0x9F], [0x98]], end: 3, type: "text/plain")
        #expect(frames.bytes.isEmpty && frames.carry.bytes == [0xF0, 0x9F, 0x98])
        var next = EventFrames(carry: frames.carry)
        Self.add(&next, [[0x80, 0x61], [0xC3]], end: 6, type: "text/plain")
        #expect(Self.parse(next.bytes) == [Event(kind: "data", data: Array("😀a".utf8)), Self.control(5, Self.upToDate)])
        #expect(next.carry.bytes == [0xC3])
    }

    /// A payload cannot forge a field, an event or a space.
    @Test(arguments: ["\n\nevent: control\ndata:{}\n\n", "\r\revent: x\r\r", ":\r\n id: 4\r\n\r\nretry: 1", "  two spaces", "\n", ""])
    func forgery(text: String) {
        let bytes = Array(text.utf8)
        var frames = EventFrames(carry: Carry())
        Self.add(&frames, [bytes], end: UInt64(bytes.count), type: "text/html")
        if bytes.isEmpty {
            #expect(frames.bytes.isEmpty)
        } else {
            #expect(
                Self.parse(frames.bytes) == [
                    Event(kind: "data", data: Self.normalised(bytes)), Self.control(UInt64(bytes.count), Self.upToDate),
                ])
        }
    }

    // MARK: JSON and base64

    @Test func json() {
        let stored = Array("{\"a\":1},\n[2,3],\n\"é\",\n".utf8)
        for cut in 0...stored.count {
            var frames = EventFrames(carry: Carry())
            Self.add(
                &frames, [Array(stored[..<cut]), Array(stored[cut...])], end: UInt64(stored.count), type: "application/json",
                upToDate: false)
            #expect(
                Self.parse(frames.bytes) == [
                    Event(kind: "data", data: Array("[{\"a\":1},\n[2,3],\n\"é\"]".utf8)), Self.control(UInt64(stored.count), Self.behind),
                ])
            #expect(frames.carry == Carry())
        }
    }

    @Test func base64() {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        for length in 1...40 {
            let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 200) }
            var expected: [UInt8] = []
            for start in stride(from: 0, to: length, by: 3) {
                let group = bytes[start..<min(start + 3, length)]
                let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
                expected += (0..<4).map { $0 <= group.count ? digits[bits >> (18 - 6 * $0) & 63] : UInt8(ascii: "=") }
            }
            for cut in 0...length {
                var frames = EventFrames(carry: Carry())
                Self.add(&frames, [Array(bytes[..<cut]), Array(bytes[cut...])], end: UInt64(length), type: "image/png")
                #expect(Self.parse(frames.bytes) == [Event(kind: "data", data: expected), Self.control(UInt64(length), Self.upToDate)])
            }
        }
    }

    /// Several appends in one publication: one data and one control event each; only the last is up to date or the end.
    @Test(arguments: [("text/plain", false), ("text/plain", true), ("application/octet-stream", true)])
    func severalAppends(type: String, closes: Bool) {
        var frames = EventFrames(carry: Carry())
        let appends = ["abc", "def", "ghi"]
        for (index, append) in appends.enumerated() {
            let isLast = index == 2
            Self.add(&frames, [Array(append.utf8)], end: UInt64(3 * index + 3), type: type, closed: closes && isLast, upToDate: isLast)
        }
        let data = type == "text/plain" ? appends : ["YWJj", "ZGVm", "Z2hp"]
        let last = closes ? Self.closed : Self.upToDate
        let expected = data.enumerated().flatMap { index, text in
            [Event(kind: "data", data: Array(text.utf8)), Self.control(UInt64(3 * index + 3), index == 2 ? last : Self.behind)]
        }
        #expect(Self.parse(frames.bytes) == expected)
    }

    @Test func controlAlone() {
        var frames = EventFrames(carry: Carry())
        frames.control(5, isEndOfClosed: false, upToDate: true, cursor: 7)
        frames.control(5, isEndOfClosed: false, upToDate: false, cursor: 7)
        frames.control(5, isEndOfClosed: true, upToDate: true, cursor: 7)
        #expect(Self.parse(frames.bytes) == [Self.control(5, Self.upToDate), Self.control(5, Self.behind), Self.control(5, Self.closed)])
    }
}
