import Testing

@testable import ServerSettings

struct NearestNameTests {
    static let names = SettingKey.all.map(\.name)
    static let cases: [(String, String?)] = [
        ("long-pol-timeout", "long-poll-timeout"), ("longPollTimeout", "long-poll-timeout"), ("long_poll_timeout", "long-poll-timeout"),
        ("lsiten", "listen"), ("listn", "listen"), ("Listen", "listen"), ("data-directory", "data-dir"), ("data", "data-dir"),
        ("cors-origin", "cors-origins"), ("cors", "cors-origins"), ("loglevel", "log-level"), ("sse-intervall", "sse-interval"),
        ("xyzzy", nil), ("", nil), ("a", nil), ("-", nil), (String(repeating: "listen", count: 100), nil),
        ("tls-certificates", "tls-certificate"),
    ]

    @Test(arguments: cases) func suggests(_ name: String, _ nearest: String?) {
        #expect(NearestName.find(name, in: Self.names) == nearest)
    }

    static let distances: [(String, String, Int)] = [
        ("", "", 0), ("a", "", 1), ("", "ab", 2), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "acb", 1), ("abc", "bac", 1),
        ("abc", "ac", 1),
        ("abc", "abxc", 1), ("kitten", "sitting", 3), ("ca", "abc", 3),
    ]

    @Test(arguments: distances) func counts(_ a: String, _ b: String, _ edits: Int) {
        #expect(NearestName.edits(Array(a.utf8), Array(b.utf8)) == edits)
        #expect(NearestName.edits(Array(b.utf8), Array(a.utf8)) == edits)
    }
}
