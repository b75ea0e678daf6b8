// One publication to all of a stream's waiting readers: each distinct answer is made once and shared by reference.
//
// Readers differ in what they have (position, held-back bytes), and in rare cases in what their request said (a cursor ahead of the
// clock, If-None-Match, an origin that matters, HTTP/1.0). All that differ in nothing get the same bytes.

import HTTPWire
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore

extension ServerCore: LiveSink {
    func publish(_ publication: Publication, polls: [any LiveReader], events: [any LiveReader], stream: isolated StreamActor) {
        if let end = publication.end {
            for reader in polls { (reader as! Connection).answerWhenWoken(.refused(end), stream) }
            for reader in events { (reader as! Connection).endEvents() }
            return
        }
        if !polls.isEmpty { publish(to: polls, publication, stream) }
        if !events.isEmpty { publish(to: events, publication) }
    }

    // MARK: Long-poll

    private func publish(to polls: [any LiveReader], _ publication: Publication, _ stream: isolated StreamActor) {
        var shared: OwnedBytes?
        var position: UInt64 = 0
        let interval = StreamCursor.interval(atUnixMilliseconds: loop.wallNow)
        for reader in polls {
            let connection = reader as! Connection
            guard let (context, keepAlive, minorVersion) = connection.pollContext else { continue }
            let isPlain =
                context.ifNoneMatch == nil && context.origin == nil && keepAlive && minorVersion == 1 && !context.fromNow
                && (context.cursor ?? 0) < interval
            if isPlain, let shared, position == connection.livePosition {
                connection.respond(shared: shared)
                continue
            }
            guard isPlain else {
                connection.wokenToRead(stream)
                continue
            }
            let request = ReadRequest(start: .position(connection.livePosition), mode: .longPoll)
            guard let outcome = connection.readWhenWoken(request, stream) else { continue }
            if case .read(let result) = outcome, result.from < result.to, let buffers = memory(of: result) {
                let block = encode(result, buffers, context)
                shared = block
                position = connection.livePosition
                connection.respond(shared: block)
            } else {
                connection.answerWhenWoken(outcome, stream)
            }
        }
    }

    private func encode(_ result: ReadResult, _ buffers: [UnsafeRawBufferPointer], _ context: ResponseContext) -> OwnedBytes {
        let range = RangeFacts(facts: result.facts, from: result.from, to: result.to)
        _ = responder.read(range, context, &head)
        serializeHead(keepAlive: true, minorVersion: 1)
        let isJSON = result.facts.contentType.isJSON
        if isJSON { output.append(UInt8(ascii: "[")) }
        for buffer in buffers { output.append(contentsOf: buffer) }
        if isJSON {
            output.removeLast(2)
            output.append(UInt8(ascii: "]"))
        }
        return OwnedBytes(copying: output)
    }

    // MARK: Server-sent events

    private func publish(to readers: [any LiveReader], _ publication: Publication) {
        var shared: [(carry: Carry, frames: EventFrames, block: OwnedBytes)] = []
        let interval = StreamCursor.interval(atUnixMilliseconds: loop.wallNow)
        for reader in readers {
            let connection = reader as! Connection
            guard connection.takesFrames(at: publication.from) else {
                connection.fallBehind()
                continue
            }
            if let context = connection.contextWithCursor(from: interval) {
                let frames = frames(of: publication, carry: connection.carry, cursor: responder.nextCursor(context))
                connection.take(
                    shared: OwnedBytes(copying: frames.bytes), to: publication.facts.tail, carry: frames.carry,
                    ends: publication.facts.closed)
                continue
            }
            var found = shared.firstIndex { $0.carry == connection.carry }
            if found == nil {
                let frames = frames(of: publication, carry: connection.carry, cursor: interval)
                shared.append((connection.carry, frames, OwnedBytes(copying: frames.bytes)))
                found = shared.count - 1
            }
            let entry = shared[found!]
            connection.take(
                shared: entry.block, to: publication.facts.tail, carry: entry.frames.carry, ends: publication.facts.closed)
        }
    }

    /// One data and one control event per append; the end of the stream comes with the last.
    private func frames(of publication: Publication, carry: Carry, cursor: UInt64) -> EventFrames {
        var frames = EventFrames(carry: carry)
        let facts = publication.facts
        var position = publication.from
        for end in publication.appendEnds {
            let isLast = end == facts.tail
            frames.add(
                Self.range(of: publication, from: position, to: end), end: end, contentType: facts.contentType,
                isEndOfClosed: isLast && facts.closed, upToDate: isLast, cursor: cursor)
            position = end
        }
        if facts.closed, publication.appendEnds.isEmpty || frames.bytes.isEmpty {
            if frames.carry.count > 0 {
                frames.add([], end: facts.tail, contentType: facts.contentType, isEndOfClosed: true, upToDate: true, cursor: cursor)
            } else {
                frames.control(facts.tail, isEndOfClosed: true, upToDate: true, cursor: cursor)
            }
        }
        return frames
    }

    private static func range(of publication: Publication, from: UInt64, to: UInt64) -> [UnsafeRawBufferPointer] {
        var buffers: [UnsafeRawBufferPointer] = []
        var start = publication.from
        for slice in publication.slices {
            let end = start + UInt64(slice.count)
            if end > from && start < to {
                let low = Int(max(from, start) - start)
                let high = Int(min(to, end) - start)
                buffers.append(UnsafeRawBufferPointer(rebasing: slice.bytes[low..<high]))
            }
            start = end
        }
        return buffers
    }
}
