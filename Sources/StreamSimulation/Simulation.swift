// One simulated history of a server, from one seed: random commands, jobs of its threads in random order, time, crashes and faults;
// every answer and every publication is checked against the model.
//
//     step:  a command · a job of a disk worker, of the journal thread, of the reactor's mailbox · the end of a turn · time · a reader
//            that leaves · in crash mode: the end of the process or of the power, at any call of the disk
//
// The same seed gives the same history, in one process at least: the order of hash tables is the process's, which
// `SWIFT_DETERMINISTIC_HASHING=1` makes the same for all (the executable sets it). The steps are written down only on demand, so
// a failing seed is run a second time.
//
// @unchecked Sendable: confined to the simulation's thread.

import Reactor
import StreamActors
import StreamRules
import StreamStore
import SystemCalls
import SystemPackage

public enum SimulationMode: String, Sendable, CaseIterable {
    /// One server, nothing goes wrong: every answer is what PROTOCOL.md says.
    case model
    /// Several lives: nothing acknowledged or seen is ever lost.
    case crash
}

public struct SimulationResult: Sendable {
    public let seed: UInt64
    public let mode: SimulationMode
    /// What was wrong; nil when nothing was.
    public let failure: String?
    /// The steps, if they were asked for.
    public let history: [String]
    public let commands: Int
    public let crashes: Int
}

public final class Simulation: @unchecked Sendable {
    let mode: SimulationMode
    let dice: Dice
    let clock = VirtualClock()
    let limits: SimulatedLimits
    let workload: Workload
    let keepsHistory: Bool

    var disk = SimulatedDisk()
    var catalog: SimulatedCatalog
    var server: SimulatedServer!
    var order: Linearization
    /// Asked and not answered.
    var open: [Int: SimulatedRequest] = [:]
    /// Readers that wait, in the order in which they came.
    var waiting: [SimulatedRequest] = []
    /// The publication that was told last.
    var lastNews: UInt64 = 0
    var failure: String?
    var history: [String] = []
    var lastNumber = 0
    var crashes = 0
    /// Disk and catalog fail now and then.
    let hasFaults: Bool
    var faultsAreOn = false
    /// In percent of calls.
    let faultRate: Int
    var faultsMade = 0
    /// Since the last start.
    var faultsInLife = 0
    /// No command is asked in answer to an answer.
    var isChecking = false

    private let commandCount: Int
    /// In percent: how often all is run to its end after a step, and how many commands may be under way.
    private let calm: Int
    private let depth: Int
    /// In percent of the steps of a history in crash mode.
    private let trouble: Int
    let haste: Int

    init(seed: UInt64, mode: SimulationMode, forks: Bool, keepsHistory: Bool) {
        self.mode = mode
        self.keepsHistory = keepsHistory
        dice = Dice(seed: seed)
        limits = SimulatedLimits(dice)
        workload = Workload(dice, forks: forks)
        commandCount = dice.number(10, mode == .model ? 60 : 45)
        calm = dice.pick([100, 50, 20, 5])
        depth = dice.number(1, 5)
        trouble = dice.pick([2, 5, 12])
        haste = dice.pick([0, 5, 20])
        hasFaults = mode == .crash && dice.chance(35)
        faultRate = dice.pick([1, 5, 25])
        catalog = SimulatedCatalog(disk)
        order = Linearization(chunkSize: Int(limits.store.chunkSize))
        disk.directAlignment = dice.chance(30) ? FileCalls.directBlock : 8
        disk.dice = dice
        disk.keepsLog = false
    }

    /// Runs a seed.
    public static func run(seed: UInt64, mode: SimulationMode, forks: Bool = true, keepsHistory: Bool = false) -> SimulationResult {
        let simulation = Simulation(seed: seed, mode: mode, forks: forks, keepsHistory: keepsHistory)
        simulation.run()
        let result = SimulationResult(
            seed: seed, mode: mode, failure: simulation.failure, history: simulation.history, commands: simulation.lastNumber,
            crashes: simulation.crashes)
        simulation.server?.drop()
        return result
    }

    func note(_ text: @autoclosure () -> String) {
        if keepsHistory { history.append("\(clock.wall - 1_800_000_000_000) \(text())") }
    }

    func fail(_ text: String) {
        if failure != nil { return }
        failure = text
        note("FAILURE: \(text)")
    }

    // MARK: The run

    private func run() {
        note("limits: \(limits), faults \(hasFaults)")
        start()
        while lastNumber < commandCount, failure == nil { step() }
        faultsAreOn = false
        disk.callsLeft = nil
        finishAll()
        if failure == nil { readBack(thoroughly: true) }
        if failure == nil { deleteAll() }
    }

    private func step() {
        if mode == .crash, dice.chance(trouble) { return misfortune() }
        switch dice.below(100) {
        case 0..<39:
            if open.count < depth { ask(workload.next(nextNumber(), order.anyStore, now: clock.wall)) } else { runJob() }
        case 39..<76: runJob()
        case 76..<86: endTurn()
        case 86..<91: leaveSomewhere()
        case 91..<95: passTime(dice.pick([1, 10, 250, 1_000]))
        case 95, 96: passTime(dice.pick([999, 3_000, 7_000]))
        default: break
        }
        if failure == nil, dice.chance(calm) { drain() }
    }

    func nextNumber() -> Int {
        lastNumber += 1
        return lastNumber
    }

    // MARK: Jobs

    /// One job of one of the threads, if there is any; then what a crash in it demands.
    @discardableResult
    func runJob() -> Bool {
        let threads = server.threads
        var kinds: [Int] = []
        if !threads.workers.isEmpty { kinds.append(0) }
        if !threads.journal.isEmpty { kinds.append(1) }
        if !threads.reactor.isEmpty { kinds.append(2) }
        if kinds.isEmpty { return false }
        switch dice.pick(kinds) {
        case 0: threads.workers.remove(at: dice.below(threads.workers.count))()
        case 1: threads.journal.removeFirst()()
        default: threads.reactor.removeFirst()()
        }
        lookAfterServer()
        return true
    }

    func endTurn() {
        server.endTurn()
        lookAfterServer()
    }

    /// Runs all jobs, and turns until nothing more comes of them.
    func drain() {
        var count = 0
        while failure == nil {
            while failure == nil, runJob() {
                if dice.chance(25) { endTurn() }
                count += 1
                if count > 20_000 { return fail("the server does not come to rest") }
            }
            if failure != nil { return }
            let before = server!
            endTurn()
            if before === server, server.isIdle { break }
        }
        if failure == nil { checkReaders() }
    }

    /// Answers all commands; time passes, for what waits for it.
    func finishAll() {
        for _ in 0..<60 where failure == nil {
            drain()
            if open.isEmpty { return }
            passTime(1_001)
        }
        if failure == nil { fail("commands \(open.keys.sorted()) are never answered") }
    }

    func passTime(_ milliseconds: Int64) {
        note("time passes: \(milliseconds)")
        var left = milliseconds
        while left > 0, failure == nil {
            let part = min(left, 1_000)
            clock.advance(part)
            left -= part
            for id in order.read.sorted() { order.change { $0.readersWait(id, at: clock.wall) } }
            server.passTime()
            lookAfterServer()
        }
    }

    /// After each job: the process may have ended in it.
    private func lookAfterServer() {
        if failure != nil { return }
        if let damage = server.damage.first, faultsInLife == 0 { return fail("the scrub finds damage: \(damage)") }
        if disk.isDead {
            restart()
        } else if let fatal = server.fatal {
            if faultsInLife == 0 { return fail("the server ended by itself: \(fatal)") }
            note("the server ends: \(fatal)")
            restart()
        }
    }

    // MARK: Commands

    func ask(_ made: Workload.Made) {
        let command = made.command
        note("\(command.number) asks \(Self.describe(command, made.content))")
        order.ask(command, at: clock.wall)
        let request = SimulatedRequest(command.number, self)
        open[command.number] = request
        func call(_ content: Content) -> StreamCall {
            StreamCall(
                command.verb, of: command.name, content: content, requester: request, tag: 7, reader: request.newReader(command.verb))
        }
        let done: Answer?
        if made.content.isEmpty {
            done = server.registry.execute(call(.none))
        } else if dice.chance(50) {
            done = server.registry.execute(call(.owned(OwnedBytes(copying: made.content))))
        } else {
            // The receive buffer is used anew right after the call.
            var buffer = made.content
            done = buffer.withUnsafeMutableBytes {
                let done = server.registry.execute(call(.borrowed($0)))
                $0.initializeMemory(as: UInt8.self, repeating: 0x3f)
                return done
            }
        }
        if let done { answered(request, done.outcome, done.stream) }
    }

    func answered(_ request: SimulatedRequest, _ outcome: Outcome, _ stream: StreamActor?) {
        if failure != nil { return }
        let number = request.number
        guard open.removeValue(forKey: number) != nil else { return fail("command \(number) is answered twice: \(outcome)") }
        if case .refused(let refusal) = outcome, refusal.isForWant {
            note("\(number) is refused for want: \(refusal)")
            if faultsMade == 0 { return fail("command \(number) is refused for want: \(refusal)") }
            if !order.refuse(number, at: clock.wall) { fail("command \(number) is refused for want, but its effect was seen: \(refusal)") }
            return
        }
        var bytes: [UInt8] = []
        if case .read(let result) = outcome {
            guard let read = Self.bytes(of: result) else { return fail("command \(number): a file does not hold the bytes of a read") }
            bytes = read
        }
        let seen = ModelAnswer(outcome, bytes: bytes)
        note("\(number) is answered \(Self.describe(seen))")
        if !order.answer(number, seen, at: clock.wall) {
            return fail("command \(number) is answered \(Self.describe(seen)), which no order explains; possible: \(expected(number))")
        }
        if case .waiting(let facts) = outcome {
            guard let stream, request.reader?.position == facts.tail else {
                return fail("reader \(number) waits elsewhere than at the tail")
            }
            request.stream = stream
            waiting.append(request)
            order.read.insert(facts.id)
        }
        if !isChecking, dice.chance(haste), open.count < depth { ask(workload.next(nextNumber(), order.anyStore, now: clock.wall)) }
    }

    /// The bytes that a server would send; nil when a file is too short.
    public static func bytes(of result: ReadResult) -> [UInt8]? {
        var bytes: [UInt8] = []
        for piece in result.pieces {
            switch piece {
            case .memory(let slice): bytes += Array(slice.bytes)
            case .file(let handle, let offset, let count):
                guard let file = handle.file as? SimulatedDisk.File, offset >= 0, offset + count <= file.inode.bytes.count else {
                    return nil
                }
                bytes += file.inode.bytes[offset..<offset + count]
            }
        }
        return bytes
    }

    // MARK: Readers

    /// A poll's time-out, or a client that goes away.
    private func leaveSomewhere() {
        if waiting.isEmpty { return }
        let reader = waiting[dice.below(waiting.count)]
        note("reader \(reader.number) leaves")
        server.loop.isolated(reader.stream!) { $0.leave(reader.reader!) }
        left([reader], at: clock.wall)
    }

    func left(_ readers: [SimulatedRequest], at time: Int64) {
        let ids = Set(readers.map { $0.stream!.id })
        waiting.removeAll { reader in readers.contains { $0 === reader } }
        for id in ids.sorted() {
            if !waiting.contains(where: { $0.stream!.id == id }) { order.read.remove(id) }
            order.change { $0.readersLeft(id, at: time) }
        }
    }

    /// At rest, a waiting reader has everything.
    private func checkReaders() {
        for reader in waiting {
            let (id, position) = (reader.stream!.id, Int(reader.reader!.position))
            let holds = order.observe(id, at: clock.wall) { store in
                store.isPublished(id, from: position, bytes: [], closed: false) ? [store] : []
            }
            if !holds { return fail("reader \(reader.number) of stream \(id) waits at \(position), but there is more, or nothing at all") }
        }
    }
}

extension Simulation {
    /// What is being told, once for all who are told it.
    private func begins(_ news: Fanout) {
        if news.number == lastNews { return }
        lastNews = news.number
        let publication = news.publication
        let (id, facts) = (publication.facts.id, ModelFacts(publication.facts))
        note("publication of stream \(id): \(publication.from)…\(facts.tail), closed \(facts.closed)")
        if publication.from == publication.facts.tail, !facts.closed { return fail("readers are woken for nothing") }
        let bytes = news.isLarge ? nil : publication.slices.flatMap { Array($0.bytes) }
        let ends = publication.appendEnds.map { Int($0) }
        let holds = order.observe(id, at: clock.wall) { store in
            store.isPublished(id, from: Int(publication.from), facts: facts, appendEnds: ends, bytes: bytes) ? [store] : []
        }
        if !holds { fail("what is published of stream \(id) is not what it holds: \(facts), appends end at \(ends)") }
    }

    fileprivate func take(_ news: Fanout, _ request: SimulatedRequest, _ reader: StreamReader, _ stream: isolated StreamActor) {
        if failure != nil { return }
        begins(news)
        let publication = news.publication
        note("\(request.number) is told")
        if !waiting.contains(where: { $0 === request }) { return fail("a reader is woken that does not wait") }
        if reader.position != publication.from { return fail("a reader is woken elsewhere than where it waits") }
        let id = publication.facts.id
        if reader.kind == .follower {
            reader.position = publication.facts.tail
            if publication.facts.closed {
                stream.leave(reader)
                left([request], at: clock.wall)
            }
            order.change { $0.readersLeft(id, at: clock.wall) }
            return
        }
        left([request], at: clock.wall)
        order.change { $0.readersLeft(id, at: clock.wall) }
        if !dice.chance(50) || open.count >= depth + 5 { return }
        // As a connection does that is woken: it reads on, for the request that has waited.
        let number = nextNumber()
        let read = ReadRequest(start: .position(reader.position), mode: .longPoll)
        note("\(number) is woken and reads \(reader.position)")
        order.ask(ModelCommand(number: number, name: stream.name, verb: .read(read), body: .none), at: request.askedAt)
        let again = SimulatedRequest(number, self)
        open[number] = again
        let call = StreamCall(.read(read), of: stream.name, requester: again, tag: 7, reader: again.newReader(.read(read)))
        if let outcome = stream.read(read, call) { answered(again, outcome, stream) }
    }

    fileprivate func end(_ refusal: Refusal, _ request: SimulatedRequest, _ stream: isolated StreamActor) {
        if failure != nil { return }
        note("\(request.number) is told that stream \(stream.id) has ended: \(refusal)")
        if !waiting.contains(where: { $0 === request }) { return fail("a reader is woken that does not wait") }
        let read = order.read
        let holds = order.observe(stream.id, at: clock.wall) { store in
            store.ended(stream.id, at: clock.wall...clock.wall, read: read).filter { $0.1 == refusal }.map(\.0)
        }
        if !holds { return fail("readers of stream \(stream.id) are told that it has ended, \(refusal), and it has not") }
        left([request], at: clock.wall)
    }
}

/// Whoever asks one command, and waits for what comes next if it is a live read.
///
/// @unchecked Sendable: confined to the simulation's thread.
final class SimulatedRequest: Requester, ReaderOwner, @unchecked Sendable {
    let number: Int
    private unowned let simulation: Simulation
    let askedAt: Int64
    var stream: StreamActor?
    private(set) var reader: StreamReader?

    init(_ number: Int, _ simulation: Simulation) {
        self.number = number
        self.simulation = simulation
        askedAt = simulation.clock.wall
    }

    func newReader(_ verb: StreamVerb) -> StreamReader? {
        if case .read(let read) = verb, read.mode != .catchUp {
            reader = StreamReader(read.mode == .longPoll ? .poll : .follower, of: self)
        }
        return reader
    }

    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {
        if tag != 7 { return simulation.fail("command \(number) is answered with another's tag") }
        simulation.answered(self, outcome, stream)
    }

    func take(_ news: Fanout, _ reader: StreamReader, _ stream: isolated StreamActor) -> Int {
        simulation.take(news, self, reader, stream)
        return 0
    }

    func end(_ refusal: Refusal, _ reader: StreamReader, _ stream: isolated StreamActor) { simulation.end(refusal, self, stream) }
}

extension Refusal {
    /// Nothing is wrong with the command; the server lacks something.
    var isForWant: Bool {
        switch self {
        case .noSpace, .unavailable, .damaged: true
        default: false
        }
    }
}
