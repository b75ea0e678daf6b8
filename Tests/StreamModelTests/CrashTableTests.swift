// Ends of the process and of the power at every step of a checkpoint, and at every step of the start after it.
//
// A step is a call that changes something on the disk, or a commit of the catalog. What is there afterwards is the same after each of them: all that
// was acknowledged, whether the checkpoint's segments, entries, mark and removals had come as far as the medium or not.

import StreamRules
import StreamSimulation
import StreamStore
import Testing

@Suite struct CrashTableTests {
    private static let big = String(repeating: "0123456789abcdef", count: 20)

    /// Streams of every kind: in the catalog before, flushed in part, new, grown, deleted, kept for a fork, and its fork.
    private func prepared() throws -> Script {
        let script = try Script {
            $0.store.chunkSize = 64
            $0.store.segmentSize = 128
            $0.store.inlineLimit = 32
            $0.store.flushThreshold = 100_000
            $0.journal.firstFile = 8192
        }
        script.disk.dice = Dice(seed: 1)
        for name in ["small", "large", "source", "deleted"] { script.create(name, "begin ") }
        script.append("large", Self.big)
        script.run()
        checkpoint(script)
        script.append("small", "more")
        // More than the journal's first file holds.
        for _ in 0..<40 {
            script.append("large", Self.big)
            script.run()
        }
        script.create("new", "new")
        script.create("new-large", Self.big)
        script.create("fork", type: nil, fork: ForkRequest(source: Array("source".utf8), offset: nil, subOffset: 0))
        script.run()
        script.delete("source")
        script.delete("deleted")
        script.append("fork", "own")
        script.run()
        return script
    }

    private func checkpoint(_ script: Script) {
        script.server.checkpointer.run()
        script.run()
    }

    private let expected = [
        "small": "begin more", "large": "begin " + String(repeating: big, count: 41), "source": "retained", "deleted": "notFound",
        "new": "new", "new-large": big, "fork": "begin own",
    ]

    /// The whole content of each stream, or why there is none.
    private func seen(_ script: Script) -> [String: String] {
        var seen: [String: String] = [:]
        for name in expected.keys.sorted() {
            let head = script.head(name)
            script.run()
            guard case .metadata(let facts) = head.outcome else {
                seen[name] = head.said
                continue
            }
            var content: [UInt8] = []
            while content.count < facts.tail {
                let read = script.read(name, at: UInt64(content.count))
                script.run()
                guard case .read(let result) = read.outcome, let bytes = Simulation.bytes(of: result), !bytes.isEmpty else {
                    content += Array("\(read.said), and no bytes".utf8)
                    break
                }
                content += bytes
            }
            seen[name] = String(decoding: content, as: UTF8.self)
        }
        return seen
    }

    /// Dies after one step, after two, and so on, until the checkpoint is whole.
    @Test(arguments: SimulatedDisk.Crash.allCases)
    func aCheckpointThatDiedAtEachStep(crash: SimulatedDisk.Crash) throws {
        var steps = 0
        while true {
            let script = try prepared()
            script.disk.callsLeft = steps + 1
            script.server.checkpointer.run()
            for _ in 0..<1_000 where !script.disk.isDead && !script.server.isIdle {
                script.server.threads.runAll()
                script.server.endTurn()
            }
            let isWhole = !script.disk.isDead
            script.disk.callsLeft = nil
            try script.restart(crash)
            script.run()
            #expect(seen(script) == expected, "after \(steps) steps")
            #expect(script.server.fatal == nil && script.server.damage.isEmpty)
            if isWhole { break }
            steps += 1
            try #require(steps < 500)
        }
        // Five streams are flushed or saved, directories made and synced, entries committed, the old journal file given back.
        #expect(steps > 20, "only \(steps) steps")
    }

    /// The start writes the last batch again, makes a journal file and sweeps. It dies at each of its steps, the next one at the step
    /// behind it, and so on; the start that is let live finds what the first one would have found.
    @Test(arguments: SimulatedDisk.Crash.allCases)
    func aStartThatDiedAtEachStep(crash: SimulatedDisk.Crash) throws {
        let script = try prepared()
        script.server.checkpointer.run()
        // In the middle of the checkpoint: some segments are there, and no entry names them.
        script.disk.callsLeft = 12
        for _ in 0..<1_000 where !script.disk.isDead { script.server.threads.runAll() }
        try #require(script.disk.isDead)
        var steps = 1
        while true {
            do {
                try script.restart(crash, callsLeft: steps)
                script.run()
            } catch {
                #expect(script.disk.isDead, "the start fails: \(error)")
            }
            if !script.disk.isDead { break }
            steps += 1
            try #require(steps < 100)
        }
        #expect(steps > 4, "only \(steps) steps")
        script.disk.callsLeft = nil
        #expect(seen(script) == expected)
        let first = script.server.recovered
        try script.restart(crash)
        let again = script.server.recovered
        #expect(first.position.lastLSN == again.position.lastLSN && first.streamCount == again.streamCount)
        #expect(first.streams.map(\.name) == again.streams.map(\.name) && first.recordsReplayed == again.recordsReplayed)
        #expect(seen(script) == expected)
    }
}
