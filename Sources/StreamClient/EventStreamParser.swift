// EventStreamParser: bytes of a text/event-stream in any pieces → events (HTML Living Standard, section 9.2.6; PROTOCOL.md section 4 "SSE").
//
//     event: data⏎            line := field ":" [" "] value     ":" alone begins a comment
//     data:<line>⏎            ⏎    := CRLF | LF | CR, mixed freely
//     data:<line>⏎
//     ⏎                       an empty line dispatches the event, unless it had no data line
//
// A CR ends a line at once; an LF straight after it belongs to it, also when it comes in the next piece. A byte order mark before the
// first byte is dropped. What follows the last empty line when the connection ends is never dispatched.

public struct EventStreamParser: Sendable {
    public struct Event: Equatable, Sendable {
        /// The event's type; `message` when the stream named none.
        public var name: String
        /// The data lines, joined by LF.
        public var data: [UInt8]
    }

    private var line: [UInt8] = []
    private var name: [UInt8] = []
    private var data: [UInt8] = []
    private var isAfterCarriageReturn = false
    private var markSeen = 0

    /// The reconnection time that the server last asked for (`retry:`), in milliseconds.
    public private(set) var retryMilliseconds: Int?

    public init() {}

    /// Bytes held for a line or event that is not complete; the caller bounds it.
    public var bufferedCount: Int { line.count + data.count }

    public mutating func feed<E: Error>(_ piece: UnsafeRawBufferPointer, emit: (Event) throws(E) -> Void) throws(E) {
        var bytes = piece[...]
        if markSeen < 3 { dropMark(&bytes) }
        if isAfterCarriageReturn, let first = bytes.first {
            isAfterCarriageReturn = false
            if first == UInt8(ascii: "\n") { bytes = bytes.dropFirst() }
        }
        while let end = bytes.firstIndex(where: { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }) {
            line.append(contentsOf: bytes[..<end])
            let isReturn = bytes[end] == UInt8(ascii: "\r")
            bytes = bytes[(end + 1)...]
            if isReturn {
                if let next = bytes.first {
                    if next == UInt8(ascii: "\n") { bytes = bytes.dropFirst() }
                } else {
                    isAfterCarriageReturn = true
                }
            }
            let event = endLine()
            line.removeAll(keepingCapacity: true)
            if let event { try emit(event) }
        }
        line.append(contentsOf: bytes)
    }

    /// Takes the leading bytes that are, or may yet become, a byte order mark; gives them back to the line if they do not.
    private mutating func dropMark(_ bytes: inout Slice<UnsafeRawBufferPointer>) {
        let mark: [UInt8] = [0xef, 0xbb, 0xbf]
        while markSeen < 3, let byte = bytes.first {
            guard byte == mark[markSeen] else {
                line.append(contentsOf: mark[..<markSeen])
                markSeen = 3
                return
            }
            markSeen += 1
            bytes = bytes.dropFirst()
        }
    }

    private mutating func endLine() -> Event? {
        guard !line.isEmpty else { return dispatch() }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        var value = line[min(colon + 1, line.endIndex)...]
        if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
        let field = line[..<colon]
        if field.elementsEqual("data".utf8) {
            data.append(contentsOf: value)
            data.append(UInt8(ascii: "\n"))
        } else if field.elementsEqual("event".utf8) {
            name = Array(value)
        } else if field.elementsEqual("retry".utf8), value.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
            retryMilliseconds = Int(String(decoding: value, as: UTF8.self)) ?? retryMilliseconds
        }
        return nil
    }

    private mutating func dispatch() -> Event? {
        defer {
            name.removeAll(keepingCapacity: true)
            data.removeAll(keepingCapacity: true)
        }
        guard !data.isEmpty else { return nil }
        data.removeLast()
        return Event(name: name.isEmpty ? "message" : String(decoding: name, as: UTF8.self), data: data)
    }
}
