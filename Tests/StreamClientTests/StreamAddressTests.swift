import Testing

@testable import StreamClient

@Suite struct StreamAddressTests {
    static let base = "http://localhost:4437/v1/stream"

    @Test(arguments: [
        ("a", "/a"),
        ("a/b/c", "/a/b/c"),
        ("/a", "/a"),
        ("a/", "/a/"),
        ("a//b", "/a//b"),
        ("a b", "/a%20b"),
        ("100%", "/100%25"),
        ("a%2Fb", "/a%252Fb"),
        ("a?b#c", "/a%3Fb%23c"),
        ("ö/✓", "/%C3%B6/%E2%9C%93"),
        ("-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"),
        ("[x]{y}|\\^`<>\"", "/%5Bx%5D%7By%7D%7C%5C%5E%60%3C%3E%22"),
        ("...", "/..."),
        (".a/..b", "/.a/..b"),
        ("a\n\u{0}", "/a%0A%00"),
        ("ftp://x", "/ftp://x"),
    ])
    func names(_ name: String, _ expected: String) throws {
        #expect(try StreamAddress(base: Self.base, name: name).url == Self.base + expected)
        #expect(try StreamAddress(base: Self.base + "/", name: name).url == Self.base + expected)
    }

    @Test(arguments: [
        ("http://h/x", "http://h/x"), ("https://h:1/x%2Fy?z=1", "https://h:1/x%2Fy?z=1"), ("HTTPS://h/x", "HTTPS://h/x"),
        ("http://h/x#f", "http://h/x"),
    ])
    func fullURLs(_ url: String, _ expected: String) throws {
        #expect(try StreamAddress(base: "not a URL", name: url).url == expected)
    }

    @Test(arguments: [
        ("", base), ("/", base), (".", base), ("..", base), ("a/../b", base), ("a/.", base), ("http://h/a b", base), ("http://h/ö", base),
        ("a", ""),
        ("a", "localhost:4437"), ("a", "ftp://h"), ("a", "http://h?x"), ("a", "http://h#x"), ("a", "http://h/ö"), ("a", "http://h/a b"),
    ])
    func refused(_ name: String, _ base: String) {
        #expect { try StreamAddress(base: base, name: name) } throws: { ($0 as? ClientFailure)?.exitCode == 2 }
    }

    @Test func parameters() throws {
        let plain = try StreamAddress(base: Self.base, name: "a")
        #expect(plain.adding([]) == plain.url)
        #expect(plain.adding([("offset", "-1"), ("live", "long-poll")]) == plain.url + "?offset=-1&live=long-poll")
        #expect(plain.adding([("offset", "a b&c=+/")]) == plain.url + "?offset=a%20b%26c%3D%2B%2F")
        #expect(try StreamAddress(base: "", name: "http://h/x?t=1").adding([("offset", "1_2")]) == "http://h/x?t=1&offset=1_2")
    }
}

@Suite struct HeaderFieldTests {
    @Test(arguments: [
        ("A: b", "A", "b", "A: b"), ("A:b", "A", "b", "A: b"), ("X-Y:  b: c", "X-Y", "b: c", "X-Y: b: c"), ("A:", "A", "", "A;"),
    ])
    func lines(_ line: String, _ name: String, _ value: String, _ curl: String) throws {
        let field = try HeaderField(line: line, from: "test")
        #expect(field.name == name && field.value == value && field.curlLine == curl)
    }

    @Test(arguments: ["", "A", ": b", "A B: c", "A : c", "Ä: c", "A: b\nC: d", "A: b\rC", "A: \u{0}", "A\n: b", "A: \u{7f}"])
    func refused(_ line: String) {
        #expect { try HeaderField(line: line, from: "test") } throws: { ($0 as? ClientFailure)?.exitCode == 2 }
    }

    @Test func authorization() throws {
        #expect(try HeaderField.authorization("token").value == "Bearer token")
        #expect(try HeaderField.authorization("Basic eDp5").value == "Basic eDp5")
        #expect(throws: ClientFailure.self) { try HeaderField.authorization("a\nb") }
    }
}

@Suite struct ClientDurationTests {
    @Test(arguments: [
        ("0", 0), ("90", 90_000), ("90s", 90_000), ("250ms", 250), ("2m", 120_000), ("3h", 10_800_000), ("7d", 604_800_000), ("", nil),
        ("s", nil),
        ("-1s", nil), ("+1s", nil), ("1.5s", nil), ("1 s", nil), ("1S", nil), ("1h30m", nil), ("9223372036854775807s", nil),
        ("9223372036854775808", nil), ("9223372036854775807ms", Int.max),
    ])
    func parsing(_ text: String, _ expected: Int?) {
        #expect(ClientDuration(text)?.milliseconds == expected)
    }

    @Test(arguments: ["0ms", "1ms", "1500ms", "1s", "90s", "1m", "25h", "1d"])
    func description(_ text: String) { #expect(ClientDuration(text)?.description == text) }

    @Test func wholeSeconds() {
        #expect(ClientDuration("2s")?.wholeSeconds == 2)
        #expect(ClientDuration("2001ms")?.wholeSeconds == nil)
    }
}
