import StreamRules
import Testing

@Suite struct EntityTagsTests {
    @Test(arguments: [
        ("\"a\"", "\"a\"", true), ("W/\"a\"", "\"a\"", true), ("\"a\"", "W/\"a\"", true), ("W/\"a\"", "W/\"a\"", true),
        ("\"a\", \"b\"", "\"b\"", true), ("\"a\",\"b\"", "\"b\"", true),
        ("\"a\" ,\t W/\"b\" , \"c\"", "\"b\"", true), (",, \"a\" ,,", "\"a\"", true), ("\"a,b\", \"c\"", "\"c\"", true),
        ("\"a,b\"", "\"a,b\"", true), ("\"\"", "\"\"", true), ("  \"a\"  ", "\"a\"", true),
        ("*", "\"a\"", true), (" * ", "\"a\"", true), ("\"*\"", "\"*\"", true), ("\"a!#[]~é\"", "\"a!#[]~é\"", true),
        ("\"a\"", "\"b\"", false), ("\"a\"", "\"A\"", false), ("\"a\"", "\"aa\"", false), ("\"aa\"", "\"a\"", false),
        ("\"\"", "\"a\"", false), ("\"a,b\"", "\"b\"", false), ("\"a,b\"", "\"a\"", false),
        ("\"*\"", "\"a\"", false), ("\"W/a\"", "\"a\"", false), ("", "\"a\"", false), (",", "\"a\"", false), ("a", "\"a\"", false),
        ("\"a", "\"a\"", false), ("a\"", "\"a\"", false),
        ("\"", "\"a\"", false), ("w/\"a\"", "\"a\"", false), ("W/", "\"a\"", false), ("W", "\"a\"", false), ("W /\"a\"", "\"a\"", false),
        ("\"a\"x", "\"a\"", false), ("\"a\" \"a\"", "\"a\"", false),
        ("x, \"a\"", "\"a\"", false), ("\"x y\", \"a\"", "\"a\"", false), ("**", "\"a\"", false), ("* *", "\"a\"", false),
        ("*, \"b\"", "\"a\"", false), ("\"a\u{7F}\"", "\"a\u{7F}\"", false),
        ("\"a\"", "a", false), ("\"a\"", "", false), ("\"a\"", "\"a\" ", false), ("W/W/\"a\"", "\"a\"", false),
        ("\"a\\\"b\"", "\"b\"", false), ("\"a\"; \"b\"", "\"b\"", false),
    ])
    func matches(list: String, etag: String, expected: Bool) {
        #expect(match(Array(list.utf8), Array(etag.utf8)) == expected)
    }

    private func match(_ list: [UInt8], _ etag: [UInt8]) -> Bool {
        withBytes(list) { list in withBytes(etag) { EntityTags.matches(ifNoneMatch: list, etag: $0) } }
    }

    /// Every text of up to six of the bytes that matter: none may crash, and one matches exactly if, without the blanks and
    /// the empty elements, an element is the tag or the whole is a star.
    @Test func everyShortText() {
        let alphabet = Array("\"a,W/ *".utf8)
        var texts: [[UInt8]] = [[]]
        for length in 1...6 {
            texts = texts.flatMap { start in alphabet.map { start + [$0] } }
            for text in texts {
                let isMatch = match(text, Array("\"a\"".utf8))
                let parts = text.split(separator: UInt8(ascii: ",")).map {
                    String(decoding: $0, as: UTF8.self).trimmingPrefix { $0 == " " }
                }
                let trimmed = parts.map { part in String(part.reversed().drop { $0 == " " }.reversed()) }
                let isStar = String(decoding: text, as: UTF8.self).filter { $0 != " " } == "*"
                // A part within a tag that holds a comma never is `"a"` on its own: such a text needs seven bytes.
                let isListed = trimmed.contains("\"a\"") || trimmed.contains("W/\"a\"")
                // The list may stop being one before the tag.
                if isMatch, !(isStar || isListed) { Issue.record("\(length) \(text)") }
                if !isMatch, isStar || (isListed && trimmed.filter { !$0.isEmpty }.count == 1) { Issue.record("\(length) \(text)") }
            }
        }
    }
}
