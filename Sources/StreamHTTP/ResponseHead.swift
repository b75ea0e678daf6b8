// The head of a response, written once, for any transport.
//
//     status  +  "Name: value\r\n" "Name: value\r\n" … [ room for more ]
//                └──────────── used ───────────────┘
//
// HTTP/1.1 sends the lines as they are behind a status line; HTTP/2 takes them apart again, which is cheap because we made them. A head is
// reused from response to response, so a warm one allocates nothing. A line is written in one go, because asking for room (and whether the
// memory is ours alone) costs more than a short line does.

import HTTPWire
import StreamRules

public struct ResponseHead: Sendable {
    public internal(set) var status = 200
    /// nil: the end of the body is the end of the connection (or of the HTTP/2 stream).
    public internal(set) var contentLength: Int? = 0
    private var buffer: [UInt8]
    private var used = 0

    public init(reserving capacity: Int = 1024) { buffer = [UInt8](repeating: 0, count: capacity) }

    /// The lines, each with its end.
    @inline(__always)
    public func withLines<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        buffer.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[..<used])) }
    }

    public var lines: [UInt8] { Array(buffer[..<used]) }

    mutating func begin(_ status: Int) {
        self.status = status
        used = 0
        contentLength = 0
    }

    /// Gives `fill` room for `most` bytes, of which it says how many it has used.
    @inline(__always)
    private mutating func write(_ most: Int, _ fill: (UnsafeMutableRawPointer) -> Int) {
        if used + most > buffer.count { grow(most) }
        let position = used
        used += buffer.withUnsafeMutableBytes { fill($0.baseAddress! + position) }
    }

    private mutating func grow(_ most: Int) {
        buffer += [UInt8](repeating: 0, count: max(most, buffer.count))
    }

    /// A whole line around a value of at most `most` bytes.
    @inline(__always)
    private mutating func writeLine(_ name: StaticString, _ most: Int, _ value: (UnsafeMutableRawPointer) -> Int) {
        let length = name.utf8CodeUnitCount
        write(length + most + 2) { place in
            place.copyMemory(from: name.utf8Start, byteCount: length)
            let end = length + value(place + length)
            place.storeBytes(of: UInt16(0x0A0D).littleEndian, toByteOffset: end, as: UInt16.self)
            return end + 2
        }
    }

    /// Whole lines as they are.
    @inline(__always)
    mutating func add(_ text: StaticString) {
        let length = text.utf8CodeUnitCount
        write(length) { place in
            place.copyMemory(from: text.utf8Start, byteCount: length)
            return length
        }
    }

    mutating func add(_ bytes: [UInt8]) {
        write(bytes.count) { place in bytes.withUnsafeBytes { Self.copy($0, to: place) } }
    }

    mutating func field(_ name: StaticString, _ number: UInt64) {
        writeLine(name, 20) { DecimalText.write(number, to: $0) }
    }

    mutating func field(_ name: StaticString, _ bytes: [UInt8]) {
        writeLine(name, bytes.count) { place in bytes.withUnsafeBytes { Self.copy($0, to: place) } }
    }

    mutating func field(_ name: StaticString, _ offset: StreamOffset) {
        writeLine(name, StreamOffset.tokenLength) { place in
            offset.write(into: place)
            return StreamOffset.tokenLength
        }
    }

    mutating func field(_ name: StaticString, _ tag: EntityTag) {
        writeLine(name, EntityTag.maximumLength) { tag.write(to: $0) }
    }

    @inline(__always)
    private static func copy(_ bytes: UnsafeRawBufferPointer, to place: UnsafeMutableRawPointer) -> Int {
        if let base = bytes.baseAddress { place.copyMemory(from: base, byteCount: bytes.count) }
        return bytes.count
    }
}

/// `"<life>-<incarnation>-<from>-<to>"`, in hexadecimal, with `-c` when the range reaches the end of a closed stream (PROTOCOL.md 9).
struct EntityTag {
    let life: UInt64
    let id: UInt64
    let from: UInt64
    let to: UInt64
    let closed: Bool

    static let maximumLength = 2 + 4 * 16 + 3 + 2

    init(_ range: RangeFacts, life: UInt64) {
        (id, from, to, closed) = (range.facts.id, range.from, range.to, range.closed)
        self.life = life
    }

    var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.maximumLength) { buffer, count in
            count = write(to: UnsafeMutableRawPointer(buffer.baseAddress!))
        }
    }

    /// Returns the length.
    func write(to place: UnsafeMutableRawPointer) -> Int {
        var end = 0
        func put(_ byte: UInt8) {
            place.storeBytes(of: byte, toByteOffset: end, as: UInt8.self)
            end += 1
        }
        func put(hex number: UInt64) {
            var shift = max(0, (63 - number.leadingZeroBitCount) & ~3)
            while shift >= 0 {
                let digit = UInt8(truncatingIfNeeded: number >> UInt64(shift)) & 15
                put(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
                shift -= 4
            }
        }
        put(UInt8(ascii: "\""))
        put(hex: life)
        put(UInt8(ascii: "-"))
        put(hex: id)
        put(UInt8(ascii: "-"))
        put(hex: from)
        put(UInt8(ascii: "-"))
        put(hex: to)
        if closed {
            put(UInt8(ascii: "-"))
            put(UInt8(ascii: "c"))
        }
        put(UInt8(ascii: "\""))
        return end
    }
}
