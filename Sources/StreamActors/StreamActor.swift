// One stream: the only place where its state is read or changed, on the reactor's thread.
//
//     image (accepted) ──journal commit──▶ durable view ──▶ readers
//
// `image` is the stream as accepted: checks are made against it, and it runs ahead of the disk by what is in the journal's hands.
// `durableTail` and `durableClosed` are what readers may see. Every answer to a writer waits in `pending` until all that it was derived
// from is durable; so nobody ever learns of a state that a crash could take back.
//
// Lives:  creating ─commit─▶ present ─delete accepted─▶ deleting ─commit─▶ gone
//                              └ with forks ─▶ retiring ─commit─▶ retained ─last fork gone─▶ deleting ─commit─▶ gone
// A command that meets `creating` (reads) or `deleting`, `retiring` (all but reads) waits for the commit and is then executed anew.
// A fork holds its source's actor and reads from it (StreamActor+Read); the source stays in memory while one of its forks is.
// Invariants: pending LSNs ascend; durableTail <= image.state.tail; tail buffer start <= image.flushed <= durableTail.

import DequeModule
import Reactor
import StreamRules
import StreamStore
import SystemPackage

public actor StreamActor {
    enum Life { case creating, present, deleting, gone, retiring, retained }

    enum PendingKind {
        case answer(Outcome)
        case execute(StreamCommand, Content)
        case nothing
    }

    struct Pending {
        let lsn: UInt64
        /// Tail and closed flag once this is durable.
        let tail: UInt64
        let closed: Bool
        /// And how far the TTL is renewed then.
        let renewedUntil: Int64
        let requester: (any Requester)?
        let tag: UInt32
        let kind: PendingKind
    }

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
    var life: Life
    /// Its create record is durable.
    var isBorn: Bool
    /// Its time was over; from then on nobody sees it, although the record of that is not durable yet.
    var hasExpired = false
    /// When `deleting` or `retiring` is over.
    var endLSN: UInt64?
    /// Forks of this stream that are in memory.
    var loadedForks = 0
    var durableTail: UInt64
    var durableClosed: Bool
    /// How far a crash leaves the TTL renewed, at least.
    private var durableRenewal: Int64
    var pending: [Pending] = []
    var pendingHead = 0
    var polls: [any LiveReader] = []
    var events: [any LiveReader] = []
    /// Readers of events, whether they wait or are behind.
    private var followers = 0
    /// Counts the readers that have come to wait.
    private var joins: UInt64 = 0
    /// The last access that renews a TTL, Unix milliseconds; exact, while `image.renewedUntil` is what a crash keeps.
    var lastAccess: Int64
    var isTouched = false
    var isDirty = false
    /// A flush is under way, or a checkpoint has claimed the next one.
    var flushing = false
    var flushQueued = false
    /// A checkpoint holds an image of the stream that is not in the catalog yet.
    var isCaptured = false
    /// Commands of this stream that wait for a segment or its pages, and passes over its readers that are under way.
    var waits = 0
    var afterFlush: [@Sendable () -> Void] = []
    var unsavedSealed: [SegmentMeta] = []
    var countedFootprint = 0
    var countedProducers = 0
    var lastUsed: Int64
    /// A large body is being looked at, and these wait behind it.
    private var isPreparing = false
    /// Its commands that wait for room in the journal: later ones wait behind them.
    var roomWaits = 0
    private var behindPreparation: Deque<(command: StreamCommand, content: Content, requester: any Requester, tag: UInt32)> = []
    /// Commands of this stream and its forks that wait for one of its segments to be opened, per base.
    var openings: [UInt64: [SegmentWait]] = [:]

    /// Made by the registry, which counts it at its source.
    init(_ image: StreamImage, life: Life, source: StreamActor?, context: StreamContext) {
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
        durableTail = life == .creating ? image.start : image.state.tail
        durableClosed = life == .creating ? false : image.state.closed
        durableRenewal = life == .creating ? .min : image.renewedUntil
        isBorn = life != .creating
        lastAccess = image.renewedUntil
        lastUsed = context.loop.now
    }

    public var facts: StreamFacts {
        StreamFacts(
            id: id, contentType: contentType, tail: durableTail, closed: durableClosed, expiry: image.configuration.expiry)
    }

    /// Live readers, whether they wait or are behind: they keep a TTL alive, and the stream in memory.
    var readerCount: Int { polls.count + max(events.count, followers) }
    private var hasWaiters: Bool { !polls.isEmpty || !events.isEmpty }

    // MARK: Commands

    /// The outcome at once, or nil when it comes later through `requester.answer`.
    func execute(_ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32) -> Outcome? {
        lastUsed = context.loop.now
        // One that has waited for room came before what is being prepared.
        if isPreparing, command.changesStream, !context.registry.isRetrying(requester, tag) {
            if behindPreparation.count >= context.limits.parkedCommands {
                return .refused(.unavailable("too many requests wait behind a large one"))
            }
            behindPreparation.append((command, content.kept, requester, tag))
            return nil
        }
        if roomWaits > 0, command.changesStream, !context.registry.isRetrying(requester, tag) {
            // Looked at before it stands in line: a worker that has it when its turn comes would let the next one pass.
            if case .append = command.action, contentType.isJSON, content.count >= context.limits.preparedBytes, !content.isPrepared {
                prepare(command, content, requester, tag)
                return nil
            }
            context.registry.parkForRoom(command, content.kept, requester, tag, at: self)
            return nil
        }
        switch life {
        case .gone: return context.registry.execute(command, content, requester, tag)?.outcome
        case .deleting, .retiring:
            if life == .retiring || !image.isRetained {
                if hasExpired || isOver, let refusal = refusalAfterExpiry(command) { return answer(.refused(refusal), requester, tag) }
                // Until the delete is durable, readers see the stream as it was.
                if case .read(let request) = command.action, isBorn { return read(request, requester, tag) }
            }
            park(command, content, requester, tag)
            return nil
        case .retained:
            if image.forks == 0 { reclaim() }
            if case .create = command.action { return .refused(command.condition == .never ? .conditionFailed : .nameRetained) }
            return .refused(.retained)
        case .creating:
            switch command.action {
            case .read, .metadata:
                park(command, content, requester, tag)
                return nil
            default: break
            }
        case .present: break
        }
        if isExpired {
            let room = room(for: deleteRecord)
            if room == .available { expire() }
            if let refusal = refusalAfterExpiry(command) { return answer(.refused(refusal), requester, tag) }
            switch room {
            case .available: park(command, content, requester, tag)
            case .soon: context.registry.parkForRoom(command, content.kept, requester, tag, at: self)
            case .none: return .refused(context.registry.noRoom)
            }
            return nil
        }
        switch command.action {
        case .create(let request): return createAgain(request, command, content, requester, tag)
        case .append(let request): return append(request, content, command, requester, tag)
        case .read(let request):
            if renewalIsDue() {
                switch room(for: .renew(until: context.now)) {
                case .available: break
                case .soon:
                    context.registry.parkForRoom(command, .none, requester, tag, at: self)
                    return nil
                case .none: return .refused(context.registry.noRoom)
                }
                guard journalRenewal() else { preconditionFailure("there was room for the renewal") }
                park(command, content, requester, tag)
                return nil
            }
            if isRenewalUnderWay {
                park(command, content, requester, tag)
                return nil
            }
            return read(request, requester, tag)
        case .metadata: return .metadata(facts)
        case .delete:
            if command.condition == .never { return answer(.refused(.conditionFailed), requester, tag) }
            return delete(command, requester, tag)
        }
    }

    /// A stream is over from its moment on, even where the journal has no room for the record of it. What needs the name waits.
    private func refusalAfterExpiry(_ command: StreamCommand) -> Refusal? {
        if case .create = command.action { return nil }
        return image.forks > 0 ? .retained : .notFound
    }

    /// Executes the command anew once all that is accepted by now is durable.
    func park(_ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32) {
        enqueue(lsn: image.appliedLSN, requester, tag, .execute(command, content.kept))
    }

    func enqueue(lsn: UInt64, _ requester: (any Requester)?, _ tag: UInt32, _ kind: PendingKind) {
        pending.append(
            Pending(
                lsn: lsn, tail: image.state.tail, closed: image.state.closed, renewedUntil: image.renewedUntil, requester: requester,
                tag: tag, kind: kind))
        touch()
    }

    /// Answers when everything accepted so far is durable: at once if it is.
    func answer(_ outcome: Outcome, _ requester: any Requester, _ tag: UInt32) -> Outcome? {
        if pendingHead == pending.count { return outcome }
        enqueue(lsn: image.appliedLSN, requester, tag, .answer(outcome))
        return nil
    }

    private func touch() {
        if isTouched { return }
        isTouched = true
        context.touched.append(self)
    }

    func markDirty() {
        if isDirty { return }
        isDirty = true
        context.dirty.append(self)
    }

    // MARK: Create

    /// Journals the stream's first record, for which there is room, with its first content; the answer waits for it.
    func begin(
        _ record: CreateRecord, _ content: StorableContent, _ requester: any Requester, _ tag: UInt32
    ) -> UInt64 {
        let slice = store(content)
        let bytes = slice?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)
        let lsn = context.journal.add(.create(record), stream: id, payload: bytes, block: slice?.block)
        image.take(
            AppendRecord(position: record.start, time: record.time, closes: record.closed, sequence: nil, producer: nil), added: bytes,
            lsn: lsn)
        lastAccess = max(lastAccess, record.time)
        markDirty()
        countFootprint()
        let facts = StreamFacts(
            id: id, contentType: contentType, tail: image.state.tail, closed: image.state.closed, expiry: image.configuration.expiry)
        enqueue(lsn: lsn, requester, tag, .answer(.created(facts, new: true)))
        return lsn
    }

    private func createAgain(
        _ request: CreateRequest, _ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32
    ) -> Outcome? {
        if command.condition == .never { return answer(.refused(.conditionFailed), requester, tag) }
        if let difference = differenceOfOrigin(request.fork) {
            return answer(.refused(.configurationDiffers(difference)), requester, tag)
        }
        let wanted = request.contentType ?? (source == nil ? .octetStream : contentType)
        if !wanted.matches(contentType) {
            return answer(.refused(.configurationDiffers("content type is \(contentType.text)")), requester, tag)
        }
        var expiry = request.expiry
        if expiry == .never, let source { expiry = context.loop.isolated(source) { $0.image.configuration.expiry } }
        if !expiry.matches(image.configuration.expiry) {
            return answer(.refused(.configurationDiffers("TTL or expiry is another")), requester, tag)
        }
        if request.closed != image.state.closed {
            return answer(
                .refused(.configurationDiffers(image.state.closed ? "stream is closed" : "stream is open")), requester, tag)
        }
        if renewalIsDue() {
            switch room(for: .renew(until: context.now)) {
            case .available: break
            case .soon:
                context.registry.parkForRoom(command, content.kept, requester, tag, at: self)
                return nil
            case .none: return .refused(context.registry.noRoom)
            }
            guard journalRenewal() else { preconditionFailure("there was room for the renewal") }
        }
        let facts = StreamFacts(
            id: id, contentType: contentType, tail: image.state.tail, closed: image.state.closed, expiry: image.configuration.expiry)
        return answer(.created(facts, new: false), requester, tag)
    }

    private func differenceOfOrigin(_ fork: ForkRequest?) -> String? {
        guard let origin = image.origin, let source else { return fork == nil ? nil : "origin is none: it is not a fork" }
        guard let fork else { return "origin is another stream: it is a fork" }
        let tail = context.loop.isolated(source) { $0.image.state.tail }
        return origin.matches(fork, tail: tail) ? nil : "origin is another stream, offset or sub-offset"
    }

    // MARK: Append and close

    private func append(
        _ request: AppendRequest, _ content: Content, _ command: StreamCommand, _ requester: any Requester, _ tag: UInt32
    ) -> Outcome? {
        let decision = image.state.decide(
            request, streamType: contentType, now: context.now, retention: context.producerRetention)
        if command.condition == .never {
            if case .duplicate = decision {} else { return answer(.refused(.conditionFailed), requester, tag) }
        }
        switch decision {
        case .refuse(let refusal):
            return answer(.refused(.append(refusal, tail: image.state.tail, contentType: contentType.text)), requester, tag)
        case .duplicate(let state):
            return answer(
                .appended(
                    tail: image.state.tail, closed: image.state.closed, producer: state, stored: false, hadContent: request.hasContent),
                requester, tag)
        case .alreadyClosed:
            return answer(
                .appended(tail: image.state.tail, closed: true, producer: nil, stored: false, hadContent: false), requester, tag)
        case .accept: break
        }
        let stored: StorableContent
        switch StorableContent.make(
            request.hasContent ? content : .none, isJSON: contentType.isJSON, threshold: context.limits.preparedBytes)
        {
        case .ready(.nothing) where request.hasContent: return answer(.refused(.emptyJSONArray), requester, tag)
        case .ready(let ready):
            if case .messages(_, let body) = ready { context.bytesPrepared += body.count }
            stored = ready
        case .invalid(let fault): return answer(.refused(.invalidJSON("at byte \(fault.position): \(fault.reason)")), requester, tag)
        case .large:
            prepare(command, content, requester, tag)
            return nil
        }
        let record = AppendRecord(
            position: image.state.tail, time: context.now, closes: request.closes, sequence: request.sequence,
            producer: request.producer)
        let body = RecordBody.append(record)
        switch context.journal.reserve(
            JournalRecord.paddedLength(body, payload: stored.count), urgent: stored.count == 0, now: context.loop.now)
        {
        case .available: break
        case .soon:
            context.registry.parkForRoom(command, stored.kept, requester, tag, at: self)
            return nil
        case .none: return .refused(context.registry.noRoom)
        }
        let slice = store(stored)
        let lsn = context.journal.add(
            body, stream: id, payload: slice?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0), block: slice?.block)
        image.take(record, added: slice?.bytes ?? UnsafeRawBufferPointer(start: nil, count: 0), lsn: lsn)
        lastAccess = max(lastAccess, record.time)
        markDirty()
        countFootprint()
        var producer: ProducerState?
        if let stamp = request.producer { producer = ProducerState(epoch: stamp.epoch, sequence: stamp.sequence) }
        enqueue(
            lsn: lsn, requester, tag,
            .answer(
                .appended(
                    tail: image.state.tail, closed: image.state.closed, producer: producer, stored: true, hadContent: request.hasContent)))
        return nil
    }

    /// Has a large body looked at by a worker; what else would change the stream meanwhile waits behind it, in order.
    private func prepare(_ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32) {
        isPreparing = true
        context.prepare(content) { [self] prepared in
            context.loop.isolated(self) { stream in
                stream.isPreparing = false
                stream.executeAnew(command, prepared, requester, tag)
                stream.executeWaiting()
            }
        }
    }

    private func executeAnew(_ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32) {
        if let answer = context.registry.execute(command, content, requester, tag) {
            requester.answer(answer.outcome, from: answer.stream, tag: tag)
        }
    }

    /// A share of the commands that waited behind a large body, until one has a large body itself.
    private func executeWaiting() {
        var left = Self.commandsPerTurn
        while !isPreparing, left > 0, let next = behindPreparation.popFirst() {
            left -= 1
            executeAnew(next.command, next.content, next.requester, next.tag)
        }
        if isPreparing || behindPreparation.isEmpty { return }
        isPreparing = true
        context.dispatcher.post { [self] in
            context.loop.isolated(self) { stream in
                stream.isPreparing = false
                stream.executeWaiting()
            }
        }
    }

    private static let commandsPerTurn = 256

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

    // MARK: Delete and expiry

    private func delete(_ command: StreamCommand, _ requester: any Requester, _ tag: UInt32) -> Outcome? {
        switch room(for: deleteRecord) {
        case .available: break
        case .soon:
            context.registry.parkForRoom(command, .none, requester, tag, at: self)
            return nil
        case .none: return .refused(context.registry.noRoom)
        }
        guard journalDelete() else { preconditionFailure("there was room for the delete") }
        enqueue(lsn: image.appliedLSN, requester, tag, .answer(.deleted))
        return nil
    }

    /// Whether a record without payload can be journalled now; it may use the last of the room.
    private func room(for body: RecordBody) -> Journal.Room {
        context.journal.reserve(JournalRecord.paddedLength(body, payload: 0), urgent: true, now: context.loop.now)
    }

    /// With forks, the stream is kept for them.
    private var deleteRecord: RecordBody {
        let retains = image.forks > 0
        return .delete(DeleteRecord(time: context.now, retains: retains, sourceID: retains ? nil : source?.id))
    }

    /// Ends the stream, and what was kept for it alone, up the chain.
    private func journalDelete() -> Bool {
        guard journalOwnDelete() else { return false }
        if life != .deleting { return true }
        var ended = self
        var lsn = image.appliedLSN
        while let source = ended.source, let next = context.loop.isolated(source, { $0.forkEnded(lsn) }) {
            ended = source
            lsn = next
        }
        return true
    }

    private func journalOwnDelete() -> Bool {
        let body = deleteRecord
        guard context.journal.reserve(JournalRecord.paddedLength(body, payload: 0), urgent: true, now: context.loop.now) == .available
        else { return false }
        image.appliedLSN = context.journal.add(body, stream: id, payload: UnsafeRawBufferPointer(start: nil, count: 0))
        endLSN = image.appliedLSN
        if image.forks > 0 {
            image.isRetained = true
            life = .retiring
            markDirty()
        } else {
            life = .deleting
        }
        return true
    }

    /// A fork of this stream has been accepted with the record `lsn`.
    func forkBegan(_ lsn: UInt64) {
        image.forks += 1
        image.appliedLSN = lsn
        markDirty()
        // What the count decides is told to nobody before the count is durable.
        enqueue(lsn: lsn, nil, 0, .nothing)
    }

    /// The end of a fork has been accepted with the record `lsn`. When this stream was kept for it alone it is ended too; the LSN of that.
    private func forkEnded(_ lsn: UInt64) -> UInt64? {
        guard image.forks > 0 else {
            // Only a catalog that has lost a page says so.
            context.onDamage(name, "it counts no fork, and one of its forks ends")
            return nil
        }
        image.forks -= 1
        image.appliedLSN = lsn
        markDirty()
        enqueue(lsn: lsn, nil, 0, .nothing)
        guard image.forks == 0, image.isRetained else { return nil }
        guard journalOwnDelete() else {
            context.orphans[id] = self
            return nil
        }
        enqueue(lsn: image.appliedLSN, nil, 0, .nothing)
        return image.appliedLSN
    }

    /// Ends a stream that was kept for forks which are gone.
    func reclaim() {
        guard life == .retained || life == .retiring, image.forks == 0 else { return }
        if journalDelete() { enqueue(lsn: image.appliedLSN, nil, 0, .nothing) } else { context.orphans[id] = self }
    }

    var isExpired: Bool { (life == .present || life == .creating) && isOver }

    /// Whether the stream's time is over.
    private var isOver: Bool {
        switch image.configuration.expiry {
        case .never: return false
        case .at(let moment, _): return context.calendar >= moment
        case .timeToLive:
            guard readerCount == 0, let deadline = image.configuration.expiry.deadline(renewed: lastAccess) else { return false }
            return context.now >= deadline
        }
    }

    /// Ends an expired stream like a delete. Without room in the journal it stays, unseen, and is tried again at the next touch.
    func expire() {
        guard life == .present || life == .creating, journalDelete() else { return }
        hasExpired = true
        enqueue(lsn: image.appliedLSN, nil, 0, .nothing)
    }

    /// Whether an access now goes beyond what a crash would keep; otherwise the access is noted and that is all.
    func renewalIsDue() -> Bool {
        guard case .timeToLive = image.configuration.expiry else { return false }
        lastAccess = max(lastAccess, context.now)
        return context.now > image.renewedUntil
    }

    /// Whether an access now is covered by a record that is not durable yet.
    private var isRenewalUnderWay: Bool {
        guard case .timeToLive = image.configuration.expiry else { return false }
        return context.now > durableRenewal
    }

    /// Records that the TTL is renewed until a little after now, so that the next accesses need no record.
    func journalRenewal(extra: Int64 = 0) -> Bool {
        let until = context.now + image.configuration.expiry.renewalGrain + extra
        let body = RecordBody.renew(until: until)
        guard context.journal.reserve(JournalRecord.paddedLength(body, payload: 0), urgent: true, now: context.loop.now) == .available
        else { return false }
        image.appliedLSN = context.journal.add(body, stream: id, payload: UnsafeRawBufferPointer(start: nil, count: 0))
        image.renewedUntil = until
        markDirty()
        enqueue(lsn: image.appliedLSN, nil, 0, .nothing)
        return true
    }

    // MARK: Commit

    /// Everything up to `lsn` is durable.
    func committed(through lsn: UInt64) {
        isTouched = false
        let before = durableTail
        let wasClosed = durableClosed
        let first = pendingHead
        var ends: [UInt64] = []
        while pendingHead < pending.count, pending[pendingHead].lsn <= lsn {
            if pending[pendingHead].tail > durableTail {
                durableTail = pending[pendingHead].tail
                if hasWaiters { ends.append(durableTail) }
            }
            durableClosed = pending[pendingHead].closed
            durableRenewal = max(durableRenewal, pending[pendingHead].renewedUntil)
            pendingHead += 1
        }
        let last = pendingHead
        if last > first { isBorn = true }
        if life == .creating, isBorn { life = .present }
        var end: Refusal?
        if let endLSN, endLSN <= lsn {
            self.endLSN = nil
            if life == .deleting {
                life = .gone
                countProducers()
                context.registry.streamEnded(self)
                end = .notFound
            } else {
                life = .retained
                end = .retained
            }
        }
        // Answering may bring the next request of a connection, which adds to `pending`; what is answered here keeps its place. A reader
        // that comes to wait meanwhile has everything already.
        let joinsBefore = joins
        for index in first..<last {
            let item = pending[index]
            switch item.kind {
            case .nothing: break
            case .answer(let outcome): item.requester!.answer(outcome, from: self, tag: item.tag)
            case .execute(let command, let content):
                if let done = context.registry.execute(command, content, item.requester!, item.tag) {
                    item.requester!.answer(done.outcome, from: done.stream, tag: item.tag)
                }
            }
        }
        if pendingHead == pending.count {
            pending.removeAll(keepingCapacity: pending.count <= 256)
            pendingHead = 0
        } else if pendingHead >= 256 {
            pending.removeFirst(pendingHead)
            pendingHead = 0
        }
        if pendingHead < pending.count { touch() }
        if hasWaiters, end != nil || durableTail != before || durableClosed != wasClosed {
            publish(from: before, ends: ends, end: end, sparesNewcomers: joins != joinsBefore)
        }
        if end == .notFound { removeFiles() }
        if durableTail - image.flushed >= UInt64(context.limits.flushThreshold) { queueFlush() }
    }

    private func publish(from: UInt64, ends: [UInt64], end: Refusal?, sparesNewcomers: Bool) {
        let publication = Publication(
            facts: facts, from: from, appendEnds: ends, slices: end != nil ? [] : image.tail.slices(from: from, to: durableTail), end: end)
        var woken = polls
        polls = []
        var listeners = events
        if sparesNewcomers {
            polls = woken.filter { $0.livePosition == durableTail }
            for (index, reader) in polls.enumerated() { reader.waiterIndex = index }
            woken.removeAll { $0.livePosition == durableTail }
            listeners.removeAll { $0.livePosition == durableTail }
        }
        for reader in woken { reader.waiterIndex = -1 }
        if end != nil {
            events = []
            for reader in listeners { reader.waiterIndex = -1 }
        }
        lastAccess = max(lastAccess, context.now)
        if !woken.isEmpty || !listeners.isEmpty {
            context.sink?.publish(publication, polls: woken, events: listeners, stream: self)
        }
        if readerCount == 0 { readersAreGone() }
    }

    // MARK: Readers

    func join(_ reader: any LiveReader, mode: ReadRequest.Mode, at position: UInt64) {
        joins &+= 1
        reader.livePosition = position
        if mode == .longPoll {
            reader.waiterIndex = polls.count
            polls.append(reader)
        } else {
            reader.waiterIndex = events.count
            events.append(reader)
        }
        readerCame()
    }

    /// A reader of events begins, wherever it stands; until `detach`.
    public func attach(_ reader: any LiveReader) {
        followers += 1
        readerCame()
    }

    public func detach(_ reader: any LiveReader) {
        followers -= 1
        lastAccess = max(lastAccess, context.now)
        if readerCount == 0 { readersAreGone() }
    }

    private func readerCame() {
        if case .timeToLive = image.configuration.expiry { context.liveTTL[id] = self }
    }

    /// The reader stops waiting (time-out, disconnect, or it fell behind). Constant time.
    public func leave(_ reader: any LiveReader) {
        let index = reader.waiterIndex
        guard index >= 0 else { return }
        reader.waiterIndex = -1
        if index < polls.count, polls[index] === reader {
            polls.swapAt(index, polls.count - 1)
            polls.removeLast()
            if index < polls.count { polls[index].waiterIndex = index }
        } else if index < events.count, events[index] === reader {
            events.swapAt(index, events.count - 1)
            events.removeLast()
            if index < events.count { events[index].waiterIndex = index }
        } else {
            return
        }
        lastAccess = max(lastAccess, context.now)
        if readerCount == 0 { readersAreGone() }
    }

    /// Nobody waits any more: from now on the TTL counts, on disk as well, where it has been renewed a little ahead of time or not yet.
    private func readersAreGone() {
        context.liveTTL[id] = nil
        guard life == .present, case .timeToLive = image.configuration.expiry else { return }
        if !renewalIsDue() || !journalRenewal() { markDirty() }
    }

    /// Keeps a stream with waiting readers renewed on disk; called about once a second.
    func renewWhileLive() {
        guard readerCount > 0, life == .present else { return }
        lastAccess = max(lastAccess, context.now)
        if image.renewedUntil < context.now + 2_000 { _ = journalRenewal(extra: 2_000) }
    }

    func abandon() {
        pending = []
        polls = []
        events = []
        followers = 0
        openings = [:]
        afterFlush = []
        behindPreparation = []
    }

    /// Someone still answers readers of this stream: it stays in memory until `release`.
    public func hold() { waits += 1 }
    public func release() { waits -= 1 }

    // MARK: Memory

    func countFootprint() {
        context.tailFootprint += image.tail.footprint - countedFootprint
        countedFootprint = image.tail.footprint
        countProducers()
    }

    /// A stream that has gone remembers nobody.
    func countProducers() {
        let count = life == .gone ? 0 : image.state.producers.count
        context.producers += count - countedProducers
        countedProducers = count
    }

    /// Gives back what is in segments and only cached here.
    func trimCache() {
        image.tail.drop(below: image.flushed, keepLast: false)
        countFootprint()
    }

    /// Whether the stream can be dropped from memory without losing anything.
    var isIdle: Bool {
        (life == .present || life == .retained) && loadedForks == 0 && !isDirty && !isPreparing && pendingHead == pending.count
            && readerCount == 0
            && !flushing && !flushQueued && openings.isEmpty
            && unsavedSealed.isEmpty && !isCaptured && waits == 0 && roomWaits == 0
    }
}
