// What the registry does now and then for all streams: it ends those whose time is over, renews those that have readers, drops those that nobody
// uses. Whatever concerns many streams is done in shares of a turn: another one follows while there is more, with the others' turns in between.
//
//     tick, once a second ─┬▶ renewals of streams with live readers
//                          ├▶ the reaper: the catalog's deadlines, a page at a time; the unsaved streams
//                          └▶ round the streams in memory, while there are too many or they hold too much

import StreamRules
import StreamStore

/// Where the registry is in all that.
struct RegistryRounds {
    var isReaping = false
    var reaperCursor: DueStream?
    /// When the reaper looks at all deadlines from the first one on again (monotonic ms).
    var reaperRestart: Int64 = 0
    var unsavedCursor = 0
    var isLookingAtUnsaved = false
    var isGoingRound = false
    var renewing: [StreamActor] = []
    /// What goes on when the journal has committed a batch.
    var afterCommit: [@Sendable () -> Void] = []
}

extension StreamRegistry {
    private static let dueAtOnce = 128
    private static let unsavedAtOnce = 2_048
    private static let visitedAtOnce = 128
    private static let renewedAtOnce = 256
    private static let reaperRestartMilliseconds: Int64 = 10_000
    /// A stream that was used so recently stays, unless there are far too many.
    private static let recentMilliseconds: Int64 = 1_000
    /// So many of a stream's producers make it worth dropping for them.
    private static let manyProducers = 64

    /// Called about once a second.
    public func tick() {
        if rounds.renewing.isEmpty {
            rounds.renewing = Array(context.liveTTL.values)
            renewSome()
        }
        if context.observeClock() != nil { clockHasJumped = true }
        let orphans = context.orphans
        context.orphans = [:]
        for stream in orphans.values { context.loop.isolated(stream) { $0.reclaim() } }
        reap()
        if !rounds.isLookingAtUnsaved {
            rounds.isLookingAtUnsaved = true
            rounds.unsavedCursor = 0
            reapUnsaved()
        }
        goRound()
    }

    private func renewSome() {
        for _ in 0..<min(Self.renewedAtOnce, rounds.renewing.count) {
            context.loop.isolated(rounds.renewing.removeLast()) { $0.renewWhileLive() }
        }
        if !rounds.renewing.isEmpty { context.dispatcher.post { self.renewSome() } }
    }

    /// Ends expired streams that nobody touches, a page of the catalog's deadlines at a time, as fast as they can be journalled. The cursor stays
    /// where it is: deadlines only move on, and what lies before has been seen. Now and then it begins anew, for what was put before it.
    private func reap() {
        if rounds.isReaping { return }
        rounds.isReaping = true
        if context.loop.now >= rounds.reaperRestart {
            rounds.reaperRestart = context.loop.now + Self.reaperRestartMilliseconds
            rounds.reaperCursor = nil
        }
        let (context, now, after) = (context, max(context.now, context.calendar), rounds.reaperCursor)
        context.dispatcher.work(.background) {
            let due = (try? context.catalog.due(before: now, after: after, limit: Self.dueAtOnce)) ?? []
            context.dispatcher.post { self.expire(due) }
        }
    }

    private func expire(_ due: [DueStream]) {
        rounds.isReaping = false
        for item in due where !context.deletedIDs.contains(item.id) {
            if let stream = table[item.name] {
                context.loop.isolated(stream) {
                    if $0.isExpired {
                        $0.expire()
                    } else if $0.image.isRetained {
                        $0.reclaim()
                    } else if $0.image.deadline != item.deadline {
                        // Renewed since; the next checkpoint moves its deadline in the catalog.
                        $0.markDirty()
                    }
                }
            } else {
                _ = execute(StreamCall(.metadata, of: item.name, requester: Nobody.shared, tag: 0))
            }
        }
        guard let last = due.last else { return }
        rounds.reaperCursor = last
        // The journal is not to be filled by this alone: the next page comes when it has taken this one.
        if due.count == Self.dueAtOnce { whenJournalled { self.reap() } }
    }

    /// Streams whose deadline the catalog does not know yet.
    private func reapUnsaved() {
        var left = Self.unsavedAtOnce
        while left > 0, rounds.unsavedCursor < context.dirty.count {
            left -= 1
            // Ending one may make its source dirty, which is added at the end.
            let stream = context.dirty[rounds.unsavedCursor]
            rounds.unsavedCursor += 1
            context.loop.isolated(stream) { if $0.isExpired { $0.expire() } }
        }
        if rounds.unsavedCursor >= context.dirty.count {
            rounds.isLookingAtUnsaved = false
        } else {
            whenJournalled { self.reapUnsaved() }
        }
    }

    /// Runs `action` in a later turn, when what has been gathered by now is on its way.
    private func whenJournalled(_ action: @escaping @Sendable () -> Void) {
        if context.journal.isIdle { context.dispatcher.post(action) } else { rounds.afterCommit.append(action) }
    }

    /// The journal has committed a batch.
    func journalCommitted() {
        if rounds.afterCommit.isEmpty { return }
        let actions = rounds.afterCommit
        rounds.afterCommit = []
        for action in actions { context.dispatcher.post(action) }
    }

    /// Goes round all streams in memory while there are more than the limit, or their tails take much: drops idle streams, and gives back what is
    /// only cached.
    private func goRound() {
        if rounds.isGoingRound { return }
        rounds.isGoingRound = true
        goRound(left: ring.count)
    }

    private func goRound(left: Int) {
        let excess = table.count - context.limits.idleStreams
        let trims = context.tailFootprint > context.limits.tailBufferBudget / 2
        let surplus = context.producers - context.limits.producersInMemory
        guard left > 0, excess > 0 || trims || surplus > 0 else {
            rounds.isGoingRound = false
            return
        }
        var evicted = 0
        let sparesRecent = excess < context.limits.idleStreams / 4
        let visited = ring.next(min(left, Self.visitedAtOnce))
        if visited.isEmpty {
            rounds.isGoingRound = false
            return
        }
        for stream in visited where evicted < excess || trims || surplus > 0 {
            let (isVictim, isHeavy) = context.loop.isolated(stream) { stream in
                if trims { stream.trimCache() }
                let isHeavy = context.producers > context.limits.producersInMemory && stream.counted.producers >= Self.manyProducers
                let spared = sparesRecent && !isHeavy && context.loop.now - stream.lastUsed < Self.recentMilliseconds
                return (stream.isIdle && !spared, isHeavy)
            }
            if isVictim, evicted < excess || isHeavy {
                evicted += 1
                evict(stream)
            }
        }
        let left = left - visited.count
        context.dispatcher.post { self.goRound(left: left) }
    }

    private func evict(_ stream: StreamActor) {
        unload(stream)
        context.removals += 1
        context.loop.isolated(stream) {
            context.tailFootprint -= $0.counted.footprint
            $0.life = .gone
            $0.countProducers()
        }
    }
}

/// Asks and does not listen.
final class Nobody: Requester {
    static let shared = Nobody()
    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {}
}
