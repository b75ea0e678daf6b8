import HTTPWire
import Testing

@Suite("Authorities")
struct AuthorityTests {
    private func isValid(_ text: String, hostMayBeEmpty: Bool) -> Bool {
        // With other octets around it, so that looking past the range is noticed.
        let bytes = latin1("9" + text + "9")
        return bytes.withUnsafeBytes { Authority.isValid($0, in: 1..<bytes.count - 1, hostMayBeEmpty: hostMayBeEmpty) }
    }

    @Test(
        "valid",
        arguments: [
            "a", "example.org", "example.org:", "example.org:4437", "127.0.0.1:80", "[::1]", "[::1]:80", "[::1]:", "[::ffff:127.0.0.1]",
            "[v1.a:b]", "a-b_c~d.e", "!$&'()*+,;=", "%41", "a%2Fb:1", "a:99999999999",
        ])
    func valid(text: String) {
        #expect(isValid(text, hostMayBeEmpty: false))
        #expect(isValid(text, hostMayBeEmpty: true))
    }

    @Test("valid only where the host may be empty", arguments: ["", ":", ":80"])
    func empty(text: String) {
        #expect(!isValid(text, hostMayBeEmpty: false))
        #expect(isValid(text, hostMayBeEmpty: true))
    }

    @Test(
        "malformed",
        arguments: [
            "a b", "a/b", "a?b", "a#b", "a@b", "a:b", "a:1:2", "a:+1", "::1", "[]", "[]:80", "[::1", "::1]", "[::1]a", "[::1]80", "[a]b:1",
            "[[::1]]", "%", "%4", "%4g", "a%", "a%4", "\"a\"", "<a>", "a\\b", "a^b", "a`b", "a{b", "a|b", "a}b", "\u{E9}", "a\u{7F}",
            "a\tb", "\0",
        ])
    func malformed(text: String) {
        #expect(!isValid(text, hostMayBeEmpty: false))
        #expect(!isValid(text, hostMayBeEmpty: true))
    }
}
