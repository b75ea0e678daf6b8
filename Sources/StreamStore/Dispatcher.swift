// How the store leaves the reactor thread and comes back to it. The server gives it disk workers and the event loop; a simulation
// runs both in one thread, in an order it chooses.

public protocol Dispatcher: Sendable {
    /// Runs `job` where it may wait for the disk.
    func work(_ job: @escaping @Sendable () -> Void)
    /// Runs `job` on the reactor.
    func post(_ job: @escaping @Sendable () -> Void)
}
