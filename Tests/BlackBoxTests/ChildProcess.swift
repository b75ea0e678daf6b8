// A process that a test has started, and the folder that belongs to it. Its output goes to files in the folder, so that no
// pipe can fill up; it has ended and the folder is gone when the tests end, however they end (see Reaper).

import Glibc
import Synchronization

/// Why a test cannot go on; the text is for the person who reads the test's output.
struct TestFault: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

final class ChildProcess: Sendable {
    /// How a process ended.
    enum End: Equatable, Sendable {
        case exit(Int32)
        case signal(Int32)
    }

    let pid: pid_t
    /// For `stdout` and `stderr`; removed by the owner or, at the latest, by the reaper.
    let folder: String
    private let end = Mutex<End?>(nil)

    /// Starts a program.
    /// - Parameters:
    ///   - environment: added to a minimal one; nothing is inherited but `PATH`.
    ///   - passing: descriptors that become the program's descriptors from 3 on.
    init(
        _ path: String, _ arguments: [String], environment: [String: String] = [:], input: Payload = .none, passing: [Int32] = [],
        folder: String
    ) throws {
        self.folder = folder
        guard access(path, X_OK) == 0 else {
            throw TestFault("\(path) is not there or not executable: \(String(cString: strerror(errno)))")
        }
        try Folder.write(input.bytes, to: folder + "/stdin")

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, folder + "/stdin", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, folder + "/stdout", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, folder + "/stderr", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        Reaper.closeInherited(&actions)
        // From numbers that no action before writes to.
        let passed = passing.map { fcntl($0, F_DUPFD_CLOEXEC, 100) }
        defer { for descriptor in passed { close(descriptor) } }
        for (index, descriptor) in passed.enumerated() { posix_spawn_file_actions_adddup2(&actions, descriptor, 3 + Int32(index)) }
        // The test process may have signals blocked or ignored; a server must not inherit that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))

        var variables = ["PATH": getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin", "HOME": folder, "LC_ALL": "C.UTF-8"]
        variables.merge(environment) { $1 }
        let argv = ([path] + arguments).map { strdup($0) } + [nil]
        let envp = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, path, &actions, &attributes, argv, envp)
        guard code == 0 else { throw TestFault("cannot start \(path): \(String(cString: strerror(code)))") }
        self.pid = pid
        Reaper.shared.watch(process: pid, folder: folder)
    }

    deinit { if poll() == nil { stop(SIGKILL) } }

    var standardOutput: String { (try? Folder.read(folder + "/stdout")).map { String(decoding: $0, as: UTF8.self) } ?? "" }
    var standardError: String { (try? Folder.read(folder + "/stderr")).map { String(decoding: $0, as: UTF8.self) } ?? "" }

    /// How it ended; nil: it runs.
    func poll() -> End? {
        end.withLock { end in
            if end != nil { return end }
            var status: Int32 = 0
            guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
            end = status & 0x7f == 0 ? .exit(status >> 8 & 0xff) : .signal(status & 0x7f)
            return end
        }
    }

    func send(_ signal: Int32) {
        // Not after it has been waited for: the number may be someone else's by then.
        end.withLock { if $0 == nil { _ = kill(pid, signal) } }
    }

    /// Waits for the end; past the deadline the process is killed.
    /// - Returns: nil: it had to be killed.
    @discardableResult
    func wait(within time: Duration = Deadline.usual) -> End? {
        if Deadline.poll(within: time, until: { poll() != nil }) { return poll() }
        send(SIGKILL)
        _ = Deadline.poll(within: .seconds(10)) { poll() != nil }
        return nil
    }

    @discardableResult
    func stop(_ signal: Int32, within time: Duration = Deadline.usual) -> End? {
        send(signal)
        return wait(within: time)
    }

    /// Runs a program to its end.
    static func run(
        _ path: String, _ arguments: [String], environment: [String: String] = [:], input: Payload = .none,
        within time: Duration = Deadline.usual
    ) throws -> (end: End?, output: String, error: String) {
        let folder = try Folder.make()
        defer { Folder.remove(folder) }
        let process = try ChildProcess(path, arguments, environment: environment, input: input, folder: folder)
        let end = process.wait(within: time)
        return (end, process.standardOutput, process.standardError)
    }
}
