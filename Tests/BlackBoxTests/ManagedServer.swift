// A server under a service manager that the test plays: a notify socket to read its messages from, and listening sockets that the test has
// opened, passes on, and keeps.
//
//     <folder>/notify    NOTIFY_SOCKET
//     <folder>/c.yaml    the configuration

import Glibc
import Testing

/// The socket that a service manager reads messages from.
final class NotifySocket {
    let path: String
    private let descriptor: Int32

    init(in folder: String) throws {
        path = folder + "/notify"
        unlink(path)
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let descriptor = descriptor
        let status = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard status == 0 else { throw TestFault("no notify socket: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    /// The next message's lines; nil: none came in time.
    func next(within time: Duration = Deadline.usual) -> [String]? {
        let deadline = Deadline(in: time)
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        while Glibc.poll(&entry, 1, deadline.milliseconds) < 0, errno == EINTR {}
        var block = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &block, block.count, Int32(MSG_DONTWAIT))
        return count < 0 ? nil : String(decoding: block[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// The next message with such a line; those before it are dropped.
    func message(where fits: (String) -> Bool) throws -> [String] {
        var seen: [[String]] = []
        let deadline = Deadline()
        while !deadline.hasPassed {
            guard let lines = next() else { break }
            if lines.contains(where: fits) { return lines }
            seen.append(lines)
        }
        throw TestFault("the message did not come; others were: \(seen)")
    }

    func message(_ line: String) throws -> [String] { try message { $0 == line } }

    /// All that has come by now.
    func drain() -> [[String]] {
        var all: [[String]] = []
        while let lines = next(within: .zero) { all.append(lines) }
        return all
    }
}

final class ManagedServer {
    let folder: String
    let manager: NotifySocket
    let process: ChildProcess
    private let ownsFolder: Bool

    var configurationFile: String { folder + "/c.yaml" }
    var log: String { process.standardError }

    /// Starts a server; does not wait for it.
    /// - Parameters:
    ///   - sockets: passed as systemd passes them, under these names.
    ///   - folder: that of a server before, with its data.
    init(
        _ options: [String] = [], configuration: String? = nil, sockets: [(descriptor: Int32, name: String)] = [],
        environment: [String: String] = [:], in folder: String? = nil
    ) throws {
        ownsFolder = folder == nil
        let folder = try folder ?? Folder.make()
        self.folder = folder
        manager = try NotifySocket(in: folder)
        var options = options
        if let configuration {
            try Folder.write(configuration, to: folder + "/c.yaml")
            options += ["--config", folder + "/c.yaml"]
        }
        var environment = environment
        environment["NOTIFY_SOCKET"] = manager.path
        let arguments = ["serve", "--data-dir", folder + "/data"] + options
        if sockets.isEmpty {
            process = try ChildProcess(ServerProcess.binary, arguments, environment: environment, folder: folder)
            return
        }
        environment["LISTEN_FDS"] = "\(sockets.count)"
        environment["LISTEN_FDNAMES"] = sockets.map(\.name).joined(separator: ":")
        // The variable has to name the process that takes the sockets.
        process = try ChildProcess(
            "/bin/sh", ["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", ServerProcess.binary] + arguments, environment: environment,
            passing: sockets.map(\.descriptor), folder: folder)
    }

    deinit {
        process.stop(SIGKILL)
        if ownsFolder { Folder.remove(folder) }
    }

    /// Waits until it says that it is ready. - Returns: the status it gives with that.
    @discardableResult
    func ready() throws -> String {
        do {
            return try Self.status(in: manager.message("READY=1"))
        } catch {
            throw TestFault("\(error); \(process.poll().map { "\($0)" } ?? "it runs"); it said: \(log)")
        }
    }

    static func status(in lines: [String]) -> String {
        lines.first { $0.hasPrefix("STATUS=") }.map { String($0.dropFirst("STATUS=".count)) } ?? ""
    }

    /// The port of the loopback address that it listens on by itself (`--listen 127.0.0.1:0 --port-file`).
    func port() throws -> UInt16 {
        let text = String(decoding: try Folder.read(folder + "/port"), as: UTF8.self)
        guard let port = UInt16(text.trimmed.split(separator: "\n").first ?? "") else { throw TestFault("no port in \(text)") }
        return port
    }
}

/// A listening socket of the test.
final class ListeningSocket {
    let descriptor: Int32
    private(set) var port: UInt16 = 0
    private let path: String?

    /// On a port of the kernel's choice. Nil where the machine has no such addresses.
    init?(family: Int32) {
        descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        path = nil
        guard descriptor >= 0 else { return nil }
        var storage = sockaddr_storage()
        var length: socklen_t
        if family == AF_INET6 {
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_addr = in6addr_loopback
            length = socklen_t(MemoryLayout<sockaddr_in6>.size)
            withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: address, as: sockaddr_in6.self) }
        } else {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
            length = socklen_t(MemoryLayout<sockaddr_in>.size)
            withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: address, as: sockaddr_in.self) }
        }
        let descriptor = descriptor
        let status = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, length) == 0 && listen(descriptor, 1024) == 0 && getsockname(descriptor, address, &length) == 0
            }
        }
        guard status else { return nil }
        // In both families the port comes second.
        port = withUnsafeBytes(of: &storage) { UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self)) }
    }

    init(path: String) throws {
        self.path = path
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let descriptor = descriptor
        let status = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard status == 0, listen(descriptor, 1024) == 0 else { throw TestFault("\(path): \(String(cString: strerror(errno)))") }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if let path { unlink(path) }
    }
}

/// Holds one thread of another process, which then looks as if it were stuck (ptrace(2)). All calls come from one thread.
struct HeldThread {
    private let thread: pid_t

    // ptrace is variadic in C, which Swift does not import; its arguments are passed like those of any other function.
    private typealias Call = @convention(c) (Int, pid_t, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Int
    private static let ptrace: Call? = dlsym(nil, "ptrace").map { unsafeBitCast($0, to: Call.self) }
    private static let (seize, interrupt, detach) = (0x4206, 0x4207, 17)

    /// - Returns: nil where this is not allowed.
    init?(named name: String, of process: pid_t) throws {
        let folder = "/proc/\(process)/task"
        let thread = try Folder.list(folder).compactMap { pid_t($0) }.first {
            (try? Folder.read("\(folder)/\($0)/comm")).map { String(decoding: $0, as: UTF8.self).trimmed } == name + "\n"
        }
        guard let thread else { throw TestFault("no thread \(name)") }
        self.thread = thread
        guard let ptrace = Self.ptrace, ptrace(Self.seize, thread, nil, nil) == 0 else { return nil }
        guard ptrace(Self.interrupt, thread, nil, nil) == 0 else { throw TestFault("the thread cannot be held: errno \(errno)") }
        var status: Int32 = 0
        let allThreads: Int32 = 0x4000_0000
        guard waitpid(thread, &status, allThreads) == thread else { throw TestFault("the thread did not stop: errno \(errno)") }
    }

    func release() { _ = Self.ptrace?(Self.detach, thread, nil, nil) }
}
