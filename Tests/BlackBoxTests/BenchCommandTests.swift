// `bench` against the server: every workload, what it counts against what is in the streams; and against servers that do everything wrong.

import Glibc
import Synchronization
import Testing

@Suite(.onlyInClear("The command speaks HTTP/1.1 in clear")) struct BenchCommandTests {
    static let server = SuiteServer(.dev)

    private struct Outcome: CustomStringConvertible {
        let end: ChildProcess.End?
        let output: String
        let error: String
        var description: String { "\(String(describing: end)): \(output) \(error)" }

        /// The number behind the first member of this name, at any depth.
        func number(_ name: String) -> Double? {
            guard let range = output.firstRange(of: "\"\(name)\":") else { return nil }
            return Double(output[range.upperBound...].prefix { "-.0123456789".contains($0) })
        }

        func has(_ text: String) -> Bool { output.contains(text) }

        /// The path of one of its streams.
        func path(_ number: Int) throws -> String {
            let start = try #require(output.firstRange(of: "\"prefix\":\"")).upperBound
            return "/v1/stream/\(output[start...].prefix { $0 != "\"" })/\(number)"
        }
    }

    private func bench(_ arguments: [String], url: String? = nil) throws -> Outcome {
        let url = try url ?? "http://127.0.0.1:\(Self.server.get().port)/v1/stream"
        let result = try ChildProcess.run(
            ServerProcess.binary, ["bench"] + arguments + ["--url", url], within: .seconds(60))
        return Outcome(end: result.end, output: result.output, error: result.error)
    }

    /// A run of so many operations that has to be clean.
    private func measure(_ arguments: [String], operations: Int) throws -> Outcome {
        let outcome = try bench(arguments + ["--operations", "\(operations)", "--warm-up", "0s", "--json"])
        #expect(outcome.end == .exit(0) && outcome.error.isEmpty, "\(outcome)")
        #expect(outcome.has("\"clean\":true") && outcome.number("errors") == 0, "\(outcome)")
        #expect(outcome.number("acknowledged") == Double(operations) && outcome.number("operations") == Double(operations), "\(outcome)")
        return outcome
    }

    @Test(
        "append: what is counted is what is in the streams",
        arguments: [
            ["--connections", "8"], ["--connections", "3", "--streams", "5"], ["--connections", "7", "--streams", "3", "--producers"],
            ["--connections", "2", "--streams", "5", "--producers"], ["--rate", "2000", "--connections", "8", "--streams", "2"],
            ["--connections", "2", "--size", "300KiB"],
        ])
    func append(arguments: [String]) throws {
        let size = arguments.contains("300KiB") ? 300 << 10 : 100
        let count = size > 100 ? 20 : 500
        let streams = arguments.firstIndex(of: "--streams").flatMap { Int(arguments[$0 + 1]) } ?? 1
        let outcome = try measure(["append", "--keep"] + arguments, operations: count)
        var total = 0
        for number in 0..<streams {
            let stream = TestStream(try Self.server.get(), path: try outcome.path(number))
            let length = try #require(Int(stream.tail().suffix(16)))
            #expect(length > 0 || streams > 3, "every stream is written to")
            total += length
            #expect(try stream.delete().status == 204)
        }
        #expect(total == count * size)
    }

    @Test("append --batch: as many messages as appends × batch, of the right size")
    func batch() throws {
        let outcome = try measure(
            ["append", "--keep", "--json-messages", "--batch", "7", "--size", "120", "--connections", "4"], operations: 50)
        let stream = TestStream(try Self.server.get(), path: try outcome.path(0)).of("application/json")
        let messages = try stream.messages()
        #expect(messages.count { $0 == "{" } == 50 * 7 * 2 && messages.utf8.count == 50 * 7 * 121 + 1)
    }

    @Test("the streams are gone at the end, unless --keep says otherwise")
    func removal() throws {
        let outcome = try measure(["append", "--streams", "3", "--connections", "2"], operations: 10)
        for number in 0..<3 { #expect(try TestStream(Self.server.get(), path: outcome.path(number)).head().status == 404) }
    }

    @Test(
        "the other workloads without readers",
        arguments: [
            ["create"], ["create", "--size", "10", "--json-messages"], ["read"], ["read", "--json-messages", "--streams", "3"],
            ["catch-up", "--size", "3000000", "--connections", "3"],
            ["catch-up", "--json-messages", "--size", "2MiB", "--connections", "2"],
            ["mixed", "--connections", "8", "--streams", "2"], ["mixed", "--json-messages"],
        ])
    func others(arguments: [String]) throws {
        let outcome = try measure(arguments, operations: arguments[0] == "catch-up" ? 6 : 300)
        #expect(try #require(outcome.number("p50")) > 0, "\(outcome)")
        if arguments == ["read"] { #expect(outcome.number("bytes") == 307_200) }
        if arguments.contains("3000000") { #expect(outcome.number("bytes") == 18_000_000) }
    }

    @Test(
        "every append reaches every reader",
        arguments: [
            (["sse"], 1), (["long-poll"], 1), (["sse", "--readers", "6", "--streams", "2", "--rate", "500"], 3),
            (["long-poll", "--readers", "6", "--streams", "2", "--rate", "200", "--size", "1000"], 3),
            (["fan-out", "--readers", "20", "--pause", "1ms"], 20),
            (["fan-out", "--readers", "20", "--live", "long-poll", "--pause", "10ms", "--producers"], 20),
        ])
    func live(arguments: [String], readers: Int) throws {
        let count = arguments[0] == "fan-out" ? 5 : 60
        let outcome = try measure(arguments, operations: count)
        #expect(outcome.number("receipts") == Double(count * readers), "\(outcome)")
        #expect(outcome.number("reconnects") == 0, "\(outcome)")
    }

    @Test("event streams that the server ends are taken up again where they ended")
    func resumption() throws {
        let server = try ServerProcess(.dev, ["--sse-interval", "50ms"])
        let outcome = try bench(
            ["sse", "--rate", "200", "--operations", "100", "--warm-up", "0s", "--json"], url: "http://127.0.0.1:\(server.port)/v1/stream")
        #expect(outcome.end == .exit(0) && outcome.number("receipts") == 100, "\(outcome)")
        #expect(try #require(outcome.number("reconnects")) > 0, "\(outcome)")
    }

    @Test("the open loop takes as long as its rate says, and several runs have a median")
    func openLoop() throws {
        let outcome = try bench(
            ["append", "--rate", "200", "--duration", "250ms", "--warm-up", "0s", "--repeat", "3", "--json", "--connections", "2"])
        #expect(outcome.end == .exit(0) && outcome.number("acknowledged") == 150, "\(outcome)")
        // 50 operations at 200 a second: the last one is due after 245 ms.
        #expect(try #require(outcome.number("seconds")) >= 0.245)
        #expect(outcome.has("\"rate\":{\"median\":"))
    }

    @Test("--server-pid: processor time, memory and descriptors of the server")
    func serverProcess() throws {
        let pid = try Self.server.get().process.pid
        let outcome = try measure(["append", "--server-pid", "\(pid)"], operations: 2000)
        #expect(try #require(outcome.number("resident")) > 1_048_576 && #require(outcome.number("descriptors")) > 60, "\(outcome)")
        #expect(try #require(outcome.number("cpuPerOperation")) > 0, "\(outcome)")
    }

    @Test("a table for people")
    func table() throws {
        let outcome = try bench(["append", "--operations", "100", "--warm-up", "0s", "--repeat", "3"])
        #expect(outcome.end == .exit(0) && outcome.error.isEmpty, "\(outcome)")
        for word in ["ops/s", "p99.9", "errors", "median", "min", "max"] { #expect(outcome.has(word), "\(outcome)") }
    }

    @Test(
        "usage: exit 2, and what is wrong",
        arguments: [
            (["nothing"], "nothing"), (["append", "--batch", "2"], "--json-messages"), (["sse", "--connections", "2"], "--connections"),
            (["append", "--size", "1Q"], "1Q"), (["append", "--server-pid", "2147483647"], "2147483647"),
            (["append", "--connections", "900000"], "open files"), (["append", "--rate", "-1"], "--rate"),
        ])
    func usage(arguments: [String], word: String) throws {
        let outcome = try bench(arguments)
        #expect(outcome.end == .exit(2) && outcome.error.contains(word) && outcome.output.isEmpty, "\(outcome)")
    }

    @Test("https, and addresses that are none: exit 2", arguments: ["https://localhost/v1/stream", "localhost:4437", "http://:1/"])
    func address(url: String) throws {
        let outcome = try bench(["append"], url: url)
        #expect(outcome.end == .exit(2) && outcome.error.contains("http://"), "\(outcome)")
    }

    @Test("nobody listens: exit 4")
    func unreachable() throws {
        let server = try ServerProcess()
        #expect(server.process.stop(SIGTERM) == .exit(0))
        let outcome = try bench(["append"], url: "http://127.0.0.1:\(server.port)/v1/stream")
        #expect(outcome.end == .exit(4) && outcome.error.contains("refused") && outcome.output.isEmpty, "\(outcome)")
    }

    // MARK: Servers that do it wrong

    /// A GET of whatever the server answers with, ten times.
    private func get(_ peer: AnsweringPeer, _ more: String...) throws -> Outcome {
        try bench(
            ["get", "--connections", "1", "--operations", "10", "--warm-up", "0s", "--json"] + more, url: "http://127.0.0.1:\(peer.port)/x")
    }

    @Test(
        "errors are counted by kind, and the exit status says that there were some",
        arguments: [
            ("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nno\n", false, "status 500"),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", true, "status 404"),
            ("", true, "closed"), ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", true, "closed"),
            ("HTTP/1.1 200 OK\r\nContent-Le", true, "closed"),
            ("no HTTP at all\r\n\r\n", false, "malformed"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", false, "malformed"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nlong", false, "malformed"),
        ])
    func errors(answer: String, closes: Bool, kind: String) throws {
        let peer = try AnsweringPeer(answer, closes: closes)
        let outcome = try get(peer)
        #expect(outcome.end == .exit(1) && outcome.error.contains("not clean"), "\(outcome)")
        #expect(outcome.has("\"clean\":false") && outcome.has("\"errorKinds\":{\"\(kind)\":"), "\(outcome)")
        // Whatever is behind a complete answer is a fault of its own; the answer itself was right.
        if answer.hasSuffix("long") { return }
        #expect(outcome.number("operations") == 0 && outcome.number("errors") == 10 && outcome.number(kind) == 10, "\(outcome)")
        #expect(peer.requests == 10)
    }

    @Test("no answer at all")
    func silence() throws {
        let outcome = try get(try AnsweringPeer("", closes: false), "--timeout", "50ms", "--operations", "1")
        #expect(outcome.end == .exit(1) && outcome.number("timeout") == 1, "\(outcome)")
    }

    @Test(
        "answers that end with their connection, and chunked ones, are right",
        arguments: [
            ("HTTP/1.1 200 OK\r\n\r\nhello", true), ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true), ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", false),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
        ])
    func right(answer: String, closes: Bool) throws {
        let outcome = try get(try AnsweringPeer(answer, closes: closes))
        #expect(outcome.end == .exit(0) && outcome.number("operations") == 10 && outcome.number("bytes") == 50, "\(outcome)")
    }

    @Test("a server that refuses to create the streams: exit 1, and why; nothing is measured")
    func refusal() throws {
        let peer = try AnsweringPeer("HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 0\r\n\r\n", closes: false)
        let outcome = try bench(["append", "--connections", "2"], url: "http://127.0.0.1:\(peer.port)/v1/stream")
        #expect(
            outcome.end == .exit(1) && outcome.error.contains("creating the streams: status 507") && outcome.output.isEmpty, "\(outcome)")
    }
}

/// Answers every request with the same bytes.
private final class AnsweringPeer: Sendable {
    let port: UInt16
    private let work: Work

    var requests: Int { work.requests.load(ordering: .acquiring) }

    /// - Parameter closes: after each answer.
    init(_ answer: String, closes: Bool) throws {
        let socket = try #require(ListeningSocket(family: AF_INET))
        port = socket.port
        work = Work(listener: dup(socket.descriptor), answer: Array(answer.utf8), closes: closes)
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<Work>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(work).toOpaque())
        pthread_detach(thread)
    }

    deinit { work.isOver.store(true, ordering: .releasing) }

    /// What the thread does until it is told that it is over.
    private final class Work: Sendable {
        let requests = Atomic<Int>(0)
        let isOver = Atomic<Bool>(false)
        let listener: Int32
        let answer: [UInt8]
        let closes: Bool

        init(listener: Int32, answer: [UInt8], closes: Bool) {
            (self.listener, self.answer, self.closes) = (listener, answer, closes)
        }

        func run() {
            var sockets = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
            var block = [UInt8](repeating: 0, count: 65536)
            while !isOver.load(ordering: .acquiring) {
                guard poll(&sockets, UInt(sockets.count), 20) > 0 else { continue }
                for index in sockets.indices.reversed() where sockets[index].revents != 0 {
                    if index == 0 {
                        sockets.append(pollfd(fd: accept(listener, nil, nil), events: Int16(POLLIN), revents: 0))
                        continue
                    }
                    // A request of these tests comes in one piece.
                    var isEnd = recv(sockets[index].fd, &block, block.count, 0) <= 0
                    if !isEnd {
                        requests.add(1, ordering: .acquiringAndReleasing)
                        isEnd = send(sockets[index].fd, answer, answer.count, Int32(MSG_NOSIGNAL)) < 0 || closes
                    }
                    if isEnd { close(sockets.remove(at: index).fd) }
                }
            }
            for socket in sockets { close(socket.fd) }
        }
    }
}
