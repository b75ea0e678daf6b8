// The end of a stream: delete and expiry; forks that begin and end, and what was kept for them; the renewal of a time to live.

import Reactor
import StreamRules
import StreamStore

extension StreamActor {
    // MARK: Delete

    func delete(_ call: StreamCall) -> Outcome? {
        context.registry.withRoom(for: deleteRecord, urgent: true, call, at: self) {
            guard journalEnd(expired: false) else { preconditionFailure("there was room for the delete") }
            enqueue(.answer(.deleted, to: call.requester, tag: call.tag), after: image.appliedLSN)
            return nil
        }
    }

    /// With forks, the stream is kept for them.
    var deleteRecord: RecordBody {
        let retains = image.forks > 0
        return .delete(DeleteRecord(time: context.now, retains: retains, sourceID: retains ? nil : source?.id))
    }

    /// Journals a record without payload, if there is room; such records may use the last of it.
    private func journal(_ body: RecordBody) -> Bool {
        guard context.journal.reserve(JournalRecord.paddedLength(body, payload: 0), urgent: true, now: context.loop.now) == .available
        else { return false }
        image.appliedLSN = context.journal.add(body, stream: id, payload: UnsafeRawBufferPointer(start: nil, count: 0))
        return true
    }

    /// Ends the stream, and what was kept for it alone, up the chain.
    private func journalEnd(expired: Bool) -> Bool {
        guard journalOwnEnd(expired: expired) else { return false }
        if image.forks > 0 { return true }
        var ended = self
        var lsn = image.appliedLSN
        while let source = ended.source, let next = context.loop.isolated(source, { $0.forkEnded(lsn) }) {
            ended = source
            lsn = next
        }
        return true
    }

    private func journalOwnEnd(expired: Bool) -> Bool {
        guard journal(deleteRecord) else { return false }
        let keeps = image.forks > 0
        life = .ending(StreamLife.Ending(lsn: image.appliedLSN, keepsForForks: keeps, seen: life.seen(expired: expired)))
        if keeps {
            image.isRetained = true
            markDirty()
        }
        return true
    }

    // MARK: Forks

    /// A fork of this stream has been accepted with the record `lsn`.
    func forkBegan(_ lsn: UInt64) {
        image.forks += 1
        image.appliedLSN = lsn
        markDirty()
        // What the count decides is told to nobody before the count is durable.
        enqueue(.nothing, after: lsn)
    }

    /// The end of a fork has been accepted with the record `lsn`. When this stream was kept for it alone it is ended too; the LSN of that.
    private func forkEnded(_ lsn: UInt64) -> UInt64? {
        guard image.forks > 0 else {
            // Only a catalog that has lost a page says so.
            context.onDamage(name, "it counts no fork, and one of its forks ends")
            return nil
        }
        image.forks -= 1
        image.appliedLSN = lsn
        markDirty()
        enqueue(.nothing, after: lsn)
        guard image.forks == 0, image.isRetained else { return nil }
        guard journalOwnEnd(expired: false) else {
            context.orphans[id] = self
            return nil
        }
        enqueue(.nothing, after: image.appliedLSN)
        return image.appliedLSN
    }

    /// Ends a stream that was kept for forks which are gone.
    func reclaim() {
        guard life.isKeptForForks, image.forks == 0 else { return }
        if journalEnd(expired: false) { enqueue(.nothing, after: image.appliedLSN) } else { context.orphans[id] = self }
    }

    // MARK: Expiry

    var isExpired: Bool { life.isOpen && isOver }

    /// Whether the stream's time is over.
    var isOver: Bool {
        switch image.configuration.expiry {
        case .never: return false
        case .at(let moment, _): return context.calendar >= moment
        case .timeToLive:
            guard readers.count == 0, let deadline = image.configuration.expiry.deadline(renewed: lastAccess) else { return false }
            return context.now >= deadline
        }
    }

    /// Ends an expired stream like a delete. Without room in the journal it stays, unseen, and is tried again at the next touch.
    func expire() {
        guard life.isOpen, journalEnd(expired: true) else { return }
        enqueue(.nothing, after: image.appliedLSN)
    }

    /// Whether an access now goes beyond what a crash would keep; otherwise the access is noted and that is all.
    func renewalIsDue() -> Bool {
        guard case .timeToLive = image.configuration.expiry else { return false }
        lastAccess = max(lastAccess, context.now)
        return context.now > image.renewedUntil
    }

    /// Whether an access now is covered by a record that is not durable yet.
    var isRenewalUnderWay: Bool {
        guard case .timeToLive = image.configuration.expiry else { return false }
        return context.now > durable.renewedUntil
    }

    /// Records that the TTL is renewed until a little after now, so the next accesses need no record; false: there is no room.
    func journalRenewal(extra: Int64 = 0) -> Bool {
        let until = context.now + image.configuration.expiry.renewalGrain + extra
        guard journal(.renew(until: until)) else { return false }
        image.renewedUntil = until
        markDirty()
        enqueue(.nothing, after: image.appliedLSN)
        return true
    }

    /// Keeps a stream with live readers renewed on disk; called about once a second.
    func renewWhileLive() {
        guard readers.count > 0, life.isPresent else { return }
        lastAccess = max(lastAccess, context.now)
        if image.renewedUntil < context.now + 2_000 { _ = journalRenewal(extra: 2_000) }
    }
}
