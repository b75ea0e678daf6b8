// One HTTP/2 connection: many exchanges over one descriptor, in clear (prior knowledge) or with TLS (ALPN).
//
//     readable ──▶ HTTP2Session.receive ──▶ requestHead ──▶ HTTP2Exchange.begin ──▶ the same path as HTTP/1.1's
//     end of the turn ──▶ HTTP2Session.send ──▶ produce ──▶ HTTP2Exchange's SendQueue      one write for all streams of the turn
//     GOAWAY has gone, no stream is left ──▶ our side ends ──▶ the peer's bytes are dropped until it ends its own ──▶ closed
//
// What the socket did not take is kept in `unsent`, at most one buffer; while it is there, nothing is produced and nothing received. So a
// connection that does not read holds that, what libnghttp2 may hold (`HTTP2Limits.sessionBytes`), and for each stream one piece of its
// answer. A stream whose window is closed holds its piece alone and delays nobody.
//
// @unchecked Sendable: confined to the reactor, like `Exchange`.

import HTTP2Session
import HTTPWire
import Logging
import Reactor
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls
import TransportSecurity

final class HTTP2Connection: RequestingConnection, HTTP2SessionDelegate, @unchecked Sendable {
    let descriptor: Int32
    let id: ConnectionID
    unowned(unsafe) let server: ServerCore
    let share: PeerShare
    /// The library's memory and what the socket has not taken.
    private var held: PeerCharge
    private let channel: ByteChannel
    private var session: HTTP2Session!
    fileprivate private(set) var exchanges: [Int32: HTTP2Exchange] = [:]
    private var unsent: ByteSlice?
    /// Received, and not given to the session yet: there were too many requests in this turn. Nothing is received meanwhile.
    private var input: ByteSlice?
    private var cuts = FrameCuts()
    /// It stands in the server's list of those that have to go on with it.
    @exclusivity(unchecked) private var isPostponed = false
    @exclusivity(unchecked) private var interest: Readiness = [.readable]
    @exclusivity(unchecked) private var isClosed = false
    /// It stands in the server's list of those that are flushed at the end of the turn.
    @exclusivity(unchecked) private var isFlushing = false
    /// When it closes because nothing is asked of it; `.max` while streams are open.
    @exclusivity(unchecked) private var idleUntil: Int64
    @exclusivity(unchecked) private var floor = PeerFloor()
    /// When the socket last took all that it was given, or a floor's worth of what it had left (monotonic ms).
    @exclusivity(unchecked) fileprivate private(set) var lastProgress: Int64 = 0
    @exclusivity(unchecked) private var drainEnds = Int64.max
    /// Everything has been said. A close with bytes unread would reset the connection, and the reset could overtake the last answer.
    @exclusivity(unchecked) private var isLingering = false
    @exclusivity(unchecked) private var lingerEnds = Int64.max
    @exclusivity(unchecked) var readsLater = false
    @exclusivity(unchecked) var isPutOff = false
    @exclusivity(unchecked) private var entered = Int64.max

    /// Drained in two steps (RFC 9113 6.8): what the peer sent before it knew is still answered.
    private static let drainMilliseconds: Int64 = 200
    private static let drainLingerMilliseconds: Int64 = 100

    init?(descriptor: Int32, id: ConnectionID, server: ServerCore, share: PeerShare, tls: TLSSession?) {
        self.share = share
        held = PeerCharge(share)
        self.descriptor = descriptor
        self.id = id
        self.server = server
        channel = ByteChannel(descriptor: descriptor, tls: tls)
        idleUntil = server.loop.now + server.limits.headerMilliseconds
        do throws(HTTP2Failure) {
            session = try HTTP2Session(server.limits.http2, delegate: self, now: server.loop.now)
        } catch {
            held.end()
            return nil
        }
        updateDeadline()
        outputWaits(session)
    }

    var isSecure: Bool { channel.tls != nil }

    // MARK: Readiness

    func ready(_ readiness: Readiness) {
        if readiness.contains(.failed) || (readiness.contains(.hangUp) && !readiness.contains(.readable)) {
            close()
            return
        }
        if readiness.contains(.writable) { flush() }
        // One that has been put off goes on in its turn.
        if !isClosed, !isPutOff, !readiness.isDisjoint(with: [.readable, .peerEnded, .hangUp]) { resumeReading() }
    }

    func resumeReceiving(_ limit: Int) { resumeReading() }

    func resumeReading() {
        if isClosed || unsent != nil { return }
        if isLingering {
            dropInput()
            return
        }
        if input != nil { return }
        if server.receiveBytesLeft <= 0 {
            server.putOff(self)
            return
        }
        switch channel.receive(into: server.receiveBuffer) {
        case .bytes(let count):
            server.receiveBytesLeft -= count
            take(UnsafeRawBufferPointer(rebasing: server.receiveBuffer[..<count]))
            if !isClosed, channel.hasBufferedInput { server.readLater(self) }
        case .wouldBlock: break
        case .end, .failed: close()
        }
    }

    private func dropInput() {
        switch channel.receive(into: server.receiveBuffer) {
        case .bytes: if channel.hasBufferedInput { server.readLater(self) }
        case .wouldBlock: break
        case .end, .failed: close()
        }
    }

    /// Gives the session what has been received, request by request, and keeps the rest when there are more than its share of the turn.
    func take(_ bytes: UnsafeRawBufferPointer) {
        let used = feed(bytes, server.requestsAreSpent ? 1 : server.limits.requestsPerAddress)
        if isClosed { return }
        if used < bytes.count {
            let block = OwnedBytes(copying: UnsafeRawBufferPointer(rebasing: bytes[used...]))
            input = ByteSlice(block: block, offset: 0, count: block.count)
            postpone()
        }
        if chargeMemory() { outputWaits(session) } else { close() }
    }

    /// - Returns: how many bytes the session has got.
    private func feed(_ bytes: UnsafeRawBufferPointer, _ share: Int) -> Int {
        let end = server.requestsBegun + UInt64(share)
        var position = 0
        while position < bytes.count, !isClosed, server.requestsBegun < end, mayBegin {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
            let count = cuts.next(rest)
            session.receive(UnsafeRawBufferPointer(rebasing: rest[..<count]), now: server.loop.now)
            position += count
        }
        return position
    }

    /// Its peer has sent something that waits for its share.
    fileprivate var hasInput: Bool { input != nil || isPutOff }
    private var mayBegin: Bool { share.mayBegin(in: server.loop.turn, server.limits.requestsPerAddress) }

    private func postpone() {
        if isPostponed { return }
        isPostponed = true
        server.postpone(self)
    }

    func resumePostponed(_ share: Int) {
        isPostponed = false
        if isClosed || unsent != nil { return }
        guard let kept = input else { return }
        let used = withExtendedLifetime(kept) { mayBegin ? feed(kept.bytes, share) : 0 }
        if isClosed { return }
        if used == kept.count {
            input = nil
            server.readLater(self)
        } else {
            input = ByteSlice(block: kept.block, offset: kept.offset + used, count: kept.count - used)
            postpone()
        }
        if used == 0 { return }
        if chargeMemory() { outputWaits(session) } else { close() }
    }

    /// Counts what the library holds for this peer, and what its socket has not taken; false: that is more than may be held.
    private func chargeMemory() -> Bool {
        let count = session.memoryInUse + (unsent?.count ?? 0) + (input?.block.count ?? 0)
        // Small changes are not worth a visit to the account.
        return abs(count - held.bytes) < 4096 || held.set(count)
    }

    func outputWaits(_ session: HTTP2Session) {
        if isFlushing || isClosed || isLingering { return }
        isFlushing = true
        server.flushLater(self)
    }

    func flushNow() {
        isFlushing = false
        flush()
    }

    /// Sends until the socket or the session has had enough, or this connection its share of the turn.
    private func flush() {
        if isClosed || isLingering { return }
        if let slice = unsent {
            guard send(slice) else { return }
        }
        let isBeyond = server.sendBytesLeft <= 0
        let budget = isBeyond ? server.limits.sendBytesBeyond : min(server.limits.sendBudget, server.sendBytesLeft)
        let buffer = isBeyond ? UnsafeMutableRawBufferPointer(rebasing: server.fileBuffer[..<budget]) : server.fileBuffer
        var moved = 0
        defer { server.sendBytesLeft -= moved }
        while moved < budget {
            let count = session.send(into: buffer)
            if isClosed { return }
            if count == 0 {
                floor.tookAll()
                // What has gone is charged no longer; what cannot be charged now is when the peer sends something.
                _ = chargeMemory()
                setInterest([.readable])
                if session.isOver { linger() }
                return
            }
            moved += count
            let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            switch channel.send(bytes) {
            case .bytes(let sent) where sent == count: tookWhole(sent)
            case .bytes(let sent):
                tookPart(sent)
                return keep(bytes, from: sent)
            case .wouldBlock: return keep(bytes, from: 0)
            case .end, .failed: return close()
            }
        }
        outputWaits(session)
    }

    private func keep(_ bytes: UnsafeRawBufferPointer, from sent: Int) {
        let block = OwnedBytes(copying: UnsafeRawBufferPointer(rebasing: bytes[sent...]))
        unsent = ByteSlice(block: block, offset: 0, count: block.count)
        if chargeMemory() { blocked() } else { close() }
    }

    /// Sends what was left; false when some of it is left again.
    private func send(_ slice: ByteSlice) -> Bool {
        switch channel.send(slice.bytes) {
        case .bytes(let sent) where sent == slice.count:
            tookWhole(sent)
            unsent = nil
            if input != nil { postpone() }
            return true
        case .bytes(let sent):
            tookPart(sent)
            unsent = ByteSlice(block: slice.block, offset: slice.offset + sent, count: slice.count - sent)
            blocked()
        case .wouldBlock: setInterest([.writable])
        case .end, .failed: close()
        }
        return false
    }

    private func blocked() {
        floor.took(0, now: server.loop.now, server.limits)
        setInterest([.writable])
        updateDeadline()
    }

    /// The socket has taken a part of what it was given.
    private func tookPart(_ count: Int) {
        if floor.took(count, now: server.loop.now, server.limits) { lastProgress = server.loop.now }
    }

    /// The socket has taken all that it was given: what comes next is the server's turn.
    private func tookWhole(_ count: Int) {
        if floor.isCounting, !floor.took(count, now: server.loop.now, server.limits) {
            floor.waitsForServer(now: server.loop.now)
        } else {
            floor.tookAll()
            lastProgress = server.loop.now
        }
    }

    private func setInterest(_ wanted: Readiness) {
        if wanted == interest || isClosed { return }
        if wanted.contains(.readable), channel.hasBufferedInput { server.readLater(self) }
        interest = wanted
        server.loop.change(descriptor, to: wanted)
    }

    // MARK: Requests

    func requestHead(_ head: UnsafeRawBufferPointer, on stream: HTTP2Stream, hasContent: Bool) {
        if exchanges.isEmpty { idleUntil = .max }
        let exchange = HTTP2Exchange(stream, self)
        exchanges[stream.identifier] = exchange
        stream.handler = exchange
        exchange.begin(head, hasContent: hasContent)
    }

    fileprivate func ended(_ stream: HTTP2Stream) {
        exchanges[stream.identifier] = nil
        if exchanges.isEmpty {
            idleUntil = server.loop.now + server.limits.idleMilliseconds
            updateDeadline()
        }
    }

    // MARK: Deadlines

    private var ownDeadline: Int64 { min(min(idleUntil, lingerEnds), min(floor.deadline, drainEnds)) }

    private func updateDeadline() { deadlineMayBe(ownDeadline) }

    fileprivate func deadlineMayBe(_ deadline: Int64) {
        if deadline == .max { return }
        let visit = min(deadline, server.loop.now + DeadlineWheel.horizonMilliseconds)
        if visit < entered {
            entered = visit
            server.wheel.enter(id.packed, at: visit)
        }
    }

    func visit(now: Int64) -> Int64? {
        if isClosed || entered > now { return nil }
        entered = .max
        if floor.deadline <= now || lingerEnds <= now {
            close()
            return nil
        }
        // What it has sent waits for us.
        if hasInput { idleUntil = max(idleUntil, now + server.limits.idleMilliseconds) }
        let isIdle = idleUntil <= now && exchanges.isEmpty && !session.wantsWrite
        if isIdle || drainEnds <= now {
            // The peer is told which requests have been taken, so that it can ask again for one that crosses with this.
            if isIdle { idleUntil = .max }
            drainEnds = .max
            session.finishDrain()
        }
        for exchange in Array(exchanges.values) {
            exchange.visit(now: now)
            if isClosed { return nil }
        }
        if idleUntil <= now { idleUntil = now + server.limits.idleMilliseconds }
        var next = ownDeadline
        for exchange in exchanges.values { next = min(next, exchange.nextVisit) }
        if next == .max { return nil }
        next = min(next, now + DeadlineWheel.horizonMilliseconds)
        if next >= entered { return nil }
        entered = next
        return next
    }

    // MARK: End

    func drain() {
        if isClosed { return }
        if isLingering {
            lingerEnds = min(lingerEnds, server.loop.now + Self.drainLingerMilliseconds)
            updateDeadline()
            return
        }
        session.beginDrain()
        drainEnds = server.loop.now + Self.drainMilliseconds
        updateDeadline()
        for exchange in Array(exchanges.values) { exchange.drain() }
        outputWaits(session)
    }

    func failPending() {
        for exchange in Array(exchanges.values) { exchange.failPending() }
        flush()
    }

    /// Ends our side and waits a little for the peer to end its own.
    private func linger() {
        isLingering = true
        input = nil
        endSession()
        channel.endSending()
        idleUntil = .max
        drainEnds = .max
        lingerEnds = server.loop.now + (server.isDraining ? Self.drainLingerMilliseconds : server.limits.lingerMilliseconds)
        updateDeadline()
    }

    /// Streams that are still open are told that they are not any more.
    private func endSession() {
        if let failure = session.failure { server.logger.debug("an HTTP/2 connection has ended", metadata: ["reason": "\(failure)"]) }
        session.close()
        exchanges = [:]
    }

    func close() {
        if isClosed { return }
        isClosed = true
        if !isLingering { endSession() }
        unsent = nil
        input = nil
        held.end()
        if let tls = channel.tls { _ = tls.sendClose() }
        server.closed(self)
    }
}

/// One stream: an exchange whose bytes go when the windows are open and its turn has come.
final class HTTP2Exchange: ExchangeState, Exchange, HTTP2StreamHandler, @unchecked Sendable {
    private let wire: HTTP2Stream
    private unowned let connection: HTTP2Connection
    /// When it sends little, if it waits for a window that does not grow before.
    @exclusivity(unchecked) private var crumbAt = Int64.max
    private static let crumbMilliseconds: Int64 = 100
    /// When it is looked at whether too much waits for its peer.
    @exclusivity(unchecked) private var judgedAt = Int64.max
    private static let judgedAfter: Int64 = 1_000
    fileprivate var nextVisit: Int64 { min(min(nextDeadline, judgedAt), wire.awaitsWindow ? crumbAt : .max) }

    init(_ stream: HTTP2Stream, _ connection: HTTP2Connection) {
        wire = stream
        self.connection = connection
        super.init(server: connection.server, share: connection.share)
    }

    // MARK: The request

    func begin(_ bytes: UnsafeRawBufferPointer, hasContent: Bool) {
        var scanner = HeadScanner()
        do throws(HTTPRefusal) {
            // The session cuts a head at the limit that was in force when the connection began.
            guard let length = try scanner.scan(bytes, limits: server.limits.wire) else {
                throw HTTPRefusal.headTooLarge(limit: server.limits.wire.headBytes)
            }
            try server.requestHead.parse(UnsafeRawBufferPointer(rebasing: bytes[..<length]), limits: server.limits.wire)
            var framing = BodyFraming.none
            if hasContent {
                framing = .chunked
                if case .length = server.requestHead.framing { framing = server.requestHead.framing }
            }
            begin(bytes, framing: framing, keepAlive: true, following: 0, secure: connection.isSecure, endsWithStream: true)
        } catch {
            refuse(Problem(error.status, error.reason), keepAlive: false)
        }
    }

    func received(_ bytes: UnsafeRawBufferPointer, on stream: HTTP2Stream) {
        // A body is held whole until it is stored, within `body-limit`: the window says how fast it comes, not how much of it there is.
        stream.consume(bytes.count)
        if phase == .body, bytes.count > 0 { _ = takeBody(UnsafeMutableRawBufferPointer(mutating: bytes)) }
    }

    func requestEnded(on stream: HTTP2Stream) {
        if phase == .body { bodyIsComplete(nil) }
    }

    // MARK: The answer

    func beginOutput() { server.output.removeAll(keepingCapacity: true) }

    func transmit(_ items: [SendItem]?) {
        let hasBody = !server.output.isEmpty || items != nil
        if hasBody {
            let queue = SendQueue(server.pinned, client)
            if !server.output.isEmpty {
                queue.append(.memory(ByteSlice(server.output)))
            }
            for item in items ?? [] { queue.append(item) }
            self.queue = queue
            isQueued()
            if phase == .closed { return }
            if server.output.capacity > 4 * ServerCore.copyLimit { server.output = [] }
        }
        respond(server.head, hasBody: hasBody)
    }

    func transmit(shared answer: SharedAnswer) {
        respond(answer.head, hasBody: true)
        let queue = SendQueue(server.pinned, client)
        let count = answer.block.count - answer.bodyStart
        queue.append(.memory(ByteSlice(block: answer.block, offset: answer.bodyStart, count: count)))
        self.queue = queue
        isQueued()
    }

    /// HTTP/2 has frames of its own.
    var takesChunks: Bool { false }

    func transmitEventsHead() { respond(server.head, hasBody: true) }

    private func respond(_ head: ResponseHead, hasBody: Bool) {
        head.withLines {
            wire.respond(status: head.status, lines: $0, contentLength: head.contentLength, hasBody: hasBody)
        }
    }

    /// Everything goes when the session asks for it.
    func sendNow(_ bytes: UnsafeRawBufferPointer, more: Bool) -> Int? { 0 }

    /// The peer has not been offered anything of it: it is judged in a while.
    private func isQueued() {
        if isCutOff(server.pinned.bytes > 2 * server.limits.pinnedBytes) { return }
        judgedAt = server.loop.now + Self.judgedAfter
        waits()
    }

    func outputIsBlocked() {
        if isCutOff(holdsTooMuch) { return }
        waits()
    }

    private func waits() {
        peerTook(0)
        updateDeadline()
        wire.resume()
    }

    /// What a worker has read waits for the peer, and not for ever.
    func continueSending() { if queue == nil { wire.resume() } else { outputIsBlocked() } }

    func produce(into buffer: UnsafeMutableRawBufferPointer, on stream: HTTP2Stream) -> HTTP2Production {
        if warming { return .deferred }
        if queue == nil, phase == .streaming { pumpEvents() }
        if phase == .closed { return .failed }
        guard let queue else { return phase == .sending ? .end(0) : .deferred }
        if wire.isCrumb(buffer.count), !queue.fits(buffer.count) {
            // Not for ever: a peer may count otherwise.
            if crumbAt > server.loop.now {
                if crumbAt == .max { crumbAt = server.loop.now + Self.crumbMilliseconds }
                wire.awaitsWindow = true
                updateDeadline()
                return .deferred
            }
        }
        crumbAt = .max
        var filled = 0
        let progress = queue.fill(buffer, filled: &filled)
        if filled > 0 { peerTook(filled) }
        switch progress {
        case .done:
            self.queue = nil
            judgedAt = .max
            floor.tookAll()
            return phase == .sending ? .end(filled) : .bytes(filled)
        case .blocked, .budgetSpent: return .bytes(filled)
        case .cold(let handle, let offset, let count):
            warming = true
            waitsForServer()
            server.load(handle, offset: offset, count: count, for: self)
            return filled > 0 ? .bytes(filled) : .deferred
        case .failed, .truncated:
            server.log("a segment ended before its stream, or could not be read", name: nil)
            return .failed
        }
    }

    func eventsEnded() {
        phase = .sending
        phaseEnd = .max
        // Its end may wait for a window, too.
        outputIsBlocked()
    }

    func transmitContinue() { wire.respondInterim(status: 100) }

    // MARK: Deadlines and the end

    func updateDeadline() { connection.deadlineMayBe(nextVisit) }
    func updateInterest() {}
    var isWaitingForShare: Bool { connection.hasInput }

    func visit(now: Int64) {
        if crumbAt <= now, wire.awaitsWindow { wire.resume() }
        if judgedAt <= now {
            judgedAt = .max
            if isCutOff(queue != nil && holdsTooMuch) { return }
        }
        if floor.deadline <= now {
            // Waiting for its turn among many is no fault of the peer, as long as that takes what it is sent.
            let limit = connection.lastProgress + server.limits.peerMilliseconds
            if connection.hasInput {
                // What opens its window may be among that.
                floor.extend(to: now + server.limits.peerMilliseconds)
            } else if wire.windowIsOpen, limit > now {
                floor.extend(to: limit)
            } else {
                close()
                return
            }
        }
        if phaseEnd > now {
            beatIfQuiet(now)
            return
        }
        switch phase {
        case .body: bodyIsDue(now)
        case .polling: pollIsOver()
        case .streaming: endEvents()
        case .head, .executing, .sending, .lingering, .closed: phaseEnd = .max
        }
    }

    func drain() {
        switch phase {
        case .polling: pollIsOver()
        case .streaming: endEvents()
        case .head, .body, .executing, .sending, .lingering, .closed: break
        }
    }

    /// Gives the stream up; the connection goes on.
    func close() {
        if phase == .closed { return }
        abandon()
        wire.reset(HTTP2ErrorCode.cancel)
    }

    func closed(_ stream: HTTP2Stream, code: UInt32) {
        if phase != .closed { abandon() }
        connection.ended(stream)
    }
}
