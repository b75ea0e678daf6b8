// Control routes: answered by the loop, by what an append would be told, at once and later (CONTROL.md 18.2).

import StreamHTTP
import SystemPackage
import Testing

@testable import Server
@testable import StreamActors
@testable import StreamStore

@Suite("Control routes")
struct ControlTests {
    private func ask(_ peer: Peer, _ path: String, method: String = "GET", fields: String = "") -> Answer? {
        peer.say("\(method) \(path) HTTP/1.1\r\nHost: a\r\n\(fields)\r\n")
        return peer.answers().first
    }

    @Test func healthAndReadiness() throws {
        let bench = try ServerBench()
        let peer = try bench.connect()
        for (path, body) in [("/healthz", #"{"status":"ok"}"#), ("/readyz", #"{"status":"ready"}"#)] {
            let answer = try #require(ask(peer, path))
            #expect(answer.status == 200 && answer.body == body + "\n")
            #expect(answer.fields["content-type"] == "application/json" && answer.fields["cache-control"] == "no-store")
        }
        // A body is read and dropped; the next request of the connection is answered.
        #expect(ask(peer, "/healthz", fields: "Content-Length: 5\r\n")?.status == nil)
        peer.say("hello")
        #expect(peer.answers().map(\.status) == [200])
        #expect(ask(peer, "/healthz", method: "POST")?.status == 405)
    }

    @Test func headHasNoBody() throws {
        let bench = try ServerBench()
        let peer = try bench.connect()
        peer.say("HEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(peer.text.hasPrefix("HTTP/1.1 200 ") && peer.text.contains("Content-Length: 19\r\n") && peer.text.hasSuffix("\r\n\r\n"))
    }

    /// Not ready is what would refuse an append: a disk that is full, a journal that has failed, a server that ends.
    @Test func notReady() throws {
        let disk = MemoryDisk()
        var sizes = Journal.Sizes()
        sizes.firstFile = 16 << 10
        sizes.smallestFile = 16 << 10
        sizes.urgentRoom = 512
        let bench = try ServerBench(store: { $0.journalSize = 32 << 10 }, sizes: sizes, disk: disk)
        try bench.create("s")
        let peer = try bench.connect()
        #expect(ask(peer, "/readyz")?.status == 200)
        disk.refusal = .noSpace
        var statuses: [Int] = []
        for _ in 0..<40 where statuses.last != 507 {
            let append = try bench.once("POST", "s", content: String(repeating: "x", count: 4_000))
            statuses.append(append.status)
        }
        #expect(statuses.last == 507)
        let full = try #require(ask(peer, "/readyz"))
        #expect(full.status == 503 && full.body.contains("\"code\":\"UNAVAILABLE\"") && full.body.contains("disk is full"))
        #expect(full.fields["retry-after"] != nil)
        #expect(ask(peer, "/healthz")?.status == 200)
    }

    @Test func drainingIsNotReady() throws {
        let bench = try ServerBench()
        let peer = try bench.connect()
        // A connection that has begun a request when the server begins to end.
        peer.say("GET /readyz HTTP/1.1\r\nHo")
        bench.core.drain()
        peer.say("st: a\r\n\r\n")
        let answer = try #require(peer.answers().first)
        #expect(answer.status == 503 && answer.body.contains("draining"))
    }

    /// An answer may come when it likes; one that nobody waits for any more is nobody's.
    @Test func answersThatComeLater() throws {
        let bench = try ServerBench()
        final class Held: @unchecked Sendable { var then: [@Sendable (ControlAnswer) -> Void] = [] }
        let held = Held()
        bench.core.control = { _, then in held.then.append(then) }
        let patient = try bench.connect()
        let hasty = try bench.connect()
        for peer in [patient, hasty] { peer.say("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") }
        #expect(held.then.count == 2 && patient.answers().isEmpty)
        // The next request waits in order.
        patient.say(Peer.head("GET", "none"))
        #expect(patient.answers().isEmpty)
        hasty.close()
        bench.settle()
        for then in held.then { then(.json("{}")) }
        bench.settle()
        #expect(patient.answers().map(\.status) == [200, 404])
        #expect(bench.core.connectionCount == 1 && bench.core.peers.held == 0)
    }
}
