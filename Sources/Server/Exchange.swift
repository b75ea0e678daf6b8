// One request and its answer (RFC 9110 3.4), whichever transport they come by.
//
//     body ──▶ executing ──▶ (answer) ──▶ sending ──▶ the transport's
//                 │   └──▶ polling ──▶ (answer, time-out) ──▶ sending
//                 └──▶ streaming (events until the interval or the end) ──▶ the transport's
//
// An HTTP/1.1 connection is itself the exchange of its current request, so an idle one is one object; an HTTP/2 stream is an exchange of its
// own. What a transport does differently (how a head is written, how bytes go out, what the end of an answer is) it overrides;
// everything that the protocol of streams asks is here, once.
//
// A live reader that waits keeps nothing of its request but what its answer depends on: `PendingRequest` goes when the wait begins, unless
// it says something that few do (`isPlain`). With 20,000 readers that is the difference between 300 and 700 bytes each.
//
// @unchecked Sendable: confined to the reactor, where stream actors answer it; every call from another thread goes through `EventLoop.post`.

import HTTPWire
import Logging
import Reactor
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls

/// What is known of a request while it is being served.
final class PendingRequest {
    /// nil: it is answered without a stream.
    let asked: StreamRequest?
    let context: ResponseContext
    let keepAlive: Bool
    let minorVersion: Int
    let problem: Problem?
    var body: BodyReceiver
    /// When the last byte of the body came, and since when its rate is measured (monotonic ms).
    var lastByteAt: Int64 = 0
    var rateSince: Int64 = 0
    /// Bytes that had arrived then.
    var receivedBefore = 0
    /// For the access log, when it is on: method and target, and when the request began.
    var accessLine: String?
    var began: Int64 = 0
    /// The bytes of the body that have arrived, until the request is answered.
    var held: PeerCharge
    /// It brings content for a stream, which is held until that has had its turn.
    var bringsContent = false
    /// A long head stays here with the request: so many bytes of it are counted.
    var headBytes = 0
    /// The content lies whole behind the head in the buffer: so many bytes, and no receiver is needed.
    var inPlaceCount = 0

    init(
        _ asked: StreamRequest?, context: ResponseContext, keepAlive: Bool, minorVersion: Int, problem: Problem?, body: BodyReceiver,
        client: PeerShare
    ) {
        held = PeerCharge(client)
        self.asked = asked
        self.context = context
        self.keepAlive = keepAlive
        self.minorVersion = minorVersion
        self.problem = problem
        self.body = body
    }

    /// Whether a wait can go on without it: nothing in it that the answer depends on, but the cursor and `offset=now`.
    var isPlain: Bool {
        keepAlive && minorVersion == 1 && accessLine == nil && held.bytes == headBytes && !context.headOnly
            && context.isPlain
    }
}

/// The answer to several long-polls: in the form of HTTP/1.1, head and body in one block, and for other transports the head apart.
final class SharedAnswer {
    let block: OwnedBytes
    let bodyStart: Int
    let head: ResponseHead

    init(block: OwnedBytes, bodyStart: Int, head: ResponseHead) {
        self.block = block
        self.bodyStart = bodyStart
        self.head = head
    }
}

class Exchange: LiveReader, @unchecked Sendable {
    /// A head of so many bytes is not worth a visit to the account.
    private static let shortHead = 1024

    /// Memory of so many bytes is given back by a worker.
    private static let largeBlock = 1 << 20

    enum Phase: UInt8 {
        case head, body, executing, polling, streaming, sending, lingering, closed

        /// It waits for what is not there yet.
        var isLive: Bool { self == .polling || self == .streaming }
    }

    /// Outlives its connections: it goes when the process does. A checked reference costs two atomic operations at each use.
    unowned(unsafe) let server: ServerCore
    /// The address that its connection comes from.
    final let share: PeerShare
    /// Of its request: the address that a trusted proxy names, or the same.
    private(set) final var client: PeerShare
    var request: PendingRequest?
    final var queue: SendQueue?
    final var stream: StreamActor?
    final var waiterIndex = -1
    final var livePosition: UInt64 = 0
    /// The cursor of a live request whose `request` has gone; `.max`: it had none.
    final var liveCursor = UInt64.max
    /// That request began at `offset=now`.
    private(set) final var liveFromNow = false
    private(set) final var liveTellsStrictTransport = false
    /// When the phase ends by itself (monotonic ms).
    final var phaseEnd = Int64.max
    /// A peer that does not take enough is cut off.
    final var floor = PeerFloor()
    final var carry = Carry()
    /// Counts requests, so that an answer to an abandoned one is recognised.
    final var tag: UInt32 = 0
    final var phase = Phase.head {
        didSet { if phase.isLive != oldValue.isLive { server.liveReaders += phase.isLive ? 1 : -1 } }
    }
    /// Of a reader of events that has to catch up by reading.
    final var behind: EventsBehind?
    /// Of a reader of events: when it gets a heartbeat, unless something is sent before.
    final var quietUntil = Int64.max
    /// The last control event said that it has all there is.
    final var isToldUpToDate = false
    /// It waits in the server's list for its next piece of events.
    final var isPumping = false
    /// Its event stream ends when the event under way has ended.
    final var endsAfterEvent = false
    final var peerEnded = false
    final var closesAfterSending = false
    final var warming = false

    init(server: ServerCore, share: PeerShare) {
        self.server = server
        self.share = share
        client = share
    }

    // MARK: What a transport does

    /// Replaces `server.output` by what goes in front of the body in the same buffer: on HTTP/1.1 the head.
    func beginOutput() { preconditionFailure("a transport's") }
    /// Sends the answer whose head is in `server.head`: `server.output`, then the items.
    func transmit(_ items: [SendItem]?) { preconditionFailure("a transport's") }
    func transmit(shared answer: SharedAnswer) { preconditionFailure("a transport's") }
    /// Event streams go out in chunks (RFC 9112 7.1).
    var takesChunks: Bool { false }
    /// Sends the head of an event stream, which is in `server.head`.
    func transmitEventsHead() { preconditionFailure("a transport's") }
    /// Sends as much as can go at once; nil when the connection is broken.
    func sendNow(_ bytes: UnsafeRawBufferPointer, more: Bool) -> Int? { preconditionFailure("a transport's") }
    /// There is a queue now, and the transport is to send it.
    func outputIsBlocked() { preconditionFailure("a transport's") }
    /// The event stream is over and all of it has gone.
    func eventsEnded() { preconditionFailure("a transport's") }
    /// Goes on with the queue, which a worker has worked for.
    func continueSending() { preconditionFailure("a transport's") }
    /// An informational answer: go on with the content.
    func transmitContinue() { preconditionFailure("a transport's") }
    func updateDeadline() { preconditionFailure("a transport's") }
    func updateInterest() { preconditionFailure("a transport's") }
    func close() { preconditionFailure("a transport's") }

    final var nextDeadline: Int64 { min(min(phaseEnd, floor.deadline), quietUntil) }

    final func endPhase(at deadline: Int64) {
        phaseEnd = deadline
        updateDeadline()
    }

    /// The parts of `close` that are every transport's.
    final func abandon() {
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
    final func peerTook(_ count: Int) { floor.took(count, now: server.loop.now, server.limits) }

    /// The server has to do something before the peer can take more.
    final func waitsForServer() { floor.waitsForServer(now: server.loop.now) }

    /// Answers from now on wait for this client.
    private final func setClient(_ client: PeerShare) {
        if client === self.client { return }
        if self.client !== share { self.client.leave() }
        if client !== share { client.enter() }
        self.client = client
    }

    /// More waits for its peer's address than may, or more for all, and it is one of those that make it so. Whoever has little waiting is cut off
    /// only when there is twice as much as there may be.
    final var holdsTooMuch: Bool {
        let bound = server.limits.pinnedBytes
        // A single block may be as large as a body.
        if !client.isExempt, client.waiting.bytes > bound / 4, client.waiting.count > 1 { return true }
        return server.pinned.bytes > (client.isExempt || client.waiting.bytes > bound / 16 ? bound : 2 * bound)
    }

    /// Cuts the peer off, and says so, if too much waits.
    final func isCutOff(_ tooMuch: Bool) -> Bool {
        if tooMuch {
            server.logSlowPeer()
            close()
        }
        return tooMuch
    }

    // MARK: Deadlines

    /// Looks at a body that is arriving. It may come as slowly as it likes, but not stop; one that holds much of the memory has to keep a rate, and
    /// others while there is little left (`bodyRate`).
    final func bodyIsDue(_ now: Int64) {
        guard let request else { return }
        let limits = server.limits
        if now - request.lastByteAt >= limits.bodyMilliseconds {
            refuse(Problem(408, "No byte of the request's body has come for \(limits.bodyMilliseconds / 1000) s."), keepAlive: false)
            return
        }
        if now - request.rateSince >= limits.bodyGraceMilliseconds {
            let rate = limits.bodyRate(holding: request.held.bytes, pressure: server.peers.pressure, bound: server.peers.bound)
            let arrived = request.body.received - request.receivedBefore
            if Double(arrived) < Double(rate) * Double(now - request.rateSince) / 1000 {
                refuse(
                    Problem(
                        408,
                        "The request's body holds much of the server's memory and arrives too slowly; expected at least \(rate) bytes a second."
                    ),
                    keepAlive: false)
                return
            }
            request.rateSince = now
            request.receivedBefore = request.body.received
        }
        endPhase(at: min(request.lastByteAt + limits.bodyMilliseconds, request.rateSince + max(100, limits.bodyGraceMilliseconds)))
    }

    /// The long-poll has waited its time.
    final func pollIsOver() {
        guard let stream else { return }
        let facts = server.loop.isolated(stream) { stream in
            stream.leave(self)
            return stream.facts
        }
        self.stream = nil
        server.responder.nothing(facts, context, &server.head)
        respond(nil)
    }

    // MARK: Requests

    /// Takes a request whose head is in `server.requestHead`; `following` bytes of its content are in the buffer already.
    ///
    /// - Parameter endsWithStream: content without a length ends when the transport says so, and is not chunked.
    final func begin(
        _ bytes: UnsafeRawBufferPointer, framing: BodyFraming, keepAlive: Bool, following: Int, secure: Bool, endsWithStream: Bool = false
    ) {
        let head = server.requestHead
        let routed = server.router.route(head, bytes, RequestPeer(secure: secure, isTrustedProxy: share.isExempt))
        tag &+= 1
        server.requestsBegun += 1
        share.begins(in: server.loop.turn)
        let limits = server.limits
        setClient(share.isExempt && head.has(.forwardedFor) ? server.client(head, bytes, behind: share) : share)
        switch routed {
        case .stream(let asked):
            if case .length(let count) = framing, count > limits.bodyBytes {
                request = PendingRequest(
                    nil, context: asked.context, keepAlive: false, minorVersion: head.minorVersion, problem: nil,
                    body: .nothing, client: client)
                noteForLog(bytes)
                refuseTooLarge()
                return
            }
            var hasBody = false
            switch asked.verb {
            case .create, .append: hasBody = true
            case .read, .metadata, .delete: break
            }
            var inPlace = 0
            if hasBody, case .length(let count) = framing, count <= following { inPlace = count }
            request = PendingRequest(
                asked, context: asked.context, keepAlive: keepAlive, minorVersion: head.minorVersion,
                problem: nil,
                body: BodyReceiver(
                    inPlace > 0 ? .none : framing, limit: limits.bodyBytes, wire: limits.wire, discards: !hasBody,
                    endsWithStream: endsWithStream), client: client)
            request!.inPlaceCount = inPlace
            request!.bringsContent = hasBody
            if bytes.count > Self.shortHead {
                request!.headBytes = bytes.count
                if !reserveBody(0) {
                    noteForLog(bytes)
                    refuseForBodies()
                    return
                }
            }
        case .preflight(let context):
            request = PendingRequest(
                nil, context: context, keepAlive: keepAlive, minorVersion: head.minorVersion, problem: nil,
                body: BodyReceiver(
                    framing, limit: limits.bodyBytes, wire: limits.wire, discards: true, endsWithStream: endsWithStream), client: client)
        case .problem(let problem, let context):
            // With Expect the content has not been sent and will not be; without it, a short one is read and dropped.
            var discardable = true
            if case .length(let count) = framing { discardable = count <= limits.bodyBytes }
            let stays = keepAlive && discardable && !(head.expectsContinue && framing != .none)
            request = PendingRequest(
                nil, context: context, keepAlive: stays, minorVersion: head.minorVersion, problem: problem,
                body: BodyReceiver(
                    framing, limit: limits.bodyBytes, wire: limits.wire, discards: true, endsWithStream: endsWithStream), client: client)
            if !stays {
                noteForLog(bytes)
                answerWithoutStream()
                return
            }
        }
        noteForLog(bytes)
        if framing == .none || framing == .length(0) {
            bodyIsComplete(nil)
            return
        }
        phase = .body
        request!.lastByteAt = server.loop.now
        request!.rateSince = server.loop.now
        endPhase(at: server.loop.now + min(limits.bodyMilliseconds, max(100, limits.bodyGraceMilliseconds)))
        if head.expectsContinue, following == 0, queue == nil { transmitContinue() }
        updateInterest()
    }

    /// Before anything is answered: an answer may come at once.
    final func noteForLog(_ bytes: UnsafeRawBufferPointer) {
        guard server.logsAccess, let request else { return }
        let head = server.requestHead
        request.accessLine =
            String(decoding: bytes[head.methodRange], as: UTF8.self) + " " + String(decoding: bytes[head.target], as: UTF8.self)
        request.began = server.loop.now
    }

    /// Takes content from the front of `bytes`. Returns how much was used, nil when the request was refused and the rest is void.
    final func takeBody(_ bytes: UnsafeMutableRawBufferPointer) -> Int? {
        guard let request else { preconditionFailure("a body belongs to a request") }
        if request.inPlaceCount > 0 {
            // The whole content is in the buffer: no copy is made before the stream's own.
            let count = request.inPlaceCount
            bodyIsComplete(UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]))
            return count
        }
        var consumed = 0
        request.lastByteAt = server.loop.now
        do throws(HTTPRefusal) {
            guard bodyCame(try request.body.take(UnsafeRawBufferPointer(bytes), consumed: &consumed)) else { return nil }
        } catch {
            refuse(Problem(error.status, error.reason), keepAlive: false)
            return nil
        }
        return consumed
    }

    /// All content is here: in `borrowed`, or collected.
    final func bodyIsComplete(_ borrowed: UnsafeMutableRawBufferPointer?) {
        guard let request else { preconditionFailure("a body belongs to a request") }
        phaseEnd = .max
        guard let asked = request.asked else {
            answerWithoutStream()
            return
        }
        phase = .executing
        let content: Content =
            if request.body.discards {
                .none
            } else if let borrowed, borrowed.count > 0 {
                .borrowed(borrowed)
            } else if let block = request.body.block, block.count > 0 {
                .owned(block)
            } else {
                .none
            }
        request.body = .nothing
        let action: StreamCommand.Action
        do throws(Problem) {
            switch asked.verb {
            case .create(let request): action = .create(request)
            case .append(let request):
                action = .append(try StreamRequest.complete(request, contentCount: content.count))
            case .read(let request): action = .read(request)
            case .metadata: action = .metadata
            case .delete: action = .delete
            }
        } catch {
            let body = server.responder.refuse(error, request.context, &server.head)
            respond(body)
            return
        }
        let command = StreamCommand(name: asked.name, action: action, condition: asked.condition)
        if let done = server.registry.execute(command, content, self, tag) { answer(done.outcome, from: done.stream, tag: tag) }
    }

    private final func answerWithoutStream() {
        guard let request else { return }
        if let problem = request.problem {
            let body = server.responder.refuse(problem, request.context, &server.head)
            respond(body)
        } else {
            server.responder.preflight(request.context, &server.head)
            respond(nil)
        }
    }

    private final func refuseTooLarge() {
        refuse(
            Problem(413, "The body is larger than \(server.limits.bodyBytes) bytes, the limit of this server."), keepAlive: false)
    }

    private final func refuseForBodies() {
        refuse(Problem(503, "The server holds as many bytes for its clients as it may; try again."), keepAlive: false)
    }

    /// Answers with an error that ends the connection.
    final func refuse(_ problem: Problem, keepAlive: Bool) {
        let context = request?.context ?? ResponseContext()
        let (line, began) = (request?.accessLine, request?.began)
        endRequest()
        request = PendingRequest(
            nil, context: context, keepAlive: keepAlive, minorVersion: 1, problem: problem,
            body: .nothing, client: share)
        request?.accessLine = line
        request?.began = began ?? 0
        let body = server.responder.refuse(problem, context, &server.head)
        respond(body)
    }

    // MARK: Answers

    /// What the answer depends on, of the request or of what is left of it.
    final var context: ResponseContext {
        if let request { return request.context }
        var context = ResponseContext()
        context.isLive = true
        context.cursor = liveCursor == .max ? nil : liveCursor
        context.fromNow = liveFromNow
        context.tellsStrictTransport = liveTellsStrictTransport
        return context
    }

    /// A wait begins: what it does not need of the request goes.
    final func slim() {
        guard let request, request.isPlain else { return }
        request.held.end()
        liveCursor = request.context.cursor ?? .max
        liveFromNow = request.context.fromNow
        liveTellsStrictTransport = request.context.tellsStrictTransport
        self.request = nil
    }

    final func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {
        guard tag == self.tag, phase == .executing || phase == .streaming else {
            // A live read that came to wait after its connection had gone.
            if case .waiting = outcome, let stream { server.loop.isolated(stream) { $0.leave(self) } }
            if phase == .closed { endRequest() }
            return
        }
        if phase == .streaming {
            continueEvents(outcome)
            return
        }
        switch outcome {
        case .created(let facts, let new):
            server.responder.created(facts, new: new, context, &server.head)
            respond(nil)
        case .appended(let tail, let closed, let producer, let stored, let hadContent):
            server.responder.appended(
                tail: tail, closed: closed, producer: producer, stored: stored, hadContent: hadContent, context, &server.head)
            respond(nil)
        case .deleted:
            server.responder.deleted(context, &server.head)
            respond(nil)
        case .metadata(let facts):
            server.responder.metadata(facts, context, &server.head)
            respond(nil)
        case .read(let result):
            switch mode {
            case .catchUp: send(result)
            case .longPoll:
                if result.from == result.to {
                    server.responder.nothing(result.facts, context, &server.head)
                    respond(nil)
                } else {
                    send(result)
                }
            case .events:
                if peerEnded {
                    close()
                    return
                }
                if request?.context.isResumption ?? false, result.closed, result.from == result.to {
                    // The browser has all there is: anything but 200 keeps it from asking again.
                    server.responder.nothing(result.facts, context, &server.head)
                    respond(nil)
                    return
                }
                self.stream = stream
                startEvents(result.facts, at: result.from)
                continueEvents(outcome)
            }
        case .waiting(let facts):
            guard let stream else { preconditionFailure("a live read waits on a stream") }
            self.stream = stream
            if peerEnded {
                close()
                return
            }
            let isPoll = mode == .longPoll
            if server.isDraining {
                server.loop.isolated(stream) { $0.leave(self) }
                if isPoll {
                    self.stream = nil
                    server.responder.nothing(facts, context, &server.head)
                    respond(nil)
                    return
                }
            }
            if isPoll {
                slim()
                phase = .polling
                endPhase(at: server.loop.now + server.limits.longPollMilliseconds)
            } else {
                startEvents(facts, at: livePosition)
                continueEvents(outcome)
            }
        case .refused(let refusal):
            let body = server.responder.refuse(refusal, context, &server.head)
            respond(body)
        }
    }

    final func awaits(_ tag: UInt32) -> Bool { tag == self.tag && phase == .executing }

    /// How it reads. Only a long-poll outlives its request, and is answered when it is woken.
    private final var mode: ReadRequest.Mode {
        guard let request else { return .longPoll }
        guard let asked = request.asked, case .read(let read) = asked.verb else {
            preconditionFailure("only a read is answered with bytes")
        }
        return read.mode
    }

    /// A read's answer: the head and the pieces.
    final func send(_ result: ReadResult) {
        let context = context
        let range = RangeFacts(facts: result.facts, from: result.from, to: result.to)
        switch server.responder.read(range, context, &server.head) {
        case .content: break
        case .notModified:
            respond(nil)
            return
        case .conditionFailed:
            let body = server.responder.refuse(.conditionFailed, context, &server.head)
            respond(body)
            return
        }
        beginOutput()
        if context.headOnly {
            finishResponse(nil)
            return
        }
        let isJSON = result.facts.contentType.isJSON
        if result.pieces.isEmpty {
            if isJSON { server.output += [UInt8(ascii: "["), UInt8(ascii: "]")] }
            finishResponse(nil)
            return
        }
        if isJSON { server.output.append(UInt8(ascii: "[")) }
        var items: [SendItem] = []
        var total = 0
        // Of JSON the last `,\n` is not sent.
        var left = Int(result.to - result.from) - (isJSON ? 2 : 0)
        for piece in result.pieces {
            let count = min(left, piece.count)
            if count <= 0 { break }
            left -= count
            total += count
            switch piece {
            case .memory(let slice): items.append(.memory(ByteSlice(block: slice.block, offset: slice.offset, count: count)))
            case .file(let handle, let offset, _): items.append(.file(handle, offset: offset, count: count))
            }
        }
        if total <= ServerCore.copyLimit, inlined(items) {
            if isJSON { server.output.append(UInt8(ascii: "]")) }
            finishResponse(nil)
            return
        }
        if isJSON { items.append(.memory(ServerCore.closingBracket)) }
        finishResponse(items)
    }

    /// Copies a small body behind the head, so that both go with one call; false when a part would have to wait for the disk.
    private final func inlined(_ items: [SendItem]) -> Bool {
        let mark = server.output.count
        for item in items {
            switch item {
            case .memory(let slice): server.output.append(contentsOf: slice.bytes)
            case .file(let handle, let offset, let count):
                guard let file = handle.file.descriptor else { return false }
                let start = server.output.count
                server.output.append(contentsOf: repeatElement(0, count: count))
                let got = server.output.withUnsafeMutableBytes {
                    FileCalls.readIfCached(file, into: UnsafeMutableRawBufferPointer(rebasing: $0[start..<start + count]), at: offset)
                }
                if got != count {
                    server.output.removeSubrange(mark...)
                    return false
                }
            }
        }
        return true
    }

    /// Sends the response whose head is in `server.head`.
    final func respond(_ body: [UInt8]?) {
        beginOutput()
        if let body, !(request?.context.headOnly ?? false) { server.output += body }
        finishResponse(nil)
    }

    private final func finishResponse(_ items: [SendItem]?) {
        logAccess(server.head.status)
        endRequest()
        phase = .sending
        phaseEnd = .max
        transmit(items)
    }

    /// Sends an answer that several readers share.
    final func respond(shared answer: SharedAnswer) {
        logAccess(200)
        endRequest()
        stream = nil
        phase = .sending
        closesAfterSending = false
        phaseEnd = .max
        transmit(shared: answer)
    }

    final func queueRest(_ slice: ByteSlice, from offset: Int) {
        let queue = SendQueue(server.pinned, client)
        queue.append(.memory(ByteSlice(block: slice.block, offset: slice.offset + offset, count: slice.count - offset)))
        self.queue = queue
        outputIsBlocked()
    }

    final func endRequest() {
        guard let request else { return }
        request.held.end()
        self.request = nil
        // Many that stop at the same time end in the same turn, and each page of theirs takes its time to give back.
        if let block = request.body.block, block.capacity >= Self.largeBlock {
            request.body = .nothing
            server.dispatcher.work(.compute) { withExtendedLifetime(block) {} }
        }
    }

    /// Counts the bytes of a body that have arrived; false when the server holds as many as it may, or as many of this client's.
    final func reserveBody(_ count: Int) -> Bool {
        guard let request else { return false }
        return request.held.set(count + request.headBytes)
    }

    /// A part of the body has been read into its own memory.
    final func tookBody(_ count: Int) {
        guard let request, phase == .body else { return }
        request.lastByteAt = server.loop.now
        _ = bodyCame(request.body.tookDirectly(count))
    }

    /// A part of the body is here; false: it was refused, and the rest is void.
    private final func bodyCame(_ progress: BodyReceiver.Progress) -> Bool {
        guard let request else { return false }
        if progress == .tooLarge {
            refuseTooLarge()
            return false
        }
        if !request.body.discards, !reserveBody(request.body.received) {
            refuseForBodies()
            return false
        }
        if progress == .complete { bodyIsComplete(nil) }
        return true
    }

    final func logAccess(_ status: Int) {
        guard let request, let line = request.accessLine else { return }
        request.accessLine = nil
        var metadata: Logger.Metadata = ["status": "\(status)", "ms": "\(server.loop.now - request.began)"]
        if let asked = request.asked { metadata["STREAM"] = "\(StreamLabel.text(asked.name))" }
        server.logger.info("\(line)", metadata: metadata)
    }

    /// A disk worker has read the range that the queue waits for.
    final func warmed(to end: Int) {
        guard phase != .closed else { return }
        warming = false
        queue?.warmed(to: end)
        continueSending()
    }

    /// A disk worker has read what the queue waits for, for a transport that takes no files; nil: it could not.
    final func loaded(_ block: OwnedBytes?) {
        guard phase != .closed else { return }
        warming = false
        guard let block else {
            server.log("a segment ended before its stream, or could not be read", name: nil)
            close()
            return
        }
        queue?.supply(block)
        continueSending()
    }

    /// The journal has failed: what is being executed will not be acknowledged.
    final func failPending() {
        guard phase == .executing else { return }
        tag &+= 1
        refuse(
            Problem(503, "The server's journal has failed; it is unknown whether this was stored. Ask again after the restart."),
            keepAlive: false)
    }

    // MARK: Long-polls that are woken

    /// Whether the answer to this long-poll can be the one that others get: its cursor is not ahead of the clock, and the rest is plain.
    final func takesSharedAnswer(in interval: UInt64) -> Bool { request == nil && (liveCursor == .max || liveCursor < interval) }

    /// The stream has taken this long-poll off its list and will answer it, in this turn or a later one; it waits no longer.
    final func isWoken() {
        guard phase == .polling else { return }
        phase = .executing
        phaseEnd = .max
        stream = nil
    }

    /// What it waited for, or nil if that has to come from a disk first.
    final func readWhenWoken(_ stream: isolated StreamActor) -> Outcome? {
        stream.read(ReadRequest(start: .position(livePosition), mode: .longPoll), self, tag)
    }

    final func answerWhenWoken(_ outcome: Outcome, _ stream: isolated StreamActor) {
        guard phase == .executing else { return }
        answer(outcome, from: stream, tag: tag)
    }
}
