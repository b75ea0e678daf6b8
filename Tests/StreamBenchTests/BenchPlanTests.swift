import Testing

@testable import StreamBench

@Suite("Options of bench")
struct BenchPlanTests {
    @Test(
        "addresses",
        arguments: [
            ("http://localhost:4437/v1/stream", "localhost", 4437, "/v1/stream"), ("http://h/", "h", 80, ""), ("HTTP://h", "h", 80, ""),
            ("http://[::1]:8080/a/", "::1", 8080, "/a"), ("http://[::1]/a", "::1", 80, "/a"),
            ("http://127.0.0.1:1/x?y=z", "127.0.0.1", 1, "/x?y=z"),
        ])
    func addresses(url: String, host: String, port: Int, path: String) throws {
        let target = try BenchTarget(url: url)
        #expect(target.host == host && Int(target.port) == port && target.path == path)
    }

    @Test(
        "addresses that are refused",
        arguments: [
            "https://h/", "ftp://h/", "h:80", "http://", "http://:80/", "http://h:0/", "http://h:70000/", "http://a@h/", "http://h/ü",
            "http://h/#f", "http://h?x",
        ])
    func refusedAddresses(url: String) {
        #expect(throws: BenchFailure.self) { try BenchTarget(url: url) }
    }

    private func plan(_ workload: BenchPlan.Workload, _ change: (inout BenchPlan) -> Void) throws -> BenchPlan {
        var plan = BenchPlan(workload: workload, target: try BenchTarget(url: "http://h/"))
        change(&plan)
        return plan
    }

    @Test("without options every workload is possible", arguments: BenchPlan.Workload.allCases)
    func defaults(workload: BenchPlan.Workload) throws {
        #expect(try plan(workload) { _ in }.problem == nil)
    }

    @Test("the first problem names the option")
    func problems() throws {
        func problem(_ workload: BenchPlan.Workload, _ change: (inout BenchPlan) -> Void) throws -> String {
            try #require(try plan(workload, change).problem)
        }
        #expect(try problem(.append) { $0.streams = 0 }.contains("--streams"))
        #expect(try problem(.append) { $0.batch = 2 }.contains("--json-messages"))
        #expect(try problem(.read) { ($0.batch, $0.jsonMessages) = (2, true) }.contains("--batch"))
        #expect(try problem(.append) { $0.readers = 2 }.contains("--readers"))
        #expect(try problem(.append) { $0.rate = 0 }.contains("--rate"))
        #expect(try problem(.append) { $0.rate = .nan }.contains("--rate"))
        #expect(try problem(.append) { $0.duration = 0 }.contains("--duration"))
        #expect(try problem(.append) { ($0.jsonMessages, $0.size) = (true, 1) }.contains("--size"))
        #expect(try problem(.create) { ($0.jsonMessages, $0.size) = (true, 1) }.contains("--size"))
        #expect(try problem(.sse) { $0.connections = 5 }.contains("--connections"))
        #expect(try problem(.sse) { ($0.streams, $0.readers) = (5, 4) }.contains("--readers"))
        #expect(try problem(.sse) { $0.jsonMessages = true }.contains("--json-messages"))
        #expect(try problem(.fanOut) { $0.rate = 5 }.contains("--pause"))
        #expect(try problem(.fanOut) { $0.streams = 2 }.contains("one stream"))
        #expect(try problem(.read) { $0.producers = true }.contains("--producers"))
        #expect(try problem(.get) { $0.size = 5 }.contains("--size"))
    }

    @Test("messages have the size that was asked for, JSON is JSON")
    func messages() {
        for size in [1, 2, 3, 50, 99, 100, 101, 102, 103, 104, 105, 110, 200, 1000] {
            #expect(BenchMessage.text(size).count == size)
            guard size >= 2 else { continue }
            let message = BenchMessage.json(size)
            #expect(message.count == size, "\(size)")
            #expect(message.first == message.last || message.first == UInt8(ascii: "{") && message.last == UInt8(ascii: "}"))
            let batch = BenchMessage.content(size: size, batch: 3, isJSON: true)
            #expect(batch == Array("[".utf8) + message + Array(",".utf8) + message + Array(",".utf8) + message + Array("]".utf8))
        }
    }
}
