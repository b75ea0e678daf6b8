// A simulated server driven by hand: which thread runs when is the test's.

import StreamActors
import StreamRules
import StreamSimulation
import StreamStore
import SystemPackage
import Testing

/// Whoever asks one command.
///
/// @unchecked Sendable: confined to the test's thread.
final class Asker: Requester, ReaderOwner, @unchecked Sendable {
    private(set) var outcome: Outcome?
    /// Called when the answer comes, before the call that brings it returns.
    var then: () -> Void = {}
    private(set) var reader: StreamReader?
    private(set) var stream: StreamActor?
    /// What it was told: from where, to where.
    private(set) var told: [String] = []

    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {
        #expect(self.outcome == nil, "answered once")
        self.outcome = outcome
        self.stream = stream
        then()
    }

    /// Whether it waits for what comes next.
    var isWaiting: Bool {
        guard let stream, let reader else { return false }
        return stream.context.loop.isolated(stream) { $0.isWaiting(reader) }
    }

    func newReader(_ verb: StreamVerb) -> StreamReader? {
        if case .read(let read) = verb, read.mode != .catchUp {
            reader = StreamReader(read.mode == .longPoll ? .poll : .follower, of: self)
        }
        return reader
    }

    func take(_ news: Fanout, _ reader: StreamReader, _ stream: isolated StreamActor) -> Int {
        told.append("\(news.publication.from) \(news.publication.facts.tail)")
        if reader.kind == .follower { reader.position = news.publication.facts.tail }
        return 0
    }

    func end(_ refusal: Refusal, _ reader: StreamReader, _ stream: isolated StreamActor) { told.append("\(refusal)") }

    /// In a few words; "" when there is no answer yet.
    var said: String {
        switch outcome {
        case nil: ""
        case .created(let facts, let new): "created \(new ? "new" : "old") \(facts.tail)"
        case .appended(let tail, let closed, _, let stored, _): "appended \(tail)\(stored ? "" : " duplicate")\(closed ? " closed" : "")"
        case .deleted: "deleted"
        case .metadata(let facts): "there \(facts.tail)"
        case .read(let result): "read \(result.from) \(result.to)"
        case .waiting(let facts): "waiting \(facts.tail)"
        case .refused(let refusal): "\(refusal)"
        }
    }
}

/// @unchecked Sendable: confined to the test's thread.
final class Script: @unchecked Sendable {
    let clock = VirtualClock()
    let limits: SimulatedLimits
    private(set) var disk = SimulatedDisk()
    private(set) var catalog: SimulatedCatalog
    private(set) var server: SimulatedServer!

    /// `alignment`: of journal files.
    init(alignment: Int = 8, _ change: (inout SimulatedLimits) -> Void = { _ in }) throws {
        var limits = SimulatedLimits()
        limits.store.journalSize = 64 * 1024
        limits.journal.firstFile = 8192
        limits.journal.smallestFile = 8192
        limits.journal.urgentRoom = 0
        limits.store.checkpointMilliseconds = 1_000_000
        change(&limits)
        self.limits = limits
        catalog = SimulatedCatalog(disk)
        disk.directAlignment = alignment
        try start()
    }

    deinit { server?.drop() }

    private func start() throws {
        server = try SimulatedServer(disk: disk, catalog: catalog, clock: clock, limits: limits)
    }

    /// The process ends, and another one starts on what is left. It may end in its turn: after so many calls that change something.
    func restart(_ crash: SimulatedDisk.Crash, callsLeft: Int? = nil) throws {
        server?.drop()
        server = nil
        disk = disk.after(crash)
        catalog = catalog.reopened(with: disk)
        disk.callsLeft = callsLeft
        try start()
    }

    @discardableResult
    func ask(_ name: String, _ verb: StreamVerb, _ content: String = "", _ asker: Asker = Asker()) -> Asker {
        let body: Content = content.isEmpty ? .none : .owned(OwnedBytes(copying: Array(content.utf8)))
        let call = StreamCall(verb, of: Array(name.utf8), content: body, requester: asker, tag: 0, reader: asker.newReader(verb))
        if let done = server.registry.execute(call) { asker.answer(done.outcome, from: done.stream, tag: 0) }
        return asker
    }

    @discardableResult
    func create(_ name: String, _ content: String = "", type: String? = "text/plain", expiry: Expiry = .never, fork: ForkRequest? = nil)
        -> Asker
    {
        ask(name, .create(CreateRequest(contentType: type.map { ContentType($0) }, expiry: expiry, closed: false, fork: fork)), content)
    }

    @discardableResult
    func append(_ name: String, _ content: String, type: String = "text/plain", _ asker: Asker = Asker()) -> Asker {
        let request = AppendRequest(
            contentType: ContentType(type), hasContent: true, closes: false, sequence: nil, producer: nil)
        return ask(name, .append(request), content, asker)
    }

    @discardableResult
    func read(_ name: String, at position: UInt64 = 0, _ mode: ReadRequest.Mode = .catchUp, _ asker: Asker = Asker()) -> Asker {
        ask(name, .read(ReadRequest(start: .position(position), mode: mode)), "", asker)
    }

    @discardableResult
    func head(_ name: String) -> Asker { ask(name, .metadata) }

    @discardableResult
    func delete(_ name: String) -> Asker { ask(name, .delete) }

    /// Turns and jobs until nothing comes of them.
    func run() {
        for _ in 0..<1_000 {
            server.endTurn()
            if server.isIdle { return }
            server.threads.runAll()
        }
        Issue.record("the server does not come to rest")
    }

    /// The same, but nothing becomes durable.
    func runWithoutJournal() {
        for _ in 0..<50 {
            server.endTurn()
            server.threads.runWorkers()
            server.threads.runReactor()
        }
    }

    /// The journal thread's work, and what follows from it on the reactor; disk workers stand still.
    func commit() {
        server.endTurn()
        server.threads.runJournal()
        server.threads.runReactor()
    }

    func pass(seconds: Double) {
        var left = Int64(seconds * 1000)
        while left > 0 {
            let part = min(left, 1000)
            clock.advance(part)
            left -= part
            server.passTime()
            run()
        }
    }

    /// Time without a turn's work.
    func passAtOnce(milliseconds: Int64) {
        clock.advance(milliseconds)
        server.loop.runTurn(waiting: false)
    }
}
