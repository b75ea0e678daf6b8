// What the process asks of the kernel about itself: limits, threads.

import CLinux
import Glibc

public enum Processes {
    /// Raises the soft limit of open files to the hard one and returns it.
    public static func raiseDescriptorLimit() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        if limit.rlim_cur < limit.rlim_max {
            var raised = limit
            raised.rlim_cur = limit.rlim_max
            if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised) == 0 { limit = raised }
        }
        return Int(clamping: limit.rlim_cur)
    }

    /// Whether a blocked signal waits for the process.
    public static func isPending(_ signal: Int32) -> Bool {
        var set = sigset_t()
        return sigpending(&set) == 0 && sigismember(&set, signal) == 1
    }

    /// A clock of the calling thread that any thread can read: the processor time it has used, in microseconds.
    public static func processorTimeOfThisThread() -> @Sendable () -> Int64 {
        var clock = clockid_t()
        let code = pthread_getcpuclockid(pthread_self(), &clock)
        precondition(code == 0, "a running thread has a clock")
        return { [clock] in
            var time = timespec()
            clock_gettime(clock, &time)
            return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
        }
    }

    public static func ignoreSignals() { clinux_ignore_signals() }

    /// Starts a thread with a name that `ps` and `top` show; nobody joins the thread.
    public static func startThread(named name: String, _ body: @escaping @Sendable () -> Void) -> ThreadHandle {
        final class Start: Sendable {
            let name: String
            let body: @Sendable () -> Void
            init(_ name: String, _ body: @escaping @Sendable () -> Void) {
                self.name = name
                self.body = body
            }
        }
        var thread = pthread_t()
        let start = Unmanaged.passRetained(Start(name, body))
        let code = pthread_create(
            &thread, nil,
            { argument in
                let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
                clinux_name_thread(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        precondition(code == 0, "a thread could not be started: errno \(code)")
        return ThreadHandle(thread: thread)
    }
}

public struct ThreadHandle: Sendable {
    let thread: pthread_t

    /// Waits until the thread has ended. At most once.
    public func join() { pthread_join(thread, nil) }
}
