// The reactor: one thread, one epoll instance, everything that happens in the server happens in one of its turns.
//
//     turn:  epoll_wait → handlers of ready descriptors → posted work and actor jobs → timers → end-of-turn hooks
//
// The loop is level-triggered: a handler that takes only part of what is ready is called again in the next turn, so fairness is a
// matter of how much a handler takes at once and nothing can be forgotten. Descriptors are registered once; interest in writing is
// added only while a send is blocked.
//
// It is also the SerialExecutor of every stream actor. A call into an actor from a handler is `loop.isolated(actor) { … }`: a
// thread check (about 3 ns) instead of the run time's executor check (100 to 290 ns measured), and no task at all.
//
// @unchecked Sendable: `mailbox` is guarded by its mutex and `wakeDescriptor` is written with one system call; everything else is
// touched only on the loop's own thread, which `preconditionOnLoop` checks at each entry.

import CLinux
import Glibc
import Synchronization
import SystemCalls
import SystemPackage

public struct Readiness: OptionSet, Sendable {
    public let rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let readable = Readiness(rawValue: EPOLLIN.rawValue)
    public static let writable = Readiness(rawValue: EPOLLOUT.rawValue)
    public static let peerEnded = Readiness(rawValue: EPOLLRDHUP.rawValue)
    public static let hangUp = Readiness(rawValue: EPOLLHUP.rawValue)
    public static let failed = Readiness(rawValue: EPOLLERR.rawValue)
}

/// Something that waits for a descriptor to become ready.
public protocol ReadinessHandler: AnyObject {
    func ready(_ readiness: Readiness)
}

public final class EventLoop: SerialExecutor, @unchecked Sendable {
    private struct Registration {
        var handler: (any ReadinessHandler)?
        var generation: UInt32 = 0
    }

    private struct Mail {
        var work: [@Sendable () -> Void] = []
        var jobs: [UnownedJob] = []
        var awake = false
    }

    private let epoll: Descriptor
    private let wakeDescriptor: Descriptor
    private let mailbox = Mutex(Mail())
    @exclusivity(unchecked) private var thread: pthread_t?
    private var registrations: [Registration] = []
    private let timers = TimerQueue()
    private var endOfTurn: [() -> Void] = []
    @exclusivity(unchecked) private var stopping = false
    private let clocks: Clocks
    private var events: UnsafeMutablePointer<epoll_event>
    private static let eventsPerTurn: Int32 = 256
    private static let wakeToken = UInt64.max

    /// Monotonic milliseconds, read once a turn.
    @exclusivity(unchecked) public private(set) var now: Int64
    /// Wall-clock milliseconds since 1970, read once a turn.
    @exclusivity(unchecked) public private(set) var wallNow: Int64
    /// Counts the turns; two events with the same number happened in the same turn.
    @exclusivity(unchecked) public private(set) var turn: UInt64 = 0

    public init(clocks: Clocks = .system) throws(Errno) {
        self.clocks = clocks
        let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        if epoll < 0 { throw Errno(rawValue: errno) }
        self.epoll = Descriptor(owning: epoll)
        let wake = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
        if wake < 0 { throw Errno(rawValue: errno) }
        wakeDescriptor = Descriptor(owning: wake)
        events = .allocate(capacity: Int(Self.eventsPerTurn))
        now = clocks.monotonic()
        wallNow = clocks.wall()
        _ = clinux_epoll_ctl(epoll, EPOLL_CTL_ADD, wake, EPOLLIN.rawValue, Self.wakeToken)
    }

    deinit { events.deallocate() }

    // MARK: The executor

    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        deliver { $0.jobs.append(job) }
    }

    public func checkIsolated() { preconditionOnLoop() }

    public var isOnLoop: Bool {
        guard let thread else { return true }
        return pthread_equal(thread, pthread_self()) != 0
    }

    @inline(__always)
    public func preconditionOnLoop() {
        precondition(isOnLoop, "called from a thread that is not the reactor's")
    }

    /// Calls into an actor that runs on this loop, at once and without suspension. Must be called on the loop's thread.
    @inline(__always)
    public func isolated<Isolated: Actor, Result>(
        _ actor: Isolated, _ body: (isolated Isolated) throws -> Result
    ) rethrows -> Result {
        preconditionOnLoop()
        // The isolation of the parameter is a promise to the compiler, which the thread check above has made true; the two
        // function types have the same representation (the standard library's assumeIsolated does the same cast).
        return try withoutActuallyEscaping(body) { body in
            try unsafeBitCast(body, to: ((Isolated) throws -> Result).self)(actor)
        }
    }

    // MARK: From other threads

    /// Runs `work` on the loop in one of its next turns. From any thread.
    public func post(_ work: @escaping @Sendable () -> Void) {
        deliver { $0.work.append(work) }
    }

    private func deliver(_ put: (inout Mail) -> Void) {
        let wake = mailbox.withLock { mail in
            put(&mail)
            let wake = !mail.awake
            mail.awake = true
            return wake
        }
        if wake {
            var one: UInt64 = 1
            _ = write(wakeDescriptor.number, &one, 8)
        }
    }

    // MARK: Registrations (loop thread only)

    public func register(_ descriptor: Int32, _ handler: any ReadinessHandler, for readiness: Readiness) throws(Errno) {
        preconditionOnLoop()
        let index = Int(descriptor)
        while registrations.count <= index { registrations.append(Registration()) }
        precondition(registrations[index].handler == nil, "the descriptor is registered already")
        registrations[index].generation &+= 1
        let token = UInt64(registrations[index].generation) << 32 | UInt64(UInt32(descriptor))
        if clinux_epoll_ctl(epoll.number, EPOLL_CTL_ADD, descriptor, readiness.rawValue, token) != 0 { throw Errno(rawValue: errno) }
        registrations[index].handler = handler
    }

    public func change(_ descriptor: Int32, to readiness: Readiness) {
        let index = Int(descriptor)
        precondition(registrations[index].handler != nil, "the descriptor is not registered")
        let token = UInt64(registrations[index].generation) << 32 | UInt64(UInt32(descriptor))
        let status = clinux_epoll_ctl(epoll.number, EPOLL_CTL_MOD, descriptor, readiness.rawValue, token)
        precondition(status == 0, "epoll_ctl cannot fail for a registered descriptor")
    }

    /// Gives a registered descriptor to another handler. Events of this turn that were meant for the former one reach nobody; the loop is
    /// level-triggered, so they come again.
    public func replace(_ descriptor: Int32, by handler: any ReadinessHandler, for readiness: Readiness) {
        let index = Int(descriptor)
        precondition(registrations[index].handler != nil, "the descriptor is not registered")
        registrations[index].handler = handler
        registrations[index].generation &+= 1
        change(descriptor, to: readiness)
    }

    /// Must come before the descriptor is closed.
    public func unregister(_ descriptor: Int32) {
        let index = Int(descriptor)
        registrations[index].handler = nil
        registrations[index].generation &+= 1
        _ = clinux_epoll_ctl(epoll.number, EPOLL_CTL_DEL, descriptor, 0, 0)
    }

    // MARK: Timers and hooks (loop thread only)

    /// Calls `action` once, `milliseconds` from now or later.
    public func schedule(after milliseconds: Int64, _ action: @escaping () -> Void) {
        timers.add(at: now + max(0, milliseconds), action)
    }

    /// Runs `hook` at the end of every turn, after all that was ready has been handled.
    public func atEndOfTurn(_ hook: @escaping () -> Void) { endOfTurn.append(hook) }

    // MARK: Running

    /// Makes the calling thread the loop's thread. Work that prepares the loop (listeners, timers) is done after this.
    public func adoptCurrentThread() { thread = pthread_self() }

    /// Runs turns until `stop`.
    public func run() {
        if thread == nil { adoptCurrentThread() }
        preconditionOnLoop()
        stopping = false
        while !stopping { runTurn(waiting: true) }
    }

    /// One turn; with `waiting` false it takes only what is ready at once.
    public func runTurn(waiting: Bool) {
        var timeout: Int32 = waiting ? -1 : 0
        if waiting, let next = timers.next { timeout = Int32(clamping: max(0, next - clocks.monotonic())) }
        let count = epoll_wait(epoll.number, events, Self.eventsPerTurn, timeout)
        if count < 0 { precondition(errno == EINTR, "epoll_wait failed: errno \(errno)") }
        turn &+= 1
        now = clocks.monotonic()
        wallNow = clocks.wall()
        var index: Int32 = 0
        while index < count {
            let token = clinux_epoll_data(events, index)
            let flags = clinux_epoll_events(events, index)
            index += 1
            if token == Self.wakeToken {
                var counter: UInt64 = 0
                _ = read(wakeDescriptor.number, &counter, 8)
                takeMail()
                continue
            }
            let descriptor = Int(UInt32(truncatingIfNeeded: token))
            guard let handler = handler(of: descriptor, UInt32(token >> 32)) else { continue }
            handler.ready(Readiness(rawValue: flags))
        }
        timers.fire(now: now)
        for hook in endOfTurn { hook() }
    }

    /// Whom an event is for; nil: its descriptor has gone, or is another's.
    private func handler(of descriptor: Int, _ generation: UInt32) -> (any ReadinessHandler)? {
        guard descriptor < registrations.count else { return nil }
        let registration = registrations[descriptor]
        return registration.generation == generation ? registration.handler : nil
    }

    public func stop() {
        stopping = true
    }

    private func takeMail() {
        let (work, jobs) = mailbox.withLock { mail in
            let taken = (mail.work, mail.jobs)
            mail.work = []
            mail.jobs = []
            mail.awake = false
            return taken
        }
        for item in work { item() }
        for job in jobs { job.runSynchronously(on: asUnownedSerialExecutor()) }
    }
}
