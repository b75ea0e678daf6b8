// A live reader by server-sent events: the parser of the WHATWG event stream format over an answer that comes in pieces, and the order
// of events that PROTOCOL.md section 4 demands.
//
//     (data control)*            a control event right after every data event
//     control (data control)*    first of all, when there is nothing to send

import Glibc
import Testing

struct ServerSentEvent: Equatable {
    var name = ""
    /// The `data` lines joined by LF.
    var data: [UInt8] = []
    /// The lines as they came, without their ends.
    var lines: [[UInt8]] = []
    /// What a browser would come back with.
    var id: String?

    var text: String { String(decoding: data, as: UTF8.self) }
}

/// The content of a control event: a flat JSON object of text and `true`.
struct ControlEvent: Equatable {
    var offset: String
    var cursor: String?
    var upToDate: Bool
    var streamClosed: Bool

    init(_ event: ServerSentEvent) throws {
        guard event.name == "control" else { throw TestFault("expected a control event: \(event.name): \(event.text)") }
        var members: [String: String] = [:]
        let text = event.text.trimmed
        guard text.first == "{", text.last == "}" else { throw TestFault("no object: \(text)") }
        for member in text.dropFirst().dropLast().split(separator: ",") {
            let parts = member.split(separator: ":", maxSplits: 1).map(\.trimmed)
            guard parts.count == 2, parts[0].hasPrefix("\""), parts[0].hasSuffix("\"") else { throw TestFault("no member: \(member)") }
            members[String(parts[0].dropFirst().dropLast())] = parts[1]
        }
        func string(_ name: String) throws -> String? {
            guard let value = members.removeValue(forKey: name) else { return nil }
            guard value.count >= 2, value.hasPrefix("\""), value.hasSuffix("\"") else { throw TestFault("\(name) is no string: \(value)") }
            return String(value.dropFirst().dropLast())
        }
        func flag(_ name: String) throws -> Bool {
            guard let value = members.removeValue(forKey: name) else { return false }
            guard value == "true" || value == "false" else { throw TestFault("\(name) is neither true nor false: \(value)") }
            return value == "true"
        }
        guard let offset = try string("streamNextOffset"), Offset.isToken(offset) else { throw TestFault("no offset: \(text)") }
        guard event.id == offset else { throw TestFault("the id is not the offset: \(event.id ?? "-")") }
        self.offset = offset
        cursor = try string("streamCursor")
        upToDate = try flag("upToDate")
        streamClosed = try flag("streamClosed")
        guard members.isEmpty else { throw TestFault("unknown members: \(text)") }
    }
}

final class EventStreamReader {
    /// One control event with the payload before it, if there was one.
    struct Batch {
        var data: ServerSentEvent?
        var control: ControlEvent

        var text: String? { data?.text }
    }

    let client: RawClient
    /// The answer's head.
    let head: Response
    private var bytes: [UInt8] = []
    /// Where the next line starts, and from where on its end has not been looked for.
    private var start = 0
    private var searched = 0

    /// Reads the head of an answer that must be an event stream.
    init(_ client: RawClient) throws {
        self.client = client
        head = try client.head()
        guard head.status == 200 else { throw TestFault("no event stream: \(head.summary)") }
        head.checkCommonRules(method: "GET")
    }

    /// The next event; comments are skipped. nil: the answer has ended, properly.
    func event(within time: Duration = Deadline.usual) throws -> ServerSentEvent? {
        var event = ServerSentEvent()
        while let line = try line(within: time) {
            if line.isEmpty {
                if event.lines.isEmpty { continue }
                if event.data.last == 10 { event.data.removeLast() }
                return event
            }
            if line[0] == UInt8(ascii: ":") { continue }
            event.lines.append(line)
            let colon = line.firstIndex(of: UInt8(ascii: ":"))
            let name = String(decoding: line[..<(colon ?? line.count)], as: UTF8.self)
            var value = colon.map { line[($0 + 1)...] } ?? []
            if value.first == 0x20 { value = value.dropFirst() }
            switch name {
            case "event": event.name = String(decoding: value, as: UTF8.self)
            case "data": event.data += value + [10]
            case "id": event.id = String(decoding: value, as: UTF8.self)
            default: break
            }
        }
        guard event.lines.isEmpty else { throw TestFault("the answer ended within an event: \(event)") }
        return nil
    }

    /// The next data event with its control event, or a control event alone. nil: the answer has ended.
    func batch(within time: Duration = Deadline.usual) throws -> Batch? {
        guard let first = try event(within: time) else { return nil }
        switch first.name {
        case "control": return Batch(data: nil, control: try ControlEvent(first))
        case "data":
            guard let next = try event(within: time) else { throw TestFault("the answer ended after a data event") }
            guard first.id == next.id else { throw TestFault("a data event has the id of its control event: \(first.id ?? "-")") }
            return Batch(data: first, control: try ControlEvent(next))
        default: throw TestFault("an event of an unknown kind: \(first)")
        }
    }

    /// Batches up to the first that fulfils the condition, which is the last of the result.
    func batches(within time: Duration = Deadline.usual, until condition: (ControlEvent) -> Bool) throws -> [Batch] {
        var result: [Batch] = []
        while let batch = try batch(within: time) {
            result.append(batch)
            if condition(batch.control) { return result }
        }
        throw TestFault("the answer ended after \(result.count) batches")
    }

    /// A line without its end, which is CRLF, CR or LF.
    private func line(within time: Duration) throws -> [UInt8]? {
        while true {
            if let end = lineEnd(), bytes[end] == 10 || end + 1 < bytes.count {
                let line = Array(bytes[start..<end])
                start = bytes[end] == 13 && bytes[end + 1] == 10 ? end + 2 : end + 1
                searched = start
                return line
            }
            bytes.removeFirst(start)
            start = 0
            searched = max(bytes.count - 1, 0)
            guard let piece = try client.piece(within: time) else {
                guard bytes.isEmpty else { throw TestFault("the answer ended within a line") }
                return nil
            }
            bytes += piece
        }
    }

    /// The next CR or LF. By memchr, since the tests are not optimized and lines may be megabytes long.
    private func lineEnd() -> Int? {
        let from = searched
        return bytes.withUnsafeBytes { buffer in
            guard from < buffer.count, let base = buffer.baseAddress else { return nil }
            let feed = memchr(base + from, 10, buffer.count - from).map { UnsafeRawPointer($0) - base }
            return memchr(base + from, 13, (feed ?? buffer.count) - from).map { UnsafeRawPointer($0) - base } ?? feed
        }
    }
}

/// Standard base64 with padding; nil: not that.
func decodeBase64(_ text: [UInt8]) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    let padding = text.suffix(2).reversed().prefix { $0 == UInt8(ascii: "=") }.count
    let isValid = text.withUnsafeBufferPointer { text in
        var index = 0
        while index < text.count - padding {
            if base64Values[Int(text[index])] == 255 { return false }
            index += 1
        }
        return true
    }
    guard isValid else { return nil }
    return [UInt8](unsafeUninitializedCapacity: text.count / 4 * 3) { result, count in
        text.withUnsafeBufferPointer { text in
            var index = 0
            while index < text.count {
                var group: UInt32 = 0
                for letter in 0..<4 { group = group << 6 | UInt32(base64Values[Int(text[index + letter])] & 63) }
                result[count] = UInt8(truncatingIfNeeded: group >> 16)
                result[count + 1] = UInt8(truncatingIfNeeded: group >> 8)
                result[count + 2] = UInt8(truncatingIfNeeded: group)
                count += 3
                index += 4
            }
        }
        count -= padding
    }
}

private let base64Values: [UInt8] = {
    var values = [UInt8](repeating: 255, count: 256)
    for (value, letter) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8.enumerated() {
        values[Int(letter)] = UInt8(value)
    }
    return values
}()
