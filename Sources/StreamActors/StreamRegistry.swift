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

public final class StreamRegistry: @unchecked Sendable {
    private struct Lookup {
        var waiting: [StreamCall] = []
        /// The name is known to be unknown; its first call waits for the source of a fork.
        var isAbsent = false
        /// Names whose first call waits for this one.
        var forks: [[UInt8]] = []
        /// The large body of its first call is being looked at.
        var isPreparing = false
    }

    public let context: StreamContext
    private(set) var table = NameTable<StreamActor>()
    var ring = StreamRing()
    private var lookups = NameTable<Lookup>()
    private var lookupQueue: [[UInt8]] = []
    var roomLine = RoomLine()
    @exclusivity(unchecked) private var parkedCount = 0
    @exclusivity(unchecked) public private(set) var nextStreamID: UInt64
    @exclusivity(unchecked) public private(set) var streamCount: Int
    /// Streams in memory.
    package var loaded: [StreamActor] { ring.all }
    var rounds = RegistryRounds()
    /// The catalog does not know of the wall clock's last jump.
    @exclusivity(unchecked) var clockHasJumped = false
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
        { (stream: isolated StreamActor, call: StreamCall) -> Outcome? in stream.execute(call) }
            as @Sendable (isolated StreamActor, StreamCall) -> Outcome?,
        to: (@Sendable (StreamActor, StreamCall) -> Outcome?).self)

    /// Executes a call: the answer at once, or nil when it comes through `call.requester`.
    public func execute(_ call: StreamCall) -> Answer? {
        if let stream = table[call.name] {
            context.loop.preconditionOnLoop()
            guard let outcome = Self.execute(stream, call) else { return nil }
            return Answer(outcome: outcome, stream: stream)
        }
        if parkedCount >= context.limits.parkedCommands {
            return Answer(outcome: .refused(.unavailable("too many requests wait for streams to be loaded")), stream: nil)
        }
        parkedCount += 1
        if lookups[call.name] == nil { lookupQueue.append(call.name) }
        lookups[call.name, default: Lookup()].waiting.append(call.kept)
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

    private func make(_ image: StreamImage, life: StreamLife, source: StreamActor?) -> StreamActor {
        precondition(image.origin?.sourceID == source?.id, "a fork is made with its source")
        if let source { context.loop.isolated(source) { $0.loadedForks += 1 } }
        let stream = StreamActor(image, life: life, source: source, context: context)
        table[image.name] = stream
        ring.enter(stream)
        context.loop.isolated(stream) { $0.countFootprint() }
        return stream
    }

    /// The stream is in memory no longer.
    func unload(_ stream: StreamActor) {
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

    /// Executes the calls that waited for a name. `sourceIsKnown`: the first one waited for its source, too.
    private func proceed(_ name: [UInt8], _ waiting: [StreamCall], failure: String?, sourceIsKnown: Bool) {
        parkedCount -= waiting.count
        for (index, call) in waiting.enumerated() {
            var answer: Answer?
            if let failure {
                answer = Answer(outcome: .refused(.unavailable(failure)), stream: nil)
            } else if table[name] != nil {
                answer = execute(call)
            } else if let source = call.forkSource, !(sourceIsKnown && index == 0), table[source] == nil,
                lookups[source]?.isAbsent != true
            {
                parkedCount += waiting.count - index
                let isNew = lookups[name] == nil
                lookups[name, default: Lookup(isAbsent: true)].waiting.insert(contentsOf: waiting[index...], at: 0)
                // Otherwise a call that came meanwhile has begun a look-up of the name, which ends here again.
                if isNew {
                    if lookups[source] == nil { lookupQueue.append(source) }
                    lookups[source, default: Lookup()].forks.append(name)
                }
                return
            } else if prepares(call) {
                parkedCount += waiting.count - index
                lookups[name, default: Lookup()].waiting.insert(contentsOf: waiting[index...], at: 0)
                lookups[name]!.isPreparing = true
                prepareFirst(name, call.content)
                return
            } else {
                answer = executeOnAbsent(call)
            }
            call.answer(answer)
        }
    }

    /// Whether a create has a large body that a worker has to look at first.
    private func prepares(_ call: StreamCall) -> Bool {
        guard case .create(let request) = call.verb, call.content.isLarge(context.limits.preparedBytes) else { return false }
        if let type = request.contentType { return type.isJSON }
        return call.forkSource.flatMap { table[$0] }?.contentType.isJSON ?? false
    }

    /// The other calls for the name wait meanwhile, as they do for a look-up.
    private func prepareFirst(_ name: [UInt8], _ content: Content) {
        context.prepare(content) { [self] prepared in
            guard lookups[name] != nil else { return }
            lookups[name]!.isPreparing = false
            if let first = lookups[name]!.waiting.first { lookups[name]!.waiting[0] = first.with(prepared) }
            // The name is looked up anew: much may have happened.
            lookupQueue.append(name)
            startLookups()
        }
    }

    private func executeOnAbsent(_ call: StreamCall) -> Answer? {
        guard case .create(let request) = call.verb else { return Answer(outcome: .refused(.notFound), stream: nil) }
        var type = request.contentType ?? .octetStream
        var expiry = request.expiry
        var chunkSize = context.limits.chunkSize
        var origin: ForkOrigin?
        var source: StreamActor?
        if let fork = request.fork {
            guard let found = table[fork.source] else { return Answer(outcome: .refused(.sourceNotFound), stream: nil) }
            switch context.loop.isolated(found, { $0.forkPoint(fork, type: request.contentType, call) }) {
            case .later: return nil
            case .refused(let refusal): return refuse(refusal, because: found, call)
            case .begins(let point): origin = point
            }
            source = found
            let configuration = context.loop.isolated(found) { $0.image.configuration }
            if request.contentType == nil { type = configuration.contentType }
            if expiry == .never { expiry = configuration.expiry }
            chunkSize = configuration.chunkSize
        }
        // No stream of this name exists, so that no condition holds.
        if call.condition != .none { return refuse(.conditionFailed, because: source, call) }
        let stored: StorableContent
        switch StorableContent.make(call.content, isJSON: type.isJSON, threshold: .max) {
        case .ready(.prepared) where !type.isJSON:
            // Its source has become another stream while it waited.
            return Answer(outcome: .refused(.unavailable("the source of the fork has just been replaced")), stream: nil)
        case .ready(let ready):
            if case .messages(_, let body) = ready { context.bytesPrepared += body.count }
            stored = ready
        case .invalid(let fault): return refuse(.invalidJSON("at byte \(fault.position): \(fault.reason)"), because: source, call)
        case .large: preconditionFailure("no body is larger than the threshold")
        }
        let record = CreateRecord(
            name: call.name, configuration: StreamConfiguration(contentType: type, expiry: expiry, chunkSize: chunkSize), time: context.now,
            closed: request.closed, origin: origin)
        let outcome = withRoom(for: .create(record), payload: stored.count, call, kept: stored.kept) {
            let id = nextStreamID
            nextStreamID += 1
            streamCount += 1
            let stream = make(StreamImage(id: id, lsn: 0, record: record), life: .creating, source: source)
            let lsn = context.loop.isolated(stream) { $0.begin(record, stored, call) }
            if let source { context.loop.isolated(source) { $0.forkBegan(lsn) } }
            return nil
        }
        return outcome.map { Answer(outcome: $0, stream: nil) }
    }

    /// Refuses a create. What was accepted by the source of a fork, and has led to that, is durable first.
    private func refuse(_ refusal: Refusal, because source: StreamActor?, _ call: StreamCall) -> Answer? {
        guard let source else { return Answer(outcome: .refused(refusal), stream: nil) }
        let outcome = context.loop.isolated(source) { $0.answer(.refused(refusal), call) }
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
        roomLine = RoomLine()
        rounds = RegistryRounds()
        context.dirty = []
        context.touched = []
        context.flushQueue = []
        context.liveTTL = [:]
        context.orphans = [:]
        context.descriptors = DescriptorCache(capacity: 1)
        context.fanouts.removeAll()
        context.onFatal = { _ in }
        context.onNote = { _ in }
        context.onNoSpace = {}
        context.onDamage = { _, _ in }
        context.journal.onCommit = { _ in }
        context.journal.onFailure = { _ in }
        context.journal.onRoom = {}
    }
}
