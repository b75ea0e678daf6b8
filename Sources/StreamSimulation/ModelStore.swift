// The model of PROTOCOL.md sections 2 to 8: what each command does to all streams together, and what it is answered.
//
// A command has one result or, where time decides and is not known exactly, two: `apply` returns all that the protocol allows.
// Written to be checked by reading it beside PROTOCOL.md; nothing here is fast.

import StreamRules

/// A command as the model sees it.
public struct ModelCommand: Sendable {
    public enum Body: Sendable {
        case none
        /// What is no JSON.
        case bytes([UInt8])
        /// JSON, and the stored form of each message; empty for `[]`.
        case json([UInt8], messages: [[UInt8]])

        /// What it adds to a stream, atom by atom; nil if it may not.
        func atoms(isJSON: Bool) -> [[UInt8]]? {
            switch self {
            case .none: []
            case .bytes(let bytes): isJSON ? nil : [bytes]
            case .json(let bytes, let messages): isJSON ? messages : [bytes]
            }
        }
    }

    public let number: Int
    public let name: [UInt8]
    public let verb: StreamVerb
    public let body: Body
}

public struct ModelStore: Equatable, Sendable {
    /// By the number of the command that made them.
    private(set) var streams: [Int: ModelStream] = [:]
    private(set) var names: [[UInt8]: Int] = [:]
    /// Ids that have been seen, also of lives that have ended.
    var ids: [Int: UInt64] = [:]
    let chunkSize: Int

    struct Result {
        var store: ModelStore
        let answer: ModelAnswer
    }

    init(chunkSize: Int) { self.chunkSize = chunkSize }

    func stream(named name: [UInt8]) -> ModelStream? { names[name].flatMap { streams[$0] } }

    // MARK: Who is there

    private enum Presence {
        case absent
        /// Its time is over, and nobody needs it; the name is free.
        case ended(Int)
        case present(Int)
        /// Deleted or ended, and kept for its forks.
        case retained(Int)
    }

    func facts(_ life: Int) -> ModelFacts {
        let stream = streams[life]!
        return ModelFacts(identity: UInt64(life), type: stream.type, tail: stream.tail, closed: stream.closed, expiry: stream.expiry)
    }

    private func forks(of life: Int) -> [Int] { streams.filter { $0.value.origin?.source == life }.keys.sorted() }

    /// What a name means at `time`: one answer, or more where that cannot be known. `read` are the ids of streams on which readers wait.
    private func resolve(_ name: [UInt8], at time: ClosedRange<Int64>, read: Set<UInt64>) -> [(ModelStore, Presence)] {
        guard let life = names[name], let stream = streams[life] else { return [(self, .absent)] }
        if stream.isRetained {
            // It goes with its last fork, or a little later; a fork whose time is over goes when the server notices.
            var results: [(ModelStore, Presence)] = [(self, .retained(life))]
            var emptied = self
            if emptied.reapForks(of: life, at: time, read: read) {
                emptied.remove(life)
                results.append((emptied, .absent))
            }
            return results
        }
        var results: [(ModelStore, Presence)] = []
        let its = stream.life(at: time, isRead: ids[life].map { read.contains($0) } ?? false)
        if its != .ended {
            var alive = self
            if its == .either { alive.streams[life]!.narrow(to: .alive, at: time) }
            results.append((alive, .present(life)))
        }
        if its != .alive {
            var over = self
            if its == .either { over.streams[life]!.narrow(to: .ended, at: time) }
            if over.forks(of: life).isEmpty {
                results.append((over, .ended(life)))
            } else {
                results.append((over, .retained(life)))
                if over.reapForks(of: life, at: time, read: read) { results.append((over, .ended(life))) }
            }
        }
        return results
    }

    /// Ends every fork of a stream, if the time of all of them may be over.
    private mutating func reapForks(of life: Int, at time: ClosedRange<Int64>, read: Set<UInt64>) -> Bool {
        for fork in forks(of: life) where !reap(fork, at: time, read: read) { return false }
        return true
    }

    private mutating func reap(_ life: Int, at time: ClosedRange<Int64>, read: Set<UInt64>) -> Bool {
        let stream = streams[life]!
        let its = stream.life(at: time, isRead: ids[life].map { read.contains($0) } ?? false)
        guard stream.isRetained || its != .alive, reapForks(of: life, at: time, read: read) else { return false }
        remove(life)
        return true
    }

    private mutating func remove(_ life: Int) {
        let stream = streams.removeValue(forKey: life)!
        if names[stream.name] == life { names[stream.name] = nil }
    }

    // MARK: Commands

    /// What the command may do when it meets its stream within `time`.
    func apply(_ command: ModelCommand, at time: ClosedRange<Int64>, read: Set<UInt64>) -> [Result] {
        resolve(command.name, at: time, read: read).flatMap { store, presence -> [Result] in
            switch (command.verb, presence) {
            case (.create(let request), .present(let life)):
                return store.createAgain(request, life, command, time, read)
            case (.create, .retained): return [Result(store: store, answer: .refused(.nameRetained))]
            case (.create(let request), .absent): return store.create(request, command, time, read)
            case (.create(let request), .ended(let life)):
                var emptied = store
                emptied.remove(life)
                return emptied.create(request, command, time, read)
            case (_, .absent), (_, .ended): return [Result(store: store, answer: .refused(.notFound))]
            case (_, .retained): return [Result(store: store, answer: .refused(.retained))]
            case (.append(let request), .present(let life)): return [store.append(request, life, command, time)]
            case (.read(let request), .present(let life)): return [store.read(request, life, time)]
            case (.metadata, .present(let life)): return [Result(store: store, answer: .metadata(store.facts(life)))]
            case (.delete, .present(let life)): return [store.delete(life)]
            }
        }
    }

    // MARK: Create (2, 7)

    private func create(
        _ request: CreateRequest, _ command: ModelCommand, _ time: ClosedRange<Int64>, _ read: Set<UInt64>
    ) -> [Result] {
        guard let fork = request.fork else {
            let stream = ModelStream(
                name: command.name, type: request.contentType?.bytes ?? ContentType.octetStream.bytes, expiry: request.expiry,
                chunkSize: chunkSize, at: time)
            return [begin(stream, request, command)]
        }
        return resolve(fork.source, at: time, read: read).map { store, presence -> Result in
            switch presence {
            case .absent, .ended: return Result(store: store, answer: .refused(.sourceNotFound))
            case .retained: return Result(store: store, answer: .refused(.sourceRetained))
            case .present(let life): return store.fork(life, fork, request, command, time)
            }
        }
    }

    private func fork(
        _ life: Int, _ fork: ForkRequest, _ request: CreateRequest, _ command: ModelCommand, _ time: ClosedRange<Int64>
    ) -> Result {
        let source = streams[life]!
        func refuse(_ refusal: Refusal) -> Result { Result(store: self, answer: .refused(refusal)) }
        if let type = request.contentType, ModelStream.mediaType(type.bytes) != ModelStream.mediaType(source.type) {
            return refuse(.sourceTypeDiffers(String(decoding: source.type, as: UTF8.self)))
        }
        let offset = fork.offset.map { Int($0) } ?? source.tail
        if offset > source.tail { return refuse(.forkOffsetBeyondTail(tail: UInt64(source.tail))) }
        if source.isJSON, !source.isMessageBoundary(offset) { return refuse(.forkOffsetNotAtMessage) }
        var position = offset + Int(fork.subOffset)
        if source.isJSON {
            let following = [offset] + source.atoms.filter { $0 > offset }
            position = fork.subOffset < following.count ? following[Int(fork.subOffset)] : Int.max
        }
        if position > source.tail { return refuse(.forkSubOffsetBeyondTail(tail: UInt64(source.tail))) }
        var stream = ModelStream(
            name: command.name, type: request.contentType?.bytes ?? source.type,
            expiry: request.expiry == .never ? source.expiry : request.expiry, chunkSize: source.chunkSize,
            origin: ModelStream.ModelOrigin(
                source: life, sourceName: fork.source, givenOffset: fork.offset.map { Int($0) }, offset: offset,
                subOffset: Int(fork.subOffset), position: position),
            inheritedCuts: source.cuts.filter { $0 <= position }, at: time)
        stream.content = Array(source.content[..<position])
        stream.atoms = source.atoms.filter { $0 <= position }
        // An append that the fork has a part of.
        if let last = source.atoms.first(where: { $0 > position }), (stream.atoms.last ?? 0) < position, last > position {
            stream.atoms.append(position)
        }
        return begin(stream, request, command)
    }

    private func begin(_ stream: ModelStream, _ request: CreateRequest, _ command: ModelCommand) -> Result {
        guard let atoms = command.body.atoms(isJSON: stream.isJSON) else {
            return Result(store: self, answer: .refused(.invalidJSON("")))
        }
        var store = self
        var stream = stream
        stream.append(atoms)
        stream.closed = request.closed
        store.streams[command.number] = stream
        store.names[command.name] = command.number
        return Result(store: store, answer: .created(store.facts(command.number), new: true))
    }

    private func createAgain(
        _ request: CreateRequest, _ life: Int, _ command: ModelCommand, _ time: ClosedRange<Int64>, _ read: Set<UInt64>
    ) -> [Result] {
        let stream = streams[life]!
        let differs = [Result(store: self, answer: .refused(.configurationDiffers("")))]
        var type = request.contentType?.bytes ?? ContentType.octetStream.bytes
        var expiry = request.expiry
        if let fork = request.fork {
            guard let origin = stream.origin, origin.sourceName == fork.source, origin.subOffset == Int(fork.subOffset) else {
                return differs
            }
            type = request.contentType?.bytes ?? stream.type
            if request.expiry == .never { expiry = streams[origin.source]!.expiry }
            if fork.offset.map({ Int($0) }) != origin.givenOffset {
                let source = streams[origin.source]
                guard let given = fork.offset.map({ Int($0) }) ?? source.map({ $0.tail }), given == origin.offset else { return differs }
            }
        } else if stream.origin != nil {
            return differs
        }
        guard ModelStream.mediaType(type) == ModelStream.mediaType(stream.type), expiry.matches(stream.expiry),
            request.closed == stream.closed
        else { return differs }
        var store = self
        store.streams[life]!.renew(at: time, isRead: true)
        return [Result(store: store, answer: .created(store.facts(life), new: false))]
    }

    // MARK: Append and close (3)

    private func append(_ request: AppendRequest, _ life: Int, _ command: ModelCommand, _ time: ClosedRange<Int64>) -> Result {
        var stream = streams[life]!
        func refuse(_ refusal: AppendRefusal) -> Result {
            Result(
                store: self,
                answer: .refused(
                    .append(refusal, tail: UInt64(stream.tail), contentType: String(decoding: stream.type, as: UTF8.self))))
        }
        func unchanged(_ producer: ProducerState?) -> Result {
            Result(
                store: self,
                answer: .appended(
                    tail: stream.tail, closed: stream.closed, producer: producer, stored: false, hadContent: request.hasContent))
        }
        if stream.closed {
            if let producer = request.producer {
                return producer == stream.closedBy ? unchanged(stream.producers[producer.id]) : refuse(.closed)
            }
            return request.hasContent ? refuse(.closed) : unchanged(nil)
        }
        if let producer = request.producer {
            switch stream.producers[producer.id] {
            case nil where producer.sequence > 0: return refuse(.producerGap(expected: 0, received: producer.sequence))
            case nil: break
            case let known? where producer.epoch < known.epoch: return refuse(.staleEpoch(current: known.epoch))
            case let known? where producer.epoch > known.epoch: if producer.sequence > 0 { return refuse(.newEpochNotAtZero) }
            case let known? where producer.sequence <= known.sequence: return unchanged(known)
            case let known? where producer.sequence > known.sequence + 1:
                return refuse(.producerGap(expected: known.sequence + 1, received: producer.sequence))
            default: break
            }
        }
        if request.hasContent, ModelStream.mediaType(request.contentType!.bytes) != ModelStream.mediaType(stream.type) {
            return refuse(.contentTypeDiffers)
        }
        if let sequence = request.sequence, let last = stream.lastSequence, !last.lexicographicallyPrecedes(sequence) {
            return refuse(.sequenceNotGreater)
        }
        guard let atoms = command.body.atoms(isJSON: stream.isJSON) else {
            return Result(store: self, answer: .refused(.invalidJSON("")))
        }
        if request.hasContent, atoms.isEmpty { return Result(store: self, answer: .refused(.emptyJSONArray)) }
        stream.append(atoms)
        if let sequence = request.sequence { stream.lastSequence = sequence }
        var producer: ProducerState?
        if let stamp = request.producer {
            producer = ProducerState(epoch: stamp.epoch, sequence: stamp.sequence)
            stream.producers[stamp.id] = producer
        }
        if request.closes {
            stream.closed = true
            stream.closedBy = request.producer
        }
        stream.renew(at: time, isRead: false)
        var store = self
        store.streams[life] = stream
        return Result(
            store: store,
            answer: .appended(
                tail: stream.tail, closed: stream.closed, producer: producer, stored: true, hadContent: request.hasContent))
    }

    // MARK: Read (4, 6)

    /// Every read renews, also one that is refused.
    private func read(_ request: ReadRequest, _ life: Int, _ time: ClosedRange<Int64>) -> Result {
        var store = self
        store.streams[life]!.renew(at: time, isRead: true)
        let stream = streams[life]!
        let facts = facts(life)
        let position: Int
        switch request.start {
        case .beginning: position = 0
        case .now: position = stream.tail
        case .position(let wanted): position = Int(wanted)
        }
        if position > stream.tail { return Result(store: store, answer: .refused(.offsetBeyondTail(tail: UInt64(stream.tail)))) }
        if position == stream.tail {
            let waits = request.mode != .catchUp && !stream.closed
            return Result(store: store, answer: waits ? .waiting(facts) : .read(facts, from: position, to: position, bytes: []))
        }
        if stream.isJSON, !stream.isMessageBoundary(position) { return Result(store: store, answer: .refused(.offsetNotAtMessage)) }
        let end = stream.endOfRead(from: position)
        return Result(store: store, answer: .read(facts, from: position, to: end, bytes: Array(stream.content[position..<end])))
    }

    private func delete(_ life: Int) -> Result {
        var store = self
        if forks(of: life).isEmpty { store.remove(life) } else { store.streams[life]!.isRetained = true }
        return Result(store: store, answer: .deleted)
    }

    // MARK: What happens without a command

    private func life(withID id: UInt64) -> Int? { ids.first { $0.value == id }.map(\.key) }

    /// The stream on which readers with this id have waited until `time`: the TTL is counted from then on.
    mutating func readersLeft(_ id: UInt64, at time: Int64) {
        guard let life = life(withID: id), streams[life] != nil else { return }
        // Nobody was told, so a crash may take it back.
        streams[life]!.renew(at: time...time, isRead: true)
    }

    /// A read that was asked at `time` has been answered from this stream.
    mutating func renewalLasts(_ id: UInt64, at time: Int64) {
        guard let life = life(withID: id), let stream = streams[life] else { return }
        streams[life]!.lastingRenewal = max(stream.lastingRenewal, time)
    }

    /// Readers wait; the server may have recorded that up to a little after `time`.
    mutating func readersWait(_ id: UInt64, at time: Int64) {
        guard let life = life(withID: id), let stream = streams[life] else { return }
        streams[life]!.recordedRenewal = max(stream.recordedRenewal, time + stream.expiry.renewalGrain + 2_000)
    }

    /// Whether the stream is there, open or closed as given, and holds nothing more than `bytes` from a position on.
    func isPublished(_ id: UInt64, from: Int, bytes: [UInt8], closed: Bool) -> Bool {
        guard let life = life(withID: id), let stream = streams[life] else { return false }
        return from <= stream.tail && Array(stream.content[from...]) == bytes && stream.closed == closed
    }

    /// What was published to readers of a stream: true when it is what the stream holds. nil: the bytes were not published with it.
    func isPublished(
        _ id: UInt64, from: Int, facts: ModelFacts, appendEnds: [Int], bytes: [UInt8]?
    ) -> Bool {
        guard let life = life(withID: id), let stream = streams[life] else { return false }
        var mine = self.facts(life)
        mine.identity = id
        return mine == facts && from <= stream.tail && (bytes == nil || Array(stream.content[from...]) == bytes)
            && stream.appendEnds.filter { $0 > from } == appendEnds
    }

    /// Whether a stream with waiting readers has ended, and how readers are told.
    func ended(_ id: UInt64, at time: ClosedRange<Int64>, read: Set<UInt64>) -> [(ModelStore, Refusal)] {
        guard let life = life(withID: id) else { return [] }
        guard let stream = streams[life], names[stream.name] == life else { return [(self, .notFound)] }
        return resolve(stream.name, at: time, read: read).compactMap { store, presence in
            switch presence {
            case .absent, .ended: (store, .notFound)
            case .retained: (store, .retained)
            case .present: nil
            }
        }
    }

    /// A command that was refused for want of something, or is not answered yet, may have renewed the stream.
    mutating func mayBeRenewed(_ name: [UInt8], until time: Int64) {
        guard let life = names[name], let stream = streams[life], case .timeToLive = stream.expiry else { return }
        streams[life]!.renewed = stream.renewed.lowerBound...max(stream.renewed.upperBound, time)
        streams[life]!.recordedRenewal = max(stream.recordedRenewal, time + stream.expiry.renewalGrain)
    }

    /// The process has ended. Renewals that nobody was told of may be gone, and recorded ones may reach beyond the last access. `touched`
    /// are names that unanswered commands may have renewed until `time`.
    mutating func crashed(at time: Int64, touched: Set<[UInt8]>) {
        for (life, stream) in streams {
            var upper = max(stream.renewed.upperBound, stream.recordedRenewal)
            if touched.contains(stream.name) { upper = max(upper, time + stream.expiry.renewalGrain + 2_000) }
            streams[life]!.renewed = min(stream.lastingRenewal, upper)...upper
            streams[life]!.recordedRenewal = upper
        }
    }

    /// The server has had the time to notice what is over: streams that have surely ended are gone.
    mutating func settle(at time: Int64, read: Set<UInt64>) {
        while let over = streams.keys.sorted().first(where: { life in
            let stream = streams[life]!
            let its = stream.life(at: time...time, isRead: ids[life].map { read.contains($0) } ?? false)
            return (stream.isRetained || its == .ended) && forks(of: life).isEmpty
        }) { remove(over) }
    }

    /// Names that are bound to each other by forks with any of `some`, those included.
    func family(of some: Set<[UInt8]>) -> Set<[UInt8]> {
        if streams.values.allSatisfy({ $0.origin == nil }) { return some }
        var family = some
        while true {
            let before = family.count
            for stream in streams.values {
                guard let source = stream.origin.flatMap({ streams[$0.source] }) else { continue }
                if family.contains(stream.name) || family.contains(source.name) { family.formUnion([stream.name, source.name]) }
            }
            if family.count == before { return family }
        }
    }

    var lives: [Int] { streams.keys.sorted() }
    func stream(_ life: Int) -> ModelStream? { streams[life] }
}
