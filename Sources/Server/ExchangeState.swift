// The state of one request and its answer, whichever transport they come by; what is done with it is in `Exchange`.
//
// An HTTP/1.1 connection is itself the exchange of its current request, so an idle one is one object; an HTTP/2 stream is an exchange of its own.
//
// @unchecked Sendable: confined to the reactor, where stream actors answer it; every call from another thread goes through `EventLoop.post`.

import StreamActors
import StreamRules

class ExchangeState: @unchecked Sendable {
    enum Phase: UInt8 {
        case head, body, executing, polling, streaming, sending, lingering, closed

        /// It waits for what is not there yet.
        var isLive: Bool { self == .polling || self == .streaming }
    }

    /// Outlives its connections: it goes when the process does. A checked reference costs two atomic operations at each use.
    unowned(unsafe) let server: ServerCore
    /// The address that its connection comes from.
    final let share: PeerShare
    /// Of its request: the address that a trusted proxy names, or the same. `setClient` changes it.
    @exclusivity(unchecked) fileprivate(set) final var client: PeerShare
    @exclusivity(unchecked) final var request: PendingRequest?
    @exclusivity(unchecked) final var queue: SendQueue?
    /// Of a live read: who waits, and where.
    @exclusivity(unchecked) final var reader: StreamReader?
    @exclusivity(unchecked) final var stream: StreamActor?
    /// The cursor of a live request whose `request` has gone; `.max`: it had none.
    @exclusivity(unchecked) final var liveCursor = UInt64.max
    /// That request began at `offset=now`.
    @exclusivity(unchecked) final var liveFromNow = false
    @exclusivity(unchecked) final var liveTellsStrictTransport = false
    /// When the phase ends by itself (monotonic ms).
    @exclusivity(unchecked) final var phaseEnd = Int64.max
    /// A peer that does not take enough is cut off.
    @exclusivity(unchecked) final var floor = PeerFloor()
    /// Counts requests, so that an answer to an abandoned one is recognised.
    @exclusivity(unchecked) final var tag: UInt32 = 0
    @exclusivity(unchecked) final var phase = Phase.head {
        didSet { if phase.isLive != oldValue.isLive { server.liveReaders += phase.isLive ? 1 : -1 } }
    }
    /// Of a reader of events that has to catch up by reading.
    @exclusivity(unchecked) final var behind: EventsBehind?
    /// Of a reader of events: when it gets a heartbeat, unless something is sent before.
    @exclusivity(unchecked) final var quietUntil = Int64.max
    /// The last control event said that it has all there is.
    @exclusivity(unchecked) final var isToldUpToDate = false
    /// It waits in the server's list for its next piece of events.
    @exclusivity(unchecked) final var isPumping = false
    /// Its event stream ends when the event under way has ended.
    @exclusivity(unchecked) final var endsAfterEvent = false
    @exclusivity(unchecked) final var peerEnded = false
    @exclusivity(unchecked) final var closesAfterSending = false
    @exclusivity(unchecked) final var warming = false

    init(server: ServerCore, share: PeerShare) {
        self.server = server
        self.share = share
        client = share
    }

    final var nextDeadline: Int64 { min(min(phaseEnd, floor.deadline), quietUntil) }

    /// Answers from now on wait for this client.
    final func setClient(_ client: PeerShare) {
        if client === self.client { return }
        if self.client !== share { self.client.leave() }
        if client !== share { client.enter() }
        self.client = client
    }
}
