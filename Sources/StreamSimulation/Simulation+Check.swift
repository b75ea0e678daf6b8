// The end of a simulated history, and what is looked at after each crash: everything is read back; then everything is deleted, and
// nothing may be left of it.

import StreamActors
import StreamRules
import StreamStore

extension Simulation {
    /// Asks one command and runs until it is answered.
    func askAlone(_ made: Workload.Made) {
        ask(made)
        for _ in 0..<60 where failure == nil && open[made.command.number] != nil {
            drain()
            if open[made.command.number] != nil { passTime(1_001) }
        }
        if failure == nil, open[made.command.number] != nil { fail("command \(made.command.number) is never answered") }
    }

    /// Every name, and thoroughly also every byte.
    func readBack(thoroughly: Bool) {
        isChecking = true
        defer { isChecking = false }
        for name in workload.names where failure == nil {
            let crashesBefore = crashes
            askAlone(workload.head(nextNumber(), name))
            if crashes != crashesBefore { return }
            guard thoroughly, failure == nil, let stream = order.anyStore.stream(named: name), !stream.isRetained else { continue }
            var position = 0
            while position < stream.tail, failure == nil {
                askAlone(workload.read(nextNumber(), name, from: position))
                position = stream.endOfRead(from: position)
            }
        }
    }

    /// Disk usage returns to that of an empty server.
    func deleteAll() {
        isChecking = true
        for reader in waiting { server.loop.isolated(reader.stream!) { $0.leave(reader.reader!) } }
        left(waiting, at: clock.wall)
        if hasFaults {
            // What the server has put off for a while after a failure.
            passTime(2_000)
            drain()
        }
        for name in workload.names where failure == nil { askAlone(workload.delete(nextNumber(), name)) }
        // Sources are reclaimed, expired streams noticed, entries removed by a checkpoint.
        for _ in 0..<60 where failure == nil && !isEmpty {
            passTime(1_000)
            drain()
        }
        if mode == .crash, failure == nil, !isEmpty {
            // What a crash or a failed removal leaves over is swept at the next start.
            restart(orderly: true)
            drain()
        }
        if failure != nil { return }
        order.change { $0.settle(at: clock.wall, read: []) }
        for life in order.anyStore.lives { fail("the model keeps stream \(order.anyStore.facts(life))") }
        if server.registry.streamCount != 0 { fail("all streams are deleted, and the server counts \(server.registry.streamCount)") }
        if !catalog.entries.isEmpty { fail("all streams are deleted, and the catalog has \(catalog.entries.keys.sorted())") }
        if !filesLeft.isEmpty { fail("all streams are deleted, and the disk has \(filesLeft)") }
    }

    private var isEmpty: Bool { server.registry.streamCount == 0 && catalog.entries.isEmpty && filesLeft.isEmpty }

    /// Files and directories of streams.
    private var filesLeft: [String] {
        let prefix = SimulatedServer.streamsDirectory + "/"
        return (Array(disk.names.keys) + Array(disk.directories)).filter { $0.hasPrefix(prefix) }.sorted()
    }

    // MARK: Words

    func expected(_ number: Int) -> String {
        "\(order.candidates.count) states, one of them: \(order.anyStore.names.keys.sorted { $0.lexicographicallyPrecedes($1) }.map { name in "\(Self.text(name)): \(order.anyStore.stream(named: name).map { Self.describe($0) } ?? "")" }), under way: \(order.asked.keys.sorted())"
    }

    static func text(_ bytes: [UInt8]) -> String {
        let shown = String(decoding: bytes.prefix(60).map { $0 >= 32 && $0 < 127 ? $0 : UInt8(ascii: $0 == 10 ? "~" : "?") }, as: UTF8.self)
        return bytes.count > 60 ? "\(shown)… (\(bytes.count))" : shown
    }

    static func describe(_ stream: ModelStream) -> String {
        "[\(text(stream.type)) \(stream.expiry) tail \(stream.tail) closed \(stream.closed) retained \(stream.isRetained) renewed \(stream.renewed.lowerBound - 1_800_000_000_000)…\(stream.renewed.upperBound - 1_800_000_000_000) cuts \(stream.cuts) atoms \(stream.atoms.suffix(12)) producers \(stream.producers.map { "\(text($0.key)):\($0.value.epoch):\($0.value.sequence)" }.sorted()) fork \(stream.origin.map { "\($0)" } ?? "no")]"
    }

    static func describe(_ command: ModelCommand, _ content: [UInt8]) -> String {
        let what: String
        switch command.verb {
        case .create(let request):
            what =
                "create \(request.contentType?.text ?? "no type") \(request.expiry) closed \(request.closed) fork \(request.fork.map { "\(text($0.source)) \($0.offset.map { "\($0)" } ?? "nil") \($0.subOffset)" } ?? "no")"
        case .append(let request):
            what =
                "append \(request.contentType?.text ?? "no type") closes \(request.closes) seq \(request.sequence.map { text($0) } ?? "no") producer \(request.producer.map { "\(text($0.id)):\($0.epoch):\($0.sequence)" } ?? "no")"
        case .read(let request): what = "read \(request.start) \(request.mode)"
        case .metadata: what = "metadata"
        case .delete: what = "delete"
        }
        return "\(text(command.name)): \(what) with \"\(text(content))\""
    }

    static func describe(_ answer: ModelAnswer) -> String {
        if case .read(let facts, let from, let to, let bytes) = answer { return "read \(from)…\(to) \"\(text(bytes))\" \(describe(facts))" }
        if case .created(let facts, let new) = answer { return "created new \(new) \(describe(facts))" }
        if case .metadata(let facts) = answer { return "metadata \(describe(facts))" }
        if case .waiting(let facts) = answer { return "waiting \(describe(facts))" }
        return "\(answer)"
    }

    static func describe(_ facts: ModelFacts) -> String {
        "(stream \(facts.identity) \(text(facts.type)) tail \(facts.tail) closed \(facts.closed))"
    }
}
