// From names to streams: finds the actor of a name, loads it from the catalog, makes it, drops it when nobody uses it.
//
// A name is in one of three states: in the table (an actor answers), being looked up (its commands wait in order), or unknown (the next
// command looks it up on a disk worker; all names of one turn in one job). Streams that the catalog does not hold as they are now stay in
// the table; so start-up and memory depend on what is used, not on how many streams there are.
//
// @unchecked Sendable: confined to the reactor, like `StreamContext`.

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
        let content: Content
        let requester: any Requester
        let tag: UInt32
    }

    public let context: StreamContext
    private var table: [[UInt8]: StreamActor] = [:]
    private var lookups: [[UInt8]: [Parked]] = [:]
    private var lookupQueue: [[UInt8]] = []
    private var roomWaiters: [Parked] = []
    private var roomWaiterBytes = 0
    private var parkedCount = 0
    public private(set) var nextStreamID: UInt64
    public private(set) var streamCount: Int
    private var reaping = false
    private var reaperCursor: DueStream?
    private var evictionDue: Int64 = 0

    public init(context: StreamContext, recovered: Recovered) {
        self.context = context
        nextStreamID = recovered.nextStreamID
        streamCount = recovered.streamCount
        context.registry = self
        for image in recovered.deleted {
            context.deletedIDs.insert(image.id)
            let stream = StreamActor(image, life: .gone, context: context)
            context.loop.isolated(stream) { $0.removeFiles() }
        }
        for image in recovered.streams {
            let stream = StreamActor(image, life: .present, context: context)
            table[image.name] = stream
            context.loop.isolated(stream) {
                $0.markDirty()
                $0.countFootprint()
            }
        }
        context.journal.onCommit = { [unowned context] in context.committed($0) }
        context.journal.onRoom = { [unowned self] in retryForRoom() }
    }

    // MARK: Commands

    /// Executes a command: the answer at once, or nil when it comes through `requester.answer`.
    public func execute(_ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32) -> Answer? {
        if let stream = table[command.name] {
            guard let outcome = context.loop.isolated(stream, { $0.execute(command, content, requester, tag) }) else { return nil }
            return Answer(outcome: outcome, stream: stream)
        }
        if parkedCount >= context.limits.parkedCommands {
            return Answer(outcome: .refused(.unavailable("too many requests wait for streams to be loaded")), stream: nil)
        }
        parkedCount += 1
        let parked = Parked(command: command, content: content.kept, requester: requester, tag: tag)
        if lookups[command.name] == nil { lookupQueue.append(command.name) }
        lookups[command.name, default: []].append(parked)
        return nil
    }

    /// Hands the names that this turn missed to a disk worker. Called at the end of each turn.
    public func startLookups() {
        if lookupQueue.isEmpty { return }
        let names = lookupQueue
        lookupQueue = []
        let (context, removals) = (context, context.removals)
        context.dispatcher.work {
            let found = names.map { name in Result { try context.catalog.image(named: name) } }
            context.dispatcher.post { self.finishLookups(names, found, removals) }
        }
    }

    private func finishLookups(_ names: [[UInt8]], _ found: [Result<StreamImage?, any Error>], _ removals: Int) {
        for (name, result) in zip(names, found) {
            if removals != context.removals, case .success(.some) = result {
                lookupQueue.append(name)
                continue
            }
            let waiting = lookups.removeValue(forKey: name) ?? []
            parkedCount -= waiting.count
            var failure: String?
            switch result {
            case .success(let image?) where !context.deletedIDs.contains(image.id) && table[name] == nil:
                let stream = StreamActor(image, life: .present, context: context)
                table[name] = stream
                context.loop.isolated(stream) { $0.countFootprint() }
            case .success: break
            case .failure(let error):
                failure = "the catalog could not be read: \(error)"
                context.onNote("stream \(StreamLabel.text(name)): \(failure!)")
            }
            for parked in waiting {
                let answer =
                    if let failure {
                        Answer(outcome: .refused(.unavailable(failure)), stream: nil)
                    } else if table[name] != nil {
                        execute(parked.command, parked.content, parked.requester, parked.tag)
                    } else {
                        executeOnAbsent(parked)
                    }
                if let answer { parked.requester.answer(answer.outcome, from: answer.stream, tag: parked.tag) }
            }
        }
    }

    private func executeOnAbsent(_ parked: Parked) -> Answer? {
        guard case .create(let request) = parked.command.action else { return Answer(outcome: .refused(.notFound), stream: nil) }
        let type = request.contentType ?? .octetStream
        var messages: JSONMessages?
        if type.isJSON, parked.content.count > 0 {
            do {
                messages = try JSONMessages.prepare(parked.content.bytes)
            } catch {
                return Answer(outcome: .refused(.invalidJSON("at byte \(error.position): \(error.reason)")), stream: nil)
            }
        }
        let record = CreateRecord(
            name: parked.command.name,
            configuration: StreamConfiguration(contentType: type, expiry: request.expiry, chunkSize: context.limits.chunkSize),
            time: context.loop.wallNow, closed: request.closed)
        let count = messages?.storedLength ?? parked.content.count
        switch context.journal.reserve(JournalRecord.paddedLength(.create(record), payload: count), now: context.loop.now) {
        case .available: break
        case .soon:
            parkForRoom(
                parked.command, messages?.count == 0 ? .none : StreamActor.stored(parked.content, messages), parked.requester, parked.tag)
            return nil
        case .none: return Answer(outcome: .refused(noRoom), stream: nil)
        }
        let id = nextStreamID
        nextStreamID += 1
        streamCount += 1
        let stream = StreamActor(StreamImage(id: id, lsn: 0, record: record), life: .creating, context: context)
        table[parked.command.name] = stream
        context.loop.isolated(stream) { $0.begin(record, parked.content, messages, parked.requester, parked.tag) }
        return nil
    }

    /// The stream's delete is durable: its name is free.
    func streamEnded(_ stream: StreamActor) {
        if table[stream.name] === stream { table[stream.name] = nil }
        context.deletedIDs.insert(stream.id)
        streamCount -= 1
    }

    // MARK: Room in the journal

    func parkForRoom(_ command: StreamCommand, _ content: Content, _ requester: any Requester, _ tag: UInt32) {
        if roomWaiterBytes + content.count > context.limits.parkedBytes || roomWaiters.count >= context.limits.parkedCommands {
            requester.answer(.refused(.unavailable("too much waits for room in the journal")), from: nil, tag: tag)
            return
        }
        roomWaiterBytes += content.count
        roomWaiters.append(Parked(command: command, content: content, requester: requester, tag: tag))
    }

    private func retryForRoom() {
        if roomWaiters.isEmpty { return }
        let waiting = roomWaiters
        roomWaiters = []
        roomWaiterBytes = 0
        for parked in waiting {
            if let answer = execute(parked.command, parked.content, parked.requester, parked.tag) {
                parked.requester.answer(answer.outcome, from: answer.stream, tag: parked.tag)
            }
        }
    }

    /// Why the journal takes nothing now.
    var noRoom: Refusal {
        if context.journal.failure != nil { return .unavailable("the journal has failed; the server is about to restart") }
        if let failure = context.journal.roomFailure {
            return failure == .noSpace ? .noSpace : .unavailable("the journal cannot grow: \(failure.text)")
        }
        return .unavailable("the journal is full and the checkpoint is behind")
    }

    // MARK: Time

    /// Called about once a second.
    public func tick() {
        for stream in Array(context.liveTTL.values) { context.loop.isolated(stream) { $0.renewWhileLive() } }
        reap()
        if context.tailFootprint > context.limits.tailBufferBudget / 2 {
            for stream in Array(table.values) { context.loop.isolated(stream) { $0.trimCache() } }
        }
        if context.loop.now >= evictionDue {
            evictionDue = context.loop.now + 5_000
            evict()
        }
    }

    /// Ends expired streams that nobody touches, a page of the catalog's deadlines at a time.
    private func reap() {
        if reaping { return }
        reaping = true
        let (context, now, after) = (context, context.loop.wallNow, reaperCursor)
        context.dispatcher.work {
            let due = (try? context.catalog.due(before: now, after: after, limit: 256)) ?? []
            context.dispatcher.post { self.expire(due) }
        }
    }

    private func expire(_ due: [DueStream]) {
        reaping = false
        reaperCursor = due.count == 256 ? due.last : nil
        for item in due where !context.deletedIDs.contains(item.id) {
            if let stream = table[item.name] {
                context.loop.isolated(stream) {
                    if $0.isExpired(at: context.loop.wallNow) {
                        $0.expire()
                    } else {
                        // Renewed since; the next checkpoint moves its deadline in the catalog.
                        $0.markDirty()
                    }
                }
            } else {
                _ = execute(StreamCommand(name: item.name, action: .metadata), .none, Nobody.shared, 0)
            }
        }
    }

    /// Drops idle streams, the longest unused first, when there are more than the limit.
    private func evict() {
        let excess = table.count - context.limits.idleStreams
        if excess <= 0 { return }
        var idle: [(name: [UInt8], used: Int64)] = []
        for (name, stream) in table {
            let used = context.loop.isolated(stream) { $0.isIdle ? $0.lastUsed : Int64.max }
            if used != .max { idle.append((name, used)) }
        }
        if idle.count > excess { idle.sort { $0.used < $1.used } }
        for (name, _) in idle.prefix(excess) {
            if let stream = table.removeValue(forKey: name) {
                context.loop.isolated(stream) {
                    context.tailFootprint -= $0.countedFootprint
                    $0.life = .gone
                }
            }
        }
    }
}

/// Asks and does not listen.
final class Nobody: Requester {
    static let shared = Nobody()
    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {}
}
