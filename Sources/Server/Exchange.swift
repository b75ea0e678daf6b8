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
    var bodyStarted: Int64 = 0
    /// For the access log, when it is on: method and target, and when the request began.
    var accessLine: String?
    var began: Int64 = 0
    /// Bytes counted against the server's budget for bodies being received.
    var reserved = 0
    /// The content lies whole behind the head in the buffer: so many bytes, and no receiver is needed.
    var inPlaceCount = 0

    init(
        _ asked: StreamRequest?, context: ResponseContext, keepAlive: Bool, minorVersion: Int, problem: Problem?, body: BodyReceiver
    ) {
        self.asked = asked
        self.context = context
        self.keepAlive = keepAlive
        self.minorVersion = minorVersion
        self.problem = problem
        self.body = body
    }

    /// Whether a wait can go on without it: nothing in it that the answer depends on, but the cursor and `offset=now`.
    var isPlain: Bool {
        keepAlive && minorVersion == 1 && accessLine == nil && reserved == 0 && !context.headOnly
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
    enum Phase: UInt8 {
        case head, body, executing, polling, streaming, sending, lingering, closed

        /// It waits for what is not there yet.
        var isLive: Bool { self == .polling || self == .streaming }
    }

    /// Outlives its connections: it goes when the process does. A checked reference costs two atomic operations at each use.
    unowned(unsafe) let server: ServerCore
    var request: PendingRequest?
    final var queue: SendQueue?
    final var stream: StreamActor?
    final var waiterIndex = -1
    final var livePosition: UInt64 = 0
    /// The cursor of a live request whose `request` has gone; `.max`: it had none.
    private final var liveCursor = UInt64.max
    /// That request began at `offset=now`.
    private(set) final var liveFromNow = false
    private(set) final var liveTellsStrictTransport = false
    /// When the phase ends by itself (monotonic ms).
    final var phaseEnd = Int64.max
    /// A peer that takes nothing is cut off then.
    final var blockedUntil = Int64.max
    private(set) final var carry = Carry()
    /// Counts requests, so that an answer to an abandoned one is recognised.
    final var tag: UInt32 = 0
    final var phase = Phase.head {
        didSet { if phase.isLive != oldValue.isLive { server.liveReaders += phase.isLive ? 1 : -1 } }
    }
    /// Set while a live reader of events has to catch up by reading.
    private final var isBehind = false
    private final var sentControl = false
    /// What comes next of its events is being read: by the stream, which waits for a segment, or by a disk worker.
    private final var isReading = false
    /// It waits in the server's list for its next piece of events.
    private final var isPumping = false
    final var peerEnded = false
    final var closesAfterSending = false
    final var warming = false

    init(server: ServerCore) { self.server = server }

    // MARK: What a transport does

    /// Replaces `server.output` by what goes in front of the body in the same buffer: on HTTP/1.1 the head.
    func beginOutput() { preconditionFailure("a transport's") }
    /// Sends the answer whose head is in `server.head`: `server.output`, then the items.
    func transmit(_ items: [SendItem]?) { preconditionFailure("a transport's") }
    func transmit(shared answer: SharedAnswer) { preconditionFailure("a transport's") }
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

    final func endPhase(at deadline: Int64) {
        phaseEnd = deadline
        updateDeadline()
    }

    /// The parts of `close` that are every transport's.
    final func abandon() {
        if let stream, waiterIndex >= 0 { server.loop.isolated(stream) { $0.leave(self) } }
        phase = .closed
        tag &+= 1
        stream = nil
        endRequest()
        queue = nil
    }

    // MARK: Deadlines

    final func bodyIsDue(_ now: Int64) {
        guard let request else { return }
        let seconds = Double(now - request.bodyStarted) / 1000
        if Double(request.body.received) < seconds * Double(server.limits.bodyBytesPerSecond) {
            refuse(
                Problem(
                    408, "The request's body arrives too slowly; expected at least \(server.limits.bodyBytesPerSecond) bytes a second."),
                keepAlive: false)
        } else {
            endPhase(at: now + 1000)
        }
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
        let routed = server.router.route(head, bytes, secure: secure)
        tag &+= 1
        let limits = server.limits
        switch routed {
        case .stream(let asked):
            if case .length(let count) = framing, count > limits.bodyBytes {
                request = PendingRequest(
                    nil, context: asked.context, keepAlive: false, minorVersion: head.minorVersion, problem: nil,
                    body: BodyReceiver(.none, limit: 0, wire: limits.wire, discards: true))
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
                    endsWithStream: endsWithStream))
            request!.inPlaceCount = inPlace
        case .preflight(let context):
            request = PendingRequest(
                nil, context: context, keepAlive: keepAlive, minorVersion: head.minorVersion, problem: nil,
                body: BodyReceiver(
                    framing, limit: limits.bodyBytes, wire: limits.wire, discards: true, endsWithStream: endsWithStream))
        case .problem(let problem, let context):
            // With Expect the content has not been sent and will not be; without it, a short one is read and dropped.
            var discardable = true
            if case .length(let count) = framing { discardable = count <= limits.bodyBytes }
            let stays = keepAlive && discardable && !(head.expectsContinue && framing != .none)
            request = PendingRequest(
                nil, context: context, keepAlive: stays, minorVersion: head.minorVersion, problem: problem,
                body: BodyReceiver(
                    framing, limit: limits.bodyBytes, wire: limits.wire, discards: true, endsWithStream: endsWithStream))
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
        if case .length(let count) = framing, request!.inPlaceCount == 0, !request!.body.discards, !reserveBody(count) {
            refuseForBodies()
            return
        }
        phase = .body
        request!.bodyStarted = server.loop.now
        endPhase(at: server.loop.now + limits.bodyGraceMilliseconds)
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
        do throws(HTTPRefusal) {
            switch try request.body.take(UnsafeRawBufferPointer(bytes), consumed: &consumed) {
            case .more:
                if !request.body.discards, !reserveBody(request.body.received) {
                    refuseForBodies()
                    return nil
                }
            case .complete: bodyIsComplete(nil)
            case .tooLarge:
                refuseTooLarge()
                return nil
            }
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
        request.body = BodyReceiver(.none, limit: 0, wire: server.limits.wire, discards: true)
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
        let command = StreamCommand(name: asked.name, action: action)
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
        refuse(Problem(503, "The server is receiving as many bytes of bodies as it may; try again."), keepAlive: false)
    }

    /// Answers with an error that ends the connection.
    final func refuse(_ problem: Problem, keepAlive: Bool) {
        let context = request?.context ?? ResponseContext()
        let (line, began) = (request?.accessLine, request?.began)
        endRequest()
        request = PendingRequest(
            nil, context: context, keepAlive: keepAlive, minorVersion: 1, problem: problem,
            body: BodyReceiver(.none, limit: 0, wire: server.limits.wire, discards: true))
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
    private final func slim() {
        guard let request, request.isPlain else { return }
        liveCursor = request.context.cursor ?? .max
        liveFromNow = request.context.fromNow
        liveTellsStrictTransport = request.context.tellsStrictTransport
        self.request = nil
    }

    final func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {
        guard tag == self.tag, phase == .executing || phase == .streaming else {
            // A live read that came to wait after its connection had gone.
            if case .waiting = outcome, let stream { server.loop.isolated(stream) { $0.leave(self) } }
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
                self.stream = stream
                startEvents(result.facts)
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
                startEvents(facts)
                continueEvents(outcome)
            }
        case .refused(let refusal):
            let body = server.responder.refuse(refusal, context, &server.head)
            respond(body)
        }
    }

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
        guard server.responder.read(range, context, &server.head) else {
            respond(nil)
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
            if count == 0 { break }
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

    final func queueRest(_ block: OwnedBytes, from offset: Int) {
        let queue = SendQueue()
        queue.append(.memory(ByteSlice(block: block, offset: offset, count: block.count - offset)))
        self.queue = queue
        outputIsBlocked()
    }

    final func endRequest() {
        if let request { server.bodyBytes -= request.reserved }
        request = nil
    }

    /// Counts the bytes of a body being received; false when the server holds as many as it may.
    final func reserveBody(_ count: Int) -> Bool {
        guard let request else { return false }
        if count <= request.reserved { return true }
        if server.bodyBytes + count - request.reserved > server.limits.bodiesBytes { return false }
        server.bodyBytes += count - request.reserved
        request.reserved = count
        return true
    }

    private final func logAccess(_ status: Int) {
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

    // MARK: Server-sent events

    private final func startEvents(_ facts: StreamFacts) {
        server.responder.events(facts, context, &server.head)
        logAccess(200)
        transmitEventsHead()
        if phase == .closed { return }
        slim()
        phase = .streaming
        isBehind = true
        sentControl = false
        carry = Carry()
        closesAfterSending = true
        // Spread, so that readers who came together do not all come back together.
        let jitter = Int64.random(in: 0...max(1, server.limits.eventsMilliseconds / 10))
        endPhase(at: server.loop.now + server.limits.eventsMilliseconds - jitter)
    }

    /// Sends or queues bytes of the event stream; false when the connection is gone.
    @discardableResult
    final func push(_ bytes: [UInt8]) -> Bool {
        if queue == nil {
            guard let sent = bytes.withUnsafeBytes({ sendNow($0, more: false) }) else {
                close()
                return false
            }
            if sent == bytes.count { return true }
            let block = bytes.withUnsafeBytes { OwnedBytes(copying: UnsafeRawBufferPointer(rebasing: $0[sent...])) }
            queueRest(block, from: 0)
            return true
        }
        let block = OwnedBytes(copying: bytes)
        queue!.append(.memory(ByteSlice(block: block, offset: 0, count: block.count)))
        return true
    }

    /// The next step of a reader that catches up: what a read from its position gave.
    private final func continueEvents(_ outcome: Outcome) {
        guard phase == .streaming, stream != nil else { return }
        isReading = false
        switch outcome {
        case .read(let whole):
            if whole.from == whole.to {
                livePosition = whole.to
                if carry.count > 0 || whole.closed { sendEvents(whole, []) }
                if whole.closed { endEvents() }
                return
            }
            takePiece(of: whole, limit: server.limits.eventsPieceBytes)
        case .waiting(let facts):
            isBehind = false
            if server.isDraining {
                endEvents()
                return
            }
            if !sentControl {
                var frames = EventFrames(carry: carry)
                frames.control(
                    facts.tail - UInt64(carry.count), isEndOfClosed: false, upToDate: true, cursor: server.responder.nextCursor(context))
                sentControl = true
                push(frames.bytes)
            }
        case .refused:
            // Deleted, or unreadable: the event stream ends; the next request is told why.
            endEvents()
        default: preconditionFailure("a read is answered with a read")
        }
    }

    /// Sends the first `limit` bytes as events, or what ends with a message in them; of a larger message as much as it needs.
    private final func takePiece(of whole: ReadResult, limit: Int) {
        let piece = whole.prefix(limit)
        guard let buffers = server.memory(of: piece) else {
            isReading = true
            server.loadEvents(piece, of: whole, limit: limit, for: self, tag: tag)
            return
        }
        sendPiece(piece, of: whole, buffers, limit: limit)
    }

    /// The parts in files have been read by a worker; nil: they could not be.
    final func loadedEvents(_ piece: ReadResult, of whole: ReadResult, _ blocks: [ByteSlice]?, limit: Int, tag: UInt32) {
        guard tag == self.tag, phase == .streaming else { return }
        isReading = false
        guard let blocks else {
            endEvents()
            return
        }
        sendPiece(piece, of: whole, blocks.map(\.bytes), limit: limit)
        withExtendedLifetime(blocks) {}
    }

    private final func sendPiece(_ piece: ReadResult, of whole: ReadResult, _ buffers: [UnsafeRawBufferPointer], limit: Int) {
        var (piece, buffers) = (piece, buffers)
        if piece.to < whole.to, piece.facts.contentType.isJSON {
            guard let count = MessageEnd.last(in: buffers) else {
                // One message alone may be as large as a body; so many such messages are held for all readers together.
                if server.largeEvents.held + limit * 4 > server.limits.largeEventsBytes {
                    endEvents()
                } else {
                    takePiece(of: whole, limit: limit * 4)
                }
                return
            }
            piece = piece.prefix(count)
            buffers = MessageEnd.prefix(count, of: buffers)
        }
        livePosition = piece.to
        sendEvents(piece, buffers)
        if phase != .streaming { return }
        if piece.closed {
            endEvents()
        } else if queue == nil {
            pumpLater()
        }
    }

    private final func sendEvents(_ result: ReadResult, _ buffers: [UnsafeRawBufferPointer]) {
        var frames = EventFrames(carry: carry)
        frames.add(
            buffers, end: result.to, contentType: result.facts.contentType, isEndOfClosed: result.closed, upToDate: result.upToDate,
            cursor: server.responder.nextCursor(context))
        carry = frames.carry
        if result.closed && frames.bytes.isEmpty {
            frames.control(result.to, isEndOfClosed: true, upToDate: true, cursor: 0)
        }
        if !frames.bytes.isEmpty {
            sentControl = true
            server.pumpBudget.spend(frames.bytes.count)
            push(frames.bytes)
            if frames.bytes.count > 4 * server.limits.eventsPieceBytes { queue?.charge(frames.bytes.count, to: server.largeEvents) }
        }
    }

    /// Reads on in one of the next turns, when the others have had theirs.
    private final func pumpLater() {
        if isPumping { return }
        isPumping = true
        server.postponeEvents(self)
    }

    /// Its turn among those that read on has come.
    final func resumePumping() {
        isPumping = false
        pumpEvents()
    }

    /// Reads on from the reader's position, or joins the live readers at the tail.
    final func pumpEvents() {
        guard phase == .streaming, isBehind, !isReading, queue == nil, let stream else { return }
        let request = ReadRequest(start: .position(livePosition), mode: .events)
        isReading = true
        if let outcome = server.loop.isolated(stream, { $0.read(request, self, tag) }) { continueEvents(outcome) }
    }

    /// Whether it is a reader of events to which frames can be given.
    final var isStreaming: Bool { phase == .streaming && !isBehind }

    /// Whether frames that begin at `position` are what this reader needs next and can take at once.
    final func takesFrames(at position: UInt64) -> Bool { livePosition == position && queue == nil }

    /// The request's context if its cursor is ahead of the clock, so that its frames cannot be shared.
    final func contextWithCursor(from interval: UInt64) -> ResponseContext? {
        if request == nil, liveCursor == .max || liveCursor < interval { return nil }
        let context = context
        guard let cursor = context.cursor, cursor >= interval else { return nil }
        return context
    }

    /// Takes frames that many readers share.
    final func take(shared: OwnedBytes, to position: UInt64, carry: Carry, ends: Bool) {
        livePosition = position
        self.carry = carry
        sentControl = true
        if shared.count > 0 {
            guard let sent = sendNow(shared.bytes, more: false) else {
                close()
                return
            }
            if sent < shared.count { queueRest(shared, from: sent) }
        }
        if ends { endEvents() }
    }

    /// Something became visible that this reader cannot take in shared form: it reads for itself, soon or when its queue is empty.
    final func fallBehind() {
        guard phase == .streaming, let stream else { return }
        server.loop.isolated(stream) { $0.leave(self) }
        isBehind = true
        if queue == nil { pumpLater() }
    }

    /// Ends the event stream between two events, after what is queued.
    final func endEvents() {
        guard phase == .streaming else { return }
        if let stream, waiterIndex >= 0 { server.loop.isolated(stream) { $0.leave(self) } }
        stream = nil
        endRequest()
        closesAfterSending = true
        if queue == nil {
            eventsEnded()
        } else {
            phase = .sending
            phaseEnd = .max
        }
    }
}

/// Where messages end in the stored form of JSON: behind each newline (StoredJSON).
private enum MessageEnd {
    /// How many bytes there are up to the end of the last whole message.
    static func last(in buffers: [UnsafeRawBufferPointer]) -> Int? {
        var before = buffers.reduce(0) { $0 + $1.count }
        for buffer in buffers.reversed() {
            before -= buffer.count
            if let index = buffer.lastIndex(of: UInt8(ascii: "\n")) { return before + index + 1 }
        }
        return nil
    }

    static func prefix(_ count: Int, of buffers: [UnsafeRawBufferPointer]) -> [UnsafeRawBufferPointer] {
        var left = count
        var kept: [UnsafeRawBufferPointer] = []
        for buffer in buffers where left > 0 {
            kept.append(UnsafeRawBufferPointer(rebasing: buffer.prefix(left)))
            left -= min(left, buffer.count)
        }
        return kept
    }
}
