// PROTOCOL.md section 6. HEAD does not renew a TTL, so it serves to watch a stream from outside.

import Glibc
import Testing

@Suite struct LifetimeTests {
    static let server = SuiteServer(.dev, "--long-poll-timeout", "60s", "--sse-interval", "600s")

    private let text = ["Content-Type: text/plain"]

    /// Watches until the stream is gone. - Returns: how long that took.
    private func timeUntilGone(_ stream: TestStream, within time: Duration) throws -> Duration {
        let client = try stream.server.connect()
        let start = ContinuousClock.now
        let isGone = try Deadline.poll(within: time, every: .milliseconds(20)) { try stream.request("HEAD", over: client).status == 404 }
        #expect(isGone)
        return start.duration(to: .now)
    }

    /// Does something again and again for a while; it must always succeed, and in the end the stream must be there.
    private func keepsAlive(_ stream: TestStream, for time: Duration, _ work: () throws -> Int) throws {
        let deadline = Deadline(in: time)
        while !deadline.hasPassed {
            let status = try work()
            #expect(status / 100 == 2)
            usleep(100_000)
        }
        #expect(try stream.head().status == 200)
    }

    /// A time from now, in RFC 3339 to the second.
    private func expiry(in seconds: Int) -> String {
        var time = Glibc.time(nil) + seconds
        var parts = tm()
        gmtime_r(&time, &parts)
        var buffer = [CChar](repeating: 0, count: 32)
        let count = strftime(&buffer, buffer.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    @Test("Stream-TTL: expired when nothing has renewed it; HEAD does not renew it")
    func expires() throws {
        let stream = try Self.server.stream()
        try stream.create("x", ["Stream-TTL: 1"])
        let time = try timeUntilGone(stream, within: .seconds(5))
        #expect(time > .milliseconds(800) && time < .milliseconds(3500), "\(time)")
    }

    @Test("Stream-TTL: a catch-up read renews it, also one at the tail")
    func readsRenew() throws {
        let stream = try Self.server.stream()
        try stream.create("x", ["Stream-TTL: 1"])
        try keepsAlive(stream, for: .milliseconds(2500)) { try stream.get("offset=now").status }
        #expect(try timeUntilGone(stream, within: .seconds(5)) < .milliseconds(3500))
    }

    @Test("Stream-TTL: an append renews it")
    func appendsRenew() throws {
        let stream = try Self.server.stream()
        try stream.create("x", ["Stream-TTL: 1"])
        try keepsAlive(stream, for: .milliseconds(2500)) { try stream.post(text, "x").status }
        #expect(try timeUntilGone(stream, within: .seconds(5)) < .milliseconds(3500))
    }

    @Test("A read that is answered 304 is a read")
    func unchangedRenews() throws {
        let stream = try Self.server.stream()
        try stream.create("x", ["Stream-TTL: 1"])
        let tag = try #require(try stream.get()["ETag"])
        try keepsAlive(stream, for: .milliseconds(2500)) {
            let status = try stream.get("", ["If-None-Match: \(tag)"]).status
            return status == 304 ? 200 : status
        }
    }

    @Test("A waiting live reader keeps the stream alive", arguments: ["sse", "long-poll"])
    func waitingReader(live: String) throws {
        let stream = try Self.server.stream()
        let tail = try stream.create("x", ["Stream-TTL: 1"])
        func wait() throws {
            let client = try stream.server.connect()
            try client.send("GET", "\(stream.path)?offset=\(tail)&live=\(live)")
            // The head of the event stream is read below as its first bytes.
            try keepsAlive(stream, for: .milliseconds(2500)) { try stream.head().status }
            try stream.append("y")
            #expect(client.isReadable(within: .seconds(5)))
        }
        try wait()
        // With the reader gone, the window runs out.
        #expect(try timeUntilGone(stream, within: .seconds(6)) < .seconds(5))
    }

    @Test("Stream-Expires-At is fixed: neither reads nor appends nor readers that wait move it")
    func fixedExpiry() throws {
        let stream = try Self.server.stream()
        try stream.create("x", ["Stream-Expires-At: \(expiry(in: 2))"])
        let reader = try stream.follow()
        _ = try reader.batch()
        let client = try stream.server.connect()
        let start = ContinuousClock.now
        let isGone = try Deadline.poll(within: .seconds(6), every: .milliseconds(50)) {
            let read = try stream.get("offset=now", over: client).status
            let append = try stream.post(text, "y", over: client).status
            return read == 404 && append == 404
        }
        #expect(isGone)
        let time = start.duration(to: .now)
        #expect(time > .milliseconds(700) && time < .seconds(4), "\(time)")
    }

    @Test("Expired = as if deleted: 404 for everything, and the name can be created anew")
    func expiredIsDeleted() throws {
        let stream = try Self.server.stream()
        try stream.create("old", ["Stream-TTL: 1", "Stream-Closed: true"])
        _ = try timeUntilGone(stream, within: .seconds(5))
        #expect(try stream.get().status == 404 && stream.head().status == 404 && stream.delete().status == 404)
        #expect(try stream.post(text, "x").status == 404)
        #expect(try stream.longPoll(from: Offset.start).response().status == 404)
        let json = stream.of("application/json")
        #expect(try json.create("[1]") > Offset.start)
        #expect(try json.get().text.filter { !$0.isWhitespace } == "[1]" && json.head()["Stream-TTL"] == nil)
    }

    @Test("Expiry at access time: a PUT is such an access")
    func expiredAtPut() throws {
        let stream = try Self.server.stream()
        try stream.create("old", ["Stream-TTL: 1"])
        // The same configuration answers 200 while the stream lives, and nobody else asks.
        usleep(2_200_000)
        let response = try stream.put(text + ["Stream-TTL: 1"], "new")
        #expect(response.status == 201, "\(response.summary)")
        #expect(try stream.get().text == "new")
    }

    @Test("DELETE: 204; then 404")
    func delete() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let response = try stream.delete()
        #expect(response.status == 204 && response.body.isEmpty)
        for method in ["DELETE", "GET", "HEAD"] { #expect(try stream.request(method).status == 404) }
        #expect(try stream.post(text, "x").status == 404)
        #expect(try stream.post(["Stream-Closed: true"]).status == 404)
        #expect(try stream.get("offset=now").status == 404)
        #expect(try stream.get("offset=-1&live=sse").status == 404)
        #expect(try stream.get("offset=-1&live=long-poll").status == 404)
        #expect(try stream.get("", ["If-None-Match: *"]).status == 404)
    }

    @Test("The name can be created anew and shares nothing with the old stream (offsets start over, ETags differ)")
    func recreated() throws {
        let stream = try Self.server.stream()
        let producer = TestStream.producer("p", 4, 0)
        try stream.create("same")
        #expect(try stream.post(text + producer, "x").status == 200)
        try stream.append("y", ["Stream-Seq: z"])
        let old = try stream.get("offset=\(Offset.start)")
        try stream.close()
        #expect(try stream.delete().status == 204)

        #expect(try stream.create("same") == Offset.at(4))
        #expect(try stream.get().text == "same")
        // No producer state, no Stream-Seq, not closed.
        #expect(try stream.post(text + TestStream.producer("p", 0, 1), "no").status == 409)
        #expect(try stream.post(text + TestStream.producer("p", 0, 0), "x").status == 200)
        try stream.append("y", ["Stream-Seq: a"])
        let new = try stream.get("offset=\(Offset.start)")
        #expect(new.body == old.body && new.offset == old.offset && new["ETag"] != old["ETag"])
        #expect(try stream.get("offset=\(Offset.start)", ["If-None-Match: \(old["ETag"] ?? "")"]).status == 200)
        #expect(try !stream.head().isClosed)
        #expect(try stream.delete().status == 204)
        let other = stream.of("application/json")
        #expect(try other.create() == Offset.start)
        #expect(try other.get().text == "[]")
    }

    @Test("Create and delete in turn, many times")
    func turns() throws {
        let stream = try Self.server.stream()
        let client = try stream.server.connect()
        var tags: Set<String> = []
        for round in 0..<100 {
            #expect(try stream.request("PUT", "", text, "r", over: client).status == 201)
            let response = try stream.get(over: client)
            #expect(response.text == "r" && tags.insert(response["ETag"] ?? "").inserted, "round \(round)")
            #expect(try stream.request("DELETE", over: client).status == 204)
        }
    }
}
