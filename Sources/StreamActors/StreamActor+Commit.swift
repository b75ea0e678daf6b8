// What follows when records are durable: readers see more, writers are answered, a stream has ended. And the readers' coming and going.

import Reactor
import StreamRules
import StreamStore

extension StreamActor {
    /// Everything up to `lsn` is durable.
    func committed(through lsn: UInt64) {
        isTouched = false
        let before = durable
        let first = pending.head
        var ends: [UInt64] = []
        while let view = pending.pass(through: lsn) {
            if view.tail > durable.tail, readers.hasWaiting { ends.append(view.tail) }
            durable.advance(to: view)
        }
        let last = pending.head
        if last > first { life.becomesBorn() }
        let end = endIfDurable(lsn)
        // Answering may bring the next request of a connection, which adds to `pending`. A reader that comes to wait meanwhile has everything
        // already.
        let arrivals = readers.arrivals
        for index in first..<last {
            switch pending[index].due {
            case .nothing: break
            case .answer(let outcome, let requester, let tag): requester.answer(outcome, from: self, tag: tag)
            case .execute(let call): executeAnew(call)
            }
        }
        pending.forgetPassed()
        if !pending.isEmpty { touch() }
        if readers.hasWaiting, end != nil || durable.tail != before.tail || durable.closed != before.closed {
            publish(from: before.tail, ends: ends, end: end, sparesNewcomers: readers.arrivals != arrivals)
        }
        if end == .notFound { removeFiles() }
        if durable.tail - image.flushed >= UInt64(context.limits.flushThreshold) { queueFlush() }
    }

    /// How readers are told that the stream has ended, if the record of that is among those up to `lsn`.
    private func endIfDurable(_ lsn: UInt64) -> Refusal? {
        guard case .ending(let ending) = life, ending.lsn <= lsn else { return nil }
        if ending.keepsForForks {
            life = .retained
            return .retained
        }
        life = .gone
        countProducers()
        context.registry.streamEnded(self)
        return .notFound
    }

    private func publish(from: UInt64, ends: [UInt64], end: Refusal?, sparesNewcomers: Bool) {
        let publication = Publication(
            facts: facts, from: from, appendEnds: ends, slices: end != nil ? [] : image.tail.slices(from: from, to: durable.tail), end: end)
        let polls = readers.takePolls(sparing: sparesNewcomers ? durable.tail : nil)
        let followers = end == nil ? readers.followers : readers.takeFollowers()
        lastAccess = max(lastAccess, context.now)
        if !polls.isEmpty || !followers.isEmpty {
            context.fanouts.publish(publication, polls: polls, followers: followers, stream: self)
        }
        if readers.count == 0 { readersAreGone() }
    }

    // MARK: Readers

    /// The reader has everything up to `position`, the tail, and waits.
    func wait(_ reader: StreamReader, at position: UInt64) {
        reader.position = position
        readers.wait(reader)
        readerCame()
    }

    /// The reader goes on by reading, from `reader.position`.
    public func fallBehind(_ reader: StreamReader) {
        readers.fallBehind(reader)
        readerCame()
    }

    /// The reader is one no longer (time-out, disconnect, the end of what it was for). Constant time.
    public func leave(_ reader: StreamReader) {
        reader.end()
        guard readers.leave(reader) else { return }
        lastAccess = max(lastAccess, context.now)
        if readers.count == 0 { readersAreGone() }
    }

    /// Whether the reader waits. One that is being told something does not.
    public func isWaiting(_ reader: StreamReader) -> Bool { readers.isWaiting(reader) }

    private func readerCame() {
        if case .timeToLive = image.configuration.expiry { context.liveTTL[id] = self }
    }

    /// Nobody reads any more: from now on the TTL counts, on disk as well, where it has been renewed a little ahead of time or not yet.
    private func readersAreGone() {
        context.liveTTL[id] = nil
        guard life.isPresent, case .timeToLive = image.configuration.expiry else { return }
        if !renewalIsDue() || !journalRenewal() { markDirty() }
    }
}
