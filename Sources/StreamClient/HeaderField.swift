// HeaderField: one field of a request, checked once so that nothing a user types can forge a second one (RFC 9110 section 5).

public struct HeaderField: Equatable, Sendable {
    public let name: String
    public let value: String

    /// For names and values that the client itself makes up.
    init(_ name: String, _ value: String) {
        precondition(Self.isToken(name) && Self.isValue(value), "malformed field \(name)")
        self.name = name
        self.value = value
    }

    /// - Throws: `badInput`, naming what the value came from.
    public init(name: String, value: String, from origin: String) throws(ClientFailure) {
        guard Self.isToken(name) else { throw .badInput("\(origin): expected `Name: value`") }
        guard Self.isValue(value) else { throw .badInput("\(origin): the value must have no line breaks or other control characters") }
        self.name = name
        self.value = value
    }

    /// Parses `Name: value`, as `--header` has it.
    public init(line: String, from origin: String) throws(ClientFailure) {
        guard let colon = line.firstIndex(of: ":") else { throw .badInput("\(origin): expected `Name: value`") }
        let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
        try self.init(name: String(line[..<colon]), value: String(value), from: origin)
    }

    /// `Authorization` from the text of STREAM_AUTH: with a space it is scheme and credentials, without one a bearer token.
    public static func authorization(_ text: String) throws(ClientFailure) -> HeaderField {
        try HeaderField(name: "Authorization", value: text.contains(" ") ? text : "Bearer \(text)", from: "STREAM_AUTH")
    }

    func isNamed(_ other: String) -> Bool { name.lowercased() == other.lowercased() }

    /// As libcurl's header list wants it: `Name: value`, or `Name;` for a field whose value is empty.
    var curlLine: String { value.isEmpty ? "\(name);" : "\(name): \(value)" }

    private static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
                case UInt8(ascii: "0")...UInt8(ascii: "9"): true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }

    private static func isValue(_ text: String) -> Bool {
        text.utf8.allSatisfy { ($0 >= 0x20 && $0 != 0x7f) || $0 == UInt8(ascii: "\t") }
    }
}
