// One HTTP/1.1 connection: bytes to requests, answers to bytes, in order.
//
//            ┌──────────────────────────── kept alive ─────────────────────────────┐
//            ▼                                                                      │
//     head ──▶ body ──▶ executing ──▶ (answer) ──▶ sending ──▶ ──────────────────────┤
//                          │   └──▶ polling ──▶ (answer, time-out) ──▶ sending ──────┤
//                          └──▶ streaming (events until the interval or the end) ──▶ lingering ──▶ closed
//
// While a request is being answered, further bytes of the peer are kept, up to a bound, and parsed afterwards: pipelined requests are
// answered in order. An idle connection has no buffers and no timer, only an entry in the server's deadline wheel.
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

final class Connection: ReadinessHandler, LiveReader, @unchecked Sendable {
    enum Phase: UInt8 {
        case head, body, executing, polling, streaming, sending, lingering, closed

        /// It waits for what is not there yet.
        var isLive: Bool { self == .polling || self == .streaming }
    }

    /// What is known of the request being served; absent between requests.
    final class Exchange {
        let verb: StreamRequest.Verb?
        let name: [UInt8]
        var context: ResponseContext
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
            verb: StreamRequest.Verb?, name: [UInt8], context: ResponseContext, keepAlive: Bool, minorVersion: Int, problem: Problem?,
            body: BodyReceiver
        ) {
            self.verb = verb
            self.name = name
            self.context = context
            self.keepAlive = keepAlive
            self.minorVersion = minorVersion
            self.problem = problem
            self.body = body
        }
    }

    let descriptor: Int32
    let generation: UInt32
    /// Outlives its connections: it goes when the process does. A checked reference costs two atomic operations at each use.
    unowned(unsafe) let server: ServerCore
    var phase = Phase.head {
        didSet { server.liveReaders += (phase.isLive ? 1 : 0) - (oldValue.isLive ? 1 : 0) }
    }
    private var scanner = HeadScanner()
    /// The first bytes of a request are here and its head is not complete.
    private var headHasBegun = false
    private var input: OwnedBytes?
    private var exchange: Exchange?
    private var queue: SendQueue?
    private var interest: Readiness = [.readable]
    /// Counts requests, so that an answer to an abandoned one is recognised.
    private var tag: UInt32 = 0
    private var stream: StreamActor?
    private(set) var carry = Carry()
    /// Set while a live reader of events has to catch up by reading.
    private var isBehind = false
    private var peerEnded = false
    private var closesAfterSending = false
    private var processing = false
    private var warming = false
    /// Requests that are here wait for the next turn.
    private var isPostponed = false

    var waiterIndex = -1
    var livePosition: UInt64 = 0

    /// When the phase ends by itself (monotonic ms).
    private var phaseEnd = Int64.max
    private var blockedUntil = Int64.max
    private var entered = Int64.max

    init(descriptor: Int32, generation: UInt32, server: ServerCore) {
        self.descriptor = descriptor
        self.generation = generation
        self.server = server
        phaseEnd = server.loop.now + server.limits.headerMilliseconds
        updateDeadline()
    }

    private var owner: UInt64 { UInt64(generation) << 32 | UInt64(UInt32(descriptor)) }

    // MARK: Deadlines

    /// When the wheel is to visit: at the deadline, or on the way to one beyond its horizon, so that no entry comes before `entered`.
    private var nextVisit: Int64 {
        let deadline = min(phaseEnd, blockedUntil)
        return deadline == .max ? .max : min(deadline, server.loop.now + DeadlineWheel.horizonMilliseconds)
    }

    private func updateDeadline() {
        let deadline = nextVisit
        if deadline < entered {
            entered = deadline
            server.wheel.enter(owner, at: deadline)
        }
    }

    private func endPhase(at deadline: Int64) {
        phaseEnd = deadline
        updateDeadline()
    }

    /// The wheel's visit: what is due is done; the next visit is returned.
    func visit(now: Int64) -> Int64? {
        if phase == .closed || entered > now { return nil }
        entered = .max
        if blockedUntil <= now {
            close()
            return nil
        }
        if phaseEnd <= now { phaseIsOver(now) }
        if phase == .closed { return nil }
        let deadline = nextVisit
        if deadline == .max || deadline >= entered { return nil }
        entered = deadline
        return deadline
    }

    private func phaseIsOver(_ now: Int64) {
        switch phase {
        case .head:
            if !headHasBegun {
                close()
            } else {
                refuse(Problem(408, "The request's head did not arrive in time."), keepAlive: false)
            }
        case .body:
            guard let exchange else { return }
            let seconds = Double(now - exchange.bodyStarted) / 1000
            if Double(exchange.body.received) < seconds * Double(server.limits.bodyBytesPerSecond) {
                refuse(
                    Problem(
                        408, "The request's body arrives too slowly; expected at least \(server.limits.bodyBytesPerSecond) bytes a second."),
                    keepAlive: false)
            } else {
                endPhase(at: now + 1000)
            }
        case .polling:
            guard let stream, let exchange else { return }
            let facts = server.loop.isolated(stream) { stream in
                stream.leave(self)
                return stream.facts
            }
            self.stream = nil
            server.responder.nothing(facts, exchange.context, &server.head)
            respond(nil)
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

    private func setInterest(_ wanted: Readiness) {
        if wanted == interest || phase == .closed { return }
        interest = wanted
        server.loop.change(descriptor, to: wanted)
    }

    private func updateInterest() {
        var wanted: Readiness = []
        if !peerEnded && (input?.count ?? 0) < server.limits.pipelineBytes + server.limits.wire.headBytes { wanted.insert(.readable) }
        if queue != nil && !warming { wanted.insert(.writable) }
        setInterest(wanted)
    }

    private func receive() {
        if phase == .body, let target = exchange?.body.directTarget, input == nil, target.count > server.receiveBuffer.count {
            switch SocketCalls.receive(descriptor, into: UnsafeMutableRawBufferPointer(rebasing: target[..<min(target.count, 1 << 20)])) {
            case .bytes(let count):
                if exchange!.body.tookDirectly(count) == .complete { bodyIsComplete(nil) }
            case .wouldBlock: break
            case .end, .failed: close()
            }
            return
        }
        switch SocketCalls.receive(descriptor, into: server.receiveBuffer) {
        case .bytes(let count):
            if phase == .lingering { return }
            take(UnsafeMutableRawBufferPointer(rebasing: server.receiveBuffer[..<count]))
        case .wouldBlock: break
        case .end: ended()
        case .failed: close()
        }
    }

    /// The peer has ended its side. An answer that is due is still given; a wait for something new is over, because a peer that is gone
    /// and one that only sends no more look alike.
    private func ended() {
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
            resume()
            return
        }
        let consumed = process(bytes)
        if phase != .closed, consumed < bytes.count {
            input = OwnedBytes(copying: UnsafeRawBufferPointer(rebasing: bytes[consumed...]))
            updateInterest()
        }
    }

    /// Goes on with kept bytes.
    private func resume() {
        guard let kept = input, !processing else { return }
        let consumed = process(UnsafeMutableRawBufferPointer(start: kept.base, count: kept.count))
        if phase == .closed { return }
        if consumed == kept.count {
            input = nil
        } else if consumed > 0 {
            input = OwnedBytes(copying: UnsafeRawBufferPointer(start: kept.base + consumed, count: kept.count - consumed))
        }
        updateInterest()
        if peerEnded, !isPostponed, phase == .head || phase == .body { close() }
    }

    /// Parses and executes what is there, as far as answers come at once. Returns how many bytes were used.
    private func process(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        processing = true
        defer { processing = false }
        var position = 0
        var requests = 0
        while position < bytes.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[position...])
            switch phase {
            case .head:
                if requests >= server.limits.pipelineBudget {
                    isPostponed = true
                    server.postpone(self)
                    return position
                }
                do throws(HTTPRefusal) {
                    guard let length = try scanner.scan(UnsafeRawBufferPointer(rest), limits: server.limits.wire) else {
                        if !headHasBegun {
                            headHasBegun = true
                            endPhase(at: server.loop.now + server.limits.headerMilliseconds)
                        }
                        return position
                    }
                    scanner.reset()
                    headHasBegun = false
                    let headBytes = UnsafeRawBufferPointer(rebasing: rest[..<length])
                    try server.requestHead.parse(headBytes, limits: server.limits.wire)
                    position += length
                    requests += 1
                    begin(headBytes, following: bytes.count - position)
                } catch {
                    refuse(Problem(error.status, error.reason), keepAlive: false)
                    return bytes.count
                }
            case .body:
                var consumed = 0
                guard let exchange else { preconditionFailure("a body belongs to an exchange") }
                if exchange.inPlaceCount > 0 {
                    // The whole content is in the buffer: no copy is made before the stream's own.
                    position += exchange.inPlaceCount
                    bodyIsComplete(UnsafeMutableRawBufferPointer(rebasing: rest[..<exchange.inPlaceCount]))
                    continue
                }
                do throws(HTTPRefusal) {
                    let progress = try exchange.body.take(UnsafeRawBufferPointer(rest), consumed: &consumed)
                    position += consumed
                    switch progress {
                    case .more:
                        if !exchange.body.discards, !reserveBody(exchange.body.received) {
                            refuse(Problem(503, "The server is receiving as many bytes of bodies as it may; try again."), keepAlive: false)
                            return bytes.count
                        }
                    case .complete: bodyIsComplete(nil)
                    case .tooLarge:
                        refuseTooLarge()
                        return bytes.count
                    }
                } catch {
                    refuse(Problem(error.status, error.reason), keepAlive: false)
                    return bytes.count
                }
            case .executing, .polling, .sending:
                return position
            case .streaming, .lingering, .closed:
                return bytes.count
            }
        }
        return position
    }

    // MARK: Requests

    private func begin(_ bytes: UnsafeRawBufferPointer, following: Int) {
        let head = server.requestHead
        let routed = server.router.route(head, bytes, secure: false)
        let keepAlive = head.keepAlive && !server.isDraining
        tag &+= 1
        let limits = server.limits
        switch routed {
        case .stream(let request):
            if case .length(let count) = head.framing, count > limits.bodyBytes {
                exchange = Exchange(
                    verb: nil, name: [], context: request.context, keepAlive: false, minorVersion: head.minorVersion, problem: nil,
                    body: BodyReceiver(.none, limit: 0, wire: limits.wire, discards: true))
                noteForLog(bytes)
                refuseTooLarge()
                return
            }
            var hasBody = false
            switch request.verb {
            case .create, .append: hasBody = true
            case .read, .metadata, .delete: break
            }
            var inPlace = 0
            if hasBody, case .length(let count) = head.framing, count <= following { inPlace = count }
            exchange = Exchange(
                verb: request.verb, name: request.name, context: request.context, keepAlive: keepAlive, minorVersion: head.minorVersion,
                problem: nil,
                body: BodyReceiver(
                    inPlace > 0 ? .none : head.framing, limit: limits.bodyBytes, wire: limits.wire, discards: !hasBody))
            exchange!.inPlaceCount = inPlace
        case .preflight(let context):
            exchange = Exchange(
                verb: nil, name: [], context: context, keepAlive: keepAlive, minorVersion: head.minorVersion, problem: nil,
                body: BodyReceiver(head.framing, limit: limits.bodyBytes, wire: limits.wire, discards: true))
        case .problem(let problem, let context):
            // With Expect the content has not been sent and will not be; without it, a short one is read and dropped.
            var discardable = true
            if case .length(let count) = head.framing { discardable = count <= limits.bodyBytes }
            let stays = keepAlive && discardable && !(head.expectsContinue && head.framing != .none)
            exchange = Exchange(
                verb: nil, name: [], context: context, keepAlive: stays, minorVersion: head.minorVersion, problem: problem,
                body: BodyReceiver(head.framing, limit: limits.bodyBytes, wire: limits.wire, discards: true))
            if !stays {
                noteForLog(bytes)
                answerWithoutStream()
                return
            }
        }
        noteForLog(bytes)
        if head.framing == .none || head.framing == .length(0) {
            bodyIsComplete(nil)
            return
        }
        if case .length(let count) = head.framing, exchange!.inPlaceCount == 0, !exchange!.body.discards, !reserveBody(count) {
            refuse(Problem(503, "The server is receiving as many bytes of bodies as it may; try again."), keepAlive: false)
            return
        }
        phase = .body
        exchange!.bodyStarted = server.loop.now
        endPhase(at: server.loop.now + limits.bodyGraceMilliseconds)
        if head.expectsContinue, following == 0, queue == nil {
            _ = "HTTP/1.1 100 Continue\r\n\r\n".utf8.withContiguousStorageIfAvailable {
                SocketCalls.send(descriptor, UnsafeRawBufferPointer($0))
            }
        }
        updateInterest()
    }

    /// Before anything is answered: an answer may come at once.
    private func noteForLog(_ bytes: UnsafeRawBufferPointer) {
        guard server.logsAccess, let exchange else { return }
        let head = server.requestHead
        exchange.accessLine =
            String(decoding: bytes[head.methodRange], as: UTF8.self) + " " + String(decoding: bytes[head.target], as: UTF8.self)
        exchange.began = server.loop.now
    }

    /// All content is here: in `borrowed`, or collected.
    private func bodyIsComplete(_ borrowed: UnsafeMutableRawBufferPointer?) {
        guard let exchange else { preconditionFailure("a body belongs to an exchange") }
        phaseEnd = .max
        guard let verb = exchange.verb else {
            answerWithoutStream()
            return
        }
        phase = .executing
        let content: Content =
            if exchange.body.discards {
                .none
            } else if let borrowed, borrowed.count > 0 {
                .borrowed(borrowed)
            } else if let block = exchange.body.block, block.count > 0 {
                .owned(block)
            } else {
                .none
            }
        exchange.body = BodyReceiver(.none, limit: 0, wire: server.limits.wire, discards: true)
        let action: StreamCommand.Action
        do throws(Problem) {
            switch verb {
            case .create(let request): action = .create(request)
            case .append(let request):
                action = .append(try StreamRequest.complete(request, contentCount: content.count))
            case .read(let request): action = .read(request)
            case .metadata: action = .metadata
            case .delete: action = .delete
            }
        } catch {
            let body = server.responder.refuse(error, exchange.context, &server.head)
            respond(body)
            return
        }
        let command = StreamCommand(name: exchange.name, action: action)
        if let done = server.registry.execute(command, content, self, tag) { answer(done.outcome, from: done.stream, tag: tag) }
    }

    private func answerWithoutStream() {
        guard let exchange else { return }
        if let problem = exchange.problem {
            let body = server.responder.refuse(problem, exchange.context, &server.head)
            respond(body)
        } else {
            server.responder.preflight(exchange.context, &server.head)
            respond(nil)
        }
    }

    private func refuseTooLarge() {
        refuse(
            Problem(413, "The body is larger than \(server.limits.bodyBytes) bytes, the limit of this server."), keepAlive: false)
    }

    /// Answers with an error that ends the connection.
    private func refuse(_ problem: Problem, keepAlive: Bool) {
        let context = exchange?.context ?? ResponseContext()
        let (line, began) = (exchange?.accessLine, exchange?.began)
        endExchange()
        exchange = Exchange(
            verb: nil, name: [], context: context, keepAlive: keepAlive, minorVersion: 1, problem: problem,
            body: BodyReceiver(.none, limit: 0, wire: server.limits.wire, discards: true))
        exchange?.accessLine = line
        exchange?.began = began ?? 0
        let body = server.responder.refuse(problem, context, &server.head)
        respond(body)
    }

    // MARK: Answers

    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {
        guard tag == self.tag, phase == .executing || phase == .streaming, let exchange else {
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
            server.responder.created(facts, new: new, exchange.context, &server.head)
            respond(nil)
        case .appended(let tail, let closed, let producer, let stored, let hadContent):
            server.responder.appended(
                tail: tail, closed: closed, producer: producer, stored: stored, hadContent: hadContent, exchange.context, &server.head)
            respond(nil)
        case .deleted:
            server.responder.deleted(exchange.context, &server.head)
            respond(nil)
        case .metadata(let facts):
            server.responder.metadata(facts, exchange.context, &server.head)
            respond(nil)
        case .read(let result):
            guard case .read(let request) = exchange.verb else { preconditionFailure("only a read is answered with bytes") }
            switch request.mode {
            case .catchUp: send(result)
            case .longPoll:
                if result.from == result.to {
                    server.responder.nothing(result.facts, exchange.context, &server.head)
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
            guard case .read(let request) = exchange.verb, let stream else { preconditionFailure("only a live read waits, on a stream") }
            self.stream = stream
            if peerEnded {
                close()
                return
            }
            if server.isDraining {
                server.loop.isolated(stream) { $0.leave(self) }
            }
            if request.mode == .longPoll {
                if server.isDraining {
                    self.stream = nil
                    server.responder.nothing(facts, exchange.context, &server.head)
                    respond(nil)
                    return
                }
                phase = .polling
                endPhase(at: server.loop.now + server.limits.longPollMilliseconds)
            } else {
                startEvents(facts)
                continueEvents(outcome)
            }
        case .refused(let refusal):
            let body = server.responder.refuse(refusal, exchange.context, &server.head)
            respond(body)
        }
    }

    /// A read's answer: the head and the pieces.
    func send(_ result: ReadResult) {
        guard let exchange else { return }
        let range = RangeFacts(facts: result.facts, from: result.from, to: result.to)
        guard server.responder.read(range, exchange.context, &server.head) else {
            respond(nil)
            return
        }
        serializeHead()
        if exchange.context.headOnly {
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
    private func inlined(_ items: [SendItem]) -> Bool {
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
    func respond(_ body: [UInt8]?) {
        serializeHead()
        if let body, let exchange, !exchange.context.headOnly { server.output += body }
        finishResponse(nil)
    }

    /// Puts the head's bytes at the beginning of `server.output`.
    private func serializeHead() {
        let keepAlive = exchange?.keepAlive ?? false
        server.serializeHead(keepAlive: keepAlive, minorVersion: exchange?.minorVersion ?? 1)
        closesAfterSending = !keepAlive
    }

    /// Sends `server.output`, then the items.
    private func finishResponse(_ items: [SendItem]?) {
        logAccess(server.head.status)
        endExchange()
        phase = .sending
        phaseEnd = .max
        let sent = sendNow(server.output, more: items != nil)
        guard let sent else {
            close()
            return
        }
        if sent == server.output.count, items == nil {
            responseIsSent()
            return
        }
        let queue = SendQueue()
        if sent < server.output.count {
            let block = server.output.withUnsafeBytes { OwnedBytes(copying: UnsafeRawBufferPointer(rebasing: $0[sent...])) }
            queue.append(.memory(ByteSlice(block: block, offset: 0, count: block.count)))
        }
        for item in items ?? [] { queue.append(item) }
        self.queue = queue
        if server.output.capacity > 4 * ServerCore.copyLimit { server.output = [] }
        continueSending()
    }

    /// Sends an answer that several readers share.
    func respond(shared: OwnedBytes) {
        logAccess(200)
        endExchange()
        stream = nil
        phase = .sending
        closesAfterSending = false
        phaseEnd = .max
        switch SocketCalls.send(descriptor, shared.bytes) {
        case .bytes(let count) where count == shared.count: responseIsSent()
        case .bytes(let count):
            queueRest(shared, from: count)
        case .wouldBlock: queueRest(shared, from: 0)
        case .end, .failed: close()
        }
    }

    private func queueRest(_ block: OwnedBytes, from offset: Int) {
        let queue = SendQueue()
        queue.append(.memory(ByteSlice(block: block, offset: offset, count: block.count - offset)))
        self.queue = queue
        blocked()
    }

    private func endExchange() {
        if let exchange { server.bodyBytes -= exchange.reserved }
        exchange = nil
    }

    /// Counts the bytes of a body being received; false when the server holds as many as it may.
    private func reserveBody(_ count: Int) -> Bool {
        guard let exchange else { return false }
        if count <= exchange.reserved { return true }
        if server.bodyBytes + count - exchange.reserved > server.limits.bodiesBytes { return false }
        server.bodyBytes += count - exchange.reserved
        exchange.reserved = count
        return true
    }

    private func logAccess(_ status: Int) {
        guard let exchange, let line = exchange.accessLine else { return }
        exchange.accessLine = nil
        var metadata: Logger.Metadata = ["status": "\(status)", "ms": "\(server.loop.now - exchange.began)"]
        if !exchange.name.isEmpty { metadata["STREAM"] = "\(StreamLabel.text(exchange.name))" }
        server.logger.info("\(line)", metadata: metadata)
    }

    /// How many bytes went; nil when the connection is broken.
    private func sendNow(_ bytes: [UInt8], more: Bool) -> Int? {
        bytes.withUnsafeBytes { raw in
            switch SocketCalls.send(descriptor, raw, more: more) {
            case .bytes(let count): count
            case .wouldBlock: 0
            case .end, .failed: nil
            }
        }
    }

    private func blocked() {
        blockedUntil = server.loop.now + server.limits.writeStallMilliseconds
        updateDeadline()
        updateInterest()
    }

    private func continueSending() {
        guard let queue, !warming else { return }
        var moved = 0
        switch queue.flush(descriptor, budget: server.limits.sendBudget, moved: &moved) {
        case .done:
            self.queue = nil
            blockedUntil = .max
            updateInterest()
            if phase == .streaming { pumpEvents() } else if phase == .sending { responseIsSent() }
        case .blocked, .budgetSpent:
            if moved > 0 || blockedUntil == .max { blocked() } else { updateInterest() }
        case .cold(let handle, let offset, let count):
            warming = true
            blockedUntil = .max
            updateInterest()
            server.warm(handle, offset: offset, count: count, for: self)
        case .failed: close()
        case .truncated:
            server.log("a segment ended before its stream", name: nil)
            close()
        }
    }

    /// A disk worker has read the range that the queue waits for.
    func warmed(to end: Int) {
        guard phase != .closed else { return }
        warming = false
        queue?.warmed(to: end)
        continueSending()
    }

    private func responseIsSent() {
        if closesAfterSending || server.isDraining {
            linger()
            return
        }
        phase = .head
        endPhase(at: server.loop.now + server.limits.idleMilliseconds)
        if input != nil { resume() } else if peerEnded { close() }
    }

    /// Goes on after the pipeline's budget was spent.
    func resumePostponed() {
        isPostponed = false
        if phase == .head { resume() }
    }

    /// Ends our side and waits a little for the peer to end its own.
    private func linger() {
        phase = .lingering
        input = nil
        if peerEnded {
            close()
            return
        }
        SocketCalls.shutdownWrite(descriptor)
        endPhase(at: server.loop.now + (server.isDraining ? 100 : server.limits.lingerMilliseconds))
        updateInterest()
    }

    func close() {
        if phase == .closed { return }
        if let stream, waiterIndex >= 0 {
            server.loop.isolated(stream) { $0.leave(self) }
        }
        phase = .closed
        tag &+= 1
        stream = nil
        endExchange()
        queue = nil
        input = nil
        server.closed(self)
    }

    /// The journal has failed: what is being executed will not be acknowledged.
    func failPending() {
        guard phase == .executing else { return }
        tag &+= 1
        refuse(
            Problem(503, "The server's journal has failed; it is unknown whether this was stored. Ask again after the restart."),
            keepAlive: false)
    }

    /// The server is ending: waits end, idle connections close, answers in progress are finished.
    func drain() {
        switch phase {
        case .head:
            if input != nil { return }
            // A request that is here already is answered; one that a new connection was opened for will be here in a moment.
            if !peerEnded { receive() }
            guard phase == .head, input == nil, !headHasBegun else { return }
            if tag == 0 { endPhase(at: min(phaseEnd, server.loop.now + server.limits.newConnectionMilliseconds)) } else { close() }
        case .polling: phaseIsOver(server.loop.now)
        case .streaming: endEvents()
        case .body, .executing, .sending, .lingering, .closed: break
        }
    }

    // MARK: Long-polls that are woken

    /// The context and form of the waiting long-poll.
    var pollContext: (ResponseContext, keepAlive: Bool, minorVersion: Int)? {
        guard phase == .polling, let exchange else { return nil }
        return (exchange.context, exchange.keepAlive, exchange.minorVersion)
    }

    /// The stream has taken this reader off its list: what it waited for, or nil if that has to come from a disk first.
    func readWhenWoken(_ request: ReadRequest, _ stream: isolated StreamActor) -> Outcome? {
        phase = .executing
        phaseEnd = .max
        self.stream = nil
        return stream.read(request, self, tag)
    }

    func answerWhenWoken(_ outcome: Outcome, _ stream: isolated StreamActor) {
        guard phase == .executing || phase == .polling else { return }
        phase = .executing
        self.stream = nil
        answer(outcome, from: stream, tag: tag)
    }

    func wokenToRead(_ stream: isolated StreamActor) {
        let request = ReadRequest(start: .position(livePosition), mode: .longPoll)
        if let outcome = readWhenWoken(request, stream) { answerWhenWoken(outcome, stream) }
    }

    // MARK: Server-sent events

    private func startEvents(_ facts: StreamFacts) {
        guard let exchange else { return }
        server.responder.events(facts, exchange.context, &server.head)
        server.serializeHead(keepAlive: false, minorVersion: exchange.minorVersion)
        logAccess(200)
        phase = .streaming
        isBehind = true
        closesAfterSending = true
        let jitter = Int64.random(in: 0...max(1, server.limits.eventsMilliseconds / 10))
        endPhase(at: server.loop.now + server.limits.eventsMilliseconds - jitter)
        _ = push(server.output)
    }

    /// Sends or queues bytes of the event stream; false when the connection is gone.
    private func push(_ bytes: [UInt8]) -> Bool {
        if queue == nil {
            guard let sent = sendNow(bytes, more: false) else {
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
    private func continueEvents(_ outcome: Outcome) {
        guard phase == .streaming, stream != nil, let context = exchange?.context else { return }
        switch outcome {
        case .read(let result):
            livePosition = result.to
            if result.from == result.to {
                if carry.count > 0 || result.closed {
                    sendEvents(result, [], context)
                }
                if result.closed { endEvents() }
                return
            }
            guard let buffers = server.memory(of: result) else {
                server.loadEvents(result, for: self, tag: tag)
                return
            }
            sendEvents(result, buffers, context)
            if phase != .streaming { return }
            if result.closed {
                endEvents()
            } else if queue == nil {
                server.postponeEvents(self)
            }
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
                _ = push(frames.bytes)
            }
        case .refused:
            // Deleted, or unreadable: the event stream ends; the next request is told why.
            endEvents()
        default: preconditionFailure("a read is answered with a read")
        }
    }

    private var sentControl = false

    /// A file part of a chunk has been read by a worker.
    func loadedEvents(_ result: ReadResult, _ blocks: [ByteSlice]?, tag: UInt32) {
        guard tag == self.tag, phase == .streaming, let context = exchange?.context else { return }
        guard let blocks else {
            endEvents()
            return
        }
        sendEvents(result, blocks.map(\.bytes), context)
        if phase != .streaming { return }
        if result.closed { endEvents() } else if queue == nil { server.postponeEvents(self) }
    }

    private func sendEvents(_ result: ReadResult, _ buffers: [UnsafeRawBufferPointer], _ context: ResponseContext) {
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
            _ = push(frames.bytes)
        }
    }

    /// Reads on from the reader's position, or joins the live readers at the tail.
    func pumpEvents() {
        guard phase == .streaming, isBehind, queue == nil, let stream else { return }
        let request = ReadRequest(start: .position(livePosition), mode: .events)
        if let outcome = server.loop.isolated(stream, { $0.read(request, self, tag) }) { continueEvents(outcome) }
    }

    /// Whether frames that begin at `position` are what this reader needs next and can take at once.
    func takesFrames(at position: UInt64) -> Bool { livePosition == position && queue == nil && !isBehind }

    /// The request's context if its cursor is ahead of the clock, so that its frames cannot be shared.
    func contextWithCursor(from interval: UInt64) -> ResponseContext? {
        guard let context = exchange?.context, let cursor = context.cursor, cursor >= interval else { return nil }
        return context
    }

    /// Takes frames that many readers share.
    func take(shared: OwnedBytes, to position: UInt64, carry: Carry, ends: Bool) {
        guard phase == .streaming else { return }
        livePosition = position
        self.carry = carry
        sentControl = true
        if shared.count > 0 {
            switch SocketCalls.send(descriptor, shared.bytes) {
            case .bytes(let count) where count == shared.count: break
            case .bytes(let count): queueRest(shared, from: count)
            case .wouldBlock: queueRest(shared, from: 0)
            case .end, .failed:
                close()
                return
            }
        }
        if ends { endEvents() }
    }

    /// Something became visible that this reader cannot take in shared form: it reads for itself, now or when its queue is empty.
    func fallBehind() {
        guard phase == .streaming, let stream else { return }
        server.loop.isolated(stream) { $0.leave(self) }
        isBehind = true
        if queue == nil { pumpEvents() }
    }

    /// Ends the event stream between two events, after what is queued.
    func endEvents() {
        guard phase == .streaming else { return }
        if let stream, waiterIndex >= 0 { server.loop.isolated(stream) { $0.leave(self) } }
        stream = nil
        endExchange()
        closesAfterSending = true
        if queue == nil {
            linger()
        } else {
            phase = .sending
            phaseEnd = .max
        }
    }
}
