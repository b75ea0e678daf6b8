// HTTPAnswer: the head of one response, and for a refusal the beginning of its body, which is where the server explains itself.
//
// Fed by libcurl line by line; the head of a redirect or of a 1xx is dropped when the next status line comes.

public struct HTTPAnswer: Equatable, Sendable {
    /// Bytes of a refusal's body that are kept.
    static let longestText = 4096
    /// Lines of a head that are kept.
    static let mostFields = 200

    public private(set) var status = 0
    /// Whether the empty line after the head has come. libcurl takes a connection that closes before it for the answer's end.
    private(set) var isHeadComplete = false
    /// Names in lower case.
    public private(set) var fields: [(name: String, value: String)] = []
    public internal(set) var textBytes: [UInt8] = []
    /// What `Retry-After` asks for, in milliseconds.
    public internal(set) var retryAfter: Int?

    public init() {}

    public static func == (left: HTTPAnswer, right: HTTPAnswer) -> Bool {
        left.status == right.status && left.textBytes == right.textBytes && left.retryAfter == right.retryAfter
            && left.fields.elementsEqual(right.fields, by: ==)
    }

    /// The last value of the field; `name` in lower case.
    public subscript(name: String) -> String? { fields.last { $0.name == name }?.value }

    public var isSuccess: Bool { (200...299).contains(status) }
    public var isTransient: Bool { HTTPStatus.isTransient(status) }
    /// An absolute URL of HTTP; anything else in `Location` is none.
    public var location: String? { self["location"].flatMap { $0.hasPrefix("http://") || $0.hasPrefix("https://") ? $0 : nil } }
    public var nextOffset: String? { self["stream-next-offset"] }
    public var isUpToDate: Bool { isTrue("stream-up-to-date") }
    public var isClosed: Bool { isTrue("stream-closed") }
    public var isJSON: Bool { Self.isJSON(self["content-type"]) }

    /// The server's explanation as one line without control characters; a terminal gets to see it.
    public var text: String {
        let words = String(decoding: textBytes, as: UTF8.self).unicodeScalars.map { isForTerminals($0) ? " " : $0 }
        var line = String(String.UnicodeScalarView(words))[...]
        while line.first == " " { line.removeFirst() }
        while line.last == " " { line.removeLast() }
        return String(line)
    }

    /// The failure that this answer is, for one that is no success.
    public var failure: ClientFailure { .refused(status: status, text: text) }

    /// Media types are compared without case and without parameters.
    public static func isJSON(_ contentType: String?) -> Bool {
        guard let type = contentType?.prefix(while: { $0 != ";" }) else { return false }
        return type.lowercased().filter { $0 != " " && $0 != "\t" } == "application/json"
    }

    private func isTrue(_ name: String) -> Bool { self[name]?.lowercased() == "true" }

    /// One line of the head, as it came.
    mutating func addHeadLine(_ bytes: UnsafeRawBufferPointer) {
        let line = String(decoding: bytes, as: UTF8.self)
        if line.hasPrefix("HTTP/") {
            self = HTTPAnswer()
            status = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) } ?? 0
            return
        }
        if line.utf8.allSatisfy({ $0 == UInt8(ascii: "\r") || $0 == UInt8(ascii: "\n") }) { isHeadComplete = true }
        guard fields.count < Self.mostFields, let colon = line.firstIndex(of: ":") else { return }
        var value = line[line.index(after: colon)...]
        while let first = value.first, first.isWhitespace { value.removeFirst() }
        while let last = value.last, last.isWhitespace { value.removeLast() }
        fields.append((line[..<colon].lowercased(), String(value)))
    }
}
