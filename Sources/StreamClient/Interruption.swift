// Interruption: Ctrl-C as a descriptor that becomes readable, so that every place that waits can wait for it too.
//
// The handler writes one byte into a pipe and nothing else. It is installed without SA_RESTART, so a write to a full standard output
// returns too, and with SA_RESETHAND, so a second Ctrl-C ends the process whatever it is doing.

import Glibc

public enum Interruption {
    /// The pipe's writing end. Set once, before the handler is installed.
    nonisolated(unsafe) private static var writingEnd: Int32 = -1

    /// Call once per process, from the main thread.
    /// - Returns: the descriptor to poll; nil if SIGINT is ignored (as the shell has it for background jobs) or no pipe could be made, and
    ///   SIGINT then keeps its effect.
    public static func install() -> Int32? {
        var present = sigaction()
        guard sigaction(SIGINT, nil, &present) == 0 else { return nil }
        if unsafeBitCast(present.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) { return nil }
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        writingEnd = ends[1]
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            let saved = errno
            var byte: UInt8 = 1
            _ = write(Interruption.writingEnd, &byte, 1)
            errno = saved
        }
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
        sigemptyset(&action.sa_mask)
        guard sigaction(SIGINT, &action, nil) == 0 else { return nil }
        return ends[0]
    }

    /// A peer or a pipe that goes away must be an error where it is written to, not the end of the process.
    public static func ignoreBrokenPipes() { signal(SIGPIPE, SIG_IGN) }

    /// Whether the descriptor of `install` says that the user interrupted.
    static func happened(_ descriptor: Int32?) -> Bool {
        guard let descriptor else { return false }
        var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, 0) > 0
    }
}
