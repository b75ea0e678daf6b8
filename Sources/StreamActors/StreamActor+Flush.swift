// From the tail buffer to the segments, and out of existence.

import Reactor
import StreamRules
import StreamStore
import SystemPackage

extension StreamActor {
    /// Enters the stream for a flush of its durable bytes; they are written when its turn comes.
    func queueFlush() {
        guard !flushing, !flushQueued, mayFlush else { return }
        flushQueued = true
        context.flushQueue.append(self)
        context.startFlushes()
    }

    private var mayFlush: Bool {
        (life == .present || life == .retiring || life == .retained) && image.flushed < durableTail
    }

    func startQueuedFlush() {
        flushQueued = false
        guard !flushing, mayFlush else { return }
        flushing = true
        runFlush(upTo: durableTail) { _ in }
    }

    /// Writes [flushed, end) to the segments; the caller has set `flushing`. `then` runs on the reactor, with nil when it failed.
    func runFlush(upTo end: UInt64, _ then: @escaping @Sendable (SegmentFlush.Result?) -> Void) {
        precondition(flushing && end > image.flushed && end <= durableTail, "a flush is claimed, and of durable bytes")
        context.flushesUnderWay += 1
        var active = image.active
        active.cuts = active.cuts.filter { $0 <= end }
        let flush = SegmentFlush(
            disk: context.disk, root: context.streamsDirectory, stream: id, active: active, isFirst: image.flushed == image.start,
            bytes: image.tail.slices(from: image.flushed, to: end), segmentSize: context.limits.segmentSize, syncs: context.syncs)
        let context = context
        context.dispatcher.work(.checkpoint) {
            do throws(Errno) {
                let result = try flush.run()
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

    private func endFlush() {
        flushing = false
        context.flushesUnderWay -= 1
        let waiting = afterFlush
        afterFlush = []
        for action in waiting { context.dispatcher.post(action) }
        context.startFlushes()
    }

    private func flushed(_ result: SegmentFlush.Result) {
        defer { endFlush() }
        if life == .gone {
            flushing = false
            image.take(result)
            removeFiles()
        } else {
            image.take(result)
            unsavedSealed += result.sealed
            // A handle of the segment that has just been sealed does not know its cuts.
            for segment in result.sealed { context.descriptors.remove(stream: id, base: segment.base) }
            image.tail.drop(below: image.flushed, keepLast: image.tail.footprint <= 256 * 1024)
            countFootprint()
            markDirty()
        }
    }

    private func flushFailed(_ error: Errno) {
        defer { endFlush() }
        if error == .noSpace || error == Errno(rawValue: 122) {
            // The bytes stay in memory and in the journal; a later flush or checkpoint tries again.
            context.onNoSpace()
        } else if error == .tooManyOpenFiles || error == .tooManyOpenFilesInSystem {
            // The bytes stay in memory and in the journal; a later flush or checkpoint tries again.
            context.onNote(
                "stream \(StreamLabel.text(name)): its segment could not be written: \(error.text); its data stays in the journal")
        } else {
            context.onFatal("stream \(StreamLabel.text(name)): writing its segment failed: \(error.text)")
        }
        if life == .gone {
            flushing = false
            removeFiles()
        }
    }

    /// Gives the stream's memory and files back. The files go on a disk worker; responses that still read from them finish.
    func removeFiles() {
        if flushing { return }
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
        if life == .gone {
            isDirty = false
            return .gone
        }
        if flushing { return .busy }
        isDirty = false
        var renewedUntil = image.renewedUntil
        if readerCount == 0, case .timeToLive = image.configuration.expiry {
            renewedUntil = lastAccess
            image.renewedUntil = min(image.renewedUntil, lastAccess)
        }
        let needsFlush = image.state.tail - image.flushed > UInt64(context.limits.inlineLimit)
        if needsFlush { flushing = true }
        isCaptured = true
        var (copy, inline) = image.forCatalog()
        copy.renewedUntil = renewedUntil
        image.unsavedProducers = [:]
        return .captured(Capture(stream: self, image: copy, inline: inline, sealed: unsavedSealed, needsFlush: needsFlush))
    }

    /// Gives a claimed flush back that will not be run.
    func abandonFlush() {
        flushing = false
        let waiting = afterFlush
        afterFlush = []
        for action in waiting { context.dispatcher.post(action) }
        if life == .gone { removeFiles() }
    }

    func whenFlushed(_ action: @escaping @Sendable () -> Void) { afterFlush.append(action) }

    /// The catalog has taken the captured image, with these sealed segments.
    func saved(_ sealed: [SegmentMeta]) {
        isCaptured = false
        unsavedSealed.removeAll { segment in sealed.contains { $0.base == segment.base } }
    }
}
