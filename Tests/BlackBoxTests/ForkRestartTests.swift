// PROTOCOL.md section 7 after a clean stop and after `kill -9`: forks, their counts, and what is reclaimed; in the second form with everything
// small, so that parts of a fork's content are in segments, in the catalog and in the journal.

import Glibc
import Testing

@Suite struct ForkRestartTests {
    private let text = ["Content-Type: text/plain"]

    @Test("Content, offsets, chunk ends, ETags and origins of forks", arguments: RestartTests.forms, RestartTests.signals)
    func content(options: [String], signal: Int32) throws {
        var server = try ServerProcess(.serve, options)
        var streams: [TestStream] = []
        var contents: [[UInt8]] = []
        var origins: [[String]] = []
        func add(_ stream: TestStream, _ content: [UInt8], _ origin: [String]) {
            streams.append(stream)
            contents.append(content)
            origins.append(origin)
        }
        let root = server.stream("root").of("application/octet-stream")
        try root.create()
        var bytes: [UInt8] = []
        for seed in 0..<40 {
            let body = Payload.pattern(seed * 523 % 2900 + 1, seed: seed)
            try root.append(body)
            bytes += body.bytes
        }
        add(root, bytes, [])
        // A line of forks, each from the middle of the one before, with bytes of its own.
        for level in 0..<12 {
            let point = contents[level].count * 2 / 3
            let body = Payload.pattern(level * 1777 % 9000 + 1, seed: 100 + level)
            let fork = try streams[level].fork(named: "line/\(level)", at: Offset.start, sub: "\(point)", [], body)
            add(fork, contents[level].prefix(point) + body.bytes, streams[level].forkFields(at: Offset.start, sub: "\(point)"))
        }
        let json = server.stream("json").of("application/json")
        try json.create("[1,2,3]")
        let branch = try json.fork(named: "branch", at: Offset.start, sub: "2", ["Stream-TTL: 900"], "[\"b\"]")
        let closed = try json.fork(named: "closed", ["Stream-Closed: true"], "4")
        for round in 0..<3 {
            let answers = try streams.map { try $0.get() }
            let ends = try streams.map(partialEnds)
            server = try server.restarted(after: signal)
            streams = streams.map { $0.on(server) }
            for index in streams.indices.reversed() {
                #expect(try streams[index].contents() == contents[index], "round \(round): \(streams[index].path)")
            }
            #expect(try streams.map(partialEnds) == ends)
            for (stream, answer) in zip(streams, answers) {
                // Tags are of one life of the server: nobody knows what an older copy of the directory went on to hold.
                let again = try stream.get("", ["If-None-Match: \(answer["ETag"] ?? "")"])
                #expect(again.status == 200 && again["ETag"] != answer["ETag"])
                #expect(try stream.get("", ["If-None-Match: \(again["ETag"] ?? "")"]).status == 304)
            }
            for (stream, origin) in zip(streams, origins) {
                #expect(try stream.put(["Content-Type: \(stream.type)"] + origin).status == 200)
            }
            #expect(try streams[3].put(streams[2].forkFields(at: Offset.start, sub: "1")).status == 409)
            #expect(try branch.on(server).messages() == "[1,2,\"b\"]" && closed.on(server).messages() == "[1,2,3,4]")
            #expect(try branch.on(server).head()["Stream-TTL"] == "900" && closed.on(server).head().isClosed)
            #expect(try branch.on(server).put(json.forkFields(at: Offset.start, sub: "2") + ["Stream-TTL: 900"]).status == 200)
            // All of them go on, and nobody sees another's.
            for (index, stream) in streams.enumerated() {
                let body = Payload.pattern(index * 331 % 3000 + 1, seed: 1000 * round + index)
                try stream.append(body)
                contents[index] += body.bytes
            }
            #expect(try streams.map { try Offset.position($0.tail()) } == contents.map(\.count))
        }
    }

    private func partialEnds(_ stream: TestStream) throws -> [String] {
        var ends: [String] = []
        var offset = "-1"
        while true {
            let response = try stream.get("offset=\(offset)")
            try #require(response.status == 200, "\(response.summary)")
            offset = try #require(response.offset)
            ends.append(offset)
            if response.isUpToDate { return ends }
        }
    }

    @Test(
        "Sources deleted before or after the end of the server: 410 while there are forks, 404 and no file when there are none",
        arguments: RestartTests.forms, RestartTests.signals)
    func deletes(options: [String], signal: Int32) throws {
        var server = try ServerProcess(.serve, options)
        let body = Payload.pattern(20_000)
        // Lines of three; which of them is deleted before which restart is told by the number.
        for number in 0..<27 {
            let root = server.stream("d/\(number)/0").of("image/png")
            try root.create(body)
            let middle = try root.fork(named: "d/\(number)/1", at: Offset.start, sub: "10000", [], "middle")
            _ = try middle.fork(named: "d/\(number)/2", [], "leaf")
        }
        func when(_ number: Int, _ level: Int) -> Int { level == 0 ? number % 3 : level == 1 ? number / 3 % 3 : number / 9 }
        let half = Array(body.bytes.prefix(10000))
        let contents = [body.bytes, half + Array("middle".utf8), half + Array("middleleaf".utf8)]
        for round in 0..<3 {
            for number in 0..<27 {
                for level in 0..<3 where when(number, level) == round {
                    #expect(try server.stream("d/\(number)/\(level)").delete().status == 204, "round \(round): \(number)/\(level)")
                }
            }
            server = try server.restarted(after: signal)
            for number in 0..<27 {
                for level in 0..<3 {
                    let stream = server.stream("d/\(number)/\(level)")
                    if when(number, level) > round {
                        #expect(try stream.contents() == contents[level], "round \(round): \(number)/\(level)")
                    } else {
                        let isKept = (level..<3).contains { when(number, $0) > round }
                        let status = try stream.get().status
                        #expect(status == (isKept ? 410 : 404), "round \(round): \(number)/\(level)")
                    }
                }
            }
        }
        // What everything took has been given back.
        let left = server.dataDirectory + "/streams"
        #expect(try Deadline.poll(every: .milliseconds(50)) { try files(in: left) == 0 })
        server = try server.restarted(after: signal)
        #expect(try server.stream("d/0/0").put(text, "new").status == 201 && server.stream("d/0/0").get().text == "new")
    }

    private func files(in path: String) throws -> Int {
        guard let names = try? Folder.list(path) else { return 1 }
        return try names.reduce(0) { try $0 + files(in: path + "/" + $1) }
    }

    @Test("kill -9 in the middle of forks and deletes: each is there as a whole or not at all", arguments: RestartTests.forms)
    func killedInTheMiddle(options: [String]) throws {
        var server = try ServerProcess(.serve, options)
        let source = server.stream("s").of("text/plain")
        try source.create(.letters(6000))
        let start = try source.contents()
        for round in 0..<4 {
            let client = try server.connect()
            let count = 120
            // A fork, a fork of it, the delete of the first; sent without waiting for answers.
            for index in 0..<count {
                let (a, b) = ("/v1/stream/r\(round)/\(index)a", "/v1/stream/r\(round)/\(index)b")
                try client.send("PUT", a, source.forkFields(at: Offset.start, sub: "\(index * 7)"), Payload("A\(index)".utf8))
                try client.send("PUT", b, ["Stream-Forked-From: \(a)"], Payload("B\(index)".utf8))
                try client.send("DELETE", a)
            }
            var answers = 0
            for _ in 0..<(40 + round * 80) {
                _ = try client.response()
                answers += 1
            }
            server.process.send(SIGKILL)
            while (try? client.response()) != nil { answers += 1 }
            server = try server.restarted(after: SIGKILL)
            #expect(try source.on(server).contents() == start)
            for index in 0..<count {
                let (a, b) = (server.stream("r\(round)/\(index)a"), server.stream("r\(round)/\(index)b"))
                let statuses = [try a.get().status, try b.get().status]
                // Nothing, the first, both, or the second with its deleted source.
                let possible = [[404, 404], [200, 404], [200, 200], [410, 200]]
                let stage = try #require(possible.firstIndex(of: statuses), "round \(round): \(index): \(statuses)")
                #expect(stage >= min(3, max(0, answers - index * 3)), "round \(round): \(index): \(statuses) of \(answers)")
                let own = Array(start.prefix(index * 7)) + Array("A\(index)".utf8)
                if statuses[0] == 200 { #expect(try a.contents() == own) }
                if statuses[1] == 200 { #expect(try b.contents() == own + Array("B\(index)".utf8)) }
                if statuses[1] == 200 { #expect(try b.delete().status == 204) }
                if statuses[0] == 200 { #expect(try a.delete().status == 204) }
            }
            for index in 0..<count {
                let a = server.stream("r\(round)/\(index)a")
                #expect(try Deadline.poll(within: .seconds(5)) { try a.head().status == 404 })
            }
        }
        // All of the source's forks are gone, and none is counted that is not there.
        #expect(try source.on(server).delete().status == 204 && source.on(server).head().status == 404)
    }

    @Test("Expiry of sources and forks across a restart", arguments: RestartTests.signals)
    func expiry(signal: Int32) throws {
        var server = try ServerProcess(.serve, RestartTests.forms[1])
        let source = server.stream("s").of("text/plain")
        try source.create("abc", ["Stream-TTL: 1"])
        let lasting = try source.fork(named: "lasting", ["Stream-TTL: 600"], "d")
        let brief = try lasting.fork(named: "brief", ["Stream-TTL: 2"])
        server = try server.restarted(after: signal)
        #expect(try Deadline.poll(every: .milliseconds(50)) { try source.on(server).head().status == 410 })
        server = try server.restarted(after: signal)
        #expect(try source.on(server).head().status == 410 && lasting.on(server).get().text == "abcd")
        #expect(try lasting.on(server).delete().status == 204)
        // Nobody asks for the last fork: the reaper ends it, and the line with it.
        let isGone = try Deadline.poll(within: .seconds(12), every: .milliseconds(50)) { try source.on(server).head().status == 404 }
        #expect(isGone)
        server = try server.restarted(after: signal)
        for stream in [source, lasting, brief] { #expect(try stream.on(server).head().status == 404) }
    }
}
