// The load generator: one thread, one event loop, many connections.
//
//     connect all writers ─▶ create the streams, put data into them ─▶ connect all readers ─▶ warm-up ─▶ run, run, run ─▶ delete the streams
//     `------------------------- not measured -----------------------------------------------------'     `--measured-'
//
// Closed loop: each connection begins its next operation when the last one is answered. Open loop: operation i is due at start + i / rate, taken by
// the connection that has been idle longest, and its latency counts from when it was due, not from when a connection was free (otherwise a
// server that stops for a second is asked nothing in that second and shows no latency for it: coordinated omission).
//
// Live: stream s has one writer, and its readers each receive its appends in order; all appends have the same size, so bytes received /
// size is the number of appends received, and `sent[s]` holds when each was due.
//
// All of it runs on the thread that calls `run`.

import Glibc
import HTTPWire
import Reactor
import SystemCalls
import SystemPackage

public final class LoadGenerator {
    let plan: BenchPlan
    let loop: EventLoop
    /// Where every connection receives; what is in it belongs to the turn.
    let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 128 << 10, alignment: 64)
    /// What the current phase sends as content.
    var content = UnsafeRawBufferPointer(start: nil, count: 0)

    let alarm: Alarm
    var request = RequestBuffer(capacity: 96 << 10)
    let progress: ((String) -> Void)?
    var target: SocketAddress?

    var writers: [BenchConnection] = []
    var readers: [BenchConnection] = []
    /// Connections that wait for something to do, those that have waited longest first.
    var idle: [BenchConnection] = []
    var idleHead = 0
    /// To be opened again at this time.
    var broken: [(at: Int64, connection: BenchConnection)] = []
    var opening: Opening?

    var phase: LoadPhase?
    var result: BenchResult
    var interrupted = false

    // Requests.
    let prefix: [UInt8]
    let common: [UInt8]
    var createHead: [UInt8] = []
    var appendHead: [UInt8] = []
    var streamCount = 0
    /// Of each stream: where its last message begins, and its tail.
    var readOffsets: [[UInt8]] = []
    var tails: [[UInt8]] = []

    // Live.
    var sent: [[Int64]] = []
    var readersOfStream: [Int] = []
    var round = FanOutRound()

    /// One append of fan-out.
    struct FanOutRound {
        /// From the append to the end of the pause behind its last receipt.
        var isOpen = false
        var acknowledged: Int64?
        var receipts: [Int64] = []
    }

    /// Connections that are being opened together.
    struct Opening {
        let connections: [BenchConnection]
        var next = 0
        var done = 0
        var begun: [Int64]
        var slowest: Int64 = 0
        var failure: String?
    }

    /// Ends the loop's waiting when the next operation is due; `pace` does the rest.
    final class Alarm: ReadinessHandler {
        let timer: AlarmTimer
        private var setTo = Int64.max
        init(_ timer: consuming AlarmTimer) { self.timer = timer }

        func set(at time: Int64) {
            guard time != setTo else { return }
            setTo = time
            timer.set(at: time)
        }

        func ready(_ readiness: Readiness) {
            timer.acknowledge()
            setTo = .max
        }
    }

    /// - Parameters:
    ///   - seed: makes the streams' names differ from those of other runs.
    ///   - progress: is told, a few times a second, what is going on.
    public init(_ plan: BenchPlan, seed: UInt64, progress: ((String) -> Void)?) throws(BenchFailure) {
        if let problem = plan.problem { throw BenchFailure(.usage, problem) }
        self.plan = plan
        self.progress = progress
        do throws(Errno) {
            loop = try EventLoop()
            alarm = Alarm(try AlarmTimer())
        } catch {
            throw BenchFailure(.unreachable, "no event loop: \(error)")
        }
        let name = "bench-" + String(seed, radix: 16)
        result = BenchResult(plan: plan)
        result.prefix = name
        prefix = Array((plan.target.path + "/" + name + "/").utf8)
        let fields = plan.fields.map { "\($0.name): \($0.value)\r\n" }.joined()
        common = Array(" HTTP/1.1\r\nHost: \(plan.target.authority)\r\n\(fields)".utf8)
    }

    deinit {
        input.deallocate()
        content.deallocate()
    }

    var isJSON: Bool { plan.jsonMessages }
    var typeField: String { "Content-Type: \(isJSON ? "application/json" : "text/plain")\r\n" }

    func deadline() -> Int64 { AlarmTimer.now() + Int64(plan.timeout) * 1_000_000 }

    // MARK: The course

    public func run() throws(BenchFailure) -> BenchResult {
        Processes.ignoreSignals()
        let descriptors = Processes.raiseDescriptorLimit()
        let wanted = plan.connectionCount + plan.readerCount + 32
        guard wanted <= descriptors else {
            throw BenchFailure(.usage, "\(wanted - 32) connections need \(wanted) open files; the limit is \(descriptors) (ulimit -Hn)")
        }
        if let pid = plan.serverPID, ProcessUse.of(pid) == nil { throw BenchFailure(.usage, "there is no process \(pid)") }
        loop.adoptCurrentThread()
        do throws(Errno) {
            try loop.register(alarm.timer.number, alarm, for: .readable)
            _ = try SignalSource([SIGINT, SIGTERM], on: loop) { [unowned self] _ in interrupted = true }
        } catch {
            throw BenchFailure(.unreachable, "no event loop: \(error)")
        }
        loop.atEndOfTurn { [unowned self] in pace() }
        tick()
        try findTarget()

        writers = (0..<plan.connectionCount).map { BenchConnection(self, index: $0, isReader: false) }
        try open(writers, "connections")
        var failure: BenchFailure?
        do throws(BenchFailure) {
            try prepare()
            try measure()
        } catch {
            failure = error
        }
        for reader in readers { reader.close() }
        if !plan.keep { deleteStreams() }
        for writer in writers { writer.close() }
        result.wasInterrupted = interrupted
        if let failure { throw failure }
        return result
    }

    /// Measures nothing: the first address at which somebody listens.
    func findTarget() throws(BenchFailure) {
        let found = SocketAddress.resolve(host: plan.target.host, port: plan.target.port)
        guard !found.isEmpty else { throw BenchFailure(.unreachable, "\(plan.target.host): there is no such host") }
        var reason = ""
        for address in found {
            self.target = address
            let probe = BenchConnection(self, index: 0, isReader: false)
            do throws(BenchFailure) {
                try open([probe], nil)
                probe.close()
                return
            } catch {
                probe.close()
                reason = error.message
            }
        }
        throw BenchFailure(.unreachable, reason)
    }

    func prepare() throws(BenchFailure) {
        let size = plan.messageSize
        switch plan.workload {
        case .get, .create: break
        case .append: try createStreams(content: [])
        case .longPoll, .sse, .fanOut:
            try createStreams(content: [])
            setContent(BenchMessage.text(size))
        case .read, .mixed:
            let message = BenchMessage.content(size: size, batch: 1, isJSON: isJSON)
            try createStreams(content: message)
            try setUp(.preload, "putting data into the streams", limit: plan.streams)
        case .catchUp:
            try createStreams(content: [])
            // In parts that every server takes.
            let part = min(size, 256 << 10)
            setContent(isJSON ? BenchMessage.content(size: 1024, batch: max(1, part / 1024), isJSON: true) : BenchMessage.text(part))
            try setUp(.preload, "putting data into the streams", limit: plan.streams * (size / part))
            if !isJSON, size % part != 0 {
                setContent(BenchMessage.text(size % part))
                try setUp(.preload, "putting data into the streams", limit: plan.streams)
            }
        }
        switch plan.workload {
        case .append, .mixed:
            setContent(BenchMessage.content(size: size, batch: plan.batch, isJSON: isJSON))
        case .create:
            setContent(size == 0 ? [] : BenchMessage.content(size: size, batch: 1, isJSON: isJSON))
        default: break
        }
        if plan.workload.isLive { try openReaders() }
    }

    func createStreams(content: [UInt8]) throws(BenchFailure) {
        setContent(content)
        readOffsets = Array(repeating: [], count: plan.streams)
        tails = readOffsets
        try setUp(.create, "creating the streams", limit: plan.streams)
    }

    func openReaders() throws(BenchFailure) {
        sent = Array(repeating: [], count: plan.streams)
        readersOfStream = Array(repeating: 0, count: plan.streams)
        result.withoutReaders = plan.serverPID.flatMap { ProcessUse.of($0) }
        readers = (0..<plan.readerCount).map { number in
            let reader = BenchConnection(self, index: writers.count + number, isReader: true)
            reader.stream = number % plan.streams
            reader.offset = tails[reader.stream]
            readersOfStream[reader.stream] += 1
            return reader
        }
        try open(readers, "readers")
        // An event stream says that it has begun; a long-poll that waits says nothing.
        if plan.liveMode == .sse {
            let limit = deadline()
            turns { readers.allSatisfy { $0.events.controlEvents > 0 } || AlarmTimer.now() > limit }
            let silent = readers.count { $0.events.controlEvents == 0 }
            if silent > 0, !interrupted {
                let reason = result.otherErrors.kinds.first.flatMap { result.otherErrors.examples[$0] } ?? "no event came"
                throw BenchFailure(.refused, "\(silent) of \(readers.count) event streams did not begin: \(reason)")
            }
        }
        wait(milliseconds: 250)
        result.withReaders = plan.serverPID.flatMap { ProcessUse.of($0) }
    }

    func measure() throws(BenchFailure) {
        if plan.warmUp > 0, !interrupted {
            let warm = perform(measuredPhase(milliseconds: plan.warmUp, limit: plan.workload == .fanOut ? 1 : nil), "warm-up")
            result.otherErrors.merge(warm.errors)
            result.acknowledged += warm.succeeded
        }
        for number in 1...plan.runs where !interrupted {
            let what = plan.runs > 1 ? "run \(number) of \(plan.runs)" : "measuring"
            let server = plan.serverPID.flatMap { ProcessUse.of($0) }
            let own = ProcessUse.ownCPU()
            let done = perform(measuredPhase(milliseconds: plan.operations == nil ? plan.duration : nil, limit: plan.operations), what)
            var run = BenchRun()
            run.clientCPU = ProcessUse.ownCPU() - own
            run.server = plan.serverPID.flatMap { ProcessUse.of($0) }
            if let server, let after = run.server { run.serverCPU = after.cpu - server.cpu }
            run.seconds = Double(max(0, done.lastAnswer - done.start)) / 1e9
            run.operations = done.succeeded
            run.bytes = done.bytes
            run.receipts = done.receipts
            run.reconnects = done.reconnects
            run.errors = done.errors
            run.latencies = done.histograms
            result.acknowledged += done.succeeded
            result.runs.append(run)
        }
    }

    func measuredPhase(milliseconds: Int?, limit: Int?) -> LoadPhase {
        let interval = plan.rate.map { 1e9 / $0 }
        var limit = limit
        // The open loop knows how many there will be; that is the same length of time.
        if let interval, let milliseconds, limit == nil { limit = max(1, Int((Double(milliseconds) * 1e6 / interval).rounded())) }
        let phase = LoadPhase(work: .measured, limit: limit, interval: interval)
        if let milliseconds, interval == nil { phase.end = Int64(milliseconds) * 1_000_000 }
        let measures: [Measure] =
            switch plan.workload {
            case .append: [.append]
            case .create: [.create]
            case .read: [.read]
            case .catchUp: [.catchUp]
            case .get: [.get]
            case .mixed: [.append, .read, .create]
            case .longPoll, .sse: [.append, .receipt]
            case .fanOut: [.append, .first, .all, .last]
            }
        for measure in measures { phase.histograms[measure] = LatencyHistogram() }
        return phase
    }

    func deleteStreams() {
        guard streamCount > 0, writers.contains(where: { $0.state == .idle }) else { return }
        let done = perform(LoadPhase(work: .delete, limit: streamCount, interval: nil), "deleting the streams")
        result.otherErrors.merge(done.errors)
    }

    // MARK: Phases

    /// Work that has to succeed before anything can be measured.
    func setUp(_ work: LoadPhase.Work, _ what: String, limit: Int) throws(BenchFailure) {
        let done = perform(LoadPhase(work: work, limit: limit, interval: nil), what)
        if let kind = done.errors.kinds.first { throw BenchFailure(.refused, "\(what): \(kind.text): \(done.errors.examples[kind] ?? "")") }
        if done.succeeded < limit, !interrupted { throw BenchFailure(.refused, "\(what): the server does not answer") }
    }

    func perform(_ planned: LoadPhase, _ what: String) -> LoadPhase {
        planned.start = AlarmTimer.now()
        planned.lastAnswer = planned.start
        if planned.end != .max { planned.end += planned.start }
        phase = planned
        currentWork = what
        idle.removeAll(keepingCapacity: true)
        idleHead = 0
        round = FanOutRound()
        for writer in writers where writer.state == .idle { proceed(writer) }
        pace()
        turns { phaseIsOver() }
        // What is still under way was given up: it is counted, and its connection is of no use any more.
        let done = planned
        phase = nil
        for writer in writers where writer.state == .waiting {
            writer.close()
            broken.append((AlarmTimer.now(), writer))
        }
        guard !isStopped(done) else { return done }
        if done.outstanding > 0 { done.errors.add(.timeout, "no answer in time", count: done.outstanding) }
        if done.receipts < done.expected {
            done.errors.add(.lost, "an append did not reach its reader", count: done.expected - done.receipts)
        }
        if done.interval != nil, let limit = done.limit, done.begun < limit {
            done.errors.add(.late, "no connection was free for an operation that was due", count: limit - done.begun)
        }
        return done
    }

    var currentWork = ""

    func beginsNoMore(_ now: Int64) -> Bool {
        guard let phase else { return true }
        return isStopped(phase) || phase.begun >= phase.limit ?? .max || now >= phase.end
    }

    /// Ctrl-C ends everything but the removal of what was created.
    func isStopped(_ phase: LoadPhase) -> Bool { interrupted && phase.work != .delete }

    func phaseIsOver() -> Bool {
        guard let phase else { return true }
        if isStopped(phase) { return true }
        if beginsNoMore(loopTime), phase.outstanding == 0, phase.receipts >= phase.expected, !round.isOpen { return true }
        // Nothing has been answered for so long that nothing will be: requests have their own time limit, so this is about operations that
        // cannot begin and receipts that do not come.
        let silence = Int64(plan.timeout) * 1_000_000 + 1_000_000_000
        let latest = max(phase.lastAnswer, phase.interval == nil ? 0 : min(loopTime, phase.due(max(0, phase.limit ?? 0) - 1)))
        return loopTime - latest > silence
    }

    /// Read once a turn.
    var loopTime: Int64 = 0

    func turns(until isDone: () -> Bool) {
        loopTime = AlarmTimer.now()
        while !isDone() {
            loop.runTurn(waiting: true)
            loopTime = AlarmTimer.now()
        }
    }

    func wait(milliseconds: Int) {
        let end = AlarmTimer.now() + Int64(milliseconds) * 1_000_000
        turns { loopTime >= end || interrupted }
    }

    /// Twenty times a second: time limits, connections to open again, progress.
    func tick() {
        let now = AlarmTimer.now()
        ticks += 1
        if ticks % 5 == 0 {
            for connection in writers where connection.deadline < now && (connection.state == .waiting || connection.state == .connecting) {
                failed(connection, .timeout, "no answer within \(plan.timeout) ms")
            }
            for connection in readers where connection.deadline < now && connection.state == .connecting {
                failed(connection, .timeout, "no connection within \(plan.timeout) ms")
            }
        }
        if !broken.isEmpty {
            let ripe = broken.filter { $0.at <= now }
            broken.removeAll { $0.at <= now }
            for (_, connection) in ripe where connection.state == .closed { connect(connection) }
        }
        if ticks % 10 == 0 { report(now) }
        loop.schedule(after: 50) { [unowned self] in tick() }
    }

    var ticks = 0

    func report(_ now: Int64) {
        guard let progress else { return }
        if let opening {
            progress("connecting: \(opening.done) of \(opening.connections.count)")
        } else if let phase {
            let seconds = Double(now - phase.start) / 1e9
            let errors = phase.errors.total > 0 ? ", \(phase.errors.total) errors" : ""
            progress("\(currentWork): \(phase.succeeded) operations, \(Int(Double(phase.succeeded) / max(seconds, 0.001)))/s\(errors)")
        }
    }

    // MARK: Connections

    /// Opens them all, a burst at a time, and returns when they are up.
    func open(_ connections: [BenchConnection], _ what: String?) throws(BenchFailure) {
        let start = AlarmTimer.now()
        opening = Opening(connections: connections, begun: [])
        opening!.begun.reserveCapacity(connections.count)
        for _ in 0..<min(plan.burst, connections.count) { openNext() }
        turns { opening!.done == connections.count || opening!.failure != nil || interrupted }
        let finished = opening!
        opening = nil
        if let failure = finished.failure { throw BenchFailure(.unreachable, "\(plan.target.authority): \(failure)") }
        if let what {
            let seconds = Double(AlarmTimer.now() - start) / 1e9
            result.opening.append((what, connections.count, seconds, Double(finished.slowest) / 1e9))
        }
    }

    func openNext() {
        guard let number = opening?.next, number < opening!.connections.count, opening!.failure == nil else { return }
        opening!.next += 1
        opening!.begun.append(AlarmTimer.now())
        connect(opening!.connections[number])
    }

    /// A loopback target is reached from 127.0.0.1, .2, …: an address has about 28,000 ports to connect from, and the kernel, which tries those
    /// of one parity first, looks at thousands of them for each connection once half are taken (a millisecond each).
    func connect(_ connection: BenchConnection) {
        guard let target else { preconditionFailure("the target has been found") }
        let source = target.isIPv4Loopback ? SocketAddress.ipv4(0x7F00_0001 + UInt32(connection.index / 4000)) : nil
        connection.open(target, from: source)
    }

    func opened(_ connection: BenchConnection) {
        connection.deadline = .max
        if opening != nil, !connection.hasBeenOpen {
            opening!.done += 1
            let number = connection.isReader ? connection.index - writers.count : connection.index
            opening!.slowest = max(opening!.slowest, AlarmTimer.now() - opening!.begun[number])
            openNext()
        }
        connection.hasBeenOpen = true
        if connection.isReader { listen(connection) } else { proceed(connection) }
    }

    /// Between two requests the server may end a connection.
    func closedByServer(_ connection: BenchConnection) {
        phase?.reconnects += 1
        connection.close()
        broken.append((AlarmTimer.now(), connection))
    }

    func failed(_ connection: BenchConnection, _ kind: ErrorTally.Kind, _ reason: String) {
        let wasWaiting = connection.state == .waiting && !connection.isReader
        connection.close()
        if opening != nil {
            opening!.failure = reason
            return
        }
        note(kind, reason)
        if wasWaiting, phase != nil {
            phase!.failed += 1
            giveUp(connection)
        }
        // Not at once, or a server that refuses would be asked without end.
        broken.append((AlarmTimer.now() + 100_000_000, connection))
    }

    func note(_ kind: ErrorTally.Kind, _ reason: String) {
        if phase != nil { phase!.errors.add(kind, reason) } else { result.otherErrors.add(kind, reason) }
    }

    /// The operation's outcome is not known, or it is known that nothing was appended.
    func giveUp(_ connection: BenchConnection) {
        guard connection.operation == .append, phase?.work == .measured else { return }
        // A producer whose last number is in doubt goes on in a new epoch.
        if plan.producers {
            connection.epoch += 1
            connection.sequences = connection.sequences.map { _ in 0 }
        }
        if plan.workload.isLive {
            phase!.expected -= readersOfStream[connection.stream]
            sent[connection.stream].removeLast()
            round = FanOutRound()
        }
    }

    // MARK: Beginning operations

    /// The connection has nothing to do.
    func proceed(_ connection: BenchConnection) {
        guard let phase, connection.state == .idle, !connection.isReader else { return }
        if phase.interval != nil { return idle.append(connection) }
        if round.isOpen, phase.work == .measured { return }
        let now = AlarmTimer.now()
        if !beginsNoMore(now) { begin(connection, at: now) }
    }

    /// The open loop, at the end of each turn: everything that is due is begun, and the alarm set for what is due next.
    func pace() {
        guard let interval = phase?.interval, interval > 0 else { return }
        while idleHead < idle.count {
            let now = AlarmTimer.now()
            guard let phase, !beginsNoMore(now) else { return }
            let due = phase.due(phase.begun)
            if due > now {
                return alarm.set(at: due)
            }
            let connection = idle[idleHead]
            idleHead += 1
            if idleHead == idle.count {
                idle.removeAll(keepingCapacity: true)
                idleHead = 0
            } else if idleHead > 4096, idleHead * 2 > idle.count {
                idle.removeFirst(idleHead)
                idleHead = 0
            }
            if connection.state == .idle { begin(connection, at: due) }
        }
    }

    func begin(_ connection: BenchConnection, at intended: Int64) {
        guard let number = phase?.begun, let work = phase?.work else { return }
        phase!.begun += 1
        connection.intended = intended
        connection.deadline = max(intended, loopTime) + Int64(plan.timeout) * 1_000_000
        connection.earlierBytes = 0
        switch work {
        case .create: create(connection, stream: number)
        case .preload:
            connection.operation = .preload
            connection.stream = number % plan.streams
            append(connection)
        case .delete:
            connection.operation = .delete
            connection.stream = number
            address("DELETE ", number)
            request.append("\r\n")
            connection.send(request.bytes, content: 0..<0)
        case .measured: beginMeasured(connection, number)
        }
    }

    func beginMeasured(_ connection: BenchConnection, _ number: Int) {
        switch plan.workload {
        case .append:
            connection.operation = .append
            append(connection)
        case .longPoll, .sse, .fanOut:
            connection.operation = .append
            connection.stream = connection.index
            round.isOpen = plan.workload == .fanOut
            sent[connection.stream].append(connection.intended)
            phase!.expected += readersOfStream[connection.stream]
            append(connection)
        case .create: create(connection, stream: streamCount)
        case .read: read(connection, stream: number % plan.streams)
        case .catchUp:
            connection.stream = number % plan.streams
            connection.offset = [0x2D, 0x31]
            catchUp(connection)
        case .get:
            connection.operation = .get
            request.clear()
            request.append("GET ")
            request.append(Array((plan.target.path.isEmpty ? "/" : plan.target.path).utf8))
            finishHead(connection)
        case .mixed:
            // The same mixture in every run: 50 % appends, 45 % reads, 5 % creates, spread by a multiplicative hash.
            let dice = ((UInt64(truncatingIfNeeded: number) &* 0x9E37_79B9_7F4A_7C15) >> 32) % 100
            if dice < 50 {
                connection.operation = .append
                append(connection)
            } else if dice < 95 {
                read(connection, stream: number % plan.streams)
            } else {
                create(connection, stream: streamCount)
            }
        }
    }
}
