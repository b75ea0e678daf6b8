// A server under test: the executable on a port that the kernel chooses and a data directory of its own, with its log at hand.
//
//     <folder>/data      --data-dir, unless the test has its own
//     <folder>/port      --port-file; there once the server accepts connections
//     <folder>/stderr    the log

import Glibc
import Synchronization
import Testing

final class ServerProcess: Sendable {
    enum Mode: String, Sendable { case serve, dev }

    let process: ChildProcess
    let port: UInt16
    let dataDirectory: String
    private let mode: Mode
    private let options: [String]
    private let hasTLS: Bool
    /// Kept, because the data may lie in its folder.
    private let predecessor: ServerProcess?
    private let streamCount = Atomic<Int>(0)

    /// The executable under test: `DURABLE_STREAMS_BINARY`, or else what was built beside the tests.
    static let binary: String = {
        if let path = getenv("DURABLE_STREAMS_BINARY") { return String(cString: path) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes {
            readlink("/proc/self/exe", $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
        let tests = String(decoding: buffer[..<max(count, 0)], as: UTF8.self)
        let own = tests.prefix(upTo: tests.lastIndex(of: "/") ?? tests.startIndex) + "/durable-streams"
        if access(String(own), X_OK) == 0 { return String(own) }
        // The tests may run inside a test runner of the toolchain, which is given the bundle's path.
        for argument in CommandLine.arguments {
            guard let slash = argument.lastIndex(of: "/") else { continue }
            let candidate = argument[..<slash] + "/durable-streams"
            if access(String(candidate), X_OK) == 0 { return String(candidate) }
        }
        return String(own)
    }()

    /// Starts a server and waits until it accepts connections.
    /// - Parameters:
    ///   - options: further arguments.
    ///   - tls: whether it speaks TLS where it listens; as the run's transport does unless said otherwise.
    init(
        _ mode: Mode = .dev, _ options: [String] = [], dataDirectory: String? = nil, listen: [String] = ["127.0.0.1:0"],
        tls: Bool = Transport.current.hasTLS, environment: [String: String] = [:], after predecessor: ServerProcess? = nil
    ) throws {
        let folder = try Folder.make()
        let data = dataDirectory ?? folder + "/data"
        let portFile = folder + "/port"
        // The tests ask by names of all kinds.
        let hosts = mode == .dev && !options.contains("--allowed-hosts") ? ["--allowed-hosts", "*"] : []
        process = try ChildProcess(
            Self.binary,
            [mode.rawValue, "--port-file", portFile, "--data-dir", data] + hosts + (try Self.listenOptions(mode, listen, tls: tls))
                + options,
            environment: environment, folder: folder)
        var port: UInt16?
        let child = process
        let isThere = Deadline.poll {
            // Written in one piece or, at worst, without its line end yet.
            port = (try? Folder.read(portFile)).flatMap { UInt16(String(decoding: $0, as: UTF8.self).split(separator: "\n").first ?? "") }
            return port != nil || child.poll() != nil
        }
        guard isThere, let port else {
            child.stop(SIGKILL)
            throw TestFault("the server did not start: \(child.poll().map { "\($0)" } ?? "no port file"); it said: \(child.standardError)")
        }
        self.port = port
        self.mode = mode
        self.options = options
        hasTLS = tls
        self.dataDirectory = data
        self.predecessor = predecessor
    }

    deinit {
        process.stop(SIGKILL)
        Folder.remove(process.folder)
    }

    /// `dev` makes its own certificate.
    private static func listenOptions(_ mode: Mode, _ listen: [String], tls: Bool) throws -> [String] {
        if !tls || mode == .dev { return listen.flatMap { ["--listen", $0] } + (tls ? ["--tls"] : []) }
        let certificate = try TestCertificate.localhost.get()
        return listen.flatMap { ["--listen-tls", $0] } + ["--tls-certificate", certificate.chain, "--tls-key", certificate.key]
    }

    var log: String { process.standardError }

    /// All ports, in the order of the settings `listen`, `listen-tls`, `listen-redirect`.
    func ports() throws -> [UInt16] {
        String(decoding: try Folder.read(process.folder + "/port"), as: UTF8.self).split(separator: "\n").compactMap { UInt16($0) }
    }

    /// Processor time used so far, in milliseconds.
    func processorMilliseconds() throws -> Int {
        let text = String(decoding: try Folder.read("/proc/\(process.pid)/stat"), as: UTF8.self)
        // The name, which may have spaces, ends with the last parenthesis; utime and stime are the 12th and 13th behind it.
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        guard fields.count > 13, let user = Int(fields[12]), let system = Int(fields[13]) else { throw TestFault("no times in \(text)") }
        return (user + system) * 1000 / sysconf(Int32(_SC_CLK_TCK))
    }

    /// Its open sockets: listeners, connections.
    func socketCount() throws -> Int {
        let folder = "/proc/\(process.pid)/fd/"
        return try Folder.list(folder).count { name in
            var target = [CChar](repeating: 0, count: 64)
            let count = max(0, readlink(folder + name, &target, target.count))
            return String(decoding: target[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self).hasPrefix("socket:")
        }
    }

    /// Memory in use, in bytes.
    func residentBytes() throws -> Int {
        let text = String(decoding: try Folder.read("/proc/\(process.pid)/status"), as: UTF8.self)
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
            let count = Int(line.split(whereSeparator: { $0 == " " || $0 == "\t" })[1])
        else { throw TestFault("no VmRSS") }
        return count * 1024
    }

    /// Another server on the same data, with the same options; this one must have ended.
    func successor(_ more: [String] = []) throws -> ServerProcess {
        precondition(process.poll() != nil, "the server still runs")
        return try ServerProcess(mode, options + more, dataDirectory: dataDirectory, tls: hasTLS, after: self)
    }

    /// Ends the server with a signal and starts its successor.
    func restarted(after signal: Int32) throws -> ServerProcess {
        let end = process.stop(signal)
        #expect(end == (signal == SIGKILL ? .signal(SIGKILL) : .exit(0)), "\(log)")
        return try successor()
    }

    /// A new connection.
    func connect(receiveBuffer: Int32? = nil) throws -> RawClient {
        if Transport.current == .http1 { return try RawClient(port: port, receiveBuffer: receiveBuffer) }
        return try RawClient(port: port, by: Transport.current, receiveBuffer: receiveBuffer)
    }

    /// A stream that no other test has; not created yet.
    func stream(_ name: String? = nil) -> TestStream {
        let number = streamCount.wrappingAdd(1, ordering: .relaxed).newValue
        return TestStream(self, path: "/v1/stream/" + (name ?? "test-\(number)"))
    }
}
