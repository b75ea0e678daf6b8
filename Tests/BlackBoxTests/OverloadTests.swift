// Everything is bounded: connections, the time that a head, a body and an idle connection may take, the bytes that wait for a reader.

import Glibc
import Testing

@Suite(.onlyInClear("Connections by the thousand, and the answers of HTTP/1.1 to them")) struct OverloadTests {
    private let text = ["Content-Type: text/plain"]

    @Test("Beyond the connection limit new connections are refused quickly; when there is room again they are served")
    func connectionLimit() throws {
        let server = try ServerProcess(.dev, ["--connection-limit", "5"])
        let stream = server.stream()
        try stream.create("x")
        // The connection of that request may still be counted for a moment.
        var clients: [RawClient] = []
        let isFull = try Deadline.poll {
            let client = try server.connect()
            if (try? stream.get(over: client))?.status == 200 { clients.append(client) }
            return clients.count == 5
        }
        try #require(isFull)
        for _ in 0..<20 {
            let start = ContinuousClock.now
            guard let extra = try? server.connect() else { continue }
            try? extra.send("GET", stream.path)
            // Closed, or 503 first: in no case served, in no case left waiting.
            if let response = try? extra.response(within: .seconds(5)) { #expect(response.status == 503, "\(response.summary)") }
            #expect(extra.ends(within: .seconds(5)))
            #expect(start.duration(to: .now) < .seconds(3))
        }
        for client in clients { #expect(try stream.get(over: client).text == "x", "\(server.log)") }
        clients.removeLast(2)
        let isServed = Deadline.poll { (try? stream.get(over: server.connect()))?.status == 200 }
        #expect(isServed)
        #expect(server.log.split(separator: "\n").filter { $0.contains("limit") }.count <= 3, "logged once per interval: \(server.log)")
        #expect(server.log.contains("limit"), "\(server.log)")
    }

    @Test("Slow header senders are timed out, however busily they send")
    func slowHead() throws {
        let server = try ServerProcess(.dev, ["--header-timeout", "300ms"])
        let stream = server.stream()
        try stream.create("x")
        let silent = try server.connect()
        try silent.send("GET \(stream.path) HTTP/1.1\r\nHost: h\r\nX: ")
        let busy = try server.connect()
        try busy.send("GET \(stream.path) HTTP/1.1\r\nHost: h\r\nX: ")
        let time = elapsed {
            let isCut = Deadline.poll(within: .seconds(10), every: .milliseconds(20)) {
                (try? busy.send("a")) == nil || busy.isReadable(within: .milliseconds(1))
            }
            #expect(isCut)
        }
        #expect(time > .milliseconds(200) && time < .seconds(4), "\(time)")
        for client in [silent, busy] {
            if let response = try? client.response(within: .seconds(5)) { #expect(response.status == 408, "\(response.summary)") }
            #expect(client.ends(within: .seconds(5)))
        }
        // The second request of a connection as well.
        let second = try server.connect()
        #expect(try stream.get(over: second).text == "x")
        try second.send("GET ")
        #expect(second.ends(within: .seconds(5)))
        #expect(try stream.get().text == "x")
    }

    @Test("Idle keep-alives are timed out; waiting readers are not idle")
    func idle() throws {
        let server = try ServerProcess(
            .dev, ["--idle-timeout", "300ms", "--header-timeout", "300ms", "--long-poll-timeout", "60s", "--sse-interval", "60s"])
        let stream = server.stream()
        try stream.create("x")
        let poll = try stream.longPoll(from: Offset.at(1))
        let events = try stream.follow()
        #expect(try #require(try events.batch()).text == "x")
        let used = try server.connect()
        #expect(try stream.get(over: used).text == "x")
        let unused = try server.connect()
        let time = elapsed { #expect(used.ends(within: .seconds(5)) && unused.ends(within: .seconds(5))) }
        #expect(time > .milliseconds(200), "\(time)")
        // Both have waited for longer than that by now.
        #expect(!poll.isReadable(within: .milliseconds(400)))
        try stream.append("y")
        #expect(try poll.response().text == "y")
        #expect(try #require(try events.batch()).text == "y")
        // After its answer, the long-poll's connection is idle again.
        #expect(poll.ends(within: .seconds(5)))
    }

    @Test("A connection in use is not idle")
    func busy() throws {
        let server = try ServerProcess(.dev, ["--idle-timeout", "400ms"])
        let stream = server.stream()
        try stream.create("x")
        let client = try server.connect()
        let deadline = Deadline(in: .milliseconds(1300))
        while !deadline.hasPassed {
            #expect(try stream.get(over: client).text == "x")
            usleep(50_000)
        }
    }

    @Test("A body may come as slowly as a model writes it; one that stops is given up, and nothing of it is stored")
    func slowBody() throws {
        let server = try ServerProcess(.dev, ["--body-timeout", "700ms", "--body-grace", "100ms"])
        let stream = server.stream()
        try stream.create("x")
        for fields in [["Content-Length: 100000"], ["Transfer-Encoding: chunked"]] {
            let client = try server.connect()
            try client.send(client.request("POST", stream.path, text + fields))
            try client.send(fields[0].hasPrefix("T") ? "1\r\na\r\n" : "a")
            let response = try client.response(to: "POST", within: .seconds(5))
            #expect(response.status == 408, "\(response.summary)")
            #expect(client.ends(within: .seconds(5)))
        }
        // Forty tokens a second for longer than the time without a byte.
        let client = try server.connect()
        let request = client.request("POST", stream.path, text, .letters(240))
        for start in stride(from: 0, to: request.count, by: 4) {
            try client.send(Array(request[start..<min(start + 4, request.count)]))
            usleep(20_000)
        }
        #expect(try client.response(to: "POST").status == 204)
        #expect(try stream.contents() == Array("x".utf8) + Payload.letters(240).bytes)
    }

    @Test("A reader that takes nothing costs the others nothing")
    func stalledReaders() throws {
        let server = try ServerProcess()
        let stream = server.stream().of("application/octet-stream")
        let body = Payload.pattern(2 << 20)
        try stream.create(body)
        var stalled: [RawClient] = []
        for _ in 0..<20 {
            let client = try RawClient(port: server.port, receiveBuffer: 65_536)
            for _ in 0..<5 { try client.send("GET", stream.path) }
            stalled.append(client)
        }
        for _ in 0..<5 {
            var length = 0
            let time = try elapsed { length = try stream.get().body.count }
            #expect(length == body.bytes.count && time < .seconds(5), "\(time)")
        }
        for client in stalled { #expect(try client.response().body == body.bytes) }
    }

    @Test("Connections that come and go leave nothing behind")
    func descriptors() throws {
        let server = try ServerProcess()
        let stream = server.stream()
        try stream.create("x")
        func open() throws -> Int { try Folder.list("/proc/\(server.process.pid)/fd").count }
        // Whatever the first requests open once and keep.
        for _ in 0..<20 { #expect(try stream.get().status == 200) }
        let before = try open()
        for round in 0..<300 {
            let client = try server.connect()
            switch round % 5 {
            case 0: #expect(try stream.get(over: client).text == "x")
            case 1: try client.send("GET \(stream.path) HT")
            case 2: try client.send("GET", "\(stream.path)?offset=\(Offset.at(1))&live=long-poll")
            case 3: try client.send("GET", "\(stream.path)?offset=-1&live=sse")
            default: try client.send("nonsense\r\n\r\n")
            }
        }
        let isGone = try Deadline.poll { try open() <= before + 2 }
        let after = try open()
        #expect(isGone, "\(before) before, \(after) after")
    }
}
