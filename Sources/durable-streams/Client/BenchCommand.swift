// bench: a load generator for any server of the protocol. What is measured, and how, stands in Sources/StreamBench/LoadGenerator.swift.

import ArgumentParser
import Glibc
import ServerSettings
import StreamBench
import StreamClient

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure a server under load.",
        discussion: """
            WORKLOAD is one of
              append     POST of one message, or of --batch messages
              create     PUT of new streams
              read       GET of the last message of a stream
              catch-up   GET of whole streams of --size, chunk by chunk
              long-poll  appends, and readers that wait for them: from when the append was due to its receipt
              sse        the same with server-sent events
              fan-out    one append at a time to many readers: from its acknowledgement to the first, every and the last receipt
              mixed      50 % appends, 45 % reads, 5 % creates
              get        GET of the URL as it is, for comparison with other servers

            All connections are up before the clock starts; the warm-up is not counted. Without --rate each connection sends its next request when the last \
            one is answered. With --rate requests are due at fixed times, and latency counts from then, however late the request could be sent. \
            The streams are named bench-… below the URL and deleted at the end.

            Exit codes: 0 every operation of every run succeeded; 1 there were errors, or the server refused; 2 usage; 4 the server could not be reached; \
            130 interrupted.
            """)

    @Argument(help: ArgumentHelp("What to measure.", valueName: "workload")) var workload: BenchPlan.Workload
    @OptionGroup var connection: ConnectionOptions

    @Option(help: "Connections that send requests (64). Live workloads have one for each stream.") var connections: Int?
    @Option(help: "Streams that they are spread over.") var streams = 1
    @Option(help: "Bytes of one message (100; read 1KiB), or of the whole stream in catch-up (1MiB): 100, 4KiB, 1MiB.") var size: String?
    @Option(help: "Messages in one append; needs --json-messages.") var batch = 1
    @Flag(help: "JSON streams instead of text.") var jsonMessages = false
    @Flag(help: "Each connection is an idempotent producer.") var producers = false
    @Option(help: "Waiting readers (one for each stream; fan-out 100).") var readers: Int?
    @Option(help: "How the readers of fan-out wait: sse or long-poll (sse).") var live: BenchPlan.Live?

    @Option(help: "Operations per second, all connections together: the open loop.") var rate: Double?
    @Option(help: "Length of a run: 500ms, 10s, 1m.") var duration = ClientDuration(milliseconds: 5000)
    @Option(help: "Operations of a run, instead of its length.") var operations: Int?
    @Option(help: "Time before the first run that is not counted; 0s for none.") var warmUp = ClientDuration(milliseconds: 1000)
    @Option(name: .customLong("repeat"), help: "Number of runs.") var runs = 1
    @Option(help: "Time for an answer.") var timeout = ClientDuration(milliseconds: 10_000)
    @Option(help: "Fan-out: from the last receipt to the next append (250ms).") var pause: ClientDuration?
    @Option(help: "Connections that are being made at the same time.") var burst = 256

    @Option(help: ArgumentHelp("Process of the server, on this machine: its processor time, memory and descriptors.", valueName: "pid"))
    var serverPid: Int32?
    @Flag(help: "Leave the streams there.") var keep = false
    @Flag(help: "Print one JSON object: times in microseconds, sizes in bytes.") var json = false

    func run() throws {
        try reportingFailures(measure)
    }

    private func measure() throws(ClientFailure) {
        let plan = try self.plan()
        let isTerminal = isatty(STDERR_FILENO) == 1
        let showProgress: (String) -> Void = { line in
            StandardError.write("\r\u{1B}[K\(line)")
        }
        let result: BenchResult
        do throws(BenchFailure) {
            let generator = try LoadGenerator(plan, seed: .random(in: 0...0xFFFF_FFFF), progress: isTerminal ? showProgress : nil)
            result = try generator.run()
            if isTerminal { showProgress("") }
        } catch {
            if isTerminal { showProgress("") }
            throw ClientFailure(error)
        }
        try ClientExit.print(json ? BenchReport.json(result) : BenchReport.table(result))
        if result.wasInterrupted { throw .interrupted }
        if !result.isClean {
            throw .badAnswer(result.errors == 0 ? "nothing was measured" : "the run was not clean: \(result.errors) errors")
        }
    }

    private func plan() throws(ClientFailure) -> BenchPlan {
        let target: BenchTarget
        do throws(BenchFailure) { target = try BenchTarget(url: connection.base) } catch { throw ClientFailure(error) }
        var plan = BenchPlan(workload: workload, target: target)
        plan.fields = try connection.fields().map { ($0.name, $0.value) }
        plan.connections = connections
        plan.streams = streams
        do throws(ValueFault) { plan.size = try size.map { text throws(ValueFault) in try SizeText.read(text) } } catch {
            throw .badInput("--size \(error)")
        }
        plan.batch = batch
        plan.jsonMessages = jsonMessages
        plan.producers = producers
        plan.readers = readers
        plan.live = live
        plan.rate = rate
        plan.duration = duration.milliseconds
        plan.warmUp = warmUp.milliseconds
        plan.operations = operations
        plan.runs = runs
        plan.timeout = timeout.milliseconds
        plan.pause = pause?.milliseconds
        plan.burst = burst
        plan.serverPID = serverPid
        plan.keep = keep
        return plan
    }
}

extension ClientFailure {
    fileprivate init(_ failure: BenchFailure) {
        switch failure.kind {
        case .usage: self = .badInput(failure.message)
        case .refused: self = .badAnswer(failure.message)
        case .unreachable: self = .unreachable(failure.message)
        }
    }
}

extension BenchPlan.Workload: ExpressibleByArgument {}
extension BenchPlan.Live: ExpressibleByArgument {}
