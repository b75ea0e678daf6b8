import Testing

@testable import StreamClient

@Suite struct LineBatchTests {
    /// Feeds pieces, taking full bodies after each and the rest at the end; `|` stands between bodies.
    static func bodies(_ form: LineBatch.Form, limit: Int, _ pieces: [String]) throws(ClientFailure) -> String {
        var batch = LineBatch(form: form, limit: limit)
        var bodies: [String] = []
        for piece in pieces {
            try Array(piece.utf8).withUnsafeBytesTyped { bytes throws(ClientFailure) in try batch.take(bytes) }
            while let body = try batch.next(all: false) { bodies.append(String(decoding: body, as: UTF8.self)) }
        }
        batch.finish()
        while let body = try batch.next(all: true) { bodies.append(String(decoding: body, as: UTF8.self)) }
        return bodies.joined(separator: "|")
    }

    @Test(arguments: [
        ("", ""), ("a", "a"), ("a\n", "a\n"), ("a\nb\nc", "a\nb\nc"), ("\n\n", "\n\n"), ("aaa\nbbb\nccc\nddd\n", "aaa\nbbb\n|ccc\nddd\n"),
        ("aaaa\nbbb\nc\n", "aaaa\n|bbb\nc\n"), ("aaaaaaaaaaaa\nb\n", "aaaaaaaaaaaa\n|b\n"), ("b\naaaaaaaaaaaa\nb", "b\n|aaaaaaaaaaaa\n|b"),
        ("1234567\n", "1234567\n"), ("12345678\n", "12345678\n"), ("12345678", "12345678"),
    ])
    func bytes(_ input: String, _ expected: String) throws {
        #expect(try Self.bodies(.bytes, limit: 8, [input]) == expected)
        // However it is cut, nothing is lost, and every body but the last ends with a line.
        for cut in 0...input.utf8.count {
            let pieces = [String(input.utf8.prefix(cut))!, String(input.utf8.dropFirst(cut))!]
            let bodies = try Self.bodies(.bytes, limit: 8, pieces).split(separator: "|")
            #expect(bodies.joined() == input)
            #expect(bodies.dropLast().allSatisfy { $0.hasSuffix("\n") })
        }
    }

    @Test(arguments: [
        ("", ""), ("\n \n\r\n\t", ""), ("1", "[1]"), ("1\n2\n", "[1,2]"), ("1\r\n\n{\"a\": 2}\n", "[1\r]|[{\"a\": 2}]"),
        ("[1,2]\n", "[[1,2]]"),
        ("111\n222\n333\n", "[111,222]|[333]"), ("\"aaaaaaaaaaaaaaa\"\n1", "[\"aaaaaaaaaaaaaaa\"]|[1]"),
    ])
    func json(_ input: String, _ expected: String) throws {
        #expect(try Self.bodies(.json, limit: 10, [input]) == expected)
        // However it is cut, the messages are the same.
        #expect(
            try Self.bodies(.json, limit: 10, input.unicodeScalars.map { String($0) }).replacing("]|[", with: ",")
                == expected.replacing("]|[", with: ","))
    }

    @Test(arguments: [("x\n", 1), ("\n\nx\n", 3), ("1\n2\n\nx\n3\n", 4), ("1\n{\n}\n", 2), ("1\n\"a", 2)])
    func aBadLineIsNamedAfterTheLinesBeforeIt(_ input: String, _ line: Int) throws {
        var batch = LineBatch(form: .json)
        try Array(input.utf8).withUnsafeBytesTyped { bytes throws(ClientFailure) in try batch.take(bytes) }
        batch.finish()
        let before = input.split(separator: "\n", omittingEmptySubsequences: false).prefix(line - 1).filter { !$0.isEmpty }
        if !before.isEmpty {
            let body = try batch.next(all: true)
            #expect(body == Array("[\(before.joined(separator: ","))]".utf8))
        }
        for _ in 0..<2 {
            #expect { try batch.next(all: true) } throws: { error in
                (error as? ClientFailure)?.exitCode == 2 && (error as? ClientFailure)?.message?.contains("line \(line) ") == true
            }
        }
    }

    @Test func unfinishedLinesWait() throws {
        var batch = LineBatch(form: .bytes, limit: 4)
        try Array("abcdefgh".utf8).withUnsafeBytesTyped { bytes throws(ClientFailure) in try batch.take(bytes) }
        #expect(!batch.hasCompleteLine)
        #expect(try batch.next(all: true) == nil)
        try Array("\nx".utf8).withUnsafeBytesTyped { bytes throws(ClientFailure) in try batch.take(bytes) }
        #expect(batch.hasCompleteLine)
        #expect(try batch.next(all: false) == Array("abcdefgh\n".utf8))
        #expect(!batch.hasCompleteLine)
    }

    @Test func arguments() throws {
        #expect(try LineBatch.single(["a", "b"], form: .bytes) == Array("a b".utf8))
        #expect(try LineBatch.single(["{\"a\":1}", "[2]"], form: .json) == Array("[{\"a\":1},[2]]".utf8))
        #expect(throws: ClientFailure.badInput("not a JSON text: x")) { try LineBatch.single(["1", "x"], form: .json) }
    }
}
