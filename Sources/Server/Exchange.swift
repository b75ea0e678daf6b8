// One request and its answer (RFC 9110 3.4), whichever transport they come by.
//
//     body ──▶ executing ──▶ (answer) ──▶ sending ──▶ the transport's
//                 │   └──▶ polling ──▶ (answer, time-out) ──▶ sending
//                 └──▶ streaming (events until the interval or the end) ──▶ the transport's
//
// `Connection` (HTTP/1.1) and `HTTP2Exchange` are the two. What a transport does differently (how a head is written, how bytes go out, what the end of
// an answer is) are this protocol's requirements; everything that the protocol of streams asks is in its extensions, once:
//
//     Exchange+Request.swift   a request and its content          Exchange+Live.swift     waits for something new
//     Exchange+Answer.swift    outcomes to answers                Exchange+Events.swift   event streams
//
// A live reader that waits keeps nothing of its request but what its answer depends on: `PendingRequest` goes when the wait begins, unless
// it says something that few do (`isPlain`). With 20,000 readers that is the difference between 300 and 700 bytes each.

import StreamActors

protocol Exchange: ExchangeState, Requester, ReaderOwner {
    /// Replaces `server.output` by what goes in front of the body in the same buffer: on HTTP/1.1 the head.
    func beginOutput()
    /// Sends the answer whose head is in `server.head`: `server.output`, then the items.
    func transmit(_ items: [SendItem]?)
    func transmit(shared answer: SharedAnswer)
    /// Event streams go out in chunks (RFC 9112 7.1).
    var takesChunks: Bool { get }
    /// Sends the head of an event stream, which is in `server.head`.
    func transmitEventsHead()
    /// Sends as much as can go at once; nil when the connection is broken.
    func sendNow(_ bytes: UnsafeRawBufferPointer, more: Bool) -> Int?
    /// There is a queue now, and the transport is to send it.
    func outputIsBlocked()
    /// The event stream is over and all of it has gone.
    func eventsEnded()
    /// Goes on with the queue, which a worker has worked for.
    func continueSending()
    /// An informational answer: go on with the content.
    func transmitContinue()
    func updateDeadline()
    func updateInterest()
    /// Its connection may have received more than it has had a turn for.
    var isWaitingForShare: Bool { get }
    func close()
}

extension Exchange {
    func endPhase(at deadline: Int64) {
        phaseEnd = deadline
        updateDeadline()
    }

    /// The parts of `close` that are every transport's.
    func abandon() {
        leaveStream()
        let isExecuting = phase == .executing
        phase = .closed
        tag &+= 1
        // A body that waits for its stream is held until that has had its turn.
        if !isExecuting || !(request?.bringsContent ?? false) { endRequest() }
        queue = nil
        setClient(share)
    }

    // MARK: Peers that take little

    /// Something waits for the peer, which has taken `count` bytes of it just now.
    func peerTook(_ count: Int) { floor.took(count, now: server.loop.now, server.limits) }

    /// The server has to do something before the peer can take more.
    func waitsForServer() { floor.waitsForServer(now: server.loop.now) }

    /// More waits for its peer's address than may, or more for all, and it is one of those that make it so. Whoever has little waiting is cut off
    /// only when there is twice as much as there may be.
    var holdsTooMuch: Bool {
        let bound = server.limits.pinnedBytes
        // A single block may be as large as a body.
        if !client.isExempt, client.waiting.bytes > bound / 4, client.waiting.count > 1 { return true }
        return server.pinned.bytes > (client.isExempt || client.waiting.bytes > bound / 16 ? bound : 2 * bound)
    }

    /// Cuts the peer off, and says so, if too much waits.
    func isCutOff(_ tooMuch: Bool) -> Bool {
        if tooMuch {
            server.logSlowPeer()
            close()
        }
        return tooMuch
    }
}
