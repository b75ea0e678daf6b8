import Testing

@testable import StreamClient

@Suite struct HTTPAnswerTests {
    static func answer(_ lines: [String]) -> HTTPAnswer {
        var answer = HTTPAnswer()
        for line in lines { Array("\(line)\r\n".utf8).withUnsafeBytes { answer.addHeadLine($0) } }
        return answer
    }

    @Test func onlyTheLastHeadCounts() {
        let answer = Self.answer([
            "HTTP/1.1 307 x", "Location: /y", "", "HTTP/2 200", "stream-next-offset:  7 ", "Stream-Closed: TRUE", "X: a", "x: b", "",
        ])
        #expect(answer.status == 200 && answer.isSuccess && !answer.isTransient)
        #expect(answer["location"] == nil && answer.nextOffset == "7" && answer.isClosed && !answer.isUpToDate && answer["x"] == "b")
    }

    @Test func fieldsAreBounded() {
        #expect(Self.answer(["HTTP/1.1 200 x"] + (0..<1000).map { "f\($0): v" }).fields.count == HTTPAnswer.mostFields)
    }

    @Test(arguments: [
        ("application/json", true), ("Application/JSON ; charset=utf-8", true), ("application/jsonl", false), ("text/json", false),
        (nil, false),
    ])
    func json(_ type: String?, _ expected: Bool) { #expect(HTTPAnswer.isJSON(type) == expected) }

    @Test func textIsSafeForATerminal() {
        var answer = HTTPAnswer()
        answer.textBytes = Array("  a\u{1b}[31m\nb\u{7f}é \n".utf8)
        #expect(answer.text == "a [31m b é")
    }

    @Test(arguments: [
        (400, 1, false), (401, 1, false), (403, 1, false), (404, 3, false), (408, 1, true), (409, 1, false), (410, 3, false),
        (413, 1, false),
        (429, 1, true), (500, 1, true), (501, 1, false), (502, 1, true), (503, 1, true), (504, 1, true), (505, 1, false), (507, 1, true),
        (599, 1, true),
    ])
    func statusToExitCode(_ status: Int, _ code: Int32, _ isTransient: Bool) {
        let answer = Self.answer(["HTTP/1.1 \(status) x"])
        #expect(answer.failure.exitCode == code && answer.isTransient == isTransient)
        #expect(answer.failure.message?.contains("\(status)") == true)
    }

    @Test func otherExitCodes() {
        #expect(ClientFailure.outputClosed.exitCode == 0 && ClientFailure.outputClosed.message == nil)
        #expect(ClientFailure.interrupted.exitCode == 130 && ClientFailure.interrupted.message == nil)
        #expect(ClientFailure.unreachable("x").exitCode == 4)
        #expect(ClientFailure.badAnswer("x").exitCode == 1 && ClientFailure.inputOutput("x").exitCode == 1)
    }

    @Test func facts() {
        let full = StreamFacts(
            Self.answer([
                "HTTP/1.1 200 x", "Stream-Next-Offset: 1_2", "Content-Type: a/b; c=\"d\"", "Stream-TTL: 60",
                "Stream-Expires-At: 2030-01-01T00:00:00Z",
                "Stream-Closed: true",
            ]))
        #expect(
            full.lines
                == "offset:       1_2\ncontent-type: a/b; c=\"d\"\nclosed:       true\nttl:          60\nexpires-at:   2030-01-01T00:00:00Z"
        )
        #expect(full.json == #"{"offset":"1_2","contentType":"a/b; c=\"d\"","closed":true,"ttl":60,"expiresAt":"2030-01-01T00:00:00Z"}"#)
        let bare = StreamFacts(Self.answer(["HTTP/1.1 200 x", "Stream-Next-Offset: 0"]))
        #expect(bare.lines == "offset: 0\nclosed: false" && bare.json == #"{"offset":"0","closed":false}"#)
    }
}
