// StreamFacts: what a HEAD answer says about a stream, for people and for programs.

public struct StreamFacts {
    private let answer: HTTPAnswer

    public init(_ answer: HTTPAnswer) { self.answer = answer }

    private var facts: [(name: String, key: String, value: String?, isText: Bool)] {
        let ttl = answer["stream-ttl"]
        return [
            ("offset", "offset", answer.nextOffset, true), ("content-type", "contentType", answer["content-type"], true),
            ("closed", "closed", answer.isClosed ? "true" : "false", false),
            ("ttl", "ttl", ttl, ttl.map { Int($0) == nil } ?? true), ("expires-at", "expiresAt", answer["stream-expires-at"], true),
        ]
    }

    /// Aligned `name: value` lines; the TTL is in seconds.
    public var lines: String {
        let present = facts.filter { $0.value != nil }
        let width = present.map(\.name.count).max() ?? 0
        return present.map { "\($0.name):" + String(repeating: " ", count: width - $0.name.count + 1) + terminalText($0.value!) }.joined(
            separator: "\n")
    }

    /// One JSON object.
    public var json: String {
        let members = facts.compactMap { fact in
            fact.value.map { "\(jsonLiteral(fact.key)):\(fact.isText ? jsonLiteral($0) : String($0))" }
        }
        return "{" + members.joined(separator: ",") + "}"
    }
}
