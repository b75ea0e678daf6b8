// The source's side of a fork: where the fork begins, and whether it may.
//
//     PUT ─▶ registry: the target's name is free ─▶ source.forkPoint ─▶ registry: room, record, new actor ─▶ source.forkBegan
//              ▲                                        │
//              └── executed anew when a segment is open, ┘ the messages are counted, or the source's own end is durable
//
// Nothing is changed at the source before the record of the fork's creation is in the journal's hands, so a fork that is refused leaves
// nothing; from then on the source counts it.

import Reactor
import StreamRules
import StreamStore

/// How far a search for the position that a sub-offset names has come.
struct ForkPoint: Sendable {
    let sourceID: UInt64
    let offset: UInt64
    /// The source's accepted tail when the search began: what lies behind it is not searched.
    let end: UInt64
    /// The messages before this position have been counted,
    var position: UInt64
    /// and so many are still to come.
    var left: UInt64
}

enum ForkAttempt {
    case begins(ForkOrigin)
    case refused(Refusal)
    /// The command has been kept, and is executed anew.
    case later
}

extension StreamActor {
    /// Where a fork of this stream that `call` asks for begins.
    func forkPoint(_ fork: ForkRequest, type: ContentType?, _ call: StreamCall) -> ForkAttempt {
        lastUsed = context.loop.now
        switch life {
        case .ending:
            park(call)
            return .later
        case .retained: return .refused(.sourceRetained)
        case .gone: preconditionFailure("the registry does not know what is gone")
        case .creating, .present: break
        }
        if isExpired {
            expire()
            return .refused(image.forks > 0 ? .sourceRetained : .sourceNotFound)
        }
        if depth >= StoreLimits.forkDepth { return .refused(.forkTooDeep(StoreLimits.forkDepth)) }
        if let type, !type.matches(contentType) { return .refused(.sourceTypeDiffers(contentType.text)) }
        let tail = image.state.tail
        let offset = fork.offset ?? tail
        if offset > tail { return .refused(.forkOffsetBeyondTail(tail: tail)) }
        let wait = SegmentWait(call: call.kept, stream: self)
        var position = offset
        if contentType.isJSON {
            let line = line(downTo: offset)
            switch context.loop.isolated(line[line.count - 1].stream, { $0.startsMessage(at: offset, tail: tail, wait) }) {
            case .yes: break
            case .no: return .refused(.forkOffsetNotAtMessage)
            case .unreadable: return .refused(unreadable(at: offset))
            case .unknown: return .later
            }
            if fork.subOffset > 0 {
                // A message takes at least three stored bytes, so most that are not there need no search.
                if fork.subOffset > (tail - offset) / 3 { return .refused(.forkSubOffsetBeyondTail(tail: tail)) }
                var point = ForkPoint(sourceID: id, offset: offset, end: tail, position: offset, left: fork.subOffset)
                if let known = call.forkPoint, known.sourceID == id, known.offset == offset { point = known }
                if point.left > 0 {
                    if point.position >= point.end { return .refused(.forkSubOffsetBeyondTail(tail: point.end)) }
                    var call = call.kept
                    call.forkPoint = point
                    if point.position >= durable.tail { park(call) } else { ForkSearch(call, source: self, point).start() }
                    return .later
                }
                position = point.position
            }
        } else {
            guard fork.subOffset <= tail - offset else { return .refused(.forkSubOffsetBeyondTail(tail: tail)) }
            position = offset + fork.subOffset
        }
        let line = line(downTo: position)
        let owner = line[line.count - 1].stream
        guard let lastCut = context.loop.isolated(owner, { $0.lastCut(upTo: position, wait) }) else { return .later }
        // The chunk that is open at the fork point may have begun before the stream that has the point.
        let crossings = context.loop.isolated(owner) { $0.line(downTo: lastCut).count }
        return .begins(
            ForkOrigin(
                sourceID: id, source: name, offset: offset, offsetWasGiven: fork.offset != nil, subOffset: fork.subOffset,
                position: position, lastCut: crossings < ForkOrigin.crossingLimit ? lastCut : position))
    }

    /// Whether a message of this stream's own part, or its tail, begins at `position`. `.unknown`: `wait` has been entered.
    private func startsMessage(at position: UInt64, tail: UInt64, _ wait: SegmentWait) -> Boundary {
        if position == tail || position == image.start { return .yes }
        if position >= image.tail.start { return isMessageBoundary(position, nil, base: image.active.base, wait) }
        let base = position >= image.active.base ? image.active.base : sealedSegment(holding: position).base
        if position == base { return .yes }
        guard let handle = handle(base, wait) else { return .unknown }
        let boundary = isMessageBoundary(position, handle, base: base, wait)
        if case .unknown = boundary { readByte(before: position, handle, base: base, wait) }
        return boundary
    }

    /// The last cut at or before a position of this stream's own part. nil: `wait` has been entered.
    private func lastCut(upTo position: UInt64, _ wait: SegmentWait) -> UInt64? {
        if position == image.state.tail { return image.state.chunks.lastCut }
        var base = image.active.base
        var cuts = image.active.cuts
        if position < base {
            base = sealedSegment(holding: position).base
            guard let handle = handle(base, wait) else { return nil }
            cuts = handle.meta.cuts
        }
        if let cut = cuts.last(where: { $0 <= position }) { return cut }
        if base > image.start || image.cutsAtStart { return base }
        return image.origin?.lastCut ?? 0
    }

    private func handle(_ base: UInt64, _ wait: SegmentWait) -> SegmentHandle? {
        if let found = find(base, wait) { return found }
        open(base, base == image.active.base ? image.active : unsaved.sealed.first { $0.base == base }, wait)
        return nil
    }
}

/// Counts messages from the fork offset on, chunk by chunk on disk workers, and then has the call executed anew. It reads like any
/// reader, so what it finds is durable; a call whose message is accepted and not durable yet waits for that.
///
/// @unchecked Sendable: confined to the reactor; what a worker needs is handed to it by value.
private final class ForkSearch: Requester, @unchecked Sendable {
    private var call: StreamCall
    private let source: StreamActor
    private var point: ForkPoint

    init(_ call: StreamCall, source: StreamActor, _ point: ForkPoint) {
        self.call = call
        self.source = source
        self.point = point
    }

    private var context: StreamContext { source.context }

    func start() {
        context.loop.isolated(source) { $0.holds += 1 }
        next()
    }

    private func next() {
        guard call.requester.awaits(call.tag) else {
            refuse(.unavailable("nobody waits for it any more"))
            return
        }
        let request = ReadRequest(start: .position(point.position), mode: .catchUp)
        let call = StreamCall(.read(request), of: source.name, requester: self, tag: 0)
        if let outcome = context.loop.isolated(source, { $0.read(request, call) }) { take(outcome) }
    }

    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) { take(outcome) }

    private func take(_ outcome: Outcome) {
        switch outcome {
        case .read(let result) where result.from < result.to:
            let (context, left) = (context, point.left)
            context.dispatcher.work(.search) {
                let counted = Self.count(left, in: result.pieces)
                context.dispatcher.post { self.counted(counted, result.to) }
            }
        case .refused(.notFound), .refused(.retained): end()
        // Damaged, or unreadable: asking again would be told the same.
        case .refused(let refusal): refuse(refusal)
        // The end of what is durable, or of the stream.
        default: end()
        }
    }

    /// The bytes up to the end of the `wanted`th message, or all of them and how many messages they hold; nil when a piece cannot be read.
    private static func count(_ wanted: UInt64, in pieces: [ReadPiece]) -> (bytes: UInt64, messages: UInt64)? {
        var messages: UInt64 = 0
        var bytes: UInt64 = 0
        for piece in pieces {
            let slice: ByteSlice
            switch piece {
            case .memory(let memory): slice = memory
            case .file(let handle, let offset, let count):
                let block = OwnedBytes(capacity: count)
                let buffer = UnsafeMutableRawBufferPointer(start: block.base, count: count)
                guard (try? handle.file.read(into: buffer, at: offset)) == count else { return nil }
                block.count = count
                slice = ByteSlice(block: block, offset: 0, count: count)
            }
            for boundary in StoredJSON.boundaries(slice.bytes) {
                messages += 1
                if messages == wanted { return (bytes + UInt64(boundary), messages) }
            }
            bytes += UInt64(slice.count)
        }
        return (bytes, messages)
    }

    private func counted(_ result: (bytes: UInt64, messages: UInt64)?, _ to: UInt64) {
        guard let result else {
            refuse(.unavailable("a segment of the source cannot be read"))
            return
        }
        point.left -= result.messages
        point.position += result.bytes
        if point.left == 0 || point.position >= point.end { end() } else { next() }
    }

    private func refuse(_ refusal: Refusal) {
        context.loop.isolated(source) { $0.holds -= 1 }
        call.answer(.refused(refusal), from: nil)
    }

    private func end() {
        context.loop.isolated(source) { $0.holds -= 1 }
        call.forkPoint = point
        call.answer(context.registry.execute(call))
    }
}
