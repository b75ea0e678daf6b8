// One stream of an HTTP/2 connection: its request and its answer.
//
//     answer ──▶ queue ──(the session asks: `produce`)──▶ DATA, as much as the windows and the turn allow
//
// @unchecked Sendable: confined to the reactor, like `ExchangeState`.

import HTTP2Session
import HTTPWire
import StreamHTTP
import StreamRules
import StreamStore

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
    var nextVisit: Int64 { min(min(nextDeadline, judgedAt), wire.awaitsWindow ? crumbAt : .max) }

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
    var isWaitingForShare: Bool { connection.hasInput || connection.isBlocked }

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
