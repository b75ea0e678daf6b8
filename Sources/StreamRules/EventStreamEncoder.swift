// One data event of a live reader (PROTOCOL.md section 4, SSE; the WHATWG event stream format), from a payload that may lie in
// several pieces:
//
//     payload  a␍␊ b␊                      stored  m1,␊m2,␊                 bytes  00 01 02 03
//     text     event: data␊               json    event: data␊            base64 event: data␊
//              data:a␊                            data:[m1,␊                     data:AAECAw==␊
//              data:  b␊                          data:m2]␊                      ␊
//              data:␊                             ␊
//              ␊
//
// A line ends at CRLF, CR or LF, so that no payload can forge a field or an event, and CRLF is one end even when a piece
// stops between the two. A parser strips one space after the colon, so a line that begins with a space gets one more. No
// other byte is changed; a parser that joins the lines with LF has the payload, its line ends made LF.
//
// The same code measures and writes, the target apart: a length that was measured cannot differ from what is written.

/// Writes, or only measures, one data event.
public struct EventStreamEncoder: ~Copyable {
    /// How the payload is represented.
    public enum Form: Sendable, Equatable, CaseIterable {
        /// `text/*`: lines.
        case text
        /// Any other type: standard base64, padded, on one line.
        case base64
        /// A range of the stored form of a JSON stream, whole messages: a JSON array, one message on each line.
        case json
    }

    private let form: Form
    /// Nil when measuring.
    private let target: UnsafeMutableRawPointer?
    private let capacity: Int
    /// Bytes of the event so far.
    private var length = 0
    /// Payload bytes that are still to come, without the last `,` LF of JSON.
    private var expected: Int
    /// JSON: what follows `expected`: 2, or 0 for an empty range.
    private var ending = 0
    /// Text and JSON: nothing of this line has been written.
    private var isLineStart = true
    /// Text: the last byte was CR, and an LF would belong to it.
    private var endsWithCarriageReturn = false
    /// Base64: bytes, at most two, that do not yet make a group of three.
    private var carry: (UInt8, UInt8) = (0, 0)
    private var carried = 0

    /// Starts an event.
    /// - Parameters:
    ///   - form: how to represent the payload.
    ///   - payloadLength: the bytes of all pieces together.
    ///   - target: where to write; nil measures. It must hold the length that measuring gives.
    public init(_ form: Form, payloadLength: Int, target: UnsafeMutableRawBufferPointer?) {
        self.form = form
        self.target = target?.baseAddress
        capacity = target?.count ?? Int.max
        expected = payloadLength
        put("event: data\ndata:")
        guard form == .json else { return }
        precondition(payloadLength != 1 && payloadLength >= 0, "not whole messages")
        ending = min(payloadLength, 2)
        expected -= ending
        put("[")
        isLineStart = false
    }

    /// Takes the next piece of the payload.
    public mutating func append(_ piece: UnsafeRawBufferPointer) {
        let wanted = min(piece.count, expected)
        expected -= wanted
        let extra = piece.count - wanted
        precondition(extra <= ending, "more than the announced payload")
        ending -= extra
        let body = UnsafeRawBufferPointer(rebasing: piece[..<wanted])
        switch form {
        case .base64: appendBase64(body)
        case .text, .json: appendLines(body)
        }
    }

    /// Ends the event.
    /// - Returns: the bytes of the whole event.
    public consuming func finish() -> Int {
        precondition(expected == 0 && ending == 0, "less than the announced payload")
        switch form {
        case .text: break
        case .json: put("]")
        case .base64:
            if carried > 0 {
                withUnsafeBytes(of: carry) { bytes in
                    putBase64(UnsafeRawBufferPointer(rebasing: bytes[..<carried]))
                }
            }
        }
        put("\n\n")
        return length
    }

    // MARK: Lines

    private mutating func appendLines(_ piece: UnsafeRawBufferPointer) {
        var index = 0
        if endsWithCarriageReturn, !piece.isEmpty {
            endsWithCarriageReturn = false
            if piece[0] == 0x0A { index = 1 }
        }
        while index < piece.count {
            let end = Self.lineEnd(piece, from: index)
            if end > index {
                if isLineStart, piece[index] == 0x20 { put(" ") }
                isLineStart = false
                put(UnsafeRawBufferPointer(rebasing: piece[index..<end]))
            }
            guard end < piece.count else { return }
            put("\ndata:")
            isLineStart = true
            index = end + 1
            guard piece[end] == 0x0D else { continue }
            if index == piece.count { endsWithCarriageReturn = true } else if piece[index] == 0x0A { index += 1 }
        }
    }

    /// The position of the next CR or LF, or the end.
    private static func lineEnd(_ piece: UnsafeRawBufferPointer, from start: Int) -> Int {
        guard let base = piece.baseAddress else { return start }
        var index = start
        while piece.count - index >= 8 {
            let word = ByteWord.load(base + index)
            let found = ByteWord.zeroes(word ^ ByteWord.filled(0x0A)) | ByteWord.zeroes(word ^ ByteWord.filled(0x0D))
            if found != 0 { return index + ByteWord.firstIndex(found) }
            index += 8
        }
        while index < piece.count, piece[index] != 0x0A, piece[index] != 0x0D { index += 1 }
        return index
    }

    // MARK: Base64

    private mutating func appendBase64(_ piece: UnsafeRawBufferPointer) {
        var index = 0
        if carried > 0 {
            // Complete the group that the last piece left open.
            let needed = 3 - carried
            guard piece.count >= needed else {
                for byte in piece { keep(byte) }
                return
            }
            let group = carried == 1 ? (carry.0, piece[0], piece[1]) : (carry.0, carry.1, piece[0])
            withUnsafeBytes(of: group) { putBase64($0) }
            index = needed
            carried = 0
        }
        let whole = (piece.count - index) / 3 * 3
        putBase64(UnsafeRawBufferPointer(rebasing: piece[index..<index + whole]))
        for byte in piece[(index + whole)...] { keep(byte) }
    }

    private mutating func keep(_ byte: UInt8) {
        if carried == 0 { carry.0 = byte } else { carry.1 = byte }
        carried += 1
    }

    private mutating func putBase64(_ bytes: UnsafeRawBufferPointer) {
        let start = advance(Base64.encodedLength(bytes.count))
        if let target { Base64.encode(bytes, to: target + start) }
    }

    // MARK: Writing

    private mutating func put(_ bytes: UnsafeRawBufferPointer) {
        let start = advance(bytes.count)
        if let target, let base = bytes.baseAddress { (target + start).copyMemory(from: base, byteCount: bytes.count) }
    }

    private mutating func put(_ text: StaticString) {
        put(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Counts bytes and returns where they begin.
    private mutating func advance(_ count: Int) -> Int {
        let start = length
        length += count
        precondition(length <= capacity, "the target is too small")
        return start
    }
}
