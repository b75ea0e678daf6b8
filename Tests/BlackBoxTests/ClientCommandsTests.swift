// The client commands of the executable against the server: what they print, what they store, how they exit.
// 0 done; 1 the server refused; 2 usage or unusable input; 3 no such stream; 4 the server could not be reached.

import Glibc
import Testing

@Suite(.onlyInClear("The commands have a client of their own")) struct ClientCommandsTests {
    static let server = SuiteServer(.dev, "--long-poll-timeout", "60s")

    /// Runs a client command with `STREAM_URL` set.
    private func run(_ arguments: String..., input: Payload = .none) throws -> (end: ChildProcess.End?, output: String, error: String) {
        try ChildProcess.run(ServerProcess.binary, arguments, environment: environment(), input: input)
    }

    private func environment() throws -> [String: String] { ["STREAM_URL": "http://127.0.0.1:\(try Self.server.get().port)/v1/stream"] }

    /// A name that no other test has, and the stream of this name.
    private func stream(_ type: String = "application/octet-stream") throws -> (name: String, stream: TestStream) {
        let stream = try Self.server.stream(type)
        return (String(stream.path.dropFirst("/v1/stream/".count)), stream)
    }

    @Test("create prints the URL; again is no failure; with another configuration it is")
    func create() throws {
        let (name, stream) = try stream()
        let first = try run("create", name, "--content-type", "text/plain", "--ttl", "2h", "--data", "first")
        #expect(first.end == .exit(0) && first.output == "http://127.0.0.1:\(stream.server.port)\(stream.path)\n", "\(first)")
        let head = try stream.head()
        #expect(head["Content-Type"] == "text/plain" && head["Stream-TTL"] == "7200" && head.offset == Offset.at(5))
        let again = try run("create", name, "--content-type", "text/plain", "--ttl", "2h", "--data", "first")
        #expect(again.end == .exit(0) && again.output == first.output, "\(again)")
        #expect(try stream.get().text == "first")
        let other = try run("create", name, "--json")
        #expect(other.end == .exit(1) && other.error.contains("409") && other.output.isEmpty, "\(other)")
    }

    @Test("create --closed, --expires-at, --data-file -")
    func createOptions() throws {
        let (name, stream) = try stream()
        let result = try run("create", name, "--closed", "--expires-at", "2099-01-01T00:00:00Z", "--data-file", "-", input: "all of it\n")
        #expect(result.end == .exit(0), "\(result)")
        let head = try stream.head()
        #expect(head.isClosed && head["Stream-Expires-At"] == "2099-01-01T00:00:00Z")
        #expect(try stream.get().text == "all of it\n")
    }

    /// What a client sends as `Authorization`, seen by a peer that answers nothing else than 404.
    private func authorization(_ arguments: [String], environment: [String: String]) throws -> (field: String?, error: String) {
        let socket = try #require(ListeningSocket(family: AF_INET))
        let folder = try Folder.make()
        let child = try ChildProcess(
            ServerProcess.binary, ["head", "a", "--url", "http://127.0.0.1:\(socket.port)/v1/stream"] + arguments, environment: environment,
            folder: folder)
        var entry = pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0)
        guard Deadline.poll(until: { poll(&entry, 1, 5) == 1 || child.poll() != nil }), entry.revents != 0 else {
            return (nil, child.standardError)
        }
        let peer = accept(socket.descriptor, nil, nil)
        defer { close(peer) }
        var text = ""
        var block = [UInt8](repeating: 0, count: 4096)
        while !text.contains("\r\n\r\n") {
            let count = recv(peer, &block, block.count, 0)
            try #require(count > 0)
            text += String(decoding: block[..<count], as: UTF8.self)
        }
        let answer = Array("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".utf8)
        #expect(send(peer, answer, answer.count, Int32(MSG_NOSIGNAL)) == answer.count)
        #expect(child.wait() == .exit(3))
        let field = text.split(separator: "\r\n").first { $0.lowercased().hasPrefix("authorization:") }
        return (field.map { String($0.dropFirst("authorization:".count).trimmed) }, child.standardError)
    }

    @Test("Secrets come from a file, a variable or a credential of systemd, in this order")
    func secrets() throws {
        let folder = try Folder.make()
        try Folder.write("from-file\n", to: folder + "/file")
        try Folder.write("from-credential\n", to: folder + "/stream-auth")
        let all = ["STREAM_AUTH": "from-variable", "CREDENTIALS_DIRECTORY": folder]
        #expect(try authorization(["--auth-file", folder + "/file"], environment: all).field == "Bearer from-file")
        #expect(try authorization([], environment: all).field == "Bearer from-variable")
        #expect(try authorization([], environment: ["CREDENTIALS_DIRECTORY": folder]).field == "Bearer from-credential")
        #expect(try authorization([], environment: ["CREDENTIALS_DIRECTORY": "/nonexistent"]).field == nil)
        chmod(folder + "/file", 0o644)
        let refused = try authorization(["--auth-file", folder + "/file"], environment: all)
        #expect(refused.field == nil && refused.error.contains("chmod o-rwx") && !refused.error.contains("from-file"), "\(refused)")
    }

    @Test("write: arguments are one append without a newline")
    func writeArguments() throws {
        let (name, stream) = try stream("text/plain")
        try stream.create()
        let result = try run("write", name, "two", "words")
        #expect(result.end == .exit(0) && result.output.isEmpty, "\(result)")
        #expect(try stream.get().text == "two words")
    }

    @Test("write: standard input by lines, each stored once, in order")
    func writeLines() throws {
        let (name, stream) = try stream("text/plain")
        try stream.create()
        let lines = (0..<3000).map { "line \($0)\n" }.joined()
        let result = try run("write", name, input: Payload(lines.utf8))
        #expect(result.end == .exit(0), "\(result.error)")
        #expect(try String(decoding: stream.contents(), as: UTF8.self) == lines)
    }

    @Test("write --raw: standard input as it is, binary included")
    func writeRaw() throws {
        let (name, stream) = try stream()
        try stream.create()
        let body = Payload.pattern(300_000)
        let result = try run("write", name, "--raw", input: body)
        #expect(result.end == .exit(0), "\(result.error)")
        #expect(try stream.contents() == body.bytes)
    }

    @Test("write to a JSON stream: each argument, or each line, is one message; an array is one message too")
    func writeJSON() throws {
        let (name, stream) = try stream("application/json")
        try stream.create()
        #expect(try run("write", name, "{\"a\":1}", "[2,3]").end == .exit(0))
        #expect(try run("write", name, input: "4\n\"five\"\n[6]\n").end == .exit(0))
        #expect(try stream.get().text.filter { !$0.isWhitespace } == "[{\"a\":1},[2,3],4,\"five\",[6]]")
        let bad = try run("write", name, "{oops")
        #expect(bad.end == .exit(2) || bad.end == .exit(1), "\(bad)")
        #expect(!bad.error.isEmpty)
    }

    @Test("write --create --close creates, appends and closes")
    func writeCreateClose() throws {
        let (name, stream) = try stream()
        let result = try run("write", name, "--create", "--content-type", "text/plain", "--close", "the end")
        #expect(result.end == .exit(0), "\(result)")
        let read = try stream.get()
        #expect(read.text == "the end" && read.isClosed)
        let more = try run("write", name, "more")
        #expect(more.end == .exit(1) && more.error.contains("409"), "\(more)")
    }

    @Test("write --seq is compared by the server")
    func writeSequence() throws {
        let (name, stream) = try stream("text/plain")
        try stream.create()
        #expect(try run("write", name, "--seq", "b", "x").end == .exit(0))
        #expect(try run("write", name, "--seq", "a", "y").end == .exit(1))
        #expect(try stream.get().text == "x")
    }

    @Test("read --no-follow prints what is there, byte for byte, from any offset")
    func read() throws {
        let (name, stream) = try stream("text/plain")
        try stream.create("first\n")
        let middle = try stream.tail()
        try stream.append("second")
        for sse in [[], ["--sse"]] {
            var result = try ChildProcess.run(ServerProcess.binary, ["read", name, "--no-follow"] + sse, environment: environment())
            #expect(result.end == .exit(0) && result.output == "first\nsecond", "\(result)")
            result = try ChildProcess.run(
                ServerProcess.binary, ["read", name, "--no-follow", "--offset", middle] + sse, environment: environment())
            #expect(result.end == .exit(0) && result.output == "second", "\(result)")
        }
        let now = try run("read", name, "--no-follow", "--offset", "now")
        #expect(now.end == .exit(0) && now.output.isEmpty, "\(now)")
    }

    @Test("read of a JSON stream: one message per line")
    func readJSON() throws {
        let (name, stream) = try stream("application/json")
        try stream.create("[1,{\"a\":[2, 3]},\"x\"]")
        let result = try run("read", name, "--no-follow")
        let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false).map { $0.filter { $0 != " " } }
        #expect(result.end == .exit(0) && lines == ["1", "{\"a\":[2,3]}", "\"x\"", ""], "\(result)")
    }

    @Test("read follows until the stream is closed", arguments: [false, true])
    func follow(sse: Bool) throws {
        let (name, stream) = try stream("text/plain")
        try stream.create("a")
        let folder = try Folder.make()
        let child = try ChildProcess(
            ServerProcess.binary, ["read", name] + (sse ? ["--sse"] : []), environment: environment(), folder: folder)
        for (index, word) in ["b", "c", "d"].enumerated() {
            // Each is printed before the next is sent: it follows, it does not collect.
            #expect(
                Deadline.poll { child.standardOutput == String("abc".prefix(index + 1)) }, "\(child.standardOutput) \(child.standardError)")
            try stream.append(Payload(word.utf8))
        }
        #expect(Deadline.poll { child.standardOutput == "abcd" } && child.poll() == nil, "\(child.standardError)")
        #expect(try stream.post(["Content-Type: text/plain", "Stream-Closed: true"], "e").status == 204)
        #expect(child.wait() == .exit(0), "\(child.standardError)")
        #expect(child.standardOutput == "abcde")
    }

    @Test("read ends with 130 on Ctrl-C")
    func interrupted() throws {
        let (name, stream) = try stream("text/plain")
        try stream.create("a")
        let folder = try Folder.make()
        let child = try ChildProcess(ServerProcess.binary, ["read", name], environment: environment(), folder: folder)
        #expect(Deadline.poll { child.standardOutput == "a" }, "\(child.standardError)")
        let end = child.stop(SIGINT)
        #expect(end == .exit(130) || end == .signal(SIGINT), "\(String(describing: end)): \(child.standardError)")
    }

    @Test("head prints what a stream is")
    func head() throws {
        let (name, stream) = try stream("text/plain")
        try stream.create("abc", ["Stream-TTL: 60", "Stream-Closed: true"])
        let lines = try run("head", name)
        #expect(lines.end == .exit(0), "\(lines)")
        for part in ["text/plain", Offset.at(3), "true", "60"] { #expect(lines.output.contains(part), "\(lines.output)") }
        let json = try run("head", name, "--json")
        #expect(json.end == .exit(0) && json.output.hasPrefix("{") && json.output.contains("\"offset\":\"\(Offset.at(3))\""), "\(json)")
    }

    @Test("close and delete")
    func closeAndDelete() throws {
        let (name, stream) = try stream("text/plain")
        try stream.create("abc")
        for _ in 0...1 { #expect(try run("close", name).end == .exit(0)) }
        #expect(try stream.head().isClosed)
        #expect(try run("delete", name).end == .exit(0))
        #expect(try stream.head().status == 404)
        #expect(try run("delete", name).end == .exit(3))
    }

    @Test("fork prints the URL; again is no failure; --offset and --sub-offset say where; type and expiry are the source's")
    func fork() throws {
        let (source, original) = try stream("text/plain")
        try original.create("abcdef", ["Stream-TTL: 3600"])
        let (name, fork) = try stream("text/plain")
        let first = try run("fork", source, name)
        #expect(first.end == .exit(0) && first.output == "http://127.0.0.1:\(fork.server.port)\(fork.path)\n", "\(first)")
        let head = try fork.head()
        #expect(head["Content-Type"] == "text/plain" && head["Stream-TTL"] == "3600" && head.offset == Offset.at(6))
        let again = try run("fork", source, name)
        #expect(again.end == .exit(0) && again.output == first.output && !again.error.isEmpty, "\(again)")
        let other = try run("fork", source, name, "--offset", Offset.at(2))
        #expect(other.end == .exit(1) && other.error.contains("409") && other.output.isEmpty, "\(other)")
        let (second, short) = try stream("text/plain")
        let url = "http://127.0.0.1:\(fork.server.port)/v1/stream/"
        #expect(
            try run("fork", url + source, url + second, "--offset", Offset.at(2), "--sub-offset", "1", "--ttl", "2h").end == .exit(0))
        #expect(try short.get().text == "abc" && short.head()["Stream-TTL"] == "7200")
        let (third, fixed) = try stream("text/plain")
        #expect(try run("fork", source, third, "--expires-at", "2099-01-01T00:00:00Z").end == .exit(0))
        #expect(try fixed.head()["Stream-Expires-At"] == "2099-01-01T00:00:00Z")
        let read = try run("read", second, "--no-follow")
        #expect(read.end == .exit(0) && read.output == "abc")
    }

    @Test("fork of a JSON stream: --sub-offset counts messages; names that need encoding")
    func forkJSON() throws {
        let (plain, _) = try stream("application/json")
        let source = try Self.server.get().stream(plain + "/m%C3%BCnchen%20a").of("application/json")
        try source.create("[1,2,3]")
        let (name, fork) = try stream("application/json")
        let result = try run("fork", plain + "/münchen a", name, "--offset", Offset.start, "--sub-offset", "2")
        #expect(result.end == .exit(0), "\(result)")
        #expect(try fork.messages() == "[1,2]")
    }

    @Test("fork that cannot be: exit 3 without a source, 1 refused, 2 usage, and nothing is created")
    func forkFailures() throws {
        let (source, original) = try stream("text/plain")
        try original.create("abc")
        let (name, fork) = try stream("text/plain")
        let missing = try run("fork", name + "-missing", name)
        #expect(missing.end == .exit(3) && missing.output.isEmpty && missing.error.split(separator: "\n").count == 1, "\(missing)")
        for arguments in [["--offset", "nonsense"], ["--offset", Offset.at(4)], ["--sub-offset", "1"]] {
            let result = try ChildProcess.run(ServerProcess.binary, ["fork", source, name] + arguments, environment: environment())
            #expect(result.end == .exit(1) && result.output.isEmpty && result.error.contains("400"), "\(arguments): \(result)")
        }
        for arguments in [
            ["fork"], ["fork", source], ["fork", source, name, "--sub-offset", "-1"], ["fork", source, name, "--sub-offset", "x"],
            ["fork", source, "http://127.0.0.1:1/v1/stream/x"],
            ["fork", source, name, "--ttl", "1h", "--expires-at", "2099-01-01T00:00:00Z"],
        ] {
            let result = try ChildProcess.run(ServerProcess.binary, arguments, environment: environment())
            #expect(result.end == .exit(2) && result.output.isEmpty && !result.error.isEmpty, "\(arguments): \(result)")
        }
        #expect(try fork.head().status == 404)
    }

    @Test("No such stream: exit 3, one line on standard error", arguments: ["head", "close", "delete", "read", "write"])
    func missing(command: String) throws {
        let name = try stream().name
        let result = try ChildProcess.run(
            ServerProcess.binary, [command, name] + (command == "write" ? ["x"] : []), environment: environment())
        #expect(result.end == .exit(3) && result.output.isEmpty, "\(result)")
        #expect(result.error.hasPrefix("durable-streams: ") && result.error.split(separator: "\n").count == 1, "\(result)")
    }

    @Test(
        "Usage: exit 2",
        arguments: [
            ["create"], ["create", "x", "--json", "--content-type", "a/b"], ["read", "x", "--offset", ""], ["write", "x", "--no-such"],
            ["create", ".."],
        ])
    func usage(arguments: [String]) throws {
        let result = try ChildProcess.run(ServerProcess.binary, arguments, environment: environment())
        #expect(result.end == .exit(2) && !result.error.isEmpty && result.output.isEmpty, "\(result)")
    }

    @Test("The server could not be reached: exit 4")
    func unreachable() throws {
        // A port that was free a moment ago: of a server that has ended.
        let server = try ServerProcess()
        #expect(server.process.stop(SIGTERM) == .exit(0))
        for arguments in [
            ["head", "x"], ["read", "x", "--retry-for", "0s"], ["write", "x", "--content-type", "a/b", "--retry-for", "0s", "y"],
        ] {
            let result = try ChildProcess.run(
                ServerProcess.binary, arguments, environment: ["STREAM_URL": "http://127.0.0.1:\(server.port)/v1/stream"])
            #expect(result.end == .exit(4) && !result.error.isEmpty, "\(arguments): \(result)")
        }
    }

    @Test("write goes on after a restart of the server, and stores nothing twice")
    func writeAcrossRestart() throws {
        let folder = try Folder.make()
        let server = try ServerProcess(.serve)
        let stream = server.stream("w").of("text/plain")
        try stream.create()
        // Lines come through a pipe, so that some are written before the restart and some after it.
        let script = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.15; done | \"$0\" write --url \"$1\" w"
        let child = try ChildProcess(
            "/bin/sh", ["-c", script, ServerProcess.binary, "http://127.0.0.1:\(server.port)/v1/stream"], folder: folder)
        #expect(try Deadline.poll { try stream.tail() > Offset.start })
        #expect(server.process.stop(SIGKILL) == .signal(SIGKILL))
        let next = try ServerProcess(.serve, dataDirectory: server.dataDirectory, listen: ["127.0.0.1:\(server.port)"], after: server)
        #expect(child.wait() == .exit(0), "\(child.standardError)")
        #expect(try stream.on(next).get().text == (1...6).map { "line \($0)\n" }.joined())
    }
}
