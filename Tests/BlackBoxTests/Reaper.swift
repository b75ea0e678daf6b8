// Cleans up behind the tests, also when they crash or are killed: a shell that reads "process folder" lines from a pipe. The pipe's other
// end closes with the test process, whatever happens to that; then the shell kills the processes that still run (it looks
// whether the command line still names the folder, since a number may have been used again) and removes the folders.
//
//     test process ──"1234 /tmp/durable-streams-test.x"──▶ sh ──(end of input)──▶ kill 1234, rm -r the folder

import Glibc

final class Reaper: Sendable {
    static let shared = Reaper()

    private let pipe: Int32

    private static let script = """
        trap '' INT TERM HUP
        lines=$(cat)
        printf '%s\\n' "$lines" | while read -r process folder; do
            if [ "$process" -gt 0 ] && tr '\\0' ' ' </proc/"$process"/cmdline 2>/dev/null | grep -qF -- "$folder"; then kill -9 "$process"; fi
        done
        printf '%s\\n' "$lines" | while read -r process folder; do
            if [ -n "$folder" ]; then rm -rf -- "$folder"; fi
        done
        """

    private init() {
        signal(SIGPIPE, SIG_IGN)
        var ends: [Int32] = [-1, -1]
        precondition(Glibc.pipe(&ends) == 0, "no pipe for the reaper")
        // Nothing is started meanwhile: whoever starts something has asked for the reaper first.
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        Self.closeInherited(&actions)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        let argv = [strdup("/bin/sh"), strdup("-c"), strdup(Self.script), nil]
        defer { for pointer in argv { free(pointer) } }
        var pid: pid_t = 0
        precondition(posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv, environ) == 0, "no shell for the reaper")
        close(ends[0])
        pipe = ends[1]
    }

    /// A started process gets no descriptors but its own three: one that it held by accident, such as the runner's pipe, would
    /// keep others waiting for its end.
    static func closeInherited(_ actions: inout posix_spawn_file_actions_t) {
        for name in (try? Folder.list("/proc/self/fd")) ?? [] {
            guard let descriptor = Int32(name), descriptor > 2 else { continue }
            let flags = fcntl(descriptor, F_GETFD)
            if flags >= 0, flags & FD_CLOEXEC == 0 { posix_spawn_file_actions_addclose(&actions, descriptor) }
        }
    }

    func watch(process: pid_t, folder: String) {
        // Shorter than PIPE_BUF: lines of several threads do not mix.
        let line = Array("\(process) \(folder)\n".utf8)
        _ = write(pipe, line, line.count)
    }
}
