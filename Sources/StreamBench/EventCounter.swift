// Counts the events of an event stream (PROTOCOL.md 4, SSE) as they arrive in any pieces, and the bytes of their data.
//
//     event: data LF  data:<payload> LF  LF      event: control LF  data:{"streamNextOffset":"…","streamCursor":"…","upToDate":true} LF  LF
//                          `-------' counted                              `----------------- kept, for the offset -----------------'
//
// Whole lines are judged where they lie in the input. A line that is cut between two pieces is collected, except the payload of a data event,
// which may be long and is only counted: `pending` never grows beyond `lineLimit`.

public struct EventCounter: Sendable {
    private enum Kind { case other, data, control }

    /// A control event is far shorter; longer lines that are no payload are a fault of the stream and are cut off here.
    static let lineLimit = 4096
    private static let data = Array("data:".utf8)
    private static let event = Array("event:".utf8)
    private static let offsetName = Array("\"streamNextOffset\":\"".utf8)

    private var pending: [UInt8] = []
    private var kind = Kind.other
    private var isInPayload = false
    private var lastWasReturn = false

    /// Data events that have ended.
    public private(set) var dataEvents = 0
    /// Control events that have ended.
    public private(set) var controlEvents = 0
    /// Bytes of payload seen, those of an event that has not ended included. Line ends between the lines of one event are not counted.
    public private(set) var payloadBytes = 0
    /// Those before the last control event.
    private var controlledBytes = 0
    /// `streamNextOffset` of the last control event.
    public private(set) var nextOffset: [UInt8] = []

    public init() {}

    /// Goes on in another connection from `nextOffset`: what has come behind the last control event will come again, so it is taken back.
    public mutating func restart() {
        payloadBytes = controlledBytes
        pending.removeAll(keepingCapacity: true)
        kind = .other
        isInPayload = false
        lastWasReturn = false
    }

    public mutating func take(_ input: UnsafeRawBufferPointer) {
        var position = 0
        while position < input.count {
            var end = position
            while end < input.count, input[end] != 0x0A { end += 1 }
            let isWhole = end < input.count
            let piece = UnsafeRawBufferPointer(rebasing: input[position..<end])
            position = isWhole ? end + 1 : end
            if isInPayload {
                count(piece, isWhole)
            } else if isWhole, pending.isEmpty {
                line(piece)
            } else {
                collect(piece, isWhole)
            }
        }
    }

    /// Part of the payload's line. A CR at its end belongs to the line end, which is only known when the LF comes.
    private mutating func count(_ piece: UnsafeRawBufferPointer, _ isWhole: Bool) {
        payloadBytes += piece.count
        if let last = piece.last { lastWasReturn = last == 0x0D }
        if isWhole {
            if lastWasReturn { payloadBytes -= 1 }
            isInPayload = false
            lastWasReturn = false
        }
    }

    private mutating func collect(_ piece: UnsafeRawBufferPointer, _ isWhole: Bool) {
        var rest = piece[...]
        // The octet behind the colon decides what is payload: one space is not.
        let decisive = Self.data.count + 1
        if kind == .data, pending.count < decisive {
            let head = rest.prefix(decisive - pending.count)
            pending.append(contentsOf: head)
            rest = rest.dropFirst(head.count)
            if pending.count == decisive, pending.starts(with: Self.data) {
                payloadBytes += pending.last == 0x20 ? 0 : 1
                lastWasReturn = pending.last == 0x0D
                pending.removeAll(keepingCapacity: true)
                isInPayload = true
                return count(UnsafeRawBufferPointer(rebasing: rest), isWhole)
            }
        }
        pending.append(contentsOf: rest.prefix(max(0, Self.lineLimit - pending.count)))
        guard isWhole else { return }
        let whole = pending
        pending.removeAll(keepingCapacity: true)
        whole.withUnsafeBytes { line($0) }
    }

    private mutating func line(_ text: UnsafeRawBufferPointer) {
        var text = text
        if text.last == 0x0D { text = UnsafeRawBufferPointer(rebasing: text.dropLast()) }
        if text.isEmpty {
            if kind == .data { dataEvents += 1 }
            if kind == .control {
                controlEvents += 1
                controlledBytes = payloadBytes
            }
            kind = .other
        } else if let value = Self.value(of: text, named: Self.event) {
            kind = value.elementsEqual("data".utf8) ? .data : value.elementsEqual("control".utf8) ? .control : .other
        } else if kind != .other, let value = Self.value(of: text, named: Self.data) {
            if kind == .data { payloadBytes += value.count } else { findOffset(value) }
        }
    }

    /// What stands behind the name and at most one space.
    private static func value(of text: UnsafeRawBufferPointer, named name: [UInt8]) -> UnsafeRawBufferPointer? {
        guard text.starts(with: name) else { return nil }
        let value = UnsafeRawBufferPointer(rebasing: text.dropFirst(name.count))
        return value.first == 0x20 ? UnsafeRawBufferPointer(rebasing: value.dropFirst()) : value
    }

    private mutating func findOffset(_ text: UnsafeRawBufferPointer) {
        let name = Self.offsetName
        var start = 0
        while start + name.count < text.count {
            if text[start] == name[0], text[start + 1] == name[1], UnsafeRawBufferPointer(rebasing: text[start...]).starts(with: name) {
                let value = text[(start + name.count)...].prefix { $0 != UInt8(ascii: "\"") }
                nextOffset.replaceSubrange(0..., with: value)
                return
            }
            start += 1
        }
    }
}
