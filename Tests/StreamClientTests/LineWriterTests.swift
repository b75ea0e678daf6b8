import Glibc
import Testing

@testable import StreamClient

@Suite struct LineWriterTests {
    /// A descriptor from which `input` can be read and then its end: a closed pipe, or a file if a pipe could not hold so much.
    static func source(_ input: [UInt8]) throws -> Int32 {
        if input.count <= 4096 {
            var ends: [Int32] = [0, 0]
            try #require(pipe(&ends) == 0)
            try #require(write(ends[1], input, input.count) == input.count)
            close(ends[1])
            return ends[0]
        }
        var name = Array("/tmp/line-writer-XXXXXX".utf8CString)
        let file = mkstemp(&name)
        try #require(file >= 0)
        unlink(name)
        try #require(write(file, input, input.count) == input.count)
        lseek(file, 0, SEEK_SET)
        return file
    }

    static func run(_ input: [UInt8], form: LineBatch.Form, closing: Bool, server: ScriptedServer) throws {
        let descriptor = try source(input)
        defer { close(descriptor) }
        let appender = StreamAppender(
            session: HTTPSession(time: VirtualTime().timekeeper), address: try StreamAddress(base: server.url, name: "s"),
            contentType: "x/y",
            policy: RetryPolicy(retryFor: ClientDuration(milliseconds: 0)))
        var writer = LineWriter(descriptor: descriptor, form: form, appender: appender)
        try writer.run(closing: closing)
    }

    @Test(arguments: [
        ("", false, [String]()), ("", true, [" close"]), ("a\nb\nc", false, ["a\nb\nc"]), ("a\nb\nc", true, ["a\nb\nc close"]),
        ("\n", true, ["\n close"]),
    ])
    func aShortPipeIsOneAppend(_ input: String, _ closing: Bool, _ expected: [String]) throws {
        let server = ScriptedServer { _ in .send(reply(200)) }
        try Self.run(Array(input.utf8), form: .bytes, closing: closing, server: server)
        #expect(server.received.map { $0.body + ($0.fields["stream-closed"] == "true" ? " close" : "") } == expected)
    }

    @Test func aLongInputIsManyAppendsAndTheLastOneCloses() throws {
        let server = ScriptedServer { _ in .send(reply(200)) }
        let input = (0..<100_000).map { "line \($0)\n" }.joined()
        try Self.run(Array(input.utf8), form: .bytes, closing: true, server: server)
        let received = server.received
        #expect(received.map(\.body).joined() == input)
        #expect(received.count >= 5 && received.count < 20)
        #expect(received.allSatisfy { $0.body.utf8.count <= LineBatch.limit && $0.body.hasSuffix("\n") })
        #expect(received.map { $0.fields["stream-closed"] }.firstIndex(of: "true") == received.count - 1)
        #expect(received.map { $0.fields["producer-seq"] } == received.indices.map { "\($0)" })
    }

    @Test func linesBeforeABadOneAreWrittenAndTheStreamStaysOpen() throws {
        let server = ScriptedServer { _ in .send(reply(200)) }
        #expect { try Self.run(Array("1\n{}\nx\n2\n".utf8), form: .json, closing: true, server: server) } throws: {
            ($0 as? ClientFailure)?.exitCode == 2
        }
        #expect(server.received.map(\.body) == ["[1,{}]"])
        #expect(server.received[0].fields["stream-closed"] == nil)
    }

    @Test func aClosedOutputIsTold() throws {
        Interruption.ignoreBrokenPipes()
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { close(ends[1]) }
        close(ends[0])
        #expect(throws: ClientFailure.outputClosed) { try StandardOutput(descriptor: ends[1]).write(line: "x") }
        #expect { try StandardOutput(descriptor: -1).write(line: "x") } throws: { ($0 as? ClientFailure)?.exitCode == 1 }
    }

    @Test func readAllReadsAllUpToItsLimit() throws {
        for (limit, isEnough) in [(5, true), (4, false)] {
            var ends: [Int32] = [0, 0]
            try #require(pipe(&ends) == 0)
            defer { close(ends[0]) }
            _ = write(ends[1], "hello", 5)
            close(ends[1])
            if isEnough {
                #expect(try readAll(ends[0], named: "pipe", limit: limit) == Array("hello".utf8))
            } else {
                #expect { try readAll(ends[0], named: "pipe", limit: limit) } throws: { ($0 as? ClientFailure)?.exitCode == 2 }
            }
        }
    }
}
