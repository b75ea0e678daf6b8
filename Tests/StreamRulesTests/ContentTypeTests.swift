// Content types as streams keep them: compared by media type, repeated byte for byte.

import StreamRules
import Testing

@Suite struct ContentTypeTests {
    @Test(arguments: [
        ("application/json", true, false), ("Application/JSON", true, false), ("application/json; charset=utf-8", true, false),
        ("application/json;", true, false), (" application/json ", true, false),
        ("application/jsonl", false, false), ("application/ld+json", false, false), ("text/json", false, true),
        ("text/plain", false, true), ("TEXT/event-stream", false, true), ("text/plain;charset=utf-8", false, true),
        ("text/", false, false), ("text", false, false), ("texts/plain", false, false), ("application/octet-stream", false, false),
        ("application/text", false, false), ("", false, false), (";text/plain", false, false),
    ])
    func kinds(text: String, isJSON: Bool, isText: Bool) {
        let type = ContentType(text)
        #expect(type.isJSON == isJSON && type.isText == isText)
        #expect(type.bytes == Array(text.utf8) && type.text == text)
    }

    @Test func matchesIsAnEquivalence() {
        let classes = [
            ["text/plain", "TEXT/PLAIN", "text/plain;charset=utf-8", "text/plain ; a=b", "Text/plain;"],
            ["text/html", "text/HTML; charset=x"], ["application/json", "application/json;x=1"], ["application/octet-stream"],
            ["text/plain+x"],
        ].map { $0.map { ContentType($0) } }
        for (left, lefts) in classes.enumerated() {
            for (right, rights) in classes.enumerated() {
                for mine in lefts {
                    for other in rights { #expect(mine.matches(other) == (left == right), "\(mine.text) \(other.text)") }
                }
            }
        }
        #expect(ContentType.octetStream.matches(ContentType("APPLICATION/octet-stream")))
        #expect(ContentType.octetStream.text == "application/octet-stream")
    }

    /// The same bytes give the same object, other bytes another, also when far more types come than are remembered.
    @Test func cache() {
        var cache = ContentTypeCache()
        let names = (0..<40).map { "application/x-\($0)" }
        for round in 0..<3 {
            for name in names {
                let first = withBytes(name) { cache.intern($0) }
                let second = withBytes(name) { cache.intern($0) }
                #expect(first === second && first.text == name, "round \(round)")
            }
        }
        let plain = withBytes("text/plain") { cache.intern($0) }
        let upper = withBytes("TEXT/plain") { cache.intern($0) }
        #expect(plain !== upper && upper.text == "TEXT/plain")
        for name in names.prefix(15) { _ = withBytes(name) { cache.intern($0) } }
        #expect(withBytes("TEXT/plain") { cache.intern($0) } === upper)
    }
}
