// Why a body is not one JSON text (RFC 8259), and where. The peer's fault: it becomes a 400 with the reason in its text.

/// The first place at which a body stops being JSON.
public struct JSONFault: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kinds of fault; the raw value is the text for the peer.
    public enum Kind: String, Sendable, CaseIterable {
        case emptyBody = "the body is empty; a JSON text is expected"
        case onlyWhitespace = "the body holds only whitespace; a JSON text is expected"
        case byteOrderMark = "a byte order mark is not allowed before JSON"
        case unexpectedEnd = "the JSON text is incomplete"
        case expectedValue = "a JSON value is expected"
        case expectedKey = "a key in quotation marks is expected"
        case expectedColon = "a colon is expected after the key"
        case expectedCommaOrBracket = "a comma or the closing bracket is expected"
        case expectedCommaOrBrace = "a comma or the closing brace is expected"
        case expectedDigit = "a digit is expected"
        case leadingZero = "a number must not begin with a zero"
        case controlInString = "control characters in strings must be escaped"
        case invalidEscape = "an unknown escape in a string"
        case invalidUTF8 = "the text is not valid UTF-8"
        case tooDeep = "arrays and objects are nested too deeply"
        case trailingBytes = "something follows the JSON text"
    }

    public let kind: Kind

    /// Bytes from the start of the body.
    public let position: Int

    /// Short text for the peer.
    public var reason: String { kind.rawValue }

    public var description: String { "\(kind.rawValue) (at byte \(position))" }

    @inline(never)
    init(_ kind: Kind, at position: Int) {
        self.kind = kind
        self.position = position
    }
}
