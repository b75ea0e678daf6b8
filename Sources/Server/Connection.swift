// One HTTP/1.1 connection: bytes to requests, answers to bytes, in order.
//
//            ┌──────────────────────────── kept alive ─────────────────────────────┐
//            ▼                                                                      │
//     head ──▶ body ──▶ executing ──▶ (answer) ──▶ sending ──▶ ──────────────────────┤
//                          │   └──▶ polling ──▶ (answer, time-out) ──▶ sending ──────┤
//                          └──▶ streaming (events until the interval or the end) ──▶ lingering ──▶ closed
//
// It is the exchange of its current request (`Exchange`). While a request is being answered, further bytes of the peer are kept, up to a
// bound, and parsed afterwards: pipelined requests are answered in order. An idle connection has no buffers and no timer, only an entry
// in the server's deadline wheel.
//
// @unchecked Sendable: confined to the reactor, like `Exchange`.

import HTTP2Session
import HTTPWire
import Logging
import Reactor
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls
import TransportSecurity

final class Connection: ExchangeState, Exchange, RequestingConnection, @unchecked Sendable {
    let descriptor: Int32
    let id: ConnectionID
    let tls: TLSSession?
    /// It answers every request with its https URL.
    private let redirects: Bool
    /// It waits in the server's list for its share of a turn.
    @exclusivity(unchecked) var sendsLater = false
    private var scanner = HeadScanner()
    /// The first bytes of a request are here and its head is not complete.
    @exclusivity(unchecked) var headHasBegun = false
    @exclusivity(unchecked) var input: OwnedBytes?
    var inputHeld: PeerCharge
    @exclusivity(unchecked) private var interest: Readiness = [.readable]
    @exclusivity(unchecked) private var processing = false
    /// Requests that are here wait for the next turn.
    @exclusivity(unchecked) var isPostponed = false
    @exclusivity(unchecked) var readsLater = false
    @exclusivity(unchecked) var isPutOff = false

    @exclusivity(unchecked) private var entered = Int64.max

    init(
        descriptor: Int32, id: ConnectionID, server: ServerCore, share: PeerShare, tls: TLSSession? = nil, redirects: Bool = false
    ) {
        self.descriptor = descriptor
        self.id = id
        self.tls = tls
        self.redirects = redirects
        inputHeld = PeerCharge(share)
        super.init(server: server, share: share)
        phaseEnd = server.loop.now + server.limits.headerMilliseconds
        updateDeadline()
    }

    var channel: ByteChannel {
        @inline(__always) get { ByteChannel(descriptor: descriptor, tls: tls) }
    }

    // MARK: Deadlines

    /// When the wheel is to visit: at the deadline, or on the way to one beyond its horizon, so that no entry comes before `entered`.
    private var nextVisit: Int64 {
        let deadline = nextDeadline
        return deadline == .max ? .max : min(deadline, server.loop.now + DeadlineWheel.horizonMilliseconds)
    }

    func updateDeadline() {
        let deadline = nextVisit
        if deadline < entered {
            entered = deadline
            server.wheel.enter(id.packed, at: deadline)
        }
    }

    /// The wheel's visit: what is due is done; the next visit is returned.
    func visit(now: Int64) -> Int64? {
        if phase == .closed || entered > now { return nil }
        entered = .max
        if floor.deadline <= now {
            close()
            return nil
        }
        if phaseEnd <= now { phaseIsOver(now) }
        beatIfQuiet(now)
        if phase == .closed { return nil }
        let deadline = nextVisit
        if deadline == .max || deadline >= entered { return nil }
        entered = deadline
        return deadline
    }

    private func phaseIsOver(_ now: Int64) {
        switch phase {
        case .head where isPostponed || readsLater:
            // It waits for us.
            endPhase(at: now + server.limits.idleMilliseconds)
        case .head:
            if !headHasBegun {
                close()
            } else {
                refuse(Problem(408, "The request's head did not arrive in time."), keepAlive: false)
            }
        case .body: bodyIsDue(now)
        case .polling: pollIsOver()
        case .streaming: endEvents()
        case .lingering, .sending: close()
        case .executing, .closed: phaseEnd = .max
        }
    }

    // MARK: Readiness

    func ready(_ readiness: Readiness) {
        if readiness.contains(.failed) || (readiness.contains(.hangUp) && !readiness.contains(.readable)) {
            close()
            return
        }
        if readiness.contains(.writable) { continueSending() }
        if phase != .closed, !readiness.isDisjoint(with: [.readable, .peerEnded, .hangUp]) { receive() }
    }

    var isWaitingForShare: Bool { isPutOff || readsLater }

    private func setInterest(_ wanted: Readiness) {
        if wanted == interest || phase == .closed { return }
        interest = wanted
        server.loop.change(descriptor, to: wanted)
    }

    func updateInterest() {
        var wanted: Readiness = []
        if !peerEnded && inputRoom > 0 { wanted.insert(.readable) }
        if queue != nil && !warming && !sendsLater { wanted.insert(.writable) }
        if tls != nil, wanted.contains(.readable), !interest.contains(.readable), channel.hasBufferedInput { server.readLater(self) }
        setInterest(wanted)
    }

    /// Bytes that may be read now: the most of a head, or a little of what follows a request that is being answered. What an event stream's reader
    /// sends is dropped, so that it may send on.
    private var inputRoom: Int {
        switch phase {
        case .body where input == nil: server.receiveBuffer.count
        // What is behind a first request is kept if that one waits.
        case .head where !isPostponed && input == nil: server.limits.pipelineBytes
        case .head where !isPostponed, .body: server.limits.wire.headBytes + server.limits.pipelineBytes - (input?.count ?? 0)
        case .streaming, .lingering: server.receiveBuffer.count
        default: server.limits.pipelineBytes - (input?.count ?? 0)
        }
    }

    /// - Parameter limit: of a body's bytes, for one whose turn it is among those that were put off; nil: its socket has told of something.
    func receive(_ limit: Int? = nil) {
        receiveOnce(limit)
        if tls != nil, phase != .closed, interest.contains(.readable), channel.hasBufferedInput { server.readLater(self) }
    }

    /// Bytes were here of which the socket does not tell.
    func resumeReading() {
        if phase != .closed, interest.contains(.readable) { receive() }
    }

    func resumeReceiving(_ limit: Int) {
        if phase != .closed, interest.contains(.readable) { receive(limit) }
    }

    private func receiveOnce(_ limit: Int?) {
        if phase == .body, input == nil {
            if isPutOff { return }
            // Those who have been put off come first, but for what is little.
            if limit == nil, server.receiveBytesLeft <= 0 || server.hasReceivers, !(request?.body.isNearlyComplete ?? true) {
                server.putOff(self)
                return
            }
            if let target = request?.body.directTarget() {
                let count = min(target.count, limit ?? server.limits.receiveBudget)
                switch channel.receive(into: UnsafeMutableRawBufferPointer(rebasing: target[..<count])) {
                case .bytes(let count):
                    server.receiveBytesLeft -= count
                    tookBody(count)
                case .wouldBlock: break
                case .end, .failed: close()
                }
                return
            }
        }
        let room = min(server.receiveBuffer.count, inputRoom)
        if room <= 0 { return }
        switch channel.receive(into: UnsafeMutableRawBufferPointer(rebasing: server.receiveBuffer[..<room])) {
        case .bytes(let count):
            if phase == .lingering { return }
            if phase == .body { server.receiveBytesLeft -= count }
            take(UnsafeMutableRawBufferPointer(rebasing: server.receiveBuffer[..<count]))
        case .wouldBlock: break
        case .end: ended()
        case .failed: close()
        }
    }

    /// The peer has ended its side. An answer that is due is still given; a wait for something new is over, because a peer that is gone
    /// and one that only sends no more look alike.
    func ended() {
        peerEnded = true
        switch phase {
        case .executing, .sending: updateInterest()
        case .head where isPostponed: updateInterest()
        case .head, .body, .polling, .streaming, .lingering, .closed: close()
        }
    }

    // MARK: Input

    private func take(_ bytes: UnsafeMutableRawBufferPointer) {
        if let input {
            input.grow(to: input.count + bytes.count)
            (input.base + input.count).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
            input.count += bytes.count
            guard chargeInput() else { return }
            if isPostponed { updateInterest() } else { resume() }
            return
        }
        let consumed = process(bytes, newShare)
        if phase != .closed, consumed < bytes.count {
            input = OwnedBytes(copying: UnsafeRawBufferPointer(rebasing: bytes[consumed...]))
            if chargeInput() { updateInterest() }
        }
    }

    /// Counts what is kept of the peer's bytes; false: there is no room for it, and the connection is gone.
    private func chargeInput() -> Bool {
        if inputHeld.set(input?.capacity ?? 0) { return true }
        close()
        return false
    }

    /// Requests that it may begin now, as its socket or an answer that has gone lets it go on.
    private var newShare: Int { server.requestsAreSpent ? 1 : server.limits.pipelineBudget }

    /// Goes on with kept bytes.
    func resume(_ share: Int? = nil) {
        guard let kept = input, !processing else { return }
        let consumed = process(UnsafeMutableRawBufferPointer(start: kept.base, count: kept.count), share ?? newShare)
        if phase == .closed { return }
        if consumed == kept.count {
            input = nil
        } else if consumed > 0 {
            input = OwnedBytes(copying: UnsafeRawBufferPointer(start: kept.base + consumed, count: kept.count - consumed))
        }
        guard chargeInput() else { return }
        updateInterest()
        if peerEnded, !isPostponed, phase == .head || phase == .body { close() }
    }

    /// Parses and executes what is there, as far as answers come at once. Returns how many bytes were used.
    private func process(_ bytes: UnsafeMutableRawBufferPointer, _ requests: Int) -> Int {
        processing = true
        defer { processing = false }
        var position = 0
        var left = requests
        while position < bytes.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[position...])
            switch phase {
            case .head:
                if left <= 0 || !share.mayBegin(in: server.loop.turn, server.limits.requestsPerAddress) {
                    isPostponed = true
                    server.postpone(self)
                    return position
                }
                if rest[0] == UInt8(ascii: "P"), tag == 0, tls == nil, !redirects {
                    switch ConnectionPreface.judge(UnsafeRawBufferPointer(rest)) {
                    case .http2:
                        server.becomeHTTP2(self, UnsafeRawBufferPointer(rest))
                        return bytes.count
                    case .undecided where rest.count > 1:
                        headBegins()
                        return position
                    case .undecided, .other: break
                    }
                }
                do throws(HTTPRefusal) {
                    guard let length = try scanner.scan(UnsafeRawBufferPointer(rest), limits: server.limits.wire) else {
                        headBegins()
                        return position
                    }
                    scanner.reset()
                    headHasBegun = false
                    let headBytes = UnsafeRawBufferPointer(rebasing: rest[..<length])
                    try server.requestHead.parse(headBytes, limits: server.limits.wire)
                    position += length
                    left -= 1
                    let head = server.requestHead
                    if redirects {
                        redirect(headBytes)
                        return bytes.count
                    }
                    begin(
                        headBytes, framing: head.framing, keepAlive: head.keepAlive && !server.isDraining,
                        following: bytes.count - position, secure: tls != nil)
                } catch {
                    refuse(Problem(error.status, error.reason), keepAlive: false)
                    return bytes.count
                }
            case .body:
                guard let consumed = takeBody(rest) else { return bytes.count }
                position += consumed
            case .executing, .polling, .sending:
                return position
            case .streaming, .lingering, .closed:
                return bytes.count
            }
        }
        return position
    }

    private func redirect(_ bytes: UnsafeRawBufferPointer) {
        guard let location = server.router.secureLocation(server.requestHead, bytes, port: server.securePort) else {
            refuse(
                Problem(400, "The request names no host, so that it cannot be sent on to https. Expected a Host field."), keepAlive: false)
            return
        }
        tag &+= 1
        request = PendingRequest(
            .none, context: ResponseContext(), keepAlive: false, minorVersion: server.requestHead.minorVersion, client: share)
        noteForLog(bytes)
        server.responder.redirect(to: location, &server.head)
        respond(nil)
    }

    private func headBegins() {
        if headHasBegun { return }
        headHasBegun = true
        endPhase(at: server.loop.now + server.limits.headerMilliseconds)
    }

    /// The descriptor is another connection's from now on: it speaks HTTP/2.
    func handOver() {
        abandon()
        input = nil
        inputHeld.end()
    }
}
