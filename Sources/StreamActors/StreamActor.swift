// One stream: the only place where its state is read or changed, on the reactor's thread.
//
//     image (accepted) ──journal commit──▶ durable view ──▶ readers
//
// `image` is the stream as accepted: checks are made against it, and it runs ahead of the disk by what is in the journal's hands.
// `durable` is what readers may see. Every answer to a writer waits in `pending` until all that it was derived from is durable; so nobody ever
// learns of a state that a crash could take back.
//
//     StreamActor.swift          state, one call
//     StreamActor+Append.swift   create, append, close
//     StreamActor+End.swift      delete, expiry, forks that begin and end, renewal of a TTL
//     StreamActor+Commit.swift   what follows when records are durable; readers
//     StreamActor+Read.swift     reading; StreamActor+Fork.swift: the source's side of a fork; StreamActor+Flush.swift: to the segments
//
// A fork holds its source's actor and reads from it; the source stays in memory while one of its forks is.
// Invariants: pending LSNs ascend; durable.tail <= image.state.tail; tail buffer start <= image.flushed <= durable.tail.

import Reactor
import StreamRules
import StreamStore
import SystemPackage

public actor StreamActor {
    public nonisolated let id: UInt64
    public nonisolated let name: [UInt8]
    public nonisolated let contentType: ContentType
    public nonisolated let context: StreamContext
    /// Where it stands among the streams in memory; the ring's.
    nonisolated(unsafe) var ringIndex = -1
    /// What a fork was made from.
    nonisolated let source: StreamActor?
    /// The nearest stream of that line that has bytes of its own from before this stream's start: reads pass over those that have none. The
    /// source keeps it in memory.
    nonisolated unowned(unsafe) let owner: StreamActor?
    /// Streams that this one comes from.
    nonisolated let depth: Int
    public nonisolated var unownedExecutor: UnownedSerialExecutor { context.loop.asUnownedSerialExecutor() }

    var image: StreamImage
    @exclusivity(unchecked) var life: StreamLife
    @exclusivity(unchecked) var durable: DurableView
    var pending = PendingAnswers()
    /// It stands in the context's list of those that have something pending.
    @exclusivity(unchecked) var isTouched = false
    var readers = ReaderList()
    /// Calls behind a large body.
    var line = CallLine()
    /// Its calls that wait for room in the journal: later ones wait behind them.
    @exclusivity(unchecked) var roomWaits = 0
    /// Calls of this stream that wait for a segment or its pages, and passes over its readers that are under way.
    @exclusivity(unchecked) var holds = 0
    /// Calls of this stream and its forks that wait for one of its segments to be opened, per base.
    var openings: [UInt64: [SegmentWait]] = [:]
    /// Forks of this stream that are in memory.
    @exclusivity(unchecked) var loadedForks = 0
    /// The last access that renews a TTL, Unix milliseconds; exact, while `image.renewedUntil` is what a crash keeps.
    @exclusivity(unchecked) var lastAccess: Int64
    var flush = FlushState.none
    var unsaved = Unsaved()
    /// What the context's accounts have of it.
    @exclusivity(unchecked) var counted = Counted()
    /// Monotonic milliseconds.
    @exclusivity(unchecked) var lastUsed: Int64

    /// How the stream stands to the catalog.
    struct Unsaved {
        /// It stands in the context's list of those that have changed since their last capture.
        var isDirty = false
        /// A checkpoint holds an image of the stream that is not in the catalog yet.
        var isCaptured = false
        /// Segments that the catalog does not know.
        var sealed: [SegmentMeta] = []
    }

    struct Counted {
        var footprint = 0
        var producers = 0
    }

    /// Made by the registry, which counts it at its source.
    init(_ image: StreamImage, life: StreamLife, source: StreamActor?, context: StreamContext) {
        self.source = source
        depth = source.map { $0.depth + 1 } ?? 0
        let start = image.start
        // What lies between a stream and its owner begins no earlier than the stream does, so it is passed over here as well.
        var candidate = source
        while let stream = candidate, context.loop.isolated(stream, { $0.image.start }) >= start { candidate = stream.owner }
        owner = candidate
        id = image.id
        name = image.name
        contentType = image.configuration.contentType
        self.context = context
        self.image = image
        self.life = life
        if case .creating = life {
            durable = DurableView(tail: image.start, closed: false, renewedUntil: .min)
        } else {
            durable = DurableView(tail: image.state.tail, closed: image.state.closed, renewedUntil: image.renewedUntil)
        }
        lastAccess = image.renewedUntil
        lastUsed = context.loop.now
    }

    /// As readers see it.
    public var facts: StreamFacts {
        StreamFacts(id: id, contentType: contentType, tail: durable.tail, closed: durable.closed, expiry: image.configuration.expiry)
    }

    /// As accepted.
    var acceptedFacts: StreamFacts {
        StreamFacts(
            id: id, contentType: contentType, tail: image.state.tail, closed: image.state.closed, expiry: image.configuration.expiry)
    }

    // MARK: One call

    /// The outcome at once, or nil when it comes later through `call.answer`.
    func execute(_ call: StreamCall) -> Outcome? {
        lastUsed = context.loop.now
        if call.verb.changesStream, let outcome = waitInLine(call) { return outcome.value }
        switch life {
        case .gone: return context.registry.execute(call)?.outcome
        case .ending(let ending):
            if ending.seen != .retained {
                if ending.seen == .expired || isOver, let refusal = refusalAfterExpiry(call) { return answer(.refused(refusal), call) }
                // Until the end is durable, readers see the stream as it was.
                if ending.seen != .unborn, case .read(let request) = call.verb { return read(request, call) }
            }
            park(call)
            return nil
        case .retained:
            if image.forks == 0 { reclaim() }
            if case .create = call.verb { return .refused(call.condition == .never ? .conditionFailed : .nameRetained) }
            return .refused(.retained)
        case .creating:
            if !call.verb.changesStream {
                park(call)
                return nil
            }
        case .present: break
        }
        if isExpired {
            if let refusal = refusalAfterExpiry(call) {
                expire()
                return answer(.refused(refusal), call)
            }
            return context.registry.withRoom(for: deleteRecord, urgent: true, call, at: self) {
                expire()
                park(call)
                return nil
            }
        }
        switch call.verb {
        case .create(let request): return createAgain(request, call)
        case .append(let request): return append(request, call)
        case .read(let request):
            if renewalIsDue() {
                return context.registry.withRoom(for: .renew(until: context.now), urgent: true, call, at: self) {
                    guard journalRenewal() else { preconditionFailure("there was room for the renewal") }
                    park(call)
                    return nil
                }
            }
            if isRenewalUnderWay {
                park(call)
                return nil
            }
            return read(request, call)
        case .metadata: return .metadata(facts)
        case .delete:
            if call.condition == .never { return answer(.refused(.conditionFailed), call) }
            return delete(call)
        }
    }

    /// What becomes of a call that came behind others.
    private enum InLine {
        case waits
        case refused(Refusal)
        var value: Outcome? { if case .refused(let refusal) = self { .refused(refusal) } else { nil } }
    }

    /// nil: nobody is in front of it. One that has waited for room came before what is being prepared.
    private func waitInLine(_ call: StreamCall) -> InLine? {
        guard line.isHeld || roomWaits > 0, !context.registry.isRetrying(call) else { return nil }
        if line.isHeld {
            if line.count >= context.limits.parkedCommands { return .refused(.unavailable("too many requests wait behind a large one")) }
            line.add(call.kept)
        } else if case .append = call.verb, contentType.isJSON, call.content.isLarge(context.limits.preparedBytes) {
            // Looked at before it stands in line: a worker that has it when its turn comes would let the next one pass.
            prepare(call)
        } else {
            context.registry.parkForRoom(call.kept, at: self)
        }
        return .waits
    }

    /// A stream is over from its moment on, even where the journal has no room for the record of it. What needs the name waits.
    private func refusalAfterExpiry(_ call: StreamCall) -> Refusal? {
        if case .create = call.verb { return nil }
        return image.forks > 0 ? .retained : .notFound
    }

    /// Executes the call anew once all that is accepted by now is durable.
    func park(_ call: StreamCall) { enqueue(.execute(call.kept), after: image.appliedLSN) }

    func enqueue(_ due: PendingAnswers.Due, after lsn: UInt64) {
        pending.add(
            due, after: lsn, DurableView(tail: image.state.tail, closed: image.state.closed, renewedUntil: image.renewedUntil))
        touch()
    }

    /// Answers when everything accepted so far is durable: at once if it is.
    func answer(_ outcome: Outcome, _ call: StreamCall) -> Outcome? {
        if pending.isEmpty { return outcome }
        enqueue(.answer(outcome, to: call.requester, tag: call.tag), after: image.appliedLSN)
        return nil
    }

    func touch() {
        if isTouched { return }
        isTouched = true
        context.touched.append(self)
    }

    func markDirty() {
        if unsaved.isDirty { return }
        unsaved.isDirty = true
        context.dirty.append(self)
    }

    // MARK: Memory

    /// Someone still answers readers of this stream: it stays in memory until `release`.
    func hold() { holds += 1 }
    func release() { holds -= 1 }

    func countFootprint() {
        context.tailFootprint += image.tail.footprint - counted.footprint
        counted.footprint = image.tail.footprint
        countProducers()
    }

    /// A stream that has gone remembers nobody.
    func countProducers() {
        let count = life.isGone ? 0 : image.state.producers.count
        context.producers += count - counted.producers
        counted.producers = count
    }

    /// Gives back what is in segments and only cached here.
    func trimCache() {
        image.tail.drop(below: image.flushed, keepLast: false)
        countFootprint()
    }

    /// Whether the stream can be dropped from memory without losing anything.
    var isIdle: Bool {
        (life.isPresent || life.isRetained) && pending.isEmpty && readers.count == 0 && loadedForks == 0 && holds == 0 && roomWaits == 0
            && openings.isEmpty && !line.isHeld && flush.isNone && !unsaved.isDirty && !unsaved.isCaptured && unsaved.sealed.isEmpty
    }

    /// Lets go of whoever waits, answering nobody: for a simulation, in which a process ends without an exit.
    func abandon() {
        pending = PendingAnswers()
        readers = ReaderList()
        openings = [:]
        if flush.isClaimed { flush = .claimed([]) }
        line = CallLine()
    }
}
