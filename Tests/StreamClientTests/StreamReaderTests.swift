import Glibc
import Testing

@testable import StreamClient

@Suite struct StreamReaderTests {
    struct Run {
        var printed = ""
        var end: StreamReader.End?
        var failure: ClientFailure?
        var nextOffset = ""
        var targets: [String] = []
        var waits: [Int] = []
    }

    static func read(_ script: [ScriptedServer.Reaction], retryFor: Int = 60_000, _ change: (inout StreamReader.Options) -> Void = { _ in })
        throws -> Run
    {
        let server = ScriptedServer(script)
        let time = VirtualTime()
        var options = StreamReader.Options()
        change(&options)
        var printed: [UInt8] = []
        var run = Run()
        let reader = StreamReader(
            session: HTTPSession(time: time.timekeeper), address: try StreamAddress(base: server.url, name: "s"), options: options,
            policy: RetryPolicy(retryFor: ClientDuration(milliseconds: retryFor))
        ) { bytes in printed.append(contentsOf: bytes) }
        do throws(ClientFailure) { run.end = try reader.run() } catch { run.failure = error }
        run.printed = String(decoding: printed, as: UTF8.self)
        run.nextOffset = reader.nextOffset
        run.targets = server.received.map { $0.method + $0.target.dropFirst("/v1/stream/s".count) }
        run.waits = time.waits
        return run
    }

    static let text = "Content-Type: text/plain"
    static let json = "Content-Type: application/json"
    static let upToDate = "Stream-Up-To-Date: true"
    static let closed = "Stream-Closed: true"
    static func next(_ offset: Int) -> String { "Stream-Next-Offset: \(offset)" }

    static func events(_ text: String, encoding: String? = nil) -> String {
        let fields =
            ["HTTP/1.1 200 x", "Content-Type: text/event-stream", "Connection: close"]
            + (encoding.map { ["Stream-SSE-Data-Encoding: \($0)"] } ?? [])
        return (fields + ["", ""]).joined(separator: "\r\n") + text
    }

    static func control(_ offset: Int, _ more: String = "") -> String {
        "event: control\ndata:{\"streamNextOffset\":\"\(offset)\"\(more)}\n\n"
    }

    @Test func followsFromTheStartToTheClose() throws {
        let run = try Self.read([
            .send(reply(200, [Self.text, Self.next(3)], body: "abc")),
            .send(reply(200, [Self.text, Self.next(5), Self.upToDate], body: "de")),
            .send(reply(204, [Self.next(5), Self.upToDate, "Stream-Cursor: 40"])),
            .send(reply(200, [Self.text, Self.next(6), Self.upToDate, "Stream-Cursor: 41"], body: "f")),
            .send(reply(204, [Self.next(6), Self.upToDate, Self.closed])),
        ])
        #expect(run.printed == "abcdef" && run.end == .closed && run.nextOffset == "6")
        #expect(
            run.targets == [
                "GET?offset=-1", "GET?offset=3", "GET?offset=5&live=long-poll", "GET?offset=5&live=long-poll&cursor=40",
                "GET?offset=6&live=long-poll&cursor=41",
            ])
    }

    @Test func stopsAtTheTailWithoutFollowing() throws {
        let run = try Self.read([
            .send(reply(200, [Self.text, Self.next(3)], body: "abc")),
            .send(reply(200, [Self.text, Self.next(5), Self.upToDate], body: "de")),
        ]) { $0.isFollowing = false }
        #expect(run.printed == "abcde" && run.end == .upToDate && run.nextOffset == "5")
    }

    @Test func nowIsLocatedFirst() throws {
        for isSSE in [false, true] {
            let head: [ScriptedServer.Reaction] = isSSE ? [.send(reply(200, [Self.text], body: nil))] : []
            let live: ScriptedServer.Reaction =
                isSSE
                ? .sendAndCut(Self.events("event: data\ndata:x\n\n" + Self.control(8, ",\"streamClosed\":true")))
                : .send(reply(200, [Self.text, Self.next(8), Self.closed, Self.upToDate], body: "x"))
            let run = try Self.read(head + [.send(reply(200, [Self.text, Self.next(7), Self.upToDate])), live]) {
                $0.offset = "now"
                $0.isSSE = isSSE
            }
            #expect(run.printed == "x" && run.end == .closed)
            #expect(run.targets.suffix(2) == ["GET?offset=now", isSSE ? "GET?offset=7&live=sse" : "GET?offset=7&live=long-poll"])
        }
    }

    /// The answer breaks after every possible byte; the next one is shorter than what was printed, so the remainder spans two.
    @Test func aBrokenAnswerIsContinuedExactly() throws {
        let whole = reply(200, [Self.text, Self.next(10), Self.upToDate, Self.closed], body: "0123456789")
        for cut in 0..<whole.utf8.count {
            let run = try Self.read([
                .send(reply(200, [Self.text, Self.next(0)])), .sendAndCut(String(whole.utf8.prefix(cut))!),
                .send(reply(200, [Self.text, Self.next(4)], body: "0123")),
                .send(reply(200, [Self.text, Self.next(10), Self.upToDate, Self.closed], body: "456789")),
            ])
            #expect(run.printed == "0123456789" && run.end == .closed, "cut at \(cut)")
        }
    }

    @Test func aBrokenJSONAnswerIsContinuedExactly() throws {
        let whole = reply(200, [Self.json, Self.next(9), Self.upToDate, Self.closed], body: "[1,\"a,b\",[2,3]]")
        for cut in 0..<whole.utf8.count {
            let run = try Self.read([
                .send(reply(200, [Self.json, Self.next(0)], body: "[]")), .sendAndCut(String(whole.utf8.prefix(cut))!),
                .send(reply(200, [Self.json, Self.next(4)], body: "[1]")),
                .send(reply(200, [Self.json, Self.next(9), Self.upToDate, Self.closed], body: "[\"a,b\",[2,3]]")),
            ])
            #expect(run.printed == "1\n\"a,b\"\n[2,3]\n" && run.end == .closed, "cut at \(cut)")
        }
    }

    @Test func rawKeepsArrays() throws {
        let run = try Self.read([
            .send(reply(200, [Self.json, Self.next(4)], body: "[1, 2]")),
            .sendAndCut("HTTP/1.1 200 x\r\n\(Self.json)\r\nContent-Length: 9\r\n\r\n[[],"),
            .send(reply(200, [Self.json, Self.next(6), Self.upToDate], body: "[[]]")),
            .send(reply(200, [Self.json, Self.next(6), Self.upToDate, Self.closed], body: "[]")),
        ]) { $0.isRaw = true }
        #expect(run.printed == "[1, 2]\n[[]]\n" && run.end == .closed)
    }

    @Test func transientRefusalsAreWaitedOutAndOthersAreNot() throws {
        let waited = try Self.read([
            .send(reply(503, ["Retry-After: 2"])), .send(reply(429)),
            .send(reply(200, [Self.text, Self.next(1), Self.upToDate, Self.closed], body: "x")),
        ])
        #expect(waited.printed == "x" && waited.waits.first == 2000 && waited.waits.count == 2)
        for status in [400, 401, 404, 410] {
            let run = try Self.read([.send(reply(status, body: "why"))])
            #expect(run.failure == .refused(status: status, text: "why") && run.targets.count == 1)
        }
    }

    @Test func aServerThatNeverAnsweredIsNotWaitedFor() throws {
        let run = try Self.read([.cut])
        #expect(run.failure?.exitCode == 4 && run.waits.isEmpty)
    }

    @Test func givesUpAfterTheWindow() throws {
        let run = try Self.read(
            [.send(reply(200, [Self.text, Self.next(2), Self.upToDate], body: "ab"))] + Array(repeating: .cut, count: 1000), retryFor: 3000)
        #expect(run.printed == "ab" && run.failure?.exitCode == 4 && run.waits.reduce(0, +) == 3000 && run.nextOffset == "2")
    }

    @Test func anHTTPServerThatIsNoStreamIsTold() throws {
        #expect(try Self.read([.send(reply(200, [Self.text], body: "<html>"))]).failure?.exitCode == 1)
        #expect(try Self.read([.send(reply(200, [Self.json, Self.next(1)], body: "{}"))]).failure == AnswerPrinter.notAnArray)
        #expect(try Self.read([.send(reply(200, [Self.json, Self.next(1)], body: "[1"))]).failure == AnswerPrinter.notAnArray)
    }

    @Test func emptyLiveAnswersAreNotAskedForInALoop() throws {
        let empty = reply(204, [Self.next(0), Self.upToDate])
        let run = try Self.read([
            .send(reply(200, [Self.text, Self.next(0), Self.upToDate])), .send(empty), .send(empty),
            .send(reply(204, [Self.next(0), Self.closed])),
        ])
        #expect(run.end == .closed && run.waits == [100, 100])
    }

    /// A server that sends the same range again and again is asked as often as one that sends nothing.
    @Test func anOffsetThatStaysIsNotAskedForInALoop() throws {
        let same = reply(200, [Self.text, Self.next(5)], body: "abc")
        let run = try Self.read([
            .send(same), .send(same), .send(same), .send(reply(200, [Self.text, Self.next(6), Self.closed], body: "abcd")),
        ]) {
            $0.offset = "5"
        }
        #expect(run.end == nil || run.end == .closed)
        #expect(run.waits == [100, 100, 100])
    }

    /// What a server says reaches the terminal without what a terminal acts on.
    @Test func escapesAreTakenOut() {
        let hostile = "\u{1B}]0;x\u{07}a\u{9B}31m\u{202E}b\u{7F}"
        #expect(terminalText(hostile) == "\u{FFFD}]0;x\u{FFFD}a\u{FFFD}31m\u{FFFD}b\u{FFFD}")
        #expect(jsonLiteral(hostile) == "\"\\u001b]0;x\\u0007a\\u009b31m\\u202eb\\u007f\"")
        #expect(terminalText("äöü 漢 😀") == "äöü 漢 😀")
    }

    @Test func redirectsAreFollowed() throws {
        let run = try Self.read([
            .send(reply(307, ["Location: /v1/stream/s?offset=-1&moved"])),
            .send(reply(200, [Self.text, Self.next(1), Self.upToDate, Self.closed], body: "x")),
        ])
        #expect(run.printed == "x" && run.targets.last == "GET?offset=-1&moved")
    }

    @Test func eventsAreReadAcrossConnections() throws {
        let run = try Self.read([
            .send(reply(200, [Self.text], body: nil)),
            .sendAndCut(
                Self.events(
                    Self.control(0) + "event: data\ndata:one\ndata:\n\n" + Self.control(4, ",\"streamCursor\":\"5\"")
                        + ": ping\n\nevent: data\ndata:lost\n\n")),
            .sendAndCut(
                Self.events(
                    "event: data\ndata:two\n\n" + Self.control(7, ",\"upToDate\":true") + Self.control(7, ",\"streamClosed\":true")
                        + "event: data\ndata:no\n\n")),
        ]) { $0.isSSE = true }
        #expect(run.printed == "one\ntwo" && run.end == .closed && run.nextOffset == "7")
        #expect(run.targets == ["HEAD", "GET?offset=-1&live=sse", "GET?offset=4&live=sse&cursor=5"])
    }

    @Test func eventsInBase64AndWithoutFollowing() throws {
        let body = "event: data\ndata:AGFi\ndata:Yw==\n\n" + Self.control(4, ",\"upToDate\":true")
        // The connection stays open: the reader itself must stop.
        let run = try Self.read([.send(reply(200, ["Content-Type: x/y"], body: nil)), .send(Self.events(body, encoding: "base64"))]) {
            $0.isSSE = true
            $0.isFollowing = false
        }
        #expect(run.printed == "\u{0}abc" && run.end == .upToDate && run.nextOffset == "4")
    }

    @Test(arguments: [(false, "1\n[2]\n"), (true, "[1,[2]]\n")])
    func eventsOfJSON(_ isRaw: Bool, _ expected: String) throws {
        let body = "event: data\ndata:[1,\ndata:[2]]\n\nevent: data\ndata:[]\n\n" + Self.control(4, ",\"streamClosed\":true")
        let run = try Self.read([.send(reply(200, [Self.json], body: nil)), .sendAndCut(Self.events(body))]) {
            $0.isSSE = true
            $0.isRaw = isRaw
        }
        #expect(run.printed.filter { $0 != "\n" } == expected.filter { $0 != "\n" } && run.end == .closed)
    }

    @Test(arguments: [
        StreamReaderTests.events("event: control\ndata:{}\n\n"), StreamReaderTests.events("event: data\ndata:A\n\n", encoding: "base64"),
        reply(200, ["Content-Type: text/plain"], body: "x"),
    ])
    func malformedEvents(_ answer: String) throws {
        let run = try Self.read([.send(reply(200, [Self.text], body: nil)), .sendAndCut(answer)]) { $0.isSSE = true }
        guard case .badAnswer = run.failure else {
            Issue.record("\(String(describing: run.failure))")
            return
        }
    }

    @Test func theReconnectionTimeIsKept() throws {
        let run = try Self.read([
            .send(reply(200, [Self.text], body: nil)), .sendAndCut(Self.events("retry: 700\n" + Self.control(1))),
            .sendAndCut(Self.events(Self.control(1, ",\"streamClosed\":true"))),
        ]) { $0.isSSE = true }
        #expect(run.end == .closed && run.waits == [700])
    }

    @Test func anInterruptionEndsAWaitingReadAtOnce() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        let writingEnd = ends[1]
        let server = ScriptedServer { request in
            guard request.target.contains("live") else { return .send(reply(200, [Self.text, Self.next(1), Self.upToDate], body: "x")) }
            _ = write(writingEnd, "!", 1)
            return .silence
        }
        let reader = StreamReader(
            session: HTTPSession(interruption: ends[0]), address: try StreamAddress(base: server.url, name: "s"),
            options: StreamReader.Options(),
            policy: RetryPolicy(retryFor: ClientDuration(milliseconds: 60_000))
        ) { _ in }
        #expect(throws: ClientFailure.interrupted) { try reader.run() }
        #expect(reader.nextOffset == "1")
    }

    @Test func anOutputThatFailsEndsTheRead() throws {
        let server = ScriptedServer([.send(reply(200, [Self.text, Self.next(1)], body: "x"))])
        let reader = StreamReader(
            session: HTTPSession(), address: try StreamAddress(base: server.url, name: "s"), options: StreamReader.Options(),
            policy: RetryPolicy(retryFor: ClientDuration(milliseconds: 60_000))
        ) { _ throws(ClientFailure) in throw .outputClosed }
        #expect(throws: ClientFailure.outputClosed) { try reader.run() }
    }
}
