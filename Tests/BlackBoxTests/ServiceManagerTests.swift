// The server as a service manager sees it: what it is told and when, the sockets it passes, the configuration read again, the heartbeat.
// The manager is the test itself (`ManagedServer`); Tests/Systemd/run does the same with systemd.

import Glibc
import Testing

@Suite(.onlyInClear("Start-up, sockets and signals")) struct ServiceManagerTests {
    private let own = ["--listen", "127.0.0.1:0"]
    private func options(_ folder: String) -> [String] { own + ["--port-file", folder + "/port"] }

    /// A server on a port of its own, ready.
    private func server(_ more: [String] = [], configuration: String? = nil, environment: [String: String] = [:]) throws -> (
        ManagedServer, UInt16
    ) {
        let folder = try Folder.make()
        let server = try ManagedServer(options(folder) + more, configuration: configuration, environment: environment, in: folder)
        try server.ready()
        return (server, try server.port())
    }

    // MARK: Messages

    @Test("READY when connections are answered, STOPPING with time to drain when it ends")
    func readiness() throws {
        let folder = try Folder.make()
        let server = try ManagedServer(options(folder) + ["--drain-timeout", "5m"], in: folder)
        #expect(try server.ready() == "serving 0 streams, 0 live readers")
        #expect(try RawClient(port: server.port()).exchange("PUT", "/v1/stream/a").status == 201)
        server.process.send(SIGTERM)
        #expect(try server.manager.message("STOPPING=1").contains { $0.hasPrefix("STATUS=draining") })
        // Five minutes and a minute for the last checkpoint, whatever the unit says.
        #expect(try server.manager.message { $0.hasPrefix("EXTEND_TIMEOUT_USEC=") }.contains("EXTEND_TIMEOUT_USEC=360000000"))
        #expect(server.process.wait() == .exit(0), "\(server.log)")
        let next = try ManagedServer(options(folder), in: folder)
        #expect(try next.ready() == "serving 1 stream, 0 live readers")
    }

    @Test("The status follows what is served")
    func status() throws {
        let (server, port) = try server()
        let client = try RawClient(port: port)
        #expect(try client.exchange("PUT", "/v1/stream/a").status == 201)
        try client.send("GET", "/v1/stream/a?offset=now&live=long-poll")
        _ = try server.manager.message("STATUS=serving 1 stream, 1 live reader")
        // It is not repeated while nothing changes, and not told more often than every few seconds when something does.
        #expect(try RawClient(port: port).exchange("PUT", "/v1/stream/b").status == 201)
        #expect(server.manager.next(within: .seconds(1)) == nil)
        _ = try server.manager.message("STATUS=serving 2 streams, 1 live reader")
    }

    @Test("A wrong configuration: the status names it, EINVAL, exit 2")
    func wrongConfiguration() throws {
        let server = try ManagedServer(own, configuration: "long-pol-timeout: 5s\nlog-level: loud\n")
        let lines = try #require(server.manager.next())
        #expect(lines.contains("ERRNO=22") && ManagedServer.status(in: lines).contains("c.yaml:1"), "\(lines)")
        #expect(ManagedServer.status(in: lines).contains("1 more"), "\(lines)")
        #expect(server.process.wait() == .exit(2))
    }

    @Test("A start that fails: the status says why, with the system's error, exit 1")
    func failedStart() throws {
        let (first, port) = try server()
        let second = try ManagedServer(["--listen", "127.0.0.1:\(port)"])
        let lines = try #require(second.manager.next())
        #expect(ManagedServer.status(in: lines).contains("cannot listen on 127.0.0.1:\(port)") && lines.contains("ERRNO=98"), "\(lines)")
        #expect(second.process.wait() == .exit(1))
        let third = try ManagedServer(own + ["--data-dir", first.folder + "/data"])
        #expect(try ManagedServer.status(in: #require(third.manager.next())).contains("in use by another server"))
        #expect(third.process.wait() == .exit(1))
    }

    /// A journal file that cannot be opened before somebody writes to it: recovery hangs. The manager is told how far it is, is not asked for
    /// more time for something that does not get on, and can stop it at once.
    @Test("A recovery that hangs asks for no more time and can be stopped")
    func hangingRecovery() throws {
        let folder = try Folder.make()
        let first = try ManagedServer(own, in: folder)
        try first.ready()
        #expect(first.process.stop(SIGKILL) == .signal(SIGKILL))
        let file = folder + "/data/journal/0000000000999999.journal"
        let names = try Folder.list(folder + "/data/journal")
        try #require(names.contains { $0.count == "0000000000999999.journal".utf8.count }, "\(names)")
        try #require(mkfifo(file, 0o600) == 0)
        let server = try ManagedServer(own, in: folder)
        // The first looks may still see the work that came before the file.
        var lines = try server.manager.message { $0.hasPrefix("STATUS=recovering ") }
        while lines.count > 1 { lines = try #require(server.manager.next()) }
        for _ in 0..<2 {
            lines = try #require(server.manager.next())
            #expect(lines.count == 1 && lines[0].hasPrefix("STATUS=recovering "), "\(lines)")
        }
        server.process.send(SIGTERM)
        _ = try server.manager.message("STOPPING=1")
        #expect(server.process.wait() == .exit(0), "\(server.log)")
        unlink(file)
        try ManagedServer(own, in: folder).ready()
    }

    // MARK: The configuration read again

    @Test("SIGHUP: RELOADING with the time, then READY; what can takes effect, the rest is named in the log")
    func reload() throws {
        let (server, port) = try server(configuration: "long-poll-timeout: 1h\ncors-origins: https://a.example\n")
        let client = try RawClient(port: port)
        #expect(try client.exchange("PUT", "/v1/stream/a", ["Origin: https://a.example"]).status == 201)
        #expect(
            try client.exchange("GET", "/v1/stream/a", ["Origin: https://a.example"])["Access-Control-Allow-Origin"] == "https://a.example")
        try Folder.write(
            "long-poll-timeout: 20ms\ncors-origins: https://b.example\nlog-level: debug\naccess-log: true\nbody-limit: 1KiB\njournal-size: 1GiB\n",
            to: server.configurationFile)
        server.process.send(SIGHUP)
        let lines = try server.manager.message("RELOADING=1")
        #expect(lines.contains { $0.hasPrefix("MONOTONIC_USEC=") && Int($0.dropFirst(15)) != nil }, "\(lines)")
        try server.ready()
        // On the connection that was open before.
        #expect(try client.exchange("GET", "/v1/stream/a?offset=now&live=long-poll", ["Origin: https://b.example"]).status == 204)
        #expect(
            try client.exchange("GET", "/v1/stream/a", ["Origin: https://b.example"])["Access-Control-Allow-Origin"] == "https://b.example")
        let fields = ["Content-Type: application/octet-stream", "Origin: https://b.example"]
        #expect(try client.exchange("POST", "/v1/stream/a", fields, .letters(1025)).status == 413)
        #expect(Deadline.poll { server.log.contains("GET /v1/stream/a") }, "the access log is on now: \(server.log)")
        #expect(server.log.contains("next start only settings=journal-size"), "\(server.log)")
        #expect(!server.log.contains("setting=journal-size"))

        // Faults: all are named, the former configuration stays, and the manager is told.
        try Folder.write("long-poll-timeout: never\nunknown: 1\n", to: server.configurationFile)
        server.process.send(SIGHUP)
        #expect(try server.ready().contains("faults"))
        #expect(server.log.contains("c.yaml:1: long-poll-timeout") && server.log.contains("c.yaml:2: unknown key"), "\(server.log)")
        let again = try RawClient(port: port)
        #expect(try again.exchange("GET", "/v1/stream/a?offset=now&live=long-poll", ["Origin: https://b.example"]).status == 204)
        // And forgotten when it is mended.
        try Folder.write("", to: server.configurationFile)
        server.process.send(SIGHUP)
        #expect(try !server.ready().contains("faults"))
        #expect(try again.exchange("GET", "/v1/stream/a")["Access-Control-Allow-Origin"] == "*")
    }

    @Test("Many SIGHUPs at once: each RELOADING is followed by a READY, and the last configuration is in force")
    func reloads() throws {
        let (server, port) = try server(configuration: "")
        var messages: [[String]] = []
        for number in 0..<50 {
            try Folder.write("body-limit: \(2000 + number)\n", to: server.configurationFile)
            server.process.send(SIGHUP)
            messages += server.manager.drain()
        }
        let isInForce = try Deadline.poll {
            try RawClient(port: port).exchange("POST", "/v1/stream/a", [], .letters(5000)).text.contains("larger than 2049 bytes")
        }
        #expect(isInForce, "\(server.log)")
        // Each is answered by the time nothing more comes.
        while let lines = server.manager.next(within: .seconds(1)) { messages.append(lines) }
        var isReloading = false
        for lines in messages {
            if lines[0] == "RELOADING=1" {
                #expect(!isReloading)
                isReloading = true
            }
            if lines[0] == "READY=1" {
                #expect(isReloading)
                isReloading = false
            }
        }
        #expect(messages.contains { $0[0] == "READY=1" })
        #expect(!isReloading)
    }

    // MARK: The heartbeat

    /// Neither thread alone keeps the beats going: each in turn is held, as if it were stuck, and let go.
    @Test("WATCHDOG only while the reactor and the journal's thread both come round", arguments: ["ds-journal", "durable-streams"])
    func watchdog(thread: String) throws {
        let (server, port) = try server(environment: ["WATCHDOG_USEC": "300000"])
        _ = try server.manager.message("WATCHDOG=1")
        _ = try server.manager.message("WATCHDOG=1")
        guard let held = try HeldThread(named: thread, of: server.process.pid) else {
            try Test.cancel("a thread cannot be held here (ptrace is not allowed)")
        }
        // What was sent before it stood still.
        _ = server.manager.drain()
        if thread == "ds-journal" {
            // The reactor goes on; only what has to be made durable waits.
            #expect(try RawClient(port: port).exchange("GET", "/v1/stream/none").status == 404)
        }
        while let lines = server.manager.next(within: .seconds(1)) { #expect(!lines.contains("WATCHDOG=1")) }
        held.release()
        _ = try server.manager.message("WATCHDOG=1")
        #expect(try RawClient(port: port).exchange("PUT", "/v1/stream/a").status == 201)
        #expect(server.process.stop(SIGTERM) == .exit(0))
    }

    @Test("No heartbeat that nobody asked for")
    func noWatchdog() throws {
        for environment in [[:], ["WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"]] {
            let (server, _) = try server(environment: environment)
            #expect(server.manager.next(within: .milliseconds(700)) == nil)
        }
    }

    // MARK: Passed sockets

    @Test("Passed sockets of every kind are served; the default address is not taken")
    func passedSockets() throws {
        let folder = try Folder.make()
        let four = try #require(ListeningSocket(family: AF_INET))
        let six = ListeningSocket(family: AF_INET6)
        let unix = try ListeningSocket(path: folder + "/passed.sock")
        var sockets = [(four.descriptor, "http"), (unix.descriptor, "durable-streams.socket")]
        if let six { sockets.append((six.descriptor, "")) }
        let server = try ManagedServer(sockets: sockets, in: folder)
        try server.ready()
        #expect(try RawClient(port: four.port).exchange("PUT", "/v1/stream/a").status == 201)
        #expect(try RawClient(unix: folder + "/passed.sock").exchange("HEAD", "/v1/stream/a").status == 200)
        if let six { #expect(try RawClient(port6: six.port).exchange("HEAD", "/v1/stream/a").status == 200) }
        #expect(server.log.contains("127.0.0.1:\(four.port)") && server.log.contains("unix:\(folder)/passed.sock"), "\(server.log)")
        #expect(!server.log.contains(":4437"), "\(server.log)")
        #expect(server.process.stop(SIGTERM) == .exit(0))
        // They belong to the manager: who connects now waits.
        #expect(access(folder + "/passed.sock", F_OK) == 0)
        _ = try RawClient(unix: folder + "/passed.sock")
        _ = try RawClient(port: four.port)
    }

    @Test("listen adds to passed sockets, and is not in their way where it names the same address")
    func passedAndOwn() throws {
        let folder = try Folder.make()
        let passed = try #require(ListeningSocket(family: AF_INET))
        let server = try ManagedServer(
            ["--listen", "127.0.0.1:\(passed.port)", "--listen", "unix:\(folder)/own.sock"], sockets: [(passed.descriptor, "http")],
            in: folder)
        try server.ready()
        #expect(try RawClient(port: passed.port).exchange("PUT", "/v1/stream/a").status == 201)
        #expect(try RawClient(unix: folder + "/own.sock").exchange("HEAD", "/v1/stream/a").status == 200)
        #expect(server.process.stop(SIGTERM) == .exit(0))
        #expect(access(folder + "/own.sock", F_OK) != 0)
    }

    @Test("Sockets that cannot be served are refused, all at once: exit 1")
    func refusedSockets() throws {
        let folder = try Folder.make()
        let good = try #require(ListeningSocket(family: AF_INET))
        let datagrams = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(datagrams) }
        let server = try ManagedServer(
            sockets: [(good.descriptor, "http"), (datagrams, "http"), (good.descriptor, "metrics")], in: folder)
        #expect(server.process.wait() == .exit(1))
        #expect(server.log.contains("\"http\" (descriptor 4)") && server.log.contains("is a datagram socket"), "\(server.log)")
        #expect(
            server.log.contains("\"metrics\" (descriptor 5)") && server.log.contains("FileDescriptorName=http or https or redirect"),
            "\(server.log)")
        #expect(!server.log.contains("descriptor 3"), "\(server.log)")
        #expect(try ManagedServer.status(in: #require(server.manager.next())).contains("is a datagram socket"))
        #expect(access(folder + "/data", F_OK) != 0, "nothing is made before the sockets are good")
    }

    /// The manager holds the socket while no server runs: whoever connects waits in the backlog and is answered by the next server, with
    /// everything that the one before had acknowledged.
    @Test("Nobody is refused between two servers", arguments: [SIGTERM, SIGKILL])
    func betweenServers(signal: Int32) throws {
        let folder = try Folder.make()
        let socket = try #require(ListeningSocket(family: AF_INET))
        let first = try ManagedServer(sockets: [(socket.descriptor, "http")], in: folder)
        try first.ready()
        let stream = "/v1/stream/a"
        let text = ["Content-Type: text/plain"]
        #expect(try RawClient(port: socket.port).exchange("PUT", stream, text).status == 201)
        #expect(try RawClient(port: socket.port).exchange("POST", stream, text, "before").status == 204)
        first.process.stop(signal)
        let clients = try (0..<200).map { _ in try RawClient(port: socket.port) }
        for client in clients { try client.send("POST", stream, text, "+") }
        let second = try ManagedServer(sockets: [(socket.descriptor, "http")], in: folder)
        try second.ready()
        for client in clients { #expect(try client.response().status == 204) }
        #expect(try RawClient(port: socket.port).exchange("GET", stream).text == "before" + String(repeating: "+", count: 200))
    }

    @Test("The first connection starts it (systemd-socket-activate)")
    func firstConnection() throws {
        let tool: String = "/usr/bin/systemd-socket-activate"
        guard access(tool, X_OK) == 0 else { try Test.cancel("systemd-socket-activate is not installed") }
        let folder = try Folder.make()
        let socket = folder + "/s"
        let process = try ChildProcess(
            tool, ["-l", socket, "--fdname=http", ServerProcess.binary, "serve", "--data-dir", folder + "/data"], folder: folder)
        #expect(Deadline.poll { access(socket, F_OK) == 0 || process.poll() != nil })
        #expect(access(folder + "/data", F_OK) != 0)
        // It binds first and listens then.
        var client: RawClient?
        #expect(
            Deadline.poll {
                client = try? RawClient(unix: socket)
                return client != nil
            })
        let response = try #require(client).exchange("PUT", "/v1/stream/a")
        #expect(response.status == 201, "\(process.standardError)")
        #expect(process.stop(SIGTERM) == .exit(0), "\(process.standardError)")
    }
}
