// Changing a stream: its creation, the same creation again, appends, closing. Nothing is changed before everything is checked and there is room in
// the journal; then all is changed at once, without a suspension.
//
//     decide (StreamState) ─▶ stored form (JSON: here, or on a worker) ─▶ room in the journal ─▶ tail buffer, record, answer in `pending`

import Reactor
import StreamRules
import StreamStore

extension StreamActor {
    // MARK: Create

    /// Journals the stream's first record, for which there is room, with its first content; the answer waits for it.
    func begin(_ record: CreateRecord, _ content: StorableContent, _ call: StreamCall) -> UInt64 {
        let slice = store(content)
        let bytes = slice?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)
        let lsn = context.journal.add(.create(record), stream: id, payload: bytes, block: slice?.block)
        image.take(
            AppendRecord(position: record.start, time: record.time, closes: record.closed, sequence: nil, producer: nil), added: bytes,
            lsn: lsn)
        lastAccess = max(lastAccess, record.time)
        markDirty()
        countFootprint()
        enqueue(.answer(.created(acceptedFacts, new: true), to: call.requester, tag: call.tag), after: lsn)
        return lsn
    }

    func createAgain(_ request: CreateRequest, _ call: StreamCall) -> Outcome? {
        if call.condition == .never { return answer(.refused(.conditionFailed), call) }
        if let difference = difference(from: request) { return answer(.refused(.configurationDiffers(difference)), call) }
        guard renewalIsDue() else { return answer(.created(acceptedFacts, new: false), call) }
        return context.registry.withRoom(for: .renew(until: context.now), urgent: true, call, at: self) {
            guard journalRenewal() else { preconditionFailure("there was room for the renewal") }
            return answer(.created(acceptedFacts, new: false), call)
        }
    }

    /// What of the stream's configuration is not as the request wants it, and what the stream has.
    private func difference(from request: CreateRequest) -> String? {
        if let difference = differenceOfOrigin(request.fork) { return difference }
        let wanted = request.contentType ?? (source == nil ? .octetStream : contentType)
        if !wanted.matches(contentType) { return "content type is \(contentType.text)" }
        var expiry = request.expiry
        if expiry == .never, let source { expiry = context.loop.isolated(source) { $0.image.configuration.expiry } }
        if !expiry.matches(image.configuration.expiry) { return "TTL or expiry is another" }
        if request.closed != image.state.closed { return image.state.closed ? "stream is closed" : "stream is open" }
        return nil
    }

    private func differenceOfOrigin(_ fork: ForkRequest?) -> String? {
        guard let origin = image.origin, let source else { return fork == nil ? nil : "origin is none: it is not a fork" }
        guard let fork else { return "origin is another stream: it is a fork" }
        let tail = context.loop.isolated(source) { $0.image.state.tail }
        return origin.matches(fork, tail: tail) ? nil : "origin is another stream, offset or sub-offset"
    }

    // MARK: Append and close

    func append(_ request: AppendRequest, _ call: StreamCall) -> Outcome? {
        let decision = image.state.decide(request, streamType: contentType, now: context.now, retention: context.producerRetention)
        if call.condition == .never {
            if case .duplicate = decision {} else { return answer(.refused(.conditionFailed), call) }
        }
        switch decision {
        case .refuse(let refusal):
            return answer(.refused(.append(refusal, tail: image.state.tail, contentType: contentType.text)), call)
        case .duplicate(let state):
            return answer(
                .appended(
                    tail: image.state.tail, closed: image.state.closed, producer: state, stored: false, hadContent: request.hasContent),
                call)
        case .alreadyClosed:
            return answer(.appended(tail: image.state.tail, closed: true, producer: nil, stored: false, hadContent: false), call)
        case .accept: break
        }
        let stored: StorableContent
        switch StorableContent.make(
            request.hasContent ? call.content : .none, isJSON: contentType.isJSON, threshold: context.limits.preparedBytes)
        {
        case .ready(.nothing) where request.hasContent: return answer(.refused(.emptyJSONArray), call)
        case .ready(let ready):
            if case .messages(_, let body) = ready { context.bytesPrepared += body.count }
            stored = ready
        case .invalid(let fault): return answer(.refused(.invalidJSON("at byte \(fault.position): \(fault.reason)")), call)
        case .large:
            prepare(call)
            return nil
        }
        let record = AppendRecord(
            position: image.state.tail, time: context.now, closes: request.closes, sequence: request.sequence,
            producer: request.producer)
        return context.registry.withRoom(
            for: .append(record), payload: stored.count, urgent: stored.count == 0, call, kept: stored.kept, at: self
        ) {
            accept(record, request, stored, call)
            return nil
        }
    }

    /// Takes an append, for which there is room; the answer waits for its record.
    private func accept(_ record: AppendRecord, _ request: AppendRequest, _ stored: StorableContent, _ call: StreamCall) {
        let slice = store(stored)
        let bytes = slice?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)
        let lsn = context.journal.add(.append(record), stream: id, payload: bytes, block: slice?.block)
        image.take(record, added: bytes, lsn: lsn)
        lastAccess = max(lastAccess, record.time)
        markDirty()
        countFootprint()
        var producer: ProducerState?
        if let stamp = request.producer { producer = ProducerState(epoch: stamp.epoch, sequence: stamp.sequence) }
        let outcome = Outcome.appended(
            tail: image.state.tail, closed: image.state.closed, producer: producer, stored: true, hadContent: request.hasContent)
        enqueue(.answer(outcome, to: call.requester, tag: call.tag), after: lsn)
    }

    /// Puts the content in stored form behind the tail, in one block; a large body's own memory becomes that block.
    private func store(_ content: StorableContent) -> ByteSlice? {
        let start = image.state.tail
        switch content {
        case .nothing: return nil
        case .messages(let messages, let content):
            let bytes = UnsafeRawBufferPointer(content.bytes)
            image.tail.append(count: messages.storedLength) { messages.write(bytes, to: $0) }
        case .bytes(.owned(let block)), .prepared(let block):
            if block.count >= TailBuffer.adoptionThreshold {
                block.shrink()
                image.tail.adopt(block)
            } else {
                image.tail.append(block.bytes)
            }
        case .bytes(let content): image.tail.append(UnsafeRawBufferPointer(content.bytes))
        }
        return image.tail.lastSlice(from: start, to: start + UInt64(content.count))
    }

    // MARK: Large bodies

    /// Has a large body looked at by a worker; what else would change the stream meanwhile waits behind it, in order.
    func prepare(_ call: StreamCall) {
        line.hold()
        context.prepare(call.content) { [self] prepared in
            context.loop.isolated(self) { stream in
                stream.line.free()
                stream.executeAnew(call.with(prepared))
                stream.executeLine()
            }
        }
    }

    func executeAnew(_ call: StreamCall) { call.answer(context.registry.execute(call)) }

    /// A share of the calls that waited behind a large body, until one has a large body itself.
    private func executeLine() {
        var left = CallLine.callsPerTurn
        while left > 0, let next = line.next() {
            left -= 1
            executeAnew(next)
        }
        if line.isHeld || line.count == 0 { return }
        line.hold()
        context.dispatcher.post { [self] in
            context.loop.isolated(self) { stream in
                stream.line.free()
                stream.executeLine()
            }
        }
    }
}
