// Where frames end in what a connection receives (RFC 9113 4.1), so the session gets one request at a time:
//
//     preface ┊ SETTINGS ┊ HEADERS │ DATA ┊ WINDOW_UPDATE ┊ HEADERS │ HEADERS │ …
//     ├──────── one piece ─────────┤├──────── the next ────────────┤├───────┤
//
// It judges nothing: a piece of bytes that make no sense is cut somewhere, and the session says what is wrong with it.

public struct FrameCuts {
    /// Of the preface, or of the frame under way.
    private var left = 24
    private var isHeaders = false
    /// The first bytes of a frame's header, length and type.
    private var header: UInt32 = 0
    private var headerCount = 0

    private static let headersType: UInt32 = 1
    /// Of a frame's header, behind length and type.
    private static let restOfHeader = 5

    public init() {}

    /// The length of the piece at the front of `bytes`: up to the end of the first HEADERS frame, or all of them. The next call is for what follows it.
    public mutating func next(_ bytes: UnsafeRawBufferPointer) -> Int {
        var position = 0
        while position < bytes.count {
            if left > 0 {
                let count = min(left, bytes.count - position)
                left -= count
                position += count
                if left == 0, isHeaders {
                    isHeaders = false
                    return position
                }
                continue
            }
            header = header << 8 | UInt32(bytes[position])
            headerCount += 1
            position += 1
            if headerCount == 4 {
                left = Int(header >> 8) + Self.restOfHeader
                isHeaders = header & 0xFF == Self.headersType
                headerCount = 0
                header = 0
            }
        }
        return position
    }
}
