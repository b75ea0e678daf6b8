// How the server starts, and how it refuses to: each refusal with its own clear message and exit status. DESIGN section 3 (LOCK, FORMAT);
// usage and configuration faults exit with 2, everything else that keeps it from serving with another status than 0.

import Glibc
import Testing

@Suite(.onlyInClear("Start-up and the command line")) struct StartupTests {
    /// Runs the server where it must not start.
    private func refusal(_ arguments: [String], environment: [String: String] = [:]) throws -> (end: ChildProcess.End?, error: String) {
        let (end, _, error) = try ChildProcess.run(ServerProcess.binary, arguments, environment: environment)
        return (end, error)
    }

    private let anyPort = ["--listen", "127.0.0.1:0"]

    @Test("A data directory that is locked by another server is refused, and that server goes on")
    func locked() throws {
        let server = try ServerProcess(.serve)
        let stream = server.stream()
        try stream.create("x")
        for mode in ["serve", "dev"] {
            let (end, error) = try refusal([mode, "--data-dir", server.dataDirectory] + anyPort)
            #expect(end == .exit(1), "\(error)")
            #expect(error.contains(server.dataDirectory) && error.contains("in use"), "\(error)")
        }
        try stream.append("y")
        #expect(try stream.get().text == "xy")
        // The lock is that of the process, not of a file that stays behind.
        _ = try server.restarted(after: SIGKILL)
    }

    @Test("A data directory of a newer format is refused and left as it is")
    func newerFormat() throws {
        let server = try ServerProcess(.serve)
        try server.stream("kept").create("x")
        #expect(server.process.stop(SIGTERM) == .exit(0))
        let file = server.dataDirectory + "/FORMAT"
        let format = try Folder.read(file)
        try Folder.write(String(decoding: format, as: UTF8.self).replacing("format 2", with: "format 999"), to: file)
        let before = try Folder.list(server.dataDirectory + "/journal")
        let (end, error) = try refusal(["serve", "--data-dir", server.dataDirectory] + anyPort)
        #expect(end == .exit(1) && error.contains("999") && error.contains(server.dataDirectory), "\(error)")
        #expect(try Folder.list(server.dataDirectory + "/journal") == before)
        try Folder.write(format, to: file)
        #expect(try server.successor().stream("kept").get().text == "x")
    }

    @Test("A FORMAT that says nothing known is refused", arguments: ["", "hello\n"])
    func unknownFormat(content: String) throws {
        let server = try ServerProcess(.serve)
        #expect(server.process.stop(SIGTERM) == .exit(0))
        try Folder.write(content, to: server.dataDirectory + "/FORMAT")
        let (end, error) = try refusal(["serve", "--data-dir", server.dataDirectory] + anyPort)
        #expect(end == .exit(1) && error.contains("FORMAT"), "\(error)")
    }

    @Test("A data directory that cannot be made or written is refused, with its name and the reason")
    func unusable() throws {
        let folder = try Folder.make()
        try Folder.write("a file", to: folder + "/file")
        for path in [folder + "/file", folder + "/file/data", "/proc/data"] {
            let (end, error) = try refusal(["serve", "--data-dir", path] + anyPort)
            #expect(end == .exit(1) && error.contains(path), "\(path): \(error)")
            #expect(!error.contains("Errno"), "\(error)")
        }
        #expect(try Folder.read(folder + "/file") == Array("a file".utf8))
    }

    @Test("A data directory of someone else is refused as not writable")
    func notPermitted() throws {
        let folder = try Folder.make()
        let data = folder + "/data"
        mkdir(data, 0o555)
        let arguments = ["serve", "--data-dir", data] + anyPort
        let result: (end: ChildProcess.End?, output: String, error: String)
        if geteuid() == 0 {
            // The superuser may write everywhere: the server runs as nobody, if the executable can be reached by nobody.
            chmod(folder, 0o755)
            let drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", ServerProcess.binary]
            let setpriv = "/usr/bin/setpriv"
            guard access(setpriv, X_OK) == 0,
                try ChildProcess.run(setpriv, drop + ["version"]).end == .exit(0)
            else { return }
            result = try ChildProcess.run(setpriv, drop + arguments)
        } else {
            result = try ChildProcess.run(ServerProcess.binary, arguments)
        }
        #expect(result.end == .exit(1) && result.error.contains(data) && result.error.contains("not writable"), "\(result.error)")
        #expect(try Folder.list(data).isEmpty)
    }

    @Test("serve without a data directory: exit 2, and what is missing")
    func missingDataDirectory() throws {
        let (end, error) = try refusal(["serve"] + anyPort)
        #expect(end == .exit(2) && error.contains("data-dir"), "\(error)")
    }

    @Test("serve takes the data directory from STATE_DIRECTORY, as systemd sets it")
    func stateDirectory() throws {
        let folder = try Folder.make()
        let child = try ChildProcess(
            ServerProcess.binary, ["serve", "--port-file", folder + "/port"] + anyPort,
            environment: ["STATE_DIRECTORY": folder + "/state"], folder: folder)
        #expect(Deadline.poll { access(folder + "/port", F_OK) == 0 || child.poll() != nil })
        #expect(access(folder + "/state/FORMAT", F_OK) == 0, "\(child.standardError)")
        #expect(child.stop(SIGTERM) == .exit(0))
    }

    @Test("An unknown configuration key: exit 2 with file, line and what was perhaps meant")
    func unknownKey() throws {
        let folder = try Folder.make()
        try Folder.write("# comment\nlog-level: info\nlong-pol-timeout: 5s\n", to: folder + "/c.yaml")
        let (end, error) = try refusal(["serve", "--config", folder + "/c.yaml", "--data-dir", folder + "/data"] + anyPort)
        #expect(end == .exit(2), "\(error)")
        #expect(
            error.contains(folder + "/c.yaml:3") && error.contains("long-pol-timeout") && error.contains("long-poll-timeout"), "\(error)")
        #expect(access(folder + "/data", F_OK) != 0, "nothing is made before the configuration is good")
    }

    @Test(
        "A bad value: exit 2 with its origin",
        arguments: [
            (["--long-poll-timeout", "soon"], [:], "--long-poll-timeout"), (["--chunk-size", "1KiB"], [:], "--chunk-size"),
            (["--durability", "maybe"], [:], "--durability"), (["--listen", "nowhere"], [:], "--listen"),
            ([], ["DURABLE_STREAMS_SSE_INTERVAL": "x"], "DURABLE_STREAMS_SSE_INTERVAL"), (["--no-such-flag"], [:], "--no-such-flag"),
            (["--config", "/nonexistent/c.yaml"], [:], "/nonexistent/c.yaml"), (["--log-level", "loud"], [:], "--log-level"),
        ] as [([String], [String: String], String)])
    func badValue(arguments: [String], environment: [String: String], origin: String) throws {
        let folder = try Folder.make()
        let (end, error) = try refusal(["serve", "--data-dir", folder + "/data"] + arguments, environment: environment)
        #expect(end == .exit(2) && error.contains(origin), "\(error)")
    }

    @Test("All that is wrong is told at once, by every mode", arguments: ["serve", "dev", "check-config"])
    func severalFaults(mode: String) throws {
        let folder = try Folder.make()
        let (end, error) = try refusal(
            [mode, "--data-dir", folder + "/data", "--long-poll-timeout", "soon"], environment: ["DURABLE_STREAMS_SSE_INTERVAL": "later"])
        #expect(end == .exit(2) && error.contains("--long-poll-timeout") && error.contains("DURABLE_STREAMS_SSE_INTERVAL"), "\(error)")
    }

    @Test("flag, then environment, then file")
    func precedence() throws {
        let folder = try Folder.make()
        try Folder.write("long-poll-timeout: 10ms\nsse-interval: 11s\nchunk-size: 8KiB\n", to: folder + "/c.yaml")
        let (end, output, error) = try ChildProcess.run(
            ServerProcess.binary,
            ["check-config", "--config", folder + "/c.yaml", "--data-dir", folder + "/data", "--long-poll-timeout", "30ms"],
            environment: ["DURABLE_STREAMS_LONG_POLL_TIMEOUT": "20ms", "DURABLE_STREAMS_SSE_INTERVAL": "22s"])
        #expect(end == .exit(0), "\(error)")
        func line(_ name: String) -> String { output.split(separator: "\n").first { $0.contains(name) }.map(String.init) ?? "" }
        #expect(line("long-poll-timeout").contains("30ms") && line("long-poll-timeout").contains("--long-poll-timeout"), "\(output)")
        #expect(line("sse-interval").contains("22s") && line("sse-interval").contains("DURABLE_STREAMS_SSE_INTERVAL"), "\(output)")
        #expect(line("chunk-size").contains("8KiB") && line("chunk-size").contains(folder + "/c.yaml"), "\(output)")
        // And they are what the server does.
        let server = try ServerProcess(.dev, ["--config", folder + "/c.yaml", "--long-poll-timeout", "60ms"])
        let stream = server.stream()
        try stream.create()
        var status = 0
        let time = try elapsed { status = try stream.longPoll(from: Offset.start).response().status }
        #expect(status == 204 && time > .milliseconds(50) && time < .seconds(5))
    }

    @Test("A port that is taken is refused, with the address")
    func portInUse() throws {
        let server = try ServerProcess()
        let folder = try Folder.make()
        let (end, error) = try refusal(["serve", "--data-dir", folder + "/data", "--listen", "127.0.0.1:\(server.port)"])
        #expect(end == .exit(1) && error.contains("127.0.0.1:\(server.port)"), "\(error)")
    }

    @Test("--listen may be repeated: several TCP addresses, IPv6, and a Unix socket")
    func listeners() throws {
        let folder = try Folder.make()
        let socket = folder + "/s.sock"
        let server = try ServerProcess(.dev, listen: ["127.0.0.1:0", "unix:\(socket)"])
        let stream = server.stream("l")
        try stream.create("x")
        let client = try RawClient(unix: socket)
        #expect(try client.exchange("GET", stream.path).text == "x")
        // A socket that a server left behind is no obstacle to the next.
        #expect(server.process.stop(SIGKILL) == .signal(SIGKILL))
        let next = try ServerProcess(.dev, listen: ["127.0.0.1:0", "unix:\(socket)"], environment: [:])
        #expect(try RawClient(unix: socket).exchange("GET", stream.path).status == 404)
        #expect(next.process.stop(SIGTERM) == .exit(0))

        let probe = Glibc.socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_addr = in6addr_loopback
        let hasIPv6 = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(probe, $0, socklen_t(MemoryLayout<sockaddr_in6>.size)) == 0 }
        }
        close(probe)
        if hasIPv6 {
            let six = try ServerProcess(.dev, listen: ["[::1]:0"])
            #expect(try RawClient(port6: six.port).exchange("GET", "/v1/stream/none").status == 404)
        }
    }

    @Test("dev without --data-dir keeps its data in a temporary directory that is gone after the end", arguments: [SIGTERM, SIGINT])
    func temporaryData(signal: Int32) throws {
        let folder = try Folder.make()
        let temporary = folder + "/tmp"
        mkdir(temporary, 0o700)
        let child = try ChildProcess(
            ServerProcess.binary, ["dev", "--port-file", folder + "/port"] + anyPort, environment: ["TMPDIR": temporary], folder: folder)
        #expect(Deadline.poll { access(folder + "/port", F_OK) == 0 || child.poll() != nil })
        try #require(child.poll() == nil, "\(child.standardError)")
        #expect(try !Folder.list(temporary).isEmpty)
        #expect(child.stop(signal) == .exit(0))
        #expect(try Folder.list(temporary).isEmpty)
    }

    @Test("version and --help: exit 0, on standard output")
    func help() throws {
        for arguments in [["version"], ["--help"], ["serve", "--help"], ["help", "write"]] {
            let (end, output, error) = try ChildProcess.run(ServerProcess.binary, arguments)
            #expect(end == .exit(0) && !output.isEmpty && error.isEmpty, "\(arguments): \(error)")
        }
        let (end, _, error) = try ChildProcess.run(ServerProcess.binary, ["no-such-command"])
        #expect(end == .exit(2) && !error.isEmpty)
    }
}
