// From the tail buffer to the segments, and out of existence.
//
//     none ──queueFlush──▶ queued ──its turn──▶ claimed ──flushed, failed──▶ none
//       └──────────────── a checkpoint's capture ───┘

import Reactor
import StreamRules
import StreamStore
import SystemPackage

/// The way of a stream's durable bytes to its segments.
enum FlushState {
    case none
    /// It stands in the context's queue.
    case queued
    /// A flush is under way, or a checkpoint has claimed the next one; these go on when it has ended.
    case claimed([@Sendable () -> Void])

    var isNone: Bool { if case .none = self { true } else { false } }
    var isClaimed: Bool { if case .claimed = self { true } else { false } }
}

extension StreamActor {
    /// Enters the stream for a flush of its durable bytes; they are written when its turn comes.
    func queueFlush() {
        guard flush.isNone, mayFlush else { return }
        flush = .queued
        context.flushQueue.append(self)
        context.startFlushes()
    }

    private var mayFlush: Bool {
        (life.isPresent || life.isKeptForForks) && image.flushed < durable.tail
    }

    func startQueuedFlush() {
        guard case .queued = flush else { return }
        guard mayFlush else {
            flush = .none
            return
        }
        flush = .claimed([])
        runFlush(upTo: durable.tail) { _ in }
    }

    /// Writes [flushed, end) to the segments; the caller has claimed it. `then` runs on the reactor, with nil when it failed.
    func runFlush(upTo end: UInt64, _ then: @escaping @Sendable (SegmentFlush.Result?) -> Void) {
        precondition(flush.isClaimed && end > image.flushed && end <= durable.tail, "a flush is claimed, and of durable bytes")
        context.flushesUnderWay += 1
        var active = image.active
        active.cuts = active.cuts.filter { $0 <= end }
        let job = SegmentFlush(
            disk: context.disk, root: context.streamsDirectory, stream: id, active: active, isFirst: image.flushed == image.start,
            bytes: image.tail.slices(from: image.flushed, to: end), segmentSize: context.limits.segmentSize, syncs: context.syncs)
        let context = context
        context.dispatcher.work(.checkpoint) {
            do throws(Errno) {
                let result = try job.run()
                context.dispatcher.post {
                    context.loop.isolated(self) { $0.flushed(result) }
                    then(result)
                }
            } catch {
                context.dispatcher.post {
                    context.loop.isolated(self) { $0.flushFailed(error) }
                    then(nil)
                }
            }
        }
    }

    /// The flush has ended, or will not be run: who waits for that goes on. What the stream leaves when it is gone goes.
    private func unclaim() {
        guard case .claimed(let waiting) = flush else { return }
        flush = .none
        if life.isGone { removeFiles() }
        for action in waiting { context.dispatcher.post(action) }
    }

    private func endFlush() {
        context.flushesUnderWay -= 1
        unclaim()
        context.startFlushes()
    }

    private func flushed(_ result: SegmentFlush.Result) {
        defer { endFlush() }
        image.take(result)
        if !life.isGone {
            unsaved.sealed += result.sealed
            // A handle of the segment that has just been sealed does not know its cuts.
            for segment in result.sealed { context.descriptors.remove(stream: id, base: segment.base) }
            image.tail.drop(below: image.flushed, keepLast: image.tail.footprint <= 256 * 1024)
            countFootprint()
            markDirty()
        }
    }

    private func flushFailed(_ error: Errno) {
        defer { endFlush() }
        if error.isNoSpace {
            // The bytes stay in memory and in the journal; a later flush or checkpoint tries again.
            context.onNoSpace()
        } else if error == .tooManyOpenFiles || error == .tooManyOpenFilesInSystem {
            // The bytes stay in memory and in the journal; a later flush or checkpoint tries again.
            context.onNote(
                "stream \(StreamLabel.text(name)): its segment could not be written: \(error.text); its data stays in the journal")
        } else {
            context.onFatal("stream \(StreamLabel.text(name)): writing its segment failed: \(error.text)")
        }
    }

    /// Gives the stream's memory and files back. The files go on a disk worker; responses that still read from them finish.
    func removeFiles() {
        if flush.isClaimed { return }
        let bases = image.sealed.map(\.base) + [image.active.base]
        for base in bases { context.descriptors.remove(stream: id, base: base) }
        image.tail.drop(below: UInt64.max, keepLast: false)
        countFootprint()
        // What is not known to be flushed may be all the same: by a process that was killed before its checkpoint.
        if image.flushed == image.start, id >= context.registry.firstNewStreamID { return }
        let (disk, root, id) = (context.disk, context.streamsDirectory, id)
        context.dispatcher.work(.background) { StreamFiles.remove(disk: disk, root: root, stream: id, bases: bases) }
    }

    // MARK: Checkpoint

    struct Capture: Sendable {
        let stream: StreamActor
        var image: StreamImage
        var inline: [ByteSlice]
        var sealed: [SegmentMeta]
        /// The stream's flush is claimed: bytes up to the image's tail are to be flushed before the entry is written.
        let needsFlush: Bool
    }

    enum CaptureAttempt {
        case captured(Capture)
        /// The stream is gone; the journal's delete record and `deletedIDs` speak for it.
        case gone
        /// A flush is under way, whose result belongs into the capture.
        case busy
    }

    /// What the catalog is to hold of the stream as accepted now. Valid once the journal has committed `image.appliedLSN`.
    func capture() -> CaptureAttempt {
        if life.isGone {
            unsaved.isDirty = false
            return .gone
        }
        if flush.isClaimed { return .busy }
        unsaved.isDirty = false
        var renewedUntil = image.renewedUntil
        if readers.count == 0, case .timeToLive = image.configuration.expiry {
            renewedUntil = lastAccess
            image.renewedUntil = min(image.renewedUntil, lastAccess)
        }
        let needsFlush = image.state.tail - image.flushed > UInt64(context.limits.inlineLimit)
        if needsFlush { flush = .claimed([]) }
        unsaved.isCaptured = true
        var (copy, inline) = image.forCatalog()
        copy.renewedUntil = renewedUntil
        image.unsavedProducers = [:]
        return .captured(Capture(stream: self, image: copy, inline: inline, sealed: unsaved.sealed, needsFlush: needsFlush))
    }

    /// Gives a claimed flush back that will not be run.
    func abandonFlush() { unclaim() }

    /// Runs `action` on the reactor when the flush that is claimed has ended.
    func whenFlushed(_ action: @escaping @Sendable () -> Void) {
        guard case .claimed(let waiting) = flush else { preconditionFailure("nobody has claimed a flush") }
        flush = .claimed(waiting + [action])
    }

    /// The catalog has taken the captured image, with these sealed segments.
    func saved(_ sealed: [SegmentMeta]) {
        unsaved.isCaptured = false
        unsaved.sealed.removeAll { segment in sealed.contains { $0.base == segment.base } }
    }
}
