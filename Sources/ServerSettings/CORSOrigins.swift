// Which web pages may read responses (PROTOCOL.md section 10): every origin, or a list of origins as browsers send them in `Origin`
// (RFC 6454 section 6.2: scheme, host and, unless it is the scheme's own, port; no path).

/// The origins that cross-origin requests are allowed from.
public enum CORSOrigins: Sendable, Equatable {
    /// `*`: every origin.
    case any
    /// These origins only, in the form that browsers send; empty: none.
    case only([String])

    static let expected = "* or an origin such as https://app.example.com or http://localhost:5173 (scheme, host, port; no path)"

    /// Reads a list of origins; `*` stands alone.
    public init(_ texts: [String]) throws(ValueFault) {
        if texts == ["*"] {
            self = .any
            return
        }
        var origins: [String] = []
        for text in texts {
            if text == "*" { throw ValueFault(text, "stands beside other origins", expected: "either * alone or a list of origins") }
            let origin = try Self.origin(text)
            if !origins.contains(origin) { origins.append(origin) }
        }
        self = .only(origins)
    }

    /// The written form, one entry per origin.
    public var texts: [String] {
        switch self {
        case .any: ["*"]
        case .only(let origins): origins
        }
    }

    private static func origin(_ text: String) throws(ValueFault) -> String {
        let lowercase = text.lowercased()
        guard let separator = lowercase.firstRange(of: "://") else {
            throw ValueFault(text, "is not an origin", expected: expected)
        }
        let scheme = lowercase[..<separator.lowerBound]
        let authority = lowercase[separator.upperBound...]
        let schemeIsValid =
            scheme.utf8.first.map { 0x61...0x7a ~= $0 } == true
            && scheme.utf8.allSatisfy { 0x61...0x7a ~= $0 || 0x30...0x39 ~= $0 || $0 == 0x2b || $0 == 0x2d || $0 == 0x2e }
        let authorityIsValid =
            !authority.isEmpty
            && authority.utf8.allSatisfy {
                0x61...0x7a ~= $0 || 0x30...0x39 ~= $0 || [0x2d, 0x2e, 0x3a, 0x5b, 0x5d, 0x5f].contains($0)  // - . : [ ] _
            }
        guard schemeIsValid, authorityIsValid else { throw ValueFault(text, "is not an origin", expected: expected) }
        // A browser leaves out the scheme's own port; an entry that has it would never match.
        for (known, port) in [("http", ":80"), ("https", ":443")] where scheme == known && authority.hasSuffix(port) {
            return String(lowercase.dropLast(port.count))
        }
        return lowercase
    }
}
