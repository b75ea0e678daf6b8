import StreamRules
import Testing

@Suite struct MediaTypeTests {
    @Test(arguments: [
        ("text/plain", "text/plain", true), ("text/plain", "TEXT/Plain", true), ("text/plain", "text/plain; charset=utf-8", true),
        ("text/plain;a=b", "text/plain ;c=d", true),
        (" text/plain\t", "text/plain", true), ("text/plain;", "text/plain", true), ("text/plain", "text/html", false),
        ("text/plain", "text/plai", false),
        ("text/plain", "text/plainx", false), ("text/plain", "", false), ("application/json", "application/x-json", false),
        ("a/[", "a/{", false), ("a/@", "a/`", false),
    ])
    func matches(left: String, right: String, expected: Bool) {
        #expect(withBytes(left) { left in withBytes(right) { MediaType.matches(left, $0) } } == expected)
        #expect(withBytes(right) { right in withBytes(left) { MediaType.matches(right, $0) } } == expected)
    }

    @Test(arguments: [
        ("text/plain", true), ("a/b", true), ("application/vnd.api+json", true), ("!#$%&'*+-.^_`|~/0aZ", true),
        ("text/plain;charset=utf-8", true), ("text/plain; charset=utf-8", true),
        ("text/plain \t;\t charset=utf-8", true), ("text/plain;charset=\"utf-8\"", true), ("a/b;c=\"\"", true),
        ("a/b;c=\"x;y=\\\"z\\\\ ,\té\"", true), ("a/b;c=d;e=f ; g=\"h\"", true), ("a/b;", true),
        ("a/b; ", true), ("a/b;;c=d", true), (" a/b ", true), ("", false), ("text", false), ("text/", false), ("/plain", false),
        ("/", false), ("text//plain", false), ("text/plain/x", false),
        ("text /plain", false), ("text/ plain", false), ("text/plain x", false), ("text/plain,text/html", false),
        ("text/plain;charset", false), ("text/plain;charset=", false), ("text/plain;=utf-8", false),
        ("text/plain;charset =utf-8", false), ("text/plain;charset= utf-8", false), ("a/b;c=\"d", false), ("a/b;c=\"d\\", false),
        ("a/b;c=\"d\\\"", false), ("a/b;c=\"d\"e", false), ("a/b;c=d e=f", false),
        ("a/b;c=\"\u{0}\"", false), ("a/b;c=\"\\\n\"", false), ("a/b;c=\"\u{7F}\"", false), ("té/b", false), ("a/b\r\n", false),
        ("*", false), ("a/b;c=d\"", false), ("a/(b)", false),
    ])
    func isValid(text: String, expected: Bool) {
        #expect(withBytes(text, MediaType.isValid) == expected)
    }

    @Test func tokenBytes() {
        let separators = Set(#""(),/:;<=>?@[\]{}"#.utf8)
        for byte in UInt8.min...UInt8.max {
            let isToken = byte > 0x20 && byte < 0x7F && !separators.contains(byte)
            #expect(withBytes(Array("a/b".utf8) + [byte] + Array("c".utf8), MediaType.isValid) == isToken, "\(byte)")
        }
    }

    @Test(arguments: [
        ("application/json", true, false), ("Application/JSON; charset=utf-8", true, false), ("application/json ;x=y", true, false),
        ("application/jsonl", false, false), ("application/jso", false, false),
        ("application/vnd.api+json", false, false), ("text/json", false, true), ("text/plain", false, true),
        ("TEXT/x; charset=latin1", false, true), ("text/", false, false), ("text", false, false),
        ("texts/plain", false, false), ("application/octet-stream", false, false), ("", false, false),
        ("application/x;y=application/json", false, false), ("text/event-stream", false, true),
    ])
    func kinds(text: String, isJSON: Bool, isText: Bool) {
        #expect(withBytes(text, MediaType.isJSON) == isJSON)
        #expect(withBytes(text, MediaType.isText) == isText)
    }
}
