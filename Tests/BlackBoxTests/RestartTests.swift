// Everything acknowledged is there after a clean stop and after `kill -9` (PROTOCOL.md sections 3 and 6; DESIGN sections 2 and 3). `serve`
// with its default durability; in the second form with everything small, so that journals turn over, segments roll and checkpoints happen
// while the test runs.

import Glibc
import Testing

@Suite struct RestartTests {
    static let forms: [[String]] = [
        ["--chunk-size", "4KiB"],
        [
            "--chunk-size", "4KiB", "--journal-size", "1MiB", "--segment-size", "4KiB", "--checkpoint-interval", "100ms",
            "--tail-buffer-budget", "1MiB",
            "--descriptor-cache", "8",
        ],
    ]
    static let signals = [SIGTERM, SIGKILL]

    private let text = ["Content-Type: text/plain"]

    @Test("after a clean stop and after kill -9: content, tails, types, expiry, closed flags", arguments: forms, signals)
    func content(options: [String], signal: Int32) throws {
        var server = try ServerProcess(.serve, options)
        let bytes = server.stream("a/bytes").of("application/octet-stream")
        let json = server.stream("a/json").of("application/json; v=1")
        let closed = server.stream("closed")
        let sliding = server.stream("sliding")
        let fixed = server.stream("fixed")
        let large = server.stream("large%2Fone").of("image/png")
        try bytes.create()
        var content: [UInt8] = []
        let client = try server.connect()
        for seed in 0..<150 {
            let body = Payload.pattern(seed * 131 % 2900 + 1, seed: seed)
            content += body.bytes
            try bytes.append(body, over: client)
        }
        try json.create("[1,{\"a\":\"\\u00e9\"}]")
        try json.append("[[2]]")
        try closed.create("abc")
        #expect(try closed.post(text + ["Stream-Closed: true"], "def").isClosed)
        try sliding.create("s", ["Stream-TTL: 7200"])
        try fixed.create("f", ["Stream-Expires-At: 2099-01-02T03:04:05Z"])
        // In the second form larger than a journal file and than the tail buffers together.
        let bulk = Payload.pattern(5_000_000)
        try large.create(bulk)

        for _ in 0..<2 {
            let tails = try [bytes, json, closed, sliding, fixed, large].map { try $0.on(server).tail() }
            let ends = try partialEnds(bytes.on(server))
            server = try server.restarted(after: signal)
            #expect(try bytes.on(server).contents() == content)
            #expect(try json.on(server).get().text.filter { !$0.isWhitespace } == "[1,{\"a\":\"\\u00e9\"},[2]]")
            let end = try closed.on(server).get()
            #expect(end.text == "abcdef" && end.isClosed)
            #expect(try closed.on(server).post(text, "x").status == 409)
            #expect(try sliding.on(server).head()["Stream-TTL"] == "7200")
            #expect(try fixed.on(server).head()["Stream-Expires-At"] == "2099-01-02T03:04:05Z")
            #expect(try json.on(server).head()["Content-Type"] == "application/json; v=1")
            #expect(try large.on(server).contents() == bulk.bytes)
            #expect(try [bytes, json, closed, sliding, fixed, large].map { try $0.on(server).tail() } == tails)
            // "Chunk ends fall on the same positions for every reader": also for those after the restart.
            #expect(try partialEnds(bytes.on(server)) == ends)
            // The same configuration is still the same.
            #expect(try sliding.on(server).put(text + ["Stream-TTL: 7200"]).status == 200)
            #expect(try sliding.on(server).put(text + ["Stream-TTL: 7201"]).status == 409)
            // And it goes on.
            try bytes.on(server).append("more")
            content += "more".utf8
        }
    }

    private func partialEnds(_ stream: TestStream) throws -> [String] {
        var ends: [String] = []
        var offset = "-1"
        while true {
            let response = try stream.get("offset=\(offset)")
            try #require(response.status == 200, "\(response.summary)")
            if response.isUpToDate { return ends }
            offset = try #require(response.offset)
            ends.append(offset)
        }
    }

    @Test(
        "producer state: a retry of the last acknowledged request is a duplicate, never a second copy and never a false gap",
        arguments: forms, signals)
    func producers(options: [String], signal: Int32) throws {
        var server = try ServerProcess(.serve, options)
        var stream = server.stream("producers")
        try stream.create()
        func post(_ id: String, _ epoch: Int, _ seq: Int, _ more: [String] = []) throws -> Response {
            try stream.post(text + TestStream.producer(id, epoch, seq) + more, "\(id)\(epoch).\(seq) ")
        }
        var expected = ""
        var seq = 0
        #expect(try post("q", 9, 0).status == 200)
        expected += "q9.0 "
        for _ in 0..<2 {
            for _ in 0..<5 {
                #expect(try post("p", 1, seq).status == 200)
                expected += "p1.\(seq) "
                seq += 1
            }
            try stream.append("s ", ["Stream-Seq: \(expected.count + 1_000_000)"])
            expected += "s "
            server = try server.restarted(after: signal)
            stream = stream.on(server)
            let duplicate = try post("p", 1, seq - 1)
            #expect(duplicate.status == 204 && duplicate["Producer-Seq"] == "\(seq - 1)", "\(duplicate.summary)")
            #expect(try post("p", 1, 0).status == 204)
            let gap = try post("p", 1, seq + 1)
            #expect(gap.status == 409 && gap["Producer-Expected-Seq"] == "\(seq)", "\(gap.summary)")
            #expect(try post("p", 0, seq).status == 403)
            #expect(try post("q", 9, 0).status == 204)
            #expect(try stream.post(text + ["Stream-Seq: 1000000"], "x").status == 409)
            #expect(try stream.get().text == expected)
        }
        #expect(try post("p", 1, seq, ["Stream-Closed: true"]).status == 200)
        server = try server.restarted(after: signal)
        stream = stream.on(server)
        let again = try post("p", 1, seq, ["Stream-Closed: true"])
        #expect(again.status == 204 && again.isClosed, "\(again.summary)")
        #expect(try post("p", 1, seq + 1).status == 409)
        #expect(try post("p", 1, seq - 1).status == 409)
    }

    @Test("An acknowledged delete stays deleted; what was created anew is the new one", arguments: forms, signals)
    func deletes(options: [String], signal: Int32) throws {
        let first = try ServerProcess(.serve, options)
        for index in 0..<30 {
            let stream = first.stream("d/\(index)")
            try stream.create(.letters(index * 300))
            if index % 3 != 0 { #expect(try stream.delete().status == 204) }
            if index % 3 == 2 { try stream.of("text/html").create("new") }
        }
        var server = try first.restarted(after: signal)
        for isLast in [false, true] {
            for index in 0..<30 {
                let response = try server.stream("d/\(index)").get()
                switch index % 3 {
                case 0: #expect(try server.stream("d/\(index)").contents() == Payload.letters(index * 300).bytes)
                case 1: #expect(response.status == 404)
                default: #expect(response.text == "new" && response["Content-Type"] == "text/html")
                }
            }
            if !isLast { server = try server.restarted(after: signal) }
        }
        let tag = try server.stream("d/2").get()["ETag"]
        #expect(try server.stream("d/2").delete().status == 204)
        server = try server.restarted(after: signal)
        #expect(try server.stream("d/2").get().status == 404)
        try server.stream("d/2").of("text/html").create("new")
        #expect(try server.stream("d/2").get()["ETag"] != tag)
    }

    @Test("After a crash a stream may live a little longer than its TTL, never shorter", arguments: signals)
    func lifetimes(signal: Int32) throws {
        var server = try ServerProcess(.serve)
        let stream = server.stream("ttl")
        let start = ContinuousClock.now
        try stream.create("x", ["Stream-TTL: 3"])
        server = try server.restarted(after: signal)
        if start.duration(to: .now) < .milliseconds(2900) { #expect(try stream.on(server).head().status == 200) }
        let isGone = try Deadline.poll(within: .seconds(8), every: .milliseconds(50)) { try stream.on(server).head().status == 404 }
        let time = start.duration(to: .now)
        #expect(isGone && time > .milliseconds(2900), "\(time)")
        server = try server.restarted(after: signal)
        #expect(try stream.on(server).head().status == 404)
    }

    @Test("kill -9 in the middle of appends: what was acknowledged is there, once, and nothing that was not sent", arguments: forms)
    func killedWhileWriting(options: [String]) throws {
        var server = try ServerProcess(.serve, options)
        let path = "w"
        try server.stream(path).create()
        var next = 0
        for round in 0..<3 {
            let client = try server.connect()
            // Sent without waiting; the answers that have come when the server dies are the acknowledged ones.
            let first = next
            for seq in first..<(first + 400) {
                try client.send("POST", "/v1/stream/\(path)", text + TestStream.producer("p", 0, seq), piece(seq))
            }
            for _ in 0..<(20 + round * 100) {
                #expect(try client.response(to: "POST").status == 200)
                next += 1
            }
            server.process.send(SIGKILL)
            while let response = try? client.response(to: "POST") {
                #expect(response.status == 200)
                next += 1
            }
            server = try server.restarted(after: SIGKILL)
            let found = try String(decoding: server.stream(path).contents(), as: UTF8.self)
            var stored = 0
            var expected = ""
            while expected.utf8.count < found.utf8.count {
                expected += String(decoding: piece(stored).bytes, as: UTF8.self)
                stored += 1
            }
            try #require(found == expected, "round \(round)")
            try #require(stored >= next && stored <= first + 400, "round \(round): \(stored) stored, \(next) acknowledged")
            // The client does not know what was stored; it repeats from what was acknowledged.
            let again = try server.connect()
            for seq in max(next - 1, 0)..<(stored + 1) {
                let response = try again.exchange("POST", "/v1/stream/\(path)", text + TestStream.producer("p", 0, seq), piece(seq))
                #expect(response.status == (seq < stored ? 204 : 200), "\(seq) of \(stored): \(response.summary)")
            }
            next = stored + 1
        }
        #expect(try server.stream(path).contents() == (0..<next).flatMap { piece($0).bytes })
    }

    private func piece(_ seq: Int) -> Payload { Payload("<\(seq):\(String(repeating: "y", count: seq * 37 % 3000))>".utf8) }

    @Test("Killed again and again, also while it starts", arguments: forms)
    func killedWhileStarting(options: [String]) throws {
        var server = try ServerProcess(.serve, options)
        let stream = server.stream("s")
        try stream.create()
        var content: [UInt8] = []
        for seed in 0..<60 {
            let body = Payload.letters(seed * 97 % 3000 + 1, seed: seed)
            try stream.append(body)
            content += body.bytes
        }
        #expect(server.process.stop(SIGKILL) == .signal(SIGKILL))
        for delay in [0, 1000, 4000, 16_000, 32_000, 64_000] as [UInt32] {
            let folder = try Folder.make()
            let child = try ChildProcess(
                ServerProcess.binary, ["serve", "--listen", "127.0.0.1:0", "--data-dir", server.dataDirectory] + options, folder: folder)
            usleep(delay)
            child.stop(SIGKILL)
        }
        server = try server.successor()
        #expect(try stream.on(server).contents() == content)
        try stream.on(server).append("end")
        server = try server.restarted(after: SIGTERM)
        #expect(try stream.on(server).contents() == content + Array("end".utf8))
    }

    @Test("Many streams, few touched: all are there")
    func manyStreams() throws {
        var server = try ServerProcess(.serve, Self.forms[1])
        let client = try server.connect()
        for index in 0..<500 { try client.send("PUT", "/v1/stream/many/\(index)", text, "content \(index)") }
        for _ in 0..<500 { #expect(try client.response().status == 201) }
        for signal in Self.signals {
            server = try server.restarted(after: signal)
            let reader = try server.connect()
            for index in 0..<500 { try reader.send("GET", "/v1/stream/many/\(index)") }
            var missing: [Int] = []
            for index in 0..<500 where try reader.response().text != "content \(index)" { missing.append(index) }
            #expect(missing.isEmpty)
        }
    }
}
