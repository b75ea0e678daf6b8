// SIGTERM and SIGINT: stop accepting, answer waiting long-polls 204 and end SSE cleanly, finish and acknowledge what is in hand, exit 0.

import Glibc
import Testing

@Suite struct ShutdownTests {
    private let text = ["Content-Type: text/plain"]

    @Test("waiting long-polls are answered 204, SSE ends between events, exit 0", arguments: [SIGTERM, SIGINT])
    func waitingReaders(signal: Int32) throws {
        for mode in [ServerProcess.Mode.serve, .dev] {
            let server = try ServerProcess(mode, ["--long-poll-timeout", "60s", "--sse-interval", "60s"])
            let stream = server.stream()
            let tail = try stream.create("data")
            let polls = try (0..<10).map { _ in try stream.longPoll(from: tail) }
            let events = try (0..<10).map { _ in try stream.follow() }
            for reader in events { #expect(try #require(try reader.batch()).text == "data") }
            #expect(!polls[9].isReadable(within: .milliseconds(100)))
            server.process.send(signal)
            for client in polls {
                let response = try client.response()
                #expect(
                    response.status == 204 && response.offset == tail && response.isUpToDate && !response.isClosed, "\(response.summary)")
                try client.expectEnd()
            }
            for reader in events {
                while let batch = try reader.batch() { #expect(batch.data == nil && !batch.control.streamClosed) }
                try reader.client.expectEnd()
            }
            var end: ChildProcess.End?
            let time = elapsed { end = server.process.wait() }
            #expect(end == .exit(0) && time < .seconds(3), "\(time): \(server.log)")
        }
    }

    @Test("An idle server ends within a second, also with idle connections")
    func idle() throws {
        let server = try ServerProcess(.serve)
        let stream = server.stream()
        try stream.create("x")
        let client = try server.connect()
        #expect(try stream.get(over: client).text == "x")
        let silent = try server.connect()
        var end: ChildProcess.End?
        let time = elapsed { end = server.process.stop(SIGTERM) }
        #expect(end == .exit(0) && time < .seconds(2), "\(time): \(server.log)")
        #expect(client.ends() && silent.ends())
    }

    @Test("New connections are refused while it drains, and requests in hand are finished")
    func draining() throws {
        let server = try ServerProcess(.serve, ["--drain-timeout", "20s"])
        let stream = server.stream()
        try stream.create()
        let client = try server.connect()
        let request = client.request("POST", stream.path, text, .letters(10_000))
        try client.send(Array(request.dropLast(5000)))
        // Behind this answer, the half request has been received as well.
        #expect(try stream.head().status == 200)
        server.process.send(SIGTERM)
        let isRefused = Deadline.poll { (try? server.connect().exchange("GET", stream.path)) == nil }
        #expect(isRefused && server.process.poll() == nil, "\(server.log)")
        try client.send(Array(request.suffix(5000)))
        let response = try client.response(to: "POST")
        #expect(response.status == 204, "\(response.summary)")
        #expect(server.process.wait() == .exit(0), "\(server.log)")
        let next = try server.successor()
        #expect(try stream.on(next).contents() == Payload.letters(10_000).bytes)
    }

    @Test("The drain time is the limit: requests that do not end are cut off")
    func drainTimeout() throws {
        let server = try ServerProcess(.serve, ["--drain-timeout", "300ms"])
        let stream = server.stream()
        try stream.create("x")
        let client = try server.connect()
        try client.send(Array(client.request("POST", stream.path, text, .letters(10_000)).dropLast(5000)))
        #expect(try stream.head().status == 200)
        var end: ChildProcess.End?
        let time = elapsed { end = server.process.stop(SIGTERM) }
        #expect(end == .exit(0) && time < .seconds(5), "\(time): \(server.log)")
        #expect(client.ends())
        #expect(try stream.on(server.successor()).get().text == "x")
    }

    @Test("finish and acknowledge what is in the journal's hands: what was answered is there, what is there was sent")
    func appendsInFlight() throws {
        var server = try ServerProcess(.serve)
        for round in 0..<3 {
            let path = "/v1/stream/flight-\(round)"
            #expect(try server.connect().exchange("PUT", path, text).status == 201)
            let client = try server.connect()
            for index in 0..<200 { try client.send("POST", path, text, "(\(index))") }
            #expect(try client.response().status == 204)
            server.process.send(SIGTERM)
            var acknowledged = 1
            while let response = try? client.response(to: "POST") {
                #expect(response.status == 204 || response.status == 503, "\(response.summary)")
                if response.status == 204 { acknowledged += 1 }
            }
            #expect(server.process.wait() == .exit(0), "\(server.log)")
            server = try server.successor()
            let found = try server.connect().exchange("GET", path).text
            let all = (0..<200).map { "(\($0))" }.joined()
            #expect(all.hasPrefix(found) && found.hasSuffix(")") && found.count >= (0..<acknowledged).map { "(\($0))" }.joined().count)
        }
    }

    @Test("A second signal while it drains does no harm")
    func twice() throws {
        let server = try ServerProcess(.serve)
        let stream = server.stream()
        try stream.create("x")
        server.process.send(SIGTERM)
        server.process.send(SIGTERM)
        server.process.send(SIGINT)
        let end = server.process.wait()
        #expect(end == .exit(0) || end == .signal(SIGINT) || end == .signal(SIGTERM) || end == .exit(130), "\(server.log)")
        #expect(try stream.on(server.successor()).get().text == "x")
    }
}
