// One answer as it came over the wire, and the rules that hold for every answer whatever it answers: PROTOCOL.md sections 1 and 10, RFC 9110
// section 8.6, RFC 9112 section 6. The client checks them on each answer that it reads, so that no path of the server is left out.

import Testing

struct Response: Sendable, CustomStringConvertible {
    var version: String
    var status: Int
    /// In the order of arrival, names as they were spelled.
    var fields: [(name: String, value: String)]
    var body: [UInt8] = []

    /// The value of a field; of several, the first.
    subscript(name: String) -> String? { all(name).first }

    func all(_ name: String) -> [String] { fields.filter { $0.name.lowercased() == name.lowercased() }.map(\.value) }

    /// The members of a comma-separated field, in lower case.
    func members(_ name: String) -> Set<String> {
        Set(all(name).flatMap { $0.split(separator: ",") }.map { $0.trimmed.lowercased() })
    }

    var text: String { String(decoding: body, as: UTF8.self) }
    var offset: String? { self["Stream-Next-Offset"] }
    var isUpToDate: Bool { self["Stream-Up-To-Date"] == "true" }
    var isClosed: Bool { self["Stream-Closed"] == "true" }

    var description: String { summary }

    /// The start of an answer, for messages.
    var summary: String {
        "\(status) " + fields.map { "\($0.name): \($0.value)" }.joined(separator: "; ") + " | "
            + String(decoding: body.prefix(300), as: UTF8.self)
    }

    static let exposed = [
        "stream-next-offset", "stream-cursor", "stream-up-to-date", "stream-closed", "stream-ttl", "stream-expires-at",
        "stream-sse-data-encoding", "stream-earliest-offset", "producer-epoch", "producer-seq", "producer-expected-seq",
        "producer-received-seq", "etag", "location",
        "retry-after",
    ]

    /// Everything about this answer that no answer may be.
    func commonFaults(method: String) -> [String] {
        var faults: [String] = []
        if status >= 200 {
            if self["X-Content-Type-Options"]?.lowercased() != "nosniff" { faults.append("no X-Content-Type-Options: nosniff") }
            if self["Cross-Origin-Resource-Policy"]?.lowercased() != "cross-origin" {
                faults.append("no Cross-Origin-Resource-Policy: cross-origin")
            }
            if self["Access-Control-Allow-Origin"] == nil { faults.append("no Access-Control-Allow-Origin") }
            let missing = Set(Self.exposed).subtracting(members("Access-Control-Expose-Headers"))
            if !missing.isEmpty { faults.append("Access-Control-Expose-Headers without \(missing.sorted().joined(separator: ", "))") }
        }
        if status < 200 || status == 204 {
            if self["Content-Length"] != nil { faults.append("Content-Length in a \(status)") }
            if self["Transfer-Encoding"] != nil { faults.append("Transfer-Encoding in a \(status)") }
        }
        if self["Content-Length"] != nil, self["Transfer-Encoding"] != nil { faults.append("Content-Length and Transfer-Encoding") }
        var seen: Set<String> = []
        for field in fields where !seen.insert(field.name.lowercased()).inserted && field.name.lowercased() != "vary" {
            faults.append("\(field.name) twice")
        }
        for name in ["Stream-Up-To-Date", "Stream-Closed"] {
            if let value = self[name], value != "true" { faults.append("\(name): \(value), expected true or nothing") }
        }
        if let offset, !Offset.isToken(offset) { faults.append("Stream-Next-Offset: \(offset) is no offset") }
        if status >= 400 {
            let type = self["Content-Type"] ?? "none"
            if !type.hasPrefix("text/plain"), !type.hasPrefix("application/json") { faults.append("an error of type \(type)") }
            if method != "HEAD", body.isEmpty || body.count > 1000 { faults.append("an error body of \(body.count) bytes") }
        }
        return faults
    }

    /// Records what is wrong with the answer as an issue of the running test.
    func checkCommonRules(method: String) {
        let faults = commonFaults(method: method)
        if !faults.isEmpty { Issue.record("answer to \(method): \(faults.joined(separator: "; ")) — in: \(summary)") }
    }
}

/// Offset tokens (PROTOCOL.md section 5).
enum Offset {
    static let start = "0000000000000000_0000000000000000"

    static func isToken(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return bytes.count == 33
            && bytes.indices.allSatisfy { $0 == 16 ? bytes[$0] == UInt8(ascii: "_") : 0x30...0x39 ~= bytes[$0] }
    }

    /// The token of a position, with the first number 0.
    static func at(_ position: Int) -> String {
        let digits = String(position)
        return "0000000000000000_" + String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// The second number.
    static func position(_ token: String) throws -> Int {
        guard isToken(token), let position = Int(token.suffix(16)) else { throw TestFault("\(token) is no offset") }
        return position
    }
}

extension StringProtocol {
    var trimmed: String {
        var rest = self[...]
        while rest.first == " " || rest.first == "\t" { rest = rest.dropFirst() }
        while rest.last == " " || rest.last == "\t" { rest = rest.dropLast() }
        return String(rest)
    }
}
