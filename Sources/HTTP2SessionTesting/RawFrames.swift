// Frames written octet by octet, well-formed or not (RFC 9113 4.1):
//
//     length (24) │ type (8) │ flags (8) │ stream (31) │ payload

public enum RawFrames {
    public static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    public static func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32, _ payload: [UInt8] = [], length: Int? = nil) -> [UInt8] {
        let length = length ?? payload.count
        return [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), type, flags] + number(stream) + payload
    }

    public static func number(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(value >> (24 - 8 * $0) & 255) } }

    /// An empty SETTINGS, which every client begins with, and the acknowledgement of ours.
    public static var greeting: [UInt8] { preface + frame(4, stream: 0) + frame(4, flags: 1, stream: 0) }

    /// A field as a literal that is not indexed (RFC 7541 6.2.2), without Huffman.
    public static func field(_ name: String, _ value: String) -> [UInt8] { field(Array(name.utf8), Array(value.utf8)) }

    public static func field(_ name: [UInt8], _ value: [UInt8]) -> [UInt8] { [0] + text(name) + text(value) }

    /// As above, and put into the dynamic table (RFC 7541 6.2.1).
    public static func indexedField(_ name: String, _ value: String) -> [UInt8] {
        [0x40] + text(Array(name.utf8)) + text(Array(value.utf8))
    }

    private static func text(_ bytes: [UInt8]) -> [UInt8] {
        if bytes.count < 127 { return [UInt8(bytes.count)] + bytes }
        var rest = bytes.count - 127
        var head: [UInt8] = [127]
        while rest >= 128 {
            head.append(UInt8(rest & 127 | 128))
            rest >>= 7
        }
        return head + [UInt8(rest)] + bytes
    }

    /// The pseudo-fields of a GET, and others behind them.
    public static func request(_ path: String = "/", method: String = "GET", scheme: String = "https", authority: String = "h") -> [UInt8] {
        field(":method", method) + field(":scheme", scheme) + field(":authority", authority) + field(":path", path)
    }

    /// HEADERS with all of a block and, unless asked otherwise, the end of the stream.
    public static func headers(_ stream: UInt32, _ block: [UInt8], ends: Bool = true) -> [UInt8] {
        frame(1, flags: ends ? 5 : 4, stream: stream, block)
    }

    public static func data(_ stream: UInt32, _ bytes: [UInt8], ends: Bool = false) -> [UInt8] {
        frame(0, flags: ends ? 1 : 0, stream: stream, bytes)
    }

    public static func reset(_ stream: UInt32, _ code: UInt32 = 8) -> [UInt8] { frame(3, stream: stream, number(code)) }

    public static func windowUpdate(_ stream: UInt32, _ increment: UInt32) -> [UInt8] { frame(8, stream: stream, number(increment)) }

    public struct Frame: Equatable, Sendable {
        public var type: UInt8
        public var flags: UInt8
        public var stream: UInt32
        public var payload: [UInt8]

        public func number(at offset: Int) -> UInt32 { payload[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) } }
    }

    /// Whether `bytes` end where a frame does.
    public static func isWhole(_ bytes: [UInt8]) -> Bool {
        var position = 0
        while position + 9 <= bytes.count {
            position += 9 + (Int(bytes[position]) << 16 | Int(bytes[position + 1]) << 8 | Int(bytes[position + 2]))
        }
        return position == bytes.count
    }

    /// Takes apart what a session has sent; traps when it does not end with a frame.
    public static func parse(_ bytes: [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        var position = 0
        while position < bytes.count {
            let length = Int(bytes[position]) << 16 | Int(bytes[position + 1]) << 8 | Int(bytes[position + 2])
            let stream = bytes[(position + 5)..<(position + 9)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            let end = position + 9 + length
            frames.append(
                Frame(type: bytes[position + 3], flags: bytes[position + 4], stream: stream, payload: Array(bytes[(position + 9)..<end])))
            position = end
        }
        return frames
    }
}
