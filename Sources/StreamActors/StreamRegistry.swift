// From names to streams: finds the actor of a name, loads it from the catalog, makes it, drops it when nobody uses it.
//
// A name is in one of three states: in the table (an actor answers), being looked up (its commands wait in order), or unknown (the next
// command looks it up on a disk worker; all names of one turn in one job). A PUT that forks needs two names: it waits at the target's,
// which stays in look-up until the source's is known. Invariant: a fork is in the table only while the streams it comes from are. Streams that the catalog does not hold as they are now stay in
// the table; so start-up and memory depend on what is used, not on how many streams there are.
//
// @unchecked Sendable: confined to the reactor, like `StreamContext`.

import DequeModule
import Reactor
import StreamRules
import StreamStore

public struct Answer: Sendable {
    public let outcome: Outcome
    public let stream: StreamActor?
}

public final class StreamRegistry: @unchecked Sendable {
    private struct Parked: Sendable {
        let command: StreamCommand
        var content: Content
        let requester: any Requester
        let tag: UInt32
        /// The stream at which it waits for room; what comes to that later waits behind it.
        var stream: StreamActor?

        /// The other name that the command needs.
        var forkSource: [UInt8]? {
            guard case .create(let request) = command.action, let fork = request.fork, fork.source != command.name else { return nil }
            return fork.source
        }
    }

    private struct Lookup {
        var waiting: [Parked] = []
        /// The name is known to be unknown; its first command waits for the source of a fork.
        var isAbsent = false
        /// Names whose first command waits for this one.
        var forks: [[UInt8]] = []
        /// The large body of its first command is being looked at.
        var isPreparing = false
    }

    public let context: StreamContext
    private var table = NameTable<StreamActor>()
    private var ring = StreamRing()
    private var lookups = NameTable<Lookup>()
    private var lookupQueue: [[UInt8]] = []
    private var roomWaiters: Deque<Parked> = []
    /// The one that is being tried again.
    private var retrying: Parked?
    private var roomWaiterBytes = 0
    private var parkedCount = 0
    public private(set) var nextStreamID: UInt64
    public private(set) var streamCount: Int
    /// Streams in memory.
    public var loadedCount: Int { table.count }
    package var loaded: [StreamActor] { ring.all }
    private var reaping = false
    private var reaperCursor: DueStream?
    /// When the reaper looks at all deadlines from the first one on again.
    private var reaperRestart: Int64 = 0
    private var unsavedCursor = 0
    private var lookingAtUnsaved = false
    private var isGoingRound = false
    private var renewing: [StreamActor] = []
    /// The catalog does not know of the wall clock's last jump.
    var clockHasJumped = false
    /// Streams that recovery has found in the journal; until `sweepLeftovers`.
    private var replayedIDs: Set<UInt64>
    /// Streams of before this process began have lower ids.
    let firstNewStreamID: UInt64

    public init(context: StreamContext, recovered: Recovered) throws(CatalogFault) {
        self.context = context
        nextStreamID = recovered.nextStreamID
        firstNewStreamID = recovered.nextStreamID
        streamCount = recovered.streamCount
        replayedIDs = Set(recovered.streams.map(\.id))
        context.registry = self
        for image in recovered.deleted {
            context.deletedIDs.insert(image.id)
            let stream = StreamActor(image, life: .gone, source: nil, context: context)
            context.loop.isolated(stream) { $0.removeFiles() }
        }
        // A source has a lower id than its forks, so it is there when they come; one that the journal did not touch is in the catalog.
        for image in recovered.streams {
            var chain = [image]
            while let origin = chain[chain.count - 1].origin, table[origin.source] == nil {
                guard let source = try context.catalog.image(id: origin.sourceID) else {
                    throw CatalogFault(
                        "the catalog does not know stream \(origin.sourceID), which \(StreamLabel.text(image.name)) was forked from")
                }
                chain.append(source)
            }
            context.loop.isolated(admit(chain)) {
                $0.markDirty()
                if image.isRetained && image.forks == 0 { context.orphans[$0.id] = $0 }
            }
        }
        context.journal.onCommit = { [unowned context] in context.committed($0) }
        context.journal.onRoom = { [unowned self] in retryForRoom() }
    }

    // MARK: Commands

    /// What `EventLoop.isolated` does, for the one call that each request makes: a closure would be two allocations.
    private static let execute = unsafeBitCast(
        { (stream: isolated StreamActor, command: StreamCommand, content: Content, requester: any Requester, tag: UInt32) -> Outcome? in
            stream.execute(command, content, requester, tag)
        } as @Sendable (isolated StreamActor, StreamCommand, Content, any Requester, UInt32) -> Outcome?,
        to: (@Sendable (StreamActor, StreamCommand, Content, any Requester, UInt32) -> Outcome?).self)

    /// Executes a command: the answer at once, or nil when it comes through `requester.answer`.
    public func execute(_ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32) -> Answer? {
        if let stream = table[command.name] {
            context.loop.preconditionOnLoop()
            guard let outcome = Self.execute(stream, command, content, requester, tag) else { return nil }
            return Answer(outcome: outcome, stream: stream)
        }
        if parkedCount >= context.limits.parkedCommands {
            return Answer(outcome: .refused(.unavailable("too many requests wait for streams to be loaded")), stream: nil)
        }
        parkedCount += 1
        let parked = Parked(command: command, content: content.kept, requester: requester, tag: tag)
        if lookups[command.name] == nil { lookupQueue.append(command.name) }
        lookups[command.name, default: Lookup()].waiting.append(parked)
        return nil
    }

    /// The actor of the first image, made unless it is in the table; the others are what it was forked from, in order.
    private func admit(_ chain: [StreamImage]) -> StreamActor {
        var stream: StreamActor? = chain[chain.count - 1].origin.flatMap { table[$0.source] }
        for image in chain.reversed() {
            if let present = table[image.name] {
                precondition(present.id == image.id, "a stream with forks keeps its name")
                stream = present
            } else {
                stream = make(image, life: image.isRetained ? .retained : .present, source: stream)
            }
        }
        return stream!
    }

    private func make(_ image: StreamImage, life: StreamActor.Life, source: StreamActor?) -> StreamActor {
        precondition(image.origin?.sourceID == source?.id, "a fork is made with its source")
        if let source { context.loop.isolated(source) { $0.loadedForks += 1 } }
        let stream = StreamActor(image, life: life, source: source, context: context)
        table[image.name] = stream
        ring.enter(stream)
        context.loop.isolated(stream) { $0.countFootprint() }
        return stream
    }

    /// The stream is in memory no longer.
    private func unload(_ stream: StreamActor) {
        if table[stream.name] === stream { table[stream.name] = nil }
        ring.leave(stream)
        if let source = stream.source { context.loop.isolated(source) { $0.loadedForks -= 1 } }
    }

    /// Hands the names that this turn missed to a disk worker. Called at the end of each turn.
    public func startLookups() {
        if lookupQueue.isEmpty { return }
        let names = lookupQueue
        lookupQueue = []
        let (context, removals) = (context, context.removals)
        context.dispatcher.work(.read) {
            let found = names.map { name in Result { try Self.chain(name, context.catalog) } }
            context.dispatcher.post { self.finishLookups(names, found, removals) }
        }
    }

    /// A stream's image and those of the streams that it was forked from. Of a stream that has been deleted, and only then, these may be
    /// missing.
    private static func chain(_ name: [UInt8], _ catalog: any Catalog) throws(CatalogFault) -> [StreamImage] {
        guard let image = try catalog.image(named: name) else { return [] }
        var chain = [image]
        while let origin = chain[chain.count - 1].origin, let source = try catalog.image(id: origin.sourceID) { chain.append(source) }
        return chain
    }

    private func finishLookups(_ names: [[UInt8]], _ found: [Result<[StreamImage], any Error>], _ removals: Int) {
        for (name, result) in zip(names, found) where lookups[name]?.isPreparing != true {
            var failure: String?
            switch result {
            case .success(let chain):
                if let image = chain.first {
                    if removals != context.removals {
                        lookupQueue.append(name)
                        continue
                    }
                    if context.deletedIDs.contains(image.id) {
                        // Its name is free.
                    } else if let origin = chain[chain.count - 1].origin {
                        failure = "the catalog lacks stream \(origin.sourceID), which it was forked from"
                        context.onNote("stream \(StreamLabel.text(name)): \(failure!)")
                    } else {
                        _ = admit(chain)
                    }
                }
            case .failure(let error):
                if removals != context.removals {
                    lookupQueue.append(name)
                    continue
                }
                failure = "the catalog could not be read: \(error)"
                context.onNote("stream \(StreamLabel.text(name)): \(failure!)")
            }
            guard let lookup = lookups.removeValue(forName: name) else { continue }
            proceed(name, lookup.waiting, failure: failure, sourceIsKnown: false)
            // What this name turned out to be is known now, even while its own first command waits for another.
            for target in lookup.forks {
                guard let lookup = lookups.removeValue(forName: target) else { continue }
                proceed(target, lookup.waiting, failure: failure, sourceIsKnown: true)
            }
        }
    }

    /// Executes the commands that waited for a name. `sourceIsKnown`: the first one waited for its source, too.
    private func proceed(_ name: [UInt8], _ waiting: [Parked], failure: String?, sourceIsKnown: Bool) {
        parkedCount -= waiting.count
        for (index, parked) in waiting.enumerated() {
            var answer: Answer?
            if let failure {
                answer = Answer(outcome: .refused(.unavailable(failure)), stream: nil)
            } else if table[name] != nil {
                answer = execute(parked.command, parked.content, parked.requester, parked.tag)
            } else if let source = parked.forkSource, !(sourceIsKnown && index == 0), table[source] == nil,
                lookups[source]?.isAbsent != true
            {
                parkedCount += waiting.count - index
                let isNew = lookups[name] == nil
                lookups[name, default: Lookup(isAbsent: true)].waiting.insert(contentsOf: waiting[index...], at: 0)
                // Otherwise a command that came meanwhile has begun a look-up of the name, which ends here again.
                if isNew {
                    if lookups[source] == nil { lookupQueue.append(source) }
                    lookups[source, default: Lookup()].forks.append(name)
                }
                return
            } else if prepares(parked) {
                parkedCount += waiting.count - index
                lookups[name, default: Lookup()].waiting.insert(contentsOf: waiting[index...], at: 0)
                lookups[name]!.isPreparing = true
                prepareFirst(name, parked.content)
                return
            } else {
                answer = executeOnAbsent(parked)
            }
            if let answer { parked.requester.answer(answer.outcome, from: answer.stream, tag: parked.tag) }
        }
    }

    /// Whether a create has a large body that a worker has to look at first.
    private func prepares(_ parked: Parked) -> Bool {
        guard case .create(let request) = parked.command.action, parked.content.count >= context.limits.preparedBytes else { return false }
        if parked.content.isPrepared { return false }
        if let type = request.contentType { return type.isJSON }
        return parked.forkSource.flatMap { table[$0] }?.contentType.isJSON ?? false
    }

    /// The other commands for the name wait meanwhile, as they do for a look-up.
    private func prepareFirst(_ name: [UInt8], _ content: Content) {
        context.prepare(content) { [self] prepared in
            guard lookups[name] != nil else { return }
            lookups[name]!.isPreparing = false
            if !lookups[name]!.waiting.isEmpty { lookups[name]!.waiting[0].content = prepared }
            // The name is looked up anew: much may have happened.
            lookupQueue.append(name)
            startLookups()
        }
    }

    private func executeOnAbsent(_ parked: Parked) -> Answer? {
        guard case .create(let request) = parked.command.action else { return Answer(outcome: .refused(.notFound), stream: nil) }
        var type = request.contentType ?? .octetStream
        var expiry = request.expiry
        var chunkSize = context.limits.chunkSize
        var origin: ForkOrigin?
        var source: StreamActor?
        if let fork = request.fork {
            guard let found = table[fork.source] else { return Answer(outcome: .refused(.sourceNotFound), stream: nil) }
            let attempt = context.loop.isolated(found) {
                $0.forkPoint(fork, type: request.contentType, parked.command, parked.content, parked.requester, parked.tag)
            }
            switch attempt {
            case .later: return nil
            case .refused(let refusal): return refuse(refusal, because: found, parked)
            case .begins(let point): origin = point
            }
            source = found
            let configuration = context.loop.isolated(found) { $0.image.configuration }
            if request.contentType == nil { type = configuration.contentType }
            if expiry == .never { expiry = configuration.expiry }
            chunkSize = configuration.chunkSize
        }
        // No stream of this name exists, so that no condition holds.
        if parked.command.condition != .none { return refuse(.conditionFailed, because: source, parked) }
        let stored: StorableContent
        switch StorableContent.make(parked.content, isJSON: type.isJSON, threshold: .max) {
        case .ready(.prepared) where !type.isJSON:
            // Its source has become another stream while it waited.
            return Answer(outcome: .refused(.unavailable("the source of the fork has just been replaced")), stream: nil)
        case .ready(let ready):
            if case .messages(_, let body) = ready { context.bytesPrepared += body.count }
            stored = ready
        case .invalid(let fault): return refuse(.invalidJSON("at byte \(fault.position): \(fault.reason)"), because: source, parked)
        case .large: preconditionFailure("no body is larger than the threshold")
        }
        let record = CreateRecord(
            name: parked.command.name,
            configuration: StreamConfiguration(contentType: type, expiry: expiry, chunkSize: chunkSize), time: context.now,
            closed: request.closed, origin: origin)
        switch context.journal.reserve(JournalRecord.paddedLength(.create(record), payload: stored.count), now: context.loop.now) {
        case .available: break
        case .soon:
            parkForRoom(parked.command, stored.kept, parked.requester, parked.tag)
            return nil
        case .none: return Answer(outcome: .refused(noRoom), stream: nil)
        }
        let id = nextStreamID
        nextStreamID += 1
        streamCount += 1
        let stream = make(StreamImage(id: id, lsn: 0, record: record), life: .creating, source: source)
        let lsn = context.loop.isolated(stream) { $0.begin(record, stored, parked.requester, parked.tag) }
        if let source { context.loop.isolated(source) { $0.forkBegan(lsn) } }
        return nil
    }

    /// Refuses a create. What was accepted by the source of a fork, and has led to that, is durable first.
    private func refuse(_ refusal: Refusal, because source: StreamActor?, _ parked: Parked) -> Answer? {
        guard let source else { return Answer(outcome: .refused(refusal), stream: nil) }
        let outcome = context.loop.isolated(source) { $0.answer(.refused(refusal), parked.requester, parked.tag) }
        return outcome.map { Answer(outcome: $0, stream: nil) }
    }

    /// The stream's delete is durable: its name is free.
    func streamEnded(_ stream: StreamActor) {
        unload(stream)
        context.deletedIDs.insert(stream.id)
        context.damaged[stream.id] = nil
        streamCount -= 1
    }

    // MARK: Leftovers

    /// Removes, on a disk worker, the files of streams that neither the catalog nor the journal knows: what a crash in the middle of a removal
    /// left. Streams that only the journal knows may be flushed to their files meanwhile. Called once, at the start; `then` runs on the
    /// worker, with the number removed.
    public func sweepLeftovers(_ then: @escaping @Sendable (Int) -> Void = { _ in }) {
        let (context, firstNew, replayed) = (context, firstNewStreamID, replayedIDs)
        replayedIDs = []
        context.dispatcher.work(.background) {
            let removed = try? StreamFiles.sweep(disk: context.disk, root: context.streamsDirectory) { id in
                try id >= firstNew || replayed.contains(id) || context.catalog.image(id: id) != nil
            }
            if let removed, removed > 0 { then(removed) }
        }
    }

    // MARK: Room in the journal

    func parkForRoom(
        _ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32, at stream: StreamActor? = nil
    ) {
        let parked = Parked(command: command, content: content, requester: requester, tag: tag, stream: stream)
        if isRetrying(requester, tag) {
            // There is still no room for it: it stays the first, and the others behind it are not asked.
            roomWaiters.prepend(parked)
            roomWaiterBytes += content.count
            retrying = nil
            count(parked, +1)
            return
        }
        if roomWaiterBytes + content.count > context.limits.parkedBytes || roomWaiters.count >= context.limits.parkedCommands {
            requester.answer(.refused(.unavailable("too much waits for room in the journal")), from: nil, tag: tag)
            return
        }
        roomWaiterBytes += content.count
        roomWaiters.append(parked)
        count(parked, +1)
    }

    private func count(_ parked: Parked, _ change: Int) {
        if let stream = parked.stream { context.loop.isolated(stream) { $0.roomWaits += change } }
    }

    /// Whether this is the command whose time to try again has come.
    func isRetrying(_ requester: any Requester, _ tag: UInt32) -> Bool {
        guard let first = retrying else { return false }
        return first.requester === requester && first.tag == tag
    }

    /// Room has come: who waits gets on, in order, up to the first for whom it is not enough.
    private func retryForRoom() {
        if retrying != nil { return }
        var left = roomWaiters.count
        while left > 0, let parked = roomWaiters.popFirst() {
            left -= 1
            roomWaiterBytes -= parked.content.count
            count(parked, -1)
            retrying = parked
            let answer = execute(parked.command, parked.content, parked.requester, parked.tag)
            if retrying == nil { return }
            retrying = nil
            if let answer { parked.requester.answer(answer.outcome, from: answer.stream, tag: parked.tag) }
        }
    }

    /// Why the journal takes nothing now.
    var noRoom: Refusal {
        if context.journal.failure != nil { return .unavailable("the journal has failed; the server is about to restart") }
        if let failure = context.journal.roomFailure {
            guard failure == .noSpace else { return .unavailable("the journal cannot grow: \(failure.text)") }
            context.onNoSpace()
            return .noSpace
        }
        return .unavailable("the journal is full and the checkpoint is behind")
    }

    // MARK: Time

    // Whatever concerns many streams is done in shares of a turn: another one follows while there is more, with the others' turns in between.

    private static let dueAtOnce = 128
    private static let unsavedAtOnce = 2_048
    private static let visitedAtOnce = 128
    private static let renewedAtOnce = 256
    private static let reaperRestartMilliseconds: Int64 = 10_000
    /// A stream that was used so recently stays, unless there are far too many.
    private static let recentMilliseconds: Int64 = 1_000
    /// So many of a stream's producers make it worth dropping for them.
    private static let manyProducers = 64

    /// Called about once a second.
    public func tick() {
        if renewing.isEmpty {
            renewing = Array(context.liveTTL.values)
            renewSome()
        }
        if context.observeClock() != nil { clockHasJumped = true }
        let orphans = context.orphans
        context.orphans = [:]
        for stream in orphans.values { context.loop.isolated(stream) { $0.reclaim() } }
        reap()
        if !lookingAtUnsaved {
            lookingAtUnsaved = true
            unsavedCursor = 0
            reapUnsaved()
        }
        goRound()
    }

    private func renewSome() {
        for _ in 0..<min(Self.renewedAtOnce, renewing.count) {
            context.loop.isolated(renewing.removeLast()) { $0.renewWhileLive() }
        }
        if !renewing.isEmpty { context.dispatcher.post { self.renewSome() } }
    }

    /// Ends expired streams that nobody touches, a page of the catalog's deadlines at a time, as fast as they can be journalled. The cursor stays
    /// where it is: deadlines only move on, and what lies before has been seen. Now and then it begins anew, for what was put before it.
    private func reap() {
        if reaping { return }
        reaping = true
        if context.loop.now >= reaperRestart {
            reaperRestart = context.loop.now + Self.reaperRestartMilliseconds
            reaperCursor = nil
        }
        let (context, now, after) = (context, max(context.now, context.calendar), reaperCursor)
        context.dispatcher.work(.background) {
            let due = (try? context.catalog.due(before: now, after: after, limit: Self.dueAtOnce)) ?? []
            context.dispatcher.post { self.expire(due) }
        }
    }

    private func expire(_ due: [DueStream]) {
        reaping = false
        for item in due where !context.deletedIDs.contains(item.id) {
            if let stream = table[item.name] {
                context.loop.isolated(stream) {
                    if $0.isExpired {
                        $0.expire()
                    } else if $0.image.isRetained {
                        $0.reclaim()
                    } else if $0.image.deadline != item.deadline {
                        // Renewed since; the next checkpoint moves its deadline in the catalog.
                        $0.markDirty()
                    }
                }
            } else {
                _ = execute(StreamCommand(name: item.name, action: .metadata), .none, Nobody.shared, 0)
            }
        }
        guard let last = due.last else { return }
        reaperCursor = last
        // The journal is not to be filled by this alone: the next page comes when it has taken this one.
        if due.count == Self.dueAtOnce { whenJournalled { self.reap() } }
    }

    /// Streams whose deadline the catalog does not know yet.
    private func reapUnsaved() {
        var left = Self.unsavedAtOnce
        while left > 0, unsavedCursor < context.dirty.count {
            left -= 1
            // Ending one may make its source dirty, which is added at the end.
            let stream = context.dirty[unsavedCursor]
            unsavedCursor += 1
            context.loop.isolated(stream) { if $0.isExpired { $0.expire() } }
        }
        if unsavedCursor >= context.dirty.count {
            lookingAtUnsaved = false
        } else {
            whenJournalled { self.reapUnsaved() }
        }
    }

    private var afterCommit: [@Sendable () -> Void] = []

    /// Runs `action` in a later turn, when what has been gathered by now is on its way.
    private func whenJournalled(_ action: @escaping @Sendable () -> Void) {
        if context.journal.isIdle { context.dispatcher.post(action) } else { afterCommit.append(action) }
    }

    /// The journal has committed a batch.
    func journalCommitted() {
        if afterCommit.isEmpty { return }
        let actions = afterCommit
        afterCommit = []
        for action in actions { context.dispatcher.post(action) }
    }

    /// Goes round all streams in memory while there are more than the limit, or their tails take much: drops idle streams, and gives back what is
    /// only cached.
    private func goRound() {
        if isGoingRound { return }
        isGoingRound = true
        goRound(left: ring.count)
    }

    private func goRound(left: Int) {
        let excess = table.count - context.limits.idleStreams
        let trims = context.tailFootprint > context.limits.tailBufferBudget / 2
        let surplus = context.producers - context.limits.producersInMemory
        guard left > 0, excess > 0 || trims || surplus > 0 else {
            isGoingRound = false
            return
        }
        var evicted = 0
        let sparesRecent = excess < context.limits.idleStreams / 4
        let visited = ring.next(min(left, Self.visitedAtOnce))
        if visited.isEmpty {
            isGoingRound = false
            return
        }
        for stream in visited where evicted < excess || trims || surplus > 0 {
            let (isVictim, isHeavy) = context.loop.isolated(stream) { stream in
                if trims { stream.trimCache() }
                let isHeavy = context.producers > context.limits.producersInMemory && stream.countedProducers >= Self.manyProducers
                let spared = sparesRecent && !isHeavy && context.loop.now - stream.lastUsed < Self.recentMilliseconds
                return (stream.isIdle && !spared, isHeavy)
            }
            if isVictim, evicted < excess || isHeavy {
                evicted += 1
                evict(stream)
            }
        }
        let left = left - visited.count
        context.dispatcher.post { self.goRound(left: left) }
    }

    private func evict(_ stream: StreamActor) {
        unload(stream)
        context.removals += 1
        context.loop.isolated(stream) {
            context.tailFootprint -= $0.countedFootprint
            $0.life = .gone
            $0.countProducers()
        }
    }
}

extension StreamRegistry {
    /// Lets go of every stream and of everybody who waits, answering nobody: for a simulation, in which a process ends without an exit.
    package func abandon() {
        var known = ring.all
        known += context.dirty
        known += context.touched
        known += context.flushQueue
        known += context.liveTTL.values
        known += context.orphans.values
        for stream in known { context.loop.isolated(stream) { $0.abandon() } }
        table = NameTable()
        ring = StreamRing()
        lookups = NameTable()
        roomWaiters = []
        retrying = nil
        afterCommit = []
        renewing = []
        context.dirty = []
        context.touched = []
        context.flushQueue = []
        context.liveTTL = [:]
        context.orphans = [:]
        context.descriptors = DescriptorCache(capacity: 1)
        context.sink = nil
        context.onFatal = { _ in }
        context.onNote = { _ in }
        context.onNoSpace = {}
        context.onDamage = { _, _ in }
        context.journal.onCommit = { _ in }
        context.journal.onFailure = { _ in }
        context.journal.onRoom = {}
    }
}

/// Asks and does not listen.
final class Nobody: Requester {
    static let shared = Nobody()
    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {}
}
