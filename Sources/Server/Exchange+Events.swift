// Server-sent events of one reader (PROTOCOL.md 4).
//
//     behind ──(piece by piece, read from the stream)──▶ at the tail ──(shared frames)──▶ at the tail
//        ▲                                                    │
//        └──── its socket is full, or there is too much ──────┘
//
// At the tail the reader stands in its stream's list and gets frames that all readers share. Behind, it reads for itself, one bounded piece at a
// time, when its queue is empty; what it keeps between two pieces is `EventProgress`. Its stream counts it in both states: a reader that
// is behind keeps a TTL alive and its stream in memory.
//
// An event stream ends between two events, at the first end of one that comes after it is due. If that cannot be (the stream is gone, the time for draining is over), the connection is cut, and the
// client sees that: a chunked body has no last chunk, an HTTP/2 stream is reset.

import HTTPWire
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore

/// What a reader of events has while it is behind.
final class EventsBehind {
    var progress: EventProgress
    /// What comes next is being read: by the stream, which waits for a segment, or by a disk worker.
    var isReading = false

    init(_ progress: EventProgress) { self.progress = progress }
}

extension Exchange {
    // MARK: Beginning

    /// The first read of a reader of events has been answered.
    func beginEvents(_ result: ReadResult, _ stream: StreamActor?) {
        guard let stream, let reader else { preconditionFailure("events come from a stream") }
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
        reader.position = result.from
        server.loop.isolated(stream) { $0.fallBehind(reader) }
        startEvents(result.facts, at: result.from)
        continueEvents(.read(result))
    }

    func startEvents(_ facts: StreamFacts, at position: UInt64) {
        server.responder.events(facts, context, &server.head)
        logAccess(200)
        phase = .streaming
        behind = EventsBehind(EventProgress(position: position, form: EventEncoder.Form(facts.contentType), carry: Carry()))
        isToldUpToDate = false
        endsAfterEvent = false
        closesAfterSending = true
        transmitEventsHead()
        if phase == .closed { return }
        slim()
        // Spread, so that readers who came together do not all come back together.
        let jitter = Int64.random(in: 0...max(1, server.limits.eventsMilliseconds / 10))
        phaseEnd = server.loop.now + server.limits.eventsMilliseconds - jitter
        beatsNext()
        updateDeadline()
    }

    /// Something has been sent: the next heartbeat comes so much later, if there are any.
    private func beatsNext() {
        let interval = server.limits.heartbeatMilliseconds
        quietUntil = interval > 0 ? server.loop.now + interval : .max
    }

    // MARK: Sending

    /// Sends or queues a piece of the event stream.
    func push(_ frames: EventFrames) {
        push(takesChunks ? frames.chunked : frames.bare)
    }

    /// Sends or queues bytes.
    func push(_ slice: ByteSlice) {
        if phase == .streaming { beatsNext() }
        if let queue {
            queue.append(.memory(slice))
            return
        }
        guard let sent = sendNow(slice.bytes, more: false) else {
            close()
            return
        }
        if sent < slice.count { queueRest(slice, from: sent) }
    }

    /// Nothing has been sent for a while: a comment keeps proxies and clients from giving up. It never comes inside an event.
    func beatIfQuiet(_ now: Int64) {
        guard phase == .streaming, quietUntil <= now else { return }
        beatsNext()
        if quietUntil == .max { return }
        if behind == nil, queue == nil { push(ServerCore.heartbeat) }
    }

    // MARK: Catching up

    /// The next step of a reader that catches up: what a read from its position gave.
    func continueEvents(_ outcome: Outcome) {
        guard phase == .streaming, let reader, let behind else { return }
        behind.isReading = false
        switch outcome {
        case .read(let whole):
            if whole.from < whole.to {
                takePiece(of: whole)
            } else if whole.closed {
                if let frames = server.encodeEvents({ behind.progress.end(at: whole.to, &$0) }) { push(frames) }
                endEvents()
            }
        case .waiting(let facts):
            reader.carry = behind.progress.encoder.carry
            self.behind = nil
            if server.isDraining || endsAfterEvent {
                endEvents()
                return
            }
            if facts.tail != reader.position {
                fallBehind()
                return
            }
            if isToldUpToDate { return }
            isToldUpToDate = true
            let control = EventStreamControl(
                nextOffset: StreamOffset(position: reader.position - UInt64(reader.carry.count)),
                progress: .upToDate(cursor: server.responder.nextCursor(context)))
            if let frames = server.encodeEvents({ EventStream.putControl(control, &$0) }) { push(frames) }
        case .refused:
            // Deleted, or unreadable: the event stream ends; the next request is told why.
            if behind.progress.isInsideEvent { close() } else { endEvents() }
        default: preconditionFailure("a read is answered with a read")
        }
    }

    /// Sends the first bytes of what was read as events.
    private func takePiece(of whole: ReadResult) {
        let piece = whole.prefix(server.limits.eventsPieceBytes)
        guard let buffers = server.memory(of: piece) else {
            behind?.isReading = true
            server.loadEvents(piece, for: self, tag: tag)
            return
        }
        sendPiece(piece, buffers)
    }

    /// The parts in files have been read by a worker; nil: they could not be.
    func loadedEvents(_ piece: ReadResult, _ blocks: [ByteSlice]?, tag: UInt32) {
        guard tag == self.tag, phase == .streaming, let behind else { return }
        behind.isReading = false
        guard let blocks else {
            if behind.progress.isInsideEvent { close() } else { endEvents() }
            return
        }
        sendPiece(piece, blocks.map(\.bytes))
        withExtendedLifetime(blocks) {}
    }

    private func sendPiece(_ piece: ReadResult, _ buffers: [UnsafeRawBufferPointer]) {
        guard let behind else { return }
        let cursor = server.responder.nextCursor(context)
        let (plan, index) = (behind.progress.plan, behind.progress.stepIndex)
        var claims = false
        let frames = server.encodeEvents(limit: server.limits.eventsPieceBytes) { sink in
            claims = behind.progress.encode(
                buffers, end: piece.to, tail: piece.facts.tail, closed: piece.facts.closed, cursor: cursor, oneEvent: endsAfterEvent, &sink)
        }
        if let frames {
            server.pumpBudget.spend(frames.count)
            let claim = EventPlan.Claim(tail: piece.facts.tail, closed: piece.facts.closed)
            if !endsAfterEvent {
                plan?.keep(frames, behind.progress, claim: claims ? claim : nil, at: index, bound: server.limits.sharedEventsBytes)
            }
            isToldUpToDate = claims
            push(frames)
        }
        tookPiece(tail: piece.facts.tail, closed: piece.facts.closed)
    }

    /// A piece has gone, or is queued: what is next.
    private func tookPiece(tail: UInt64, closed: Bool) {
        guard phase == .streaming, let reader, let progress = behind?.progress else { return }
        reader.position = progress.position
        if !progress.isInsideEvent, endsAfterEvent || closed && progress.position == tail {
            endEvents()
        } else if queue == nil {
            pumpLater()
        }
    }

    /// Reads on in one of the next turns, when the others have had theirs.
    private func pumpLater() {
        if isPumping { return }
        isPumping = true
        server.postponeEvents(self)
    }

    /// Its turn among those that read on has come.
    func resumePumping() {
        isPumping = false
        pumpEvents()
    }

    /// Goes on with the next piece, or joins the live readers at the tail.
    func pumpEvents() {
        guard phase == .streaming, queue == nil, let stream, let reader, let behind, !behind.isReading else { return }
        let progress = behind.progress
        if let plan = progress.plan, !endsAfterEvent {
            let facts = server.loop.isolated(stream) { $0.facts }
            if let step = plan.step(progress.stepIndex, EventPlan.Claim(tail: facts.tail, closed: facts.closed)) {
                behind.progress = EventProgress(step, of: plan)
                server.pumpBudget.spend(step.frames.count)
                isToldUpToDate = step.claim != nil
                push(step.frames)
                // A piece that does not say that this is the end does not end the events: the next read does.
                tookPiece(tail: facts.tail, closed: step.claim?.closed ?? false)
                return
            }
        }
        let request = ReadRequest(start: .position(progress.position), mode: .events, isInsideMessage: progress.isInsideEvent)
        behind.isReading = true
        let call = StreamCall(.read(request), of: stream.name, requester: self, tag: tag, reader: reader)
        if let outcome = server.loop.isolated(stream, { $0.read(request, call) }) { continueEvents(outcome) }
    }

    // MARK: At the tail

    /// Takes what became visible as far as it can have what others get; otherwise it reads for itself, soon or when its queue is empty.
    ///
    /// - Returns: bytes sent.
    func takeEvents(_ news: Fanout, _ reader: StreamReader) -> Int {
        guard phase == .streaming, behind == nil else { return 0 }
        let publication = news.publication
        guard reader.position == publication.from, queue == nil else {
            fallBehind()
            return 0
        }
        let forms = server.forms(of: news)
        let own = contextWithCursor(from: forms.interval)
        if news.isLarge || !ServerCore.fitsOneBuffer(publication) {
            fallBehind(
                own == nil
                    ? forms.plan(for: reader.carry) { EventPlan(publication.appendEnds, sharedIn: server.sharedEvents) }
                    : EventPlan(publication.appendEnds, sharedIn: nil))
            return 0
        }
        let (frames, carry): (EventFrames?, Carry)
        if let own {
            (frames, carry) = server.frames(of: publication, carry: reader.carry, cursor: server.responder.nextCursor(own))
        } else {
            (frames, carry) = forms.frames(for: reader.carry) {
                server.frames(of: publication, carry: reader.carry, cursor: forms.interval)
            }
        }
        reader.position = publication.facts.tail
        reader.carry = carry
        isToldUpToDate = true
        if let frames { push(frames) }
        if publication.facts.closed { endEvents() }
        return frames?.count ?? 0
    }

    /// The request's context if its cursor is ahead of the clock, so that its frames cannot be shared.
    private func contextWithCursor(from interval: UInt64) -> ResponseContext? {
        if request == nil, liveCursor == .max || liveCursor < interval { return nil }
        let context = context
        guard let cursor = context.cursor, cursor >= interval else { return nil }
        return context
    }

    /// Something became visible that this reader cannot take in shared form: it reads for itself, soon or when its queue is empty.
    ///
    /// - Parameter plan: where the events end that it is to get for it, if it has all that was before.
    func fallBehind(_ plan: EventPlan? = nil) {
        guard phase == .streaming, behind == nil, let stream, let reader else { return }
        server.loop.isolated(stream) { $0.fallBehind(reader) }
        behind = EventsBehind(
            EventProgress(position: reader.position, form: EventEncoder.Form(stream.contentType), carry: reader.carry, plan: plan))
        if queue == nil { pumpLater() }
    }

    // MARK: The end

    /// Ends the event stream between two events, after what is queued.
    func endEvents() {
        guard phase == .streaming else { return }
        if behind?.progress.isInsideEvent ?? false {
            endsAfterEvent = true
            phaseEnd = .max
            return
        }
        if takesChunks { push(ServerCore.lastChunk) }
        if phase != .streaming { return }
        leaveStream()
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
