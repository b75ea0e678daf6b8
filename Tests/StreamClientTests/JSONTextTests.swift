import Testing

@testable import StreamClient

@Suite struct JSONTextTests {
    @Test(arguments: [
        "1", "0", "-0", "-1.5e+10", "1E5", "1e-5", "\"\"", "\"a\"", "true", "false", "null", "{}", "[]", " [ ] ", "{ }", "[1,2]",
        "[[],[[]],{}]",
        "{\"a\":1}", "{\"a\":{\"b\":[1,{\"c\":null}]},\"d\":\"e\"}", "\t\r\n1\n", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", "\"\\ud800\"",
        "\"ö✓😀\"",
        "{\"a\":1,\"a\":2}", "123456789012345678901234567890", "[1 , 2]", "{\"a\" : 1 , \"b\" : 2}",
    ])
    func accepts(_ text: String) { #expect(JSONText.isValid(text.utf8)) }

    @Test(arguments: [
        "", " ", "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "1 2", "NaN", "Infinity", "tru", "True", "nul", "truefalse", "\"", "\"a",
        "\"\\\"",
        "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "\"\t\"", "'a'", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1 2]", "[1]]",
        "{", "}", "{]",
        "[}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{a:1}", "{1:1}", "{\"a\":1 \"b\":2}", "{\"a\":[}", "[1,{\"a\":2]", "\u{feff}1",
        "1,", "// c\n1",
    ])
    func rejects(_ text: String) { #expect(!JSONText.isValid(text.utf8)) }

    @Test func invalidUTF8IsRejected() {
        for bytes: [UInt8] in [[0x22, 0xff, 0x22], [0x22, 0xc3, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22], [0x22, 0xc0, 0x80, 0x22]] {
            #expect(!JSONText.isValid(bytes))
        }
    }

    @Test func nestingIsBounded() {
        let deepest = JSONText.deepest
        #expect(JSONText.isValid((String(repeating: "[", count: deepest) + String(repeating: "]", count: deepest)).utf8))
        #expect(!JSONText.isValid((String(repeating: "[", count: deepest + 1) + String(repeating: "]", count: deepest + 1)).utf8))
        #expect(!JSONText.isValid(String(repeating: "[", count: 1_000_000).utf8))
    }

    @Test(arguments: [("a\"b\\c", "\"a\\\"b\\\\c\""), ("\n\r\t\u{1}", "\"\\n\\r\\t\\u0001\""), ("ö", "\"ö\"")])
    func literals(_ text: String, _ expected: String) throws {
        #expect(jsonLiteral(text) == expected)
        var scanner = JSONText(expected.utf8)
        #expect(try scanner.string() == text)
    }

    @Test func escapedPairs() throws {
        var scanner = JSONText("\"x\\ud83d\\ude00\\/\\b\\fy\"".utf8)
        #expect(try scanner.string() == "x😀/\u{8}\u{c}y")
    }
}

@Suite struct ControlEventTests {
    @Test func full() throws {
        let event = try #require(
            ControlEvent(Array("{\"streamNextOffset\":\"1_2\",\"streamCursor\":\"9\",\"upToDate\":true,\"streamClosed\":true}".utf8)))
        #expect(event.nextOffset == "1_2" && event.cursor == "9" && event.isUpToDate && event.isClosed)
    }

    @Test func unknownMembersAndOtherKindsArePassedOver() throws {
        let text =
            " { \"x\" : [1,{\"streamNextOffset\":\"no\"}], \"upToDate\" : false, \"streamClosed\":\"true\", \"streamCursor\":5, \"streamNextOffset\":\"a\\u005fb\" } "
        let event = try #require(ControlEvent(Array(text.utf8)))
        #expect(event.nextOffset == "a_b" && event.cursor == nil && !event.isUpToDate && !event.isClosed)
    }

    @Test(arguments: [
        "", "{}", "[]", "\"x\"", "{\"streamNextOffset\":1}", "{\"streamNextOffset\":\"1\"", "{\"streamNextOffset\":\"1\"}}",
        "{\"upToDate\":true}",
    ])
    func refused(_ text: String) { #expect(ControlEvent(Array(text.utf8)) == nil) }
}

@Suite struct Base64DecoderTests {
    @Test(arguments: [
        ("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmE=", "fooba"), ("Zm9v\nYmFy", "foobar"),
        (" Z m 8 = \r\n", "fo"),
    ])
    func vectors(_ text: String, _ expected: String) {
        #expect(Base64Decoder.decode(Array(text.utf8)) == Array(expected.utf8))
    }

    @Test(arguments: ["Z", "Zg", "Zg=", "Zm8", "Zg===", "=", "====", "Zg==Zg==", "Z=g=", "Zm9v=", "Zh==", "Zm9=", "Zm-_", "Zm9v!"])
    func refused(_ text: String) { #expect(Base64Decoder.decode(Array(text.utf8)) == nil) }

    @Test func everyDigit() {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        for (value, digit) in alphabet.enumerated() {
            #expect(
                Base64Decoder.decode([digit, digit, digit, digit]) == [
                    UInt8(value << 2 | value >> 4), UInt8((value << 4 | value >> 2) & 255), UInt8((value << 6 | value) & 255),
                ])
        }
        for byte in UInt8.min...UInt8.max where !alphabet.contains(byte) && !" \t\r\n=".utf8.contains(byte) {
            #expect(Base64Decoder.decode([65, 65, 65, byte]) == nil)
        }
    }
}

@Suite struct JSONArraySplitterTests {
    static func split(_ pieces: [[UInt8]]) -> (elements: String, isMalformed: Bool, isComplete: Bool) {
        var splitter = JSONArraySplitter()
        var elements = ""
        for piece in pieces {
            let malformed = piece.withUnsafeBytes { bytes in splitter.feed(bytes) { elements += String(decoding: $0, as: UTF8.self) } }
            if malformed != nil { return (elements, true, false) }
        }
        return (elements, false, splitter.isComplete)
    }

    @Test(arguments: [
        ("", ""), ("[]", ""), (" [ ] \n", ""), ("[1]", "1\n"), ("[1,2 , 3 ]", "1\n2\n3\n"),
        ("[\"a,]\\\"b\",\"\\\\\"]", "\"a,]\\\"b\"\n\"\\\\\"\n"),
        ("[[1,2],{\"a\":[3,{\"b\":4}]}]", "[1,2]\n{\"a\":[3,{\"b\":4}]}\n"), ("[{\"a\":\n 1\r\n},\n2\n]", "{\"a\":  1  }\n2\n"),
        ("[\"é\",null]", "\"é\"\nnull\n"),
        ("[[],{}]", "[]\n{}\n"),
    ])
    func elements(_ text: String, _ expected: String) {
        let bytes = Array(text.utf8)
        for cut in 0...bytes.count {
            let result = Self.split([Array(bytes[..<cut]), Array(bytes[cut...])])
            #expect(result.elements == expected && !result.isMalformed && result.isComplete, "cut at \(cut)")
        }
        #expect(Self.split(bytes.map { [$0] }).elements == expected)
    }

    @Test(arguments: ["1", "{}", "[1]x", "[1][2]", "[,1]", "[1,,2]", "[}", "[1}]"])
    func malformed(_ text: String) { #expect(Self.split([Array(text.utf8)]).isMalformed) }

    @Test(arguments: ["[", "[1", "[1,", "[\"a]", "[[1]", "[{"])
    func incompleteGivesNothingOfTheLastElement(_ text: String) {
        let result = Self.split([Array(text.utf8)])
        #expect(!result.isMalformed && !result.isComplete)
        #expect(result.elements == (text == "[1," ? "1\n" : ""))
    }
}
