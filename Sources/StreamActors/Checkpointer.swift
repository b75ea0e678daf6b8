// The checkpoint: brings the catalog up to the journal, so that the journal can be dropped.
//
//     capture dirty streams ─▶ wait until the journal has committed all that was captured ─▶ flush the large ones
//       ─▶ commit entries to the catalog, batch by batch ─▶ with the last: the mark (cutoff LSN) ─▶ release journal files
//
// It is fuzzy: the server goes on, and a stream that changes after its capture is dirty again. Each entry carries the LSN it contains,
// so replay skips what is in it already. Invariant: when the mark says LSN c, every record up to c is contained in an entry, or belongs
// to a stream whose delete is durable.
//
// @unchecked Sendable: confined to the reactor, like `StreamContext`.

import Reactor
import StreamRules
import StreamStore

public final class Checkpointer: @unchecked Sendable {
    private let context: StreamContext
    private let registry: StreamRegistry
    @exclusivity(unchecked) private var running = false
    private var queue: [StreamActor] = []
    private var captures: [StreamActor.Capture] = []
    /// Ended streams whose entries are still to be removed before the mark may move.
    private var removals: [UInt64]?
    private static let entriesAtOnce = 1024
    @exclusivity(unchecked) private var busy = 0
    @exclusivity(unchecked) private var cutoff: UInt64 = 0
    @exclusivity(unchecked) private var highestLSN: UInt64 = 0
    @exclusivity(unchecked) private var failed = false
    private var flushes: [Int] = []
    @exclusivity(unchecked) private var flushesOut = 0
    @exclusivity(unchecked) private var waitingForCommit = false
    private var completions: [@Sendable (Bool) -> Void] = []
    @exclusivity(unchecked) private var bytesAtLast = 0
    @exclusivity(unchecked) private var lastAt: Int64
    /// When it was last looked at whether one is due, and bytes journalled then.
    @exclusivity(unchecked) private var lookedAt: Int64 = 0
    @exclusivity(unchecked) private var lookedAtBytes = -1
    private static let lookMilliseconds: Int64 = 100
    @exclusivity(unchecked) public private(set) var count = 0

    public init(context: StreamContext, registry: StreamRegistry) {
        self.context = context
        self.registry = registry
        lastAt = context.loop.now
    }

    /// Starts a checkpoint when one is due. Cheap; called at the end of each turn and once a second.
    public func runIfDue() {
        if running || !mayBeDue { return }
        lookedAtBytes = context.journal.bytesSubmitted
        lookedAt = context.loop.now
        let written = context.journal.bytesSubmitted - bytesAtLast
        if registry.clockHasJumped {
            registry.clockHasJumped = false
            run()
        } else if context.journal.needsCheckpoint && (!context.journal.checkpointFails || context.loop.now - lastAt > 1_000) {
            run()
        } else if written > context.limits.journalSize / 2
            || max(context.dirty.count, context.deletedIDs.count) > context.limits.unsavedStreams
                && context.loop.now - lastAt > (context.journal.checkpointFails ? 1_000 : 250)
            || context.tailFootprint > context.limits.tailBufferBudget
                && context.loop.now - lastAt > 1_000
        {
            run()
        } else if context.loop.now - lastAt >= context.limits.checkpointMilliseconds {
            if context.dirty.isEmpty && context.deletedIDs.isEmpty { lastAt = context.loop.now } else { run() }
        }
    }

    /// Whether it is worth looking again: something has been journalled, time has passed, or somebody waits.
    private var mayBeDue: Bool {
        context.journal.bytesSubmitted != lookedAtBytes || context.loop.now - lookedAt >= Self.lookMilliseconds
            || context.journal.needsCheckpoint || registry.clockHasJumped
    }

    /// Whether something has changed since the last capture.
    public var hasWork: Bool { !context.dirty.isEmpty || !context.deletedIDs.isEmpty }

    /// Starts a checkpoint, or joins the one that runs. `then` gets whether it succeeded.
    public func run(_ then: (@Sendable (Bool) -> Void)? = nil) {
        if let then { completions.append(then) }
        if running { return }
        running = true
        failed = false
        bytesAtLast = context.journal.bytesSubmitted
        lastAt = context.loop.now
        cutoff = context.journal.committedLSN
        highestLSN = 0
        captures = []
        removals = nil
        queue = context.dirty
        context.dirty = []
        captureSome()
    }

    /// A slice per turn, so that many dirty streams stall nobody.
    private func captureSome() {
        for _ in 0..<min(256, queue.count) { capture(queue.removeLast()) }
        if queue.isEmpty { captured() } else { context.dispatcher.post { self.captureSome() } }
    }

    private func capture(_ stream: StreamActor) {
        switch context.loop.isolated(stream, { $0.capture() }) {
        case .gone: break
        case .captured(let capture):
            highestLSN = max(highestLSN, capture.image.appliedLSN)
            captures.append(capture)
        case .busy:
            busy += 1
            context.loop.isolated(stream) {
                $0.whenFlushed {
                    self.busy -= 1
                    self.capture(stream)
                    self.captured()
                }
            }
        }
    }

    private func captured() {
        guard queue.isEmpty, busy == 0, !waitingForCommit else { return }
        waitingForCommit = true
        waitForCommit()
    }

    private func waitForCommit() {
        if context.journal.failure != nil {
            finish(false)
            return
        }
        if context.journal.committedLSN >= highestLSN {
            flushes = captures.indices.filter { captures[$0].needsFlush }
            flushSome()
        } else {
            commitWaiter = { self.waitForCommit() }
        }
    }

    private var commitWaiter: (() -> Void)?

    /// The server tells that the journal has committed more.
    public func journalCommitted() {
        guard let waiter = commitWaiter else { return }
        commitWaiter = nil
        waiter()
    }

    private func flushSome() {
        while flushesOut < context.limits.flushConcurrency, let index = flushes.popLast() {
            flushesOut += 1
            let capture = captures[index]
            let tail = capture.image.state.tail
            context.loop.isolated(capture.stream) { stream in
                if stream.life.isGone {
                    stream.abandonFlush()
                    self.flushDone(index, nil, gone: true)
                } else {
                    stream.runFlush(upTo: tail) { self.flushDone(index, $0, gone: false) }
                }
            }
        }
        if flushes.isEmpty && flushesOut == 0 && waitingForCommit {
            waitingForCommit = false
            commitSome()
        }
    }

    private func flushDone(_ index: Int, _ result: SegmentFlush.Result?, gone: Bool) {
        flushesOut -= 1
        if let result {
            captures[index].image.take(result)
            captures[index].inline = []
            captures[index].sealed += result.sealed
        } else if !gone {
            failed = true
        } else {
            captures[index].inline = []
            captures[index].image.flushed = captures[index].image.state.tail
        }
        context.dispatcher.post { self.flushSome() }
    }

    private func commitSome() {
        if failed {
            finish(false)
            return
        }
        // Bounded by entries, producers and inline bytes, so that one transaction stays small.
        var batch: [StreamActor.Capture] = []
        var bytes = 0
        while batch.count < Self.entriesAtOnce, bytes < 16 << 20, let capture = captures.popLast() {
            // A stream that has ended since is removed below; its captured segments may be gone.
            if context.deletedIDs.contains(capture.image.id) {
                context.loop.isolated(capture.stream) { $0.unsaved.isCaptured = false }
                continue
            }
            bytes += 512 * (1 + capture.image.unsavedProducers.count) + capture.inline.reduce(0) { $0 + $1.count }
            batch.append(capture)
        }
        // What has ended by now, as soon as all entries are written: with the mark their deletes may leave the journal.
        if captures.isEmpty, removals == nil { removals = Array(context.deletedIDs) }
        var ended: [UInt64] = []
        while ended.count + batch.count < Self.entriesAtOnce, let id = removals?.popLast() { ended.append(id) }
        let removed = ended
        let isLast = captures.isEmpty && (removals?.isEmpty ?? false)
        let mark = isLast ? CatalogMark(checkpointLSN: cutoff, nextStreamID: registry.nextStreamID, clock: context.clockReading) : nil
        let changes = batch.map { CatalogChange.put($0.image, inline: $0.inline, sealed: $0.sealed) } + removed.map { .remove(id: $0) }
        let (context, done) = (context, batch)
        context.dispatcher.work(.checkpoint) {
            do throws(CatalogFault) {
                try context.catalog.commit(changes, mark: mark)
                context.dispatcher.post { self.committed(done, removed, isLast) }
            } catch {
                context.dispatcher.post { self.commitFailed(done, error) }
            }
        }
    }

    private func committed(_ batch: [StreamActor.Capture], _ removed: [UInt64], _ isLast: Bool) {
        for capture in batch { context.loop.isolated(capture.stream) { $0.saved(capture.sealed) } }
        if !removed.isEmpty { context.removals += 1 }
        for id in removed { context.deletedIDs.remove(id) }
        if !isLast {
            commitSome()
            return
        }
        count += 1
        finish(true)
        context.journal.release(through: cutoff)
    }

    private func commitFailed(_ batch: [StreamActor.Capture], _ fault: CatalogFault) {
        captures += batch
        if fault.isNoSpace {
            context.onNoSpace()
            context.onNote("the checkpoint is put off: \(fault)")
        } else {
            context.onFatal("the checkpoint failed: \(fault)")
        }
        finish(false)
    }

    private func finish(_ success: Bool) {
        waitingForCommit = false
        context.journal.checkpointFails = !success
        if success { ended(true) } else { giveBack() }
    }

    /// Nothing is lost by a failure: the journal keeps all records, and the streams are tried again. A slice per turn.
    private func giveBack() {
        for _ in 0..<min(256, captures.count) {
            let capture = captures.removeLast()
            context.loop.isolated(capture.stream) {
                $0.unsaved.isCaptured = false
                // What has changed since is newer.
                $0.image.unsavedProducers.merge(capture.image.unsavedProducers) { newer, _ in newer }
                $0.markDirty()
            }
        }
        if captures.isEmpty { ended(false) } else { context.dispatcher.post { self.giveBack() } }
    }

    private func ended(_ success: Bool) {
        running = false
        // Whoever waits for room is told that there is none.
        if !success { context.journal.onRoom() }
        let waiting = completions
        completions = []
        for then in waiting { then(success) }
    }
}
