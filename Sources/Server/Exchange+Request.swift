// A request: routed, its content collected within bounds, and handed to its stream.

import HTTPWire
import Logging
import Reactor
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls

/// A head of so many bytes is not worth a visit to the account.
private let shortHead = 1024

extension Exchange {
    /// Takes a request whose head is in `server.requestHead`; `following` bytes of its content are in the buffer already.
    ///
    /// - Parameter endsWithStream: content without a length ends when the transport says so, and is not chunked.
    func begin(
        _ bytes: UnsafeRawBufferPointer, framing: BodyFraming, keepAlive: Bool, following: Int, secure: Bool, endsWithStream: Bool = false
    ) {
        let head = server.requestHead
        let routed = server.router.route(head, bytes, RequestPeer(secure: secure, isTrustedProxy: share.isExempt))
        tag &+= 1
        server.requestsBegun += 1
        share.begins(in: server.loop.turn)
        let limits = server.limits
        setClient(share.isExempt && head.has(.forwardedFor) ? server.client(head, bytes, behind: share) : share)
        func pending(_ subject: PendingRequest.Subject, _ context: ResponseContext, keepAlive: Bool, _ body: BodyReceiver) -> PendingRequest
        {
            PendingRequest(
                subject, context: context, keepAlive: keepAlive, minorVersion: head.minorVersion, body: body, client: client)
        }
        func receiver(_ framing: BodyFraming, discards: Bool) -> BodyReceiver {
            BodyReceiver(framing, limit: limits.bodyBytes, wire: limits.wire, discards: discards, endsWithStream: endsWithStream)
        }
        switch routed {
        case .stream(let asked):
            if case .length(let count) = framing, count > limits.bodyBytes {
                request = pending(.none, asked.context, keepAlive: false, .nothing)
                noteForLog(bytes)
                refuseTooLarge()
                return
            }
            let hasBody = asked.verb.takesContent
            var inPlace = 0
            if hasBody, case .length(let count) = framing, count <= following { inPlace = count }
            let new = pending(
                .stream(asked), asked.context, keepAlive: keepAlive, receiver(inPlace > 0 ? .none : framing, discards: !hasBody))
            new.inPlaceCount = inPlace
            new.bringsContent = hasBody
            request = new
            if bytes.count > shortHead {
                new.headBytes = bytes.count
                if !reserveBody(0) {
                    noteForLog(bytes)
                    refuseForBodies()
                    return
                }
            }
        case .control(let asked):
            request = pending(.control(asked), asked.context, keepAlive: keepAlive, receiver(framing, discards: true))
        case .preflight(let context):
            request = pending(.preflight, context, keepAlive: keepAlive, receiver(framing, discards: true))
        case .problem(let problem, let context):
            // With Expect the content has not been sent and will not be; without it, a short one is read and dropped.
            var discardable = true
            if case .length(let count) = framing { discardable = count <= limits.bodyBytes }
            let stays = keepAlive && discardable && !(head.expectsContinue && framing != .none)
            request = pending(.problem(problem), context, keepAlive: stays, receiver(framing, discards: true))
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
    func noteForLog(_ bytes: UnsafeRawBufferPointer) {
        guard server.logsAccess, let request else { return }
        let head = server.requestHead
        request.accessLine =
            String(decoding: bytes[head.methodRange], as: UTF8.self) + " " + String(decoding: bytes[head.target], as: UTF8.self)
        request.began = server.loop.now
    }

    /// Takes content from the front of `bytes`. Returns how much was used, nil when the request was refused and the rest is void.
    func takeBody(_ bytes: UnsafeMutableRawBufferPointer) -> Int? {
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
    func bodyIsComplete(_ borrowed: UnsafeMutableRawBufferPointer?) {
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
        var verb = asked.verb
        if case .append(let append) = verb {
            do throws(Problem) {
                verb = .append(try StreamRequest.complete(append, contentCount: content.count))
            } catch {
                let body = server.responder.refuse(error, request.context, &server.head)
                respond(body)
                return
            }
        }
        reader = newReader(verb)
        let call = StreamCall(
            verb, of: asked.name, condition: asked.condition, content: content, requester: self, tag: tag, reader: reader)
        if let done = server.registry.execute(call) { answer(done.outcome, from: done.stream, tag: tag) }
    }

    private func answerWithoutStream() {
        guard let request else { return }
        switch request.subject {
        case .problem(let problem):
            let body = server.responder.refuse(problem, request.context, &server.head)
            respond(body)
        case .preflight:
            server.responder.preflight(request.context, &server.head)
            respond(nil)
        case .control(let asked):
            phase = .executing
            let tag = tag
            server.control(asked) { [self] in answer($0, tag: tag) }
        case .stream, .none: preconditionFailure("it is a stream's, or being answered")
        }
    }

    /// The answer of a control route, at once or later.
    private func answer(_ answer: ControlAnswer, tag: UInt32) {
        guard tag == self.tag, phase == .executing else { return }
        let body = server.responder.control(answer, context, &server.head)
        respond(body)
    }

    private func refuseTooLarge() {
        refuse(
            Problem(413, "The body is larger than \(server.limits.bodyBytes) bytes, the limit of this server."), keepAlive: false)
    }

    private func refuseForBodies() {
        refuse(Problem(503, "The server holds as many bytes for its clients as it may; try again."), keepAlive: false)
    }

    /// Answers with an error that ends the connection.
    func refuse(_ problem: Problem, keepAlive: Bool) {
        let context = request?.context ?? ResponseContext()
        let (line, began) = (request?.accessLine, request?.began)
        endRequest()
        request = PendingRequest(
            .none, context: context, keepAlive: keepAlive, minorVersion: 1, client: share)
        request?.accessLine = line
        request?.began = began ?? 0
        let body = server.responder.refuse(problem, context, &server.head)
        respond(body)
    }

    // MARK: Content

    /// Counts the bytes of a body that have arrived; false when the server holds as many as it may, or as many of this client's.
    func reserveBody(_ count: Int) -> Bool {
        guard let request else { return false }
        return request.held.set(count + request.headBytes)
    }

    /// A part of the body has been read into its own memory.
    func tookBody(_ count: Int) {
        guard let request, phase == .body else { return }
        request.lastByteAt = server.loop.now
        _ = bodyCame(request.body.tookDirectly(count))
    }

    /// A part of the body is here; false: it was refused, and the rest is void.
    private func bodyCame(_ progress: BodyReceiver.Progress) -> Bool {
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

    /// Looks at a body that is arriving. It may come as slowly as it likes, but not stop; one that holds much of the memory has to keep a rate, and
    /// others while there is little left (`bodyRate`).
    func bodyIsDue(_ now: Int64) {
        guard let request else { return }
        let limits = server.limits
        if isWaitingForShare {
            // Its bytes may be here already.
            request.lastByteAt = now
            request.rateSince = now
            request.receivedBefore = request.body.received
        }
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
}
