// Server-sent events for a piece of a stream: one data and one control event per append or chunk (PROTOCOL.md 4).
//
// Text is never cut inside a character: `carry` holds the up to three bytes of a character whose end has not come, in front of the next
// payload; the offset that is reported lies before them.

import StreamHTTP
import StreamRules
import StreamStore

/// Up to three held-back bytes.
struct Carry: Equatable {
    /// The count in the highest byte.
    private var packed: UInt32 = 0

    var count: Int { Int(packed >> 24) }

    init() {}

    init(_ bytes: some Collection<UInt8>) {
        precondition(bytes.count <= 3, "at most three bytes of a character can be missing its end")
        for (index, byte) in bytes.enumerated() { packed |= UInt32(byte) << (8 * UInt32(index)) }
        packed |= UInt32(bytes.count) << 24
    }

    var bytes: [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: packed >> (8 * UInt32($0))) } }
}

struct EventFrames {
    private(set) var bytes: [UInt8] = []
    private(set) var carry: Carry

    init(carry: Carry) { self.carry = carry }

    /// Adds the events of one payload that ends at `end`. `last`: nothing is missing behind it, so nothing is held back.
    mutating func add(
        _ payload: [UnsafeRawBufferPointer], end: UInt64, contentType: ContentType, isEndOfClosed: Bool, upToDate: Bool, cursor: UInt64
    ) {
        var pieces = payload
        let held = carry.bytes
        var kept = 0
        if contentType.isText {
            if !isEndOfClosed { kept = Self.incompleteSuffix(held, payload) }
            carry = Carry()
            if kept > 0 {
                let tail = Self.suffix(held, payload, count: kept)
                carry = Carry(tail)
                pieces = Self.dropLast(kept, pieces)
            }
        }
        held.withUnsafeBytes { held in
            var parts: [UnsafeRawBufferPointer] = []
            let heldKept = max(0, kept - payload.reduce(0) { $0 + $1.count })
            if held.count > heldKept { parts.append(UnsafeRawBufferPointer(rebasing: held[..<(held.count - heldKept)])) }
            parts += pieces.filter { $0.count > 0 }
            let count = parts.reduce(0) { $0 + $1.count }
            if count == 0 { return }
            let form: EventStreamEncoder.Form = contentType.isJSON ? .json : contentType.isText ? .text : .base64
            var measure = EventStreamEncoder(form, payloadLength: count, target: nil)
            for part in parts { measure.append(part) }
            let length = measure.finish()
            let start = bytes.count
            bytes.append(contentsOf: repeatElement(0, count: length))
            bytes.withUnsafeMutableBytes { all in
                var encoder = EventStreamEncoder(
                    form, payloadLength: count, target: UnsafeMutableRawBufferPointer(rebasing: all[start...]))
                for part in parts { encoder.append(part) }
                _ = encoder.finish()
            }
            control(end - UInt64(carry.count), isEndOfClosed: isEndOfClosed, upToDate: upToDate, cursor: cursor)
        }
    }

    mutating func control(_ offset: UInt64, isEndOfClosed: Bool, upToDate: Bool, cursor: UInt64) {
        let event = EventStreamControl(
            nextOffset: StreamOffset(position: offset),
            progress: isEndOfClosed ? .closed : upToDate ? .upToDate(cursor: cursor) : .behind(cursor: cursor))
        let start = bytes.count
        let length = EventStream.controlEventLength(event)
        bytes.append(contentsOf: repeatElement(0, count: length))
        bytes.withUnsafeMutableBytes {
            _ = EventStream.writeControlEvent(event, to: UnsafeMutableRawBufferPointer(rebasing: $0[start...]))
        }
    }

    // MARK: Characters whose end is missing

    private static func suffix(_ held: [UInt8], _ payload: [UnsafeRawBufferPointer], count: Int) -> [UInt8] {
        var last: [UInt8] = []
        for piece in payload.reversed() {
            last = Array(piece.suffix(count - last.count)) + last
            if last.count == count { return last }
        }
        return Array(held.suffix(count - last.count)) + last
    }

    private static func incompleteSuffix(_ held: [UInt8], _ payload: [UnsafeRawBufferPointer]) -> Int {
        let available = held.count + payload.reduce(0) { $0 + $1.count }
        return suffix(held, payload, count: min(4, available)).withUnsafeBytes { UTF8Tail.incompleteSuffixLength($0) }
    }

    private static func dropLast(_ count: Int, _ pieces: [UnsafeRawBufferPointer]) -> [UnsafeRawBufferPointer] {
        var left = count
        var kept = pieces
        while left > 0, let last = kept.popLast() {
            if last.count > left {
                kept.append(UnsafeRawBufferPointer(rebasing: last[..<(last.count - left)]))
                return kept
            }
            left -= last.count
        }
        return kept
    }
}
