// What the service manager is told (sd_notify(3)), in the order in which it happens. Outside systemd every call does nothing.
//
//     start ─▶ STATUS=recovering 43 %, EXTEND_TIMEOUT_USEC ─▶ READY ─▶ STATUS, WATCHDOG … ─▶ STOPPING, EXTEND_TIMEOUT_USEC ─▶ end
//                                                              └─▶ RELOADING, MONOTONIC_USEC ─▶ READY
//
// Invariant: messages arrive in order, and no call waits. What the manager's queue has no room for is kept here, at most `queueLimit`
// messages, and offered again by `retry`; a heartbeat is never kept, because a late one would be a lie.

import CSystemd
import Glibc
import Synchronization

public final class ServiceManager: Sendable {
    private let socket: NotifySocket?
    private let queue = Mutex<[Message]>([])

    private struct Message {
        var text: String
        /// A later status makes it superfluous.
        var isStatusOnly: Bool
    }

    /// States and last words of a few reloads; the manager takes hundreds before it comes to this.
    static let queueLimit = 16

    /// - Parameter socketName: the value of NOTIFY_SOCKET; nil: there is no manager.
    public init(socketName: String?) { socket = socketName.flatMap { NotifySocket($0) } }

    /// The manager that has started this process.
    public convenience init() { self.init(socketName: getenv("NOTIFY_SOCKET").map { String(cString: $0) }) }

    deinit { socket?.close() }

    /// Somebody listens.
    public var isPresent: Bool { socket != nil }

    /// Recovery is done and the listeners accept; or the configuration has been read again.
    public func ready(status: String) { put("READY=1\n" + Self.line(status)) }

    public func status(_ text: String) { put(Self.line(text), isStatusOnly: true) }

    /// The configuration is being read again; `ready` ends it. The time lets a manager tell this reload from an earlier one (Type=notify-reload).
    public func reloading() {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        put("RELOADING=1\nMONOTONIC_USEC=\(Int(now.tv_sec) * 1_000_000 + now.tv_nsec / 1000)\nSTATUS=reading the configuration again")
    }

    public func stopping(status: String) { put("STOPPING=1\n" + Self.line(status)) }

    /// Starting or stopping takes longer than the unit allows: asks for so much time, counted from now.
    public func extendTimeout(microseconds: UInt64, status: String) {
        put("EXTEND_TIMEOUT_USEC=\(microseconds)\n" + Self.line(status))
    }

    /// A heartbeat. One that the manager has no room for is dropped.
    public func watchdog() {
        queue.withLock { queue in
            flush(&queue)
            if queue.isEmpty { _ = socket?.send("WATCHDOG=1") }
        }
    }

    /// The last words: why the process ends with an error. May wait a second for room.
    public func failed(_ text: String, errno: Int32?) {
        guard let socket else { return }
        queue.withLock { queue in
            for message in queue { _ = socket.send(message.text, waiting: true) }
            queue = []
            _ = socket.send(Self.line(text) + (errno.map { "\nERRNO=\($0)" } ?? ""), waiting: true)
        }
    }

    /// Offers what there was no room for. Called now and then.
    public func retry() { queue.withLock { flush(&$0) } }

    /// How often `watchdog` must be called at least, in microseconds (WatchdogSec=); nil: the manager does not wait for it.
    public static func watchdogInterval() -> UInt64? {
        var interval: UInt64 = 0
        return sd_watchdog_enabled(0, &interval) > 0 && interval > 0 ? interval : nil
    }

    private static func line(_ status: String) -> String {
        "STATUS=" + String(String.UnicodeScalarView(status.unicodeScalars.map { $0.value < 0x20 ? " " : $0 }))
    }

    private func put(_ text: String, isStatusOnly: Bool = false) {
        if socket == nil { return }
        queue.withLock { queue in
            if isStatusOnly, queue.last?.isStatusOnly == true { queue.removeLast() }
            if queue.count == Self.queueLimit { queue.removeFirst() }
            queue.append(Message(text: text, isStatusOnly: isStatusOnly))
            flush(&queue)
        }
    }

    private func flush(_ queue: inout [Message]) {
        guard let socket else { return }
        while let first = queue.first, socket.send(first.text) { queue.removeFirst() }
    }
}
