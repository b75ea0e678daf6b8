// PROTOCOL.md section 8. "Whitespace outside strings may change": texts are compared without it.

import Testing

@Suite struct JSONStreamsTests {
    static let server = SuiteServer()

    private let json = ["Content-Type: application/json"]

    /// Without the whitespace outside strings.
    private func compact(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var isInString = false
        var isEscaped = false
        for byte in bytes {
            if isInString {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isInString = false
                }
            } else if byte == 0x20 || byte == 9 || byte == 10 || byte == 13 {
                continue
            } else if byte == UInt8(ascii: "\"") {
                isInString = true
            }
            result.append(byte)
        }
        return result
    }

    @Test(
        "Each message comes back with its value exact: big integers, number spelling, escapes, duplicate keys and key order untouched",
        arguments: [
            "0", "-0", "0.0", "-0.0", "1", "1.0", "1.00", "1e0", "1E+0", "1e-0", "1E400", "-1e-400", "123456789012345678901234567890",
            "0.1", "1e05",
            "9007199254740993", "18446744073709551616", "3.141592653589793238462643383279502884197", "true", "false", "null",
            #""""#, #""a""#, #""\u0041""#, #""\u00e9""#, #""é""#, #""\ud83d\ude00""#, #""\uD83D\uDE00""#, #""😀""#, #""\/""#, #""/""#,
            #""\b\f\n\r\t\"\\""#,
            #""\u0000""#, #""\ud800""#, #""\udc00\ud800""#, #""\u2028""#, "\"\u{2028}\u{2029}\u{7F}\"", #"" \n , : [ ] { } ""#,
            #""[1,\n2]""#, #""\\""#,
            #""\\\"""#, #""a,\n""#,
            "{}", "{\"a\":1}", "{\"a\":1,\"a\":2,\"a\":1}", "{\"b\":1,\"a\":2}", "{\"\":0}", #"{"\u0061":1,"a":2}"#, "{\"a\":{\"b\":[{}]}}",
            "{ \"a\" : 1 ,\n \"b\"\t:\r\n[ 1 , 2 ] }",
        ])
    func exact(message: String) throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        let expected = compact(Array(message.utf8))
        let tail = try stream.append(Payload(message.utf8))
        #expect(compact(try stream.get().body) == [0x5B] + expected + [0x5D])
        // As an element, with whitespace all around, it is the same message.
        try stream.append(Payload("\t[ \(message) ,\r\n\(message)\n]  ".utf8))
        #expect(compact(try stream.get("offset=\(tail)").body) == [0x5B] + expected + [0x2C] + expected + [0x5D])
        let event = try #require(try stream.follow(from: tail).event())
        #expect(compact(event.data) == [0x5B] + expected + [0x2C] + expected + [0x5D])
    }

    @Test(
        "A top-level array is flattened by one level: each element is one message",
        arguments: [
            ("[1]", "[1]"), ("[1,2,3]", "[1,2,3]"), ("[[1,2]]", "[[1,2]]"), ("[[1,2],[3]]", "[[1,2],[3]]"), ("[[]]", "[[]]"),
            ("[[[]]]", "[[[]]]"),
            ("[[],[],{}]", "[[],[],{}]"), ("[null]", "[null]"), ("[\"[\",\"]\",\",\"]", "[\"[\",\"]\",\",\"]"),
            ("{\"a\":[1,2]}", "[{\"a\":[1,2]}]"),
        ])
    func flattened(body: String, expected: String) throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        try stream.append(Payload(body.utf8))
        #expect(compact(try stream.get().body) == Array(expected.utf8))
        let created = try Self.server.stream("application/json")
        try created.create(Payload(body.utf8))
        #expect(compact(try created.get().body) == Array(expected.utf8))
    }

    @Test("`[1,2]` and two appends are the same stream: each element is a message with an end of its own")
    func messageEnds() throws {
        let whole = try Self.server.stream("application/json")
        let single = try Self.server.stream("application/json")
        try whole.create()
        try single.create()
        let tail = try whole.append("[{\"n\":1},{\"n\":22}]")
        let middle = try single.append("{\"n\":1}")
        #expect(try single.append("{\"n\":22}") == tail)
        #expect(compact(try whole.get("offset=\(middle)").body) == Array("[{\"n\":22}]".utf8))
    }

    @Test("`[]` on POST: 400", arguments: ["[]", " [ ] ", "[\n\n]"])
    func emptyArray(body: String) throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        #expect(try stream.post(json, Payload(body.utf8)).status == 400)
        #expect(try stream.post(json + ["Stream-Closed: true"], Payload(body.utf8)).status == 400)
        #expect(try stream.get().text == "[]" && !stream.head().isClosed)
    }

    @Test("empty range `[]`")
    func emptyRange() throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        #expect(try stream.get().text == "[]")
        #expect(try stream.get("offset=\(Offset.start)").text == "[]")
        let tail = try stream.append("1")
        #expect(try stream.get("offset=\(tail)").text == "[]")
    }

    @Test(
        "The body must be one valid JSON text (RFC 8259), else 400",
        arguments: [
            "{", "}", "[", "]", "[1", "1]", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{,}", "{\"a\"}", "{\"a\" 1}",
            "{a:1}", "{'a':1}",
            "{1:1}", "{\"a\":1 \"b\":2}", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1:2]", "[1}", "{\"a\":1]", "[[1]", "[1]]", "1 2",
            "1,2", "{}{}",
            "[] []", "[1][2]", "null null", "nul", "nulll", "Null", "TRUE", "True", "tru", "falsee", "undefined", "NaN", "Infinity",
            "-Infinity", "01",
            "-01", "00", "+1", "-", "--1", ".5", "-.5", "1.", "1.e1", "1e", "1e+", "1E-", "1e1.5", "0x10", "1_000", "1a", "1.2.3", "\"",
            "\"a",
            "\"a\"b", "'a'", "\"\\x41\"", "\"\\u12\"", "\"\\u12G4\"", "\"\\U0041\"", "\"\\\"", "\"\\", "\"\\a\"", "\"\n\"", "\"\t\"",
            "\"\r\"", "\"\0\"",
            "\"\u{1F}\"", "\"a\nb\"", "// c\n1", "/* c */ 1", "1 // c", "# c", "\u{FEFF}1", "\u{A0}1", "\u{2028}1", "\u{B}1", "\u{C}1",
            "\0", "1\0", " ",
            "\n\t ", "[1]\0", ":", ",", "\"a\":1", "[\"a\":1]", "{\"a\":nul}", "[tru]", "[1,2,{\"a\":}]",
        ])
    func refused(body: String) throws {
        let stream = try Self.server.stream("application/json")
        let tail = try stream.create("1")
        for text in [body, "[1,\(body)"] {
            // An array that begins well stores nothing of its beginning; some of the texts make it a valid one with their own bracket.
            if text != body, ["]", "1]", "\"a\":1", "[1]]"].contains(body) { continue }
            let response = try stream.post(json, Payload(text.utf8))
            #expect(response.status == 400, "\(text): \(response.summary)")
        }
        #expect(try stream.tail() == tail)
    }

    @Test(
        "… in UTF-8",
        arguments: [
            [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xC3, 0x28], [0xE2, 0x82], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
            [0xED, 0xA0, 0x80],
            [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF0, 0x8F, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80],
            [0xF0, 0x9F, 0x98],
            [0xFE], [0xFF], [0xE9],
        ] as [[UInt8]])
    func invalidUTF8(bytes: [UInt8]) throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        for (before, after) in [
            ("\"", "\""), ("{\"", "\":1}"), ("[\"a", "\",1]"), ("\"" + String(repeating: "a", count: 61), "b\""), ("\"é", "é\""),
        ] {
            let body = Payload(Array(before.utf8) + bytes + Array(after.utf8))
            let response = try stream.post(json, body)
            #expect(response.status == 400, "\(body.bytes): \(response.summary)")
        }
        #expect(try stream.tail() == Offset.start)
    }

    @Test("UTF-16 and UTF-32 are not UTF-8", arguments: [[0x31, 0], [0, 0x31], [0xFF, 0xFE, 0x31, 0], [0x31, 0, 0, 0]] as [[UInt8]])
    func otherEncodings(bytes: [UInt8]) throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        #expect(try stream.post(json, Payload(bytes)).status == 400)
    }

    @Test("Deep nesting is answered, one way or the other, and the server lives", arguments: [100, 500, 10_000, 1_000_000])
    func deep(depth: Int) throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let start = try stream.tail()
            let body = String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
            let response = try stream.post(json, Payload(body.utf8))
            #expect(response.status == 204 || response.status == 400 && depth > 500, "\(response.summary.prefix(300))")
            if response.status == 204 {
                #expect(try compact(stream.get("offset=\(start)").body) == Array((open == "[" ? body : "[\(body)]").utf8))
            }
            // Never closed.
            #expect(try stream.post(json, Payload(String(repeating: open, count: depth).utf8)).status == 400)
        }
    }

    @Test(
        "`application/json`, parameters allowed",
        arguments: ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;profile=\"x\""])
    func parameters(type: String) throws {
        let stream = try Self.server.stream(type)
        try stream.create()
        #expect(try stream.post(["Content-Type: application/json"], "{").status == 400)
        try stream.append("[1,2]")
        let read = try stream.get()
        #expect(compact(read.body) == Array("[1,2]".utf8) && read["Content-Type"] == type)
    }

    @Test(
        "Other types that look like JSON are bytes",
        arguments: ["application/ld+json", "text/json", "application/json-seq", "application/x-ndjson"])
    func notJSON(type: String) throws {
        let stream = try Self.server.stream(type)
        try stream.create()
        try stream.append("[1,2")
        #expect(try stream.get().text == "[1,2")
    }

    @Test("Section 5: a position that is not a message boundary of a JSON stream: 400")
    func boundaries() throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        var ends: Set<String> = [Offset.start]
        for message in ["{\"number\":1}", "[\"an element\"]", "22", "\"a,\\n b,\\n c\"", "{\"a\":1,\n\"b\":2,\n\"c\":[1,\n2]}"] {
            ends.insert(try stream.append(Payload(message.utf8)))
        }
        let client = try stream.server.connect()
        var valid = 0
        for position in 0...(try Offset.position(stream.tail())) {
            let response = try stream.get("offset=\(Offset.at(position))", over: client)
            let isEnd = ends.contains(Offset.at(position))
            #expect(response.status == (isEnd ? 200 : 400), "\(position): \(response.summary)")
            if isEnd { valid += 1 }
        }
        #expect(valid == ends.count)
        for live in ["sse", "long-poll"] { #expect(try stream.get("offset=\(Offset.at(3))&live=\(live)", over: client).status == 400) }
    }

    @Test("A large array: every message is there, in order")
    func large() throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        let messages = (0..<20_000).map { "{\"id\":\($0),\"text\":\"line\\n\($0)\"}" }
        try stream.append(Payload("[\(messages.joined(separator: ",\n"))]".utf8))
        var found: [UInt8] = []
        var offset = "-1"
        while true {
            let response = try stream.get("offset=\(offset)")
            let part = compact(response.body)
            if !found.isEmpty { found.append(0x2C) }
            found += part[1..<(part.count - 1)]
            offset = try #require(response.offset)
            if response.isUpToDate { break }
        }
        #expect(found == Array(messages.joined(separator: ",").utf8))
    }
}
