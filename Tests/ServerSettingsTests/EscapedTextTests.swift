import Testing

@testable import ServerSettings

struct EscapedTextTests {
    static let cases: [(String, String)] = [
        ("", ""), ("abc ü 日本 🎉", "abc ü 日本 🎉"), ("a\nb\r\tc", #"a\nb\r\tc"#), ("\u{1b}[31m", #"\x1b[31m"#),
        ("\0\u{1}\u{7f}", #"\x00\x01\x7f"#),
        ("\u{85}\u{9f}", #"\x85\x9f"#), ("\u{2028}\u{2029}", #"\u{2028}\u{2029}"#), ("\u{202e}x\u{2066}", #"\u{202e}x\u{2066}"#),
        (#"a\b"#, #"a\\b"#),
        ("\u{feff}", #"\u{feff}"#), ("\r\n", #"\r\n"#),
    ]

    @Test(arguments: cases) func escapes(_ text: String, _ shown: String) {
        #expect(EscapedText.plain(text) == shown)
        #expect(EscapedText.quoted(text) == "\"\(shown)\"")
    }

    @Test func quotesAreEscapedInsideQuotesOnly() {
        #expect(EscapedText.quoted(#"a"b"#) == #""a\"b""#)
        #expect(EscapedText.plain(#"a"b"#) == #"a"b"#)
    }

    @Test func isCutAtACharacter() {
        #expect(EscapedText.quoted("üü", limit: 4) == "\"üü\"")
        #expect(EscapedText.quoted("üüü", limit: 5) == "\"üü…\"")
        #expect(EscapedText.plain(String(repeating: "a", count: 3000)) == String(repeating: "a", count: 2048) + "…")
    }

    /// No scalar gets through that a terminal or a log reader could take for the end of a line.
    @Test func nothingUnsafePasses() {
        var passed: [Unicode.Scalar] = []
        for value in UInt32(0)...0x10ffff {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let isUnsafe =
                switch scalar.properties.generalCategory {
                case .control, .lineSeparator, .paragraphSeparator: true
                default: scalar.properties.isBidiControl
                }
            if isUnsafe && !EscapedText.isUnsafe(scalar) { passed.append(scalar) }
        }
        #expect(passed.isEmpty)
    }
}
