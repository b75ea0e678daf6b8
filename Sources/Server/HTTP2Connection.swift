// One HTTP/2 connection: many exchanges over one descriptor, in clear (prior knowledge) or with TLS (ALPN).
//
//     readable ──▶ HTTP2Session.receive ──▶ requestHead ──▶ HTTP2Exchange.begin ──▶ the same path as HTTP/1.1's
//     end of the turn ──▶ HTTP2Session.send ──▶ produce ──▶ HTTP2Exchange's SendQueue      one write for all streams of the turn
//     GOAWAY has gone, no stream is left ──▶ our side ends ──▶ the peer's bytes are dropped until it ends its own ──▶ closed
//
// What the socket did not take is kept in `unsent`, at most one buffer; while it is there, nothing is produced, and the connection is read from once each
// time that its socket has taken some of it. So a connection that does not read holds that, what libnghttp2 may hold (`HTTP2Limits.sessionBytes`), and for
// each stream one piece of its answer. A stream whose window is closed holds its piece alone and delays nobody.
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
    private(set) var exchanges: [Int32: HTTP2Exchange] = [:]
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
    @exclusivity(unchecked) private(set) var lastProgress: Int64 = 0
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
        if readiness.contains(.writable) {
            flush()
            // A peer that takes what it is sent is read from beside that, however much there still is for it (RFC 9113 5.2.2).
            if unsent != nil, !isClosed, !isLingering, !isPutOff { receive() }
        }
        // One that has been put off goes on in its turn.
        if !isClosed, !isPutOff, !readiness.isDisjoint(with: [.readable, .peerEnded, .hangUp]) { resumeReading() }
    }

    func resumeReceiving(_ limit: Int) { if !isClosed, !isLingering { receive() } }

    func resumeReading() {
        if isClosed || unsent != nil { return }
        if isLingering {
            dropInput()
            return
        }
        receive()
    }

    private func receive() {
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
        case .end:
            // What is on its way to a peer that only sends no more still goes.
            if unsent == nil { close() }
        case .failed: close()
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
    var hasInput: Bool { input != nil || isPutOff }
    /// It is not read from at every moment.
    var isBlocked: Bool { unsent != nil }
    private var mayBegin: Bool { share.mayBegin(in: server.loop.turn, server.limits.requestsPerAddress) }

    private func postpone() {
        if isPostponed { return }
        isPostponed = true
        server.postpone(self)
    }

    func resumePostponed(_ share: Int) {
        isPostponed = false
        if isClosed || isLingering { return }
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
        // The socket takes more: the next turn goes on.
        setInterest([.readable])
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

    func ended(_ stream: HTTP2Stream) {
        exchanges[stream.identifier] = nil
        if exchanges.isEmpty {
            idleUntil = server.loop.now + server.limits.idleMilliseconds
            updateDeadline()
        }
    }

    // MARK: Deadlines

    private var ownDeadline: Int64 { min(min(idleUntil, lingerEnds), min(floor.deadline, drainEnds)) }

    private func updateDeadline() { deadlineMayBe(ownDeadline) }

    func deadlineMayBe(_ deadline: Int64) {
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
