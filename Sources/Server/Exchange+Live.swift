// Requests that wait for something new: long-polls here, event streams in Exchange+Events.swift.
//
//     read ──(at the tail)──▶ polling ──(news: `take`)──▶ the answer that all of a form share, or its own
//                                └──(time-out, drain)──▶ 204
//
// An exchange has one reader at most, for as long as its live request lasts. Between a publication and its turn to be told a poll is on no list any more
// (`StreamActor.isWaiting`) and must not be answered otherwise.

import HTTPWire
import Logging
import Reactor
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls

extension Exchange {
    /// The reader of a live read; nil for any other request.
    func newReader(_ verb: StreamVerb) -> StreamReader? {
        guard case .read(let read) = verb else { return nil }
        switch read.mode {
        case .catchUp: return nil
        case .longPoll: return StreamReader(.poll, of: self)
        case .events: return StreamReader(.follower, of: self)
        }
    }

    /// Its reader waits no longer, wherever it is.
    func leaveStream() {
        if let reader {
            if let stream { server.loop.isolated(stream) { $0.leave(reader) } } else { reader.end() }
        }
        reader = nil
        stream = nil
        behind = nil
        quietUntil = .max
    }

    /// What the answer depends on, of the request or of what is left of it.
    var context: ResponseContext {
        if let request { return request.context }
        var context = ResponseContext()
        context.isLive = true
        context.cursor = liveCursor == .max ? nil : liveCursor
        context.fromNow = liveFromNow
        context.tellsStrictTransport = liveTellsStrictTransport
        return context
    }

    /// A wait begins: what it does not need of the request goes.
    func slim() {
        guard let request, request.isPlain else { return }
        request.held.end()
        liveCursor = request.context.cursor ?? .max
        liveFromNow = request.context.fromNow
        liveTellsStrictTransport = request.context.tellsStrictTransport
        self.request = nil
    }

    // MARK: Long-poll

    /// Its reader has come to wait at the tail.
    func waits(_ facts: StreamFacts, _ stream: StreamActor?) {
        guard let stream, let reader else { preconditionFailure("a live read waits on a stream") }
        self.stream = stream
        if peerEnded {
            close()
            return
        }
        guard mode == .longPoll else {
            startEvents(facts, at: reader.position)
            continueEvents(.waiting(facts))
            return
        }
        if server.isDraining {
            server.responder.nothing(facts, context, &server.head)
            respond(nil)
            return
        }
        slim()
        phase = .polling
        endPhase(at: server.loop.now + server.limits.longPollMilliseconds)
    }

    /// There is something for a long-poll, or the stream is closed.
    func answerPoll(_ result: ReadResult) {
        if result.from == result.to {
            server.responder.nothing(result.facts, context, &server.head)
            respond(nil)
        } else {
            send(result)
        }
    }

    /// The long-poll has waited its time.
    func pollIsOver() {
        guard let stream, let reader else { return }
        let (isWaiting, facts) = server.loop.isolated(stream) { ($0.isWaiting(reader), $0.facts) }
        guard isWaiting else {
            // It is about to be told something.
            phaseEnd = .max
            return
        }
        server.responder.nothing(facts, context, &server.head)
        respond(nil)
    }

    /// Sends an answer that several readers share.
    func respond(shared answer: SharedAnswer) {
        logAccess(200)
        endRequest()
        leaveStream()
        phase = .sending
        closesAfterSending = false
        phaseEnd = .max
        transmit(shared: answer)
    }

    // MARK: News

    func take(_ news: Fanout, _ reader: StreamReader, _ stream: isolated StreamActor) -> Int {
        if reader !== self.reader { return 0 }
        switch reader.kind {
        case .poll: return takeAnswer(news, reader, stream)
        case .follower: return takeEvents(news, reader)
        }
    }

    func end(_ refusal: Refusal, _ reader: StreamReader, _ stream: isolated StreamActor) {
        if reader !== self.reader { return }
        switch reader.kind {
        case .poll:
            guard phase == .polling else { return }
            phase = .executing
            phaseEnd = .max
            answer(.refused(refusal), from: stream, tag: tag)
        case .follower: endEvents()
        }
    }

    private func takeAnswer(_ news: Fanout, _ reader: StreamReader, _ stream: isolated StreamActor) -> Int {
        guard phase == .polling else { return 0 }
        phase = .executing
        phaseEnd = .max
        let forms = server.forms(of: news)
        let form = takesSharedAnswer(in: forms.interval) ? SharedForms.AnswerForm(self, at: reader.position) : nil
        if let form, let known = forms.answer(form) {
            respond(shared: known)
            return known.block.count
        }
        let request = ReadRequest(start: .position(reader.position), mode: .longPoll)
        let call = StreamCall(.read(request), of: stream.name, requester: self, tag: tag, reader: reader)
        // What it waited for may have to come from a disk first.
        guard let outcome = stream.read(request, call) else { return ServerCore.copyLimit }
        if let form, case .read(let result) = outcome, result.from < result.to, result.to - result.from <= UInt64(ServerCore.copyLimit),
            let buffers = server.memory(of: result)
        {
            let answer = server.encode(result, buffers, context)
            forms.keep(answer, form)
            respond(shared: answer)
            return answer.block.count
        }
        answer(outcome, from: stream, tag: tag)
        return ServerCore.copyLimit
    }

    /// Whether the answer to this long-poll can be the one that others get: its cursor is not ahead of the clock, and the rest is plain.
    private func takesSharedAnswer(in interval: UInt64) -> Bool { request == nil && (liveCursor == .max || liveCursor < interval) }
}
