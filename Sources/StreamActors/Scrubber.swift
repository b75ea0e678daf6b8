// The scrub: reads every segment against its checksums while the server serves, slowly, over and over.
//
//     once a second: [cursor in the catalog] ─▶ disk worker: so many blocks ─▶ reactor: what is damaged, where to go on
//
// Damage is kept in memory for as long as the stream lives: reads of that range are refused, everything else goes on. What a scrub has not
// come to yet is served as it is; a checksum per read would cost every reader what one pass costs once.
// Damage is what the disk says: an error of reading, a file that is missing or short, a checksum that does not match. A process that is short of
// descriptors or memory has seen nothing; it looks again at the same place a little later.
// Invariant: at most one job is out, and it reads at most `rate` bytes.
//
// @unchecked Sendable: confined to the reactor, like `StreamContext`; a job has its own copy of the cursor.

import Glibc
import Reactor
import StreamRules
import StreamStore
import SystemCalls
import SystemPackage

public final class Scrubber: @unchecked Sendable {
    private struct Cursor: Sendable {
        /// Streams up to this id are done.
        var stream: UInt64 = 0
        /// In the next one: segments up to this base are done.
        var base: UInt64?
        /// In the next segment.
        var block = 0
    }

    private struct Finding: Sendable {
        let stream: UInt64
        let name: [UInt8]
        let range: Range<UInt64>
        let what: String
    }

    private struct Step: Sendable {
        var cursor: Cursor
        var findings: [Finding] = []
        var bytes = 0
        var isComplete = false
        /// Why it could not look.
        var obstacle: String?
    }

    private let context: StreamContext
    /// Bytes per second; 0: no scrub.
    public var rate: Int
    /// Milliseconds between two passes.
    public var pause: Int64
    private var cursor = Cursor()
    private var isOut = false
    private var resumesAt: Int64 = 0
    /// Bytes read and passes made, for the log and for tests.
    public private(set) var bytes = 0
    public private(set) var passes = 0
    private var obstacleLines = Interval(600_000)
    private static let obstaclePause: Int64 = 10_000

    public init(context: StreamContext, rate: Int, pause: Int64) {
        self.context = context
        self.rate = rate
        self.pause = pause
    }

    /// Called about once a second.
    public func tick() {
        guard rate > 0, !isOut, context.loop.now >= resumesAt else { return }
        isOut = true
        let (context, cursor, budget) = (context, cursor, rate)
        context.dispatcher.work(.background) {
            let step = Self.step(context, cursor, budget)
            context.dispatcher.post { self.done(step) }
        }
    }

    private func done(_ step: Step) {
        isOut = false
        bytes += step.bytes
        cursor = step.cursor
        for finding in step.findings where !context.deletedIDs.contains(finding.stream) {
            guard context.noteDamage(of: finding.stream, finding.range) else { continue }
            context.onDamage(
                finding.name, "bytes \(finding.range.lowerBound) to \(finding.range.upperBound) are damaged: \(finding.what)")
        }
        if let obstacle = step.obstacle {
            resumesAt = context.loop.now + Self.obstaclePause
            if obstacleLines.begins(context.loop.now) {
                context.onNote("the scrub cannot go on for the moment: \(obstacle)")
            }
        }
        if step.isComplete {
            passes += 1
            cursor = Cursor()
            resumesAt = context.loop.now + pause
        }
    }

    /// Streams in the order of their ids.
    private static func step(_ context: StreamContext, _ cursor: Cursor, _ budget: Int) -> Step {
        var step = Step(cursor: cursor)
        while step.bytes < budget {
            let next: (stream: UInt64, meta: SegmentMeta)?
            do throws(CatalogFault) {
                next = try context.catalog.nextSegment(after: step.cursor.stream, step.cursor.base)
            } catch {
                step.obstacle = "\(error)"
                return step
            }
            guard let segment = next else {
                step.isComplete = true
                return step
            }
            if segment.stream != step.cursor.stream {
                step.cursor = Cursor(stream: segment.stream)
            }
            let blocks = max(1, (budget - step.bytes) / SegmentMeta.blockLength)
            let path =
                context.streamsDirectory + "/" + SegmentFile.directory(stream: segment.stream) + "/"
                + SegmentFile.name(base: segment.meta.base)
            switch scan(context, path, segment.meta, step.cursor.block, blocks) {
            case .unknown(let what):
                step.obstacle = "\(path): \(what)"
                return step
            case .damaged(let at, let what):
                // The stream may have ended meanwhile, and its file with it.
                let now = try? context.catalog.segment(stream: segment.stream, base: segment.meta.base)
                if let now, now.end >= segment.meta.end, let image = try? context.catalog.image(id: segment.stream) {
                    let block = at / SegmentMeta.blockLength
                    let start = segment.meta.base + UInt64(block * SegmentMeta.blockLength)
                    step.findings.append(
                        Finding(
                            stream: segment.stream, name: image.name,
                            range: start..<min(segment.meta.end, start + UInt64(SegmentMeta.blockLength)), what: "\(path): \(what)"))
                }
                step.cursor.block = at / SegmentMeta.blockLength + 1
                step.bytes += SegmentMeta.blockLength
            case .sound(let bytes):
                step.bytes += max(bytes, 4096)
                step.cursor.block += (bytes + SegmentMeta.blockLength - 1) / SegmentMeta.blockLength
            }
            if step.cursor.block * SegmentMeta.blockLength >= Int(segment.meta.end - segment.meta.base) {
                step.cursor.base = segment.meta.base
                step.cursor.block = 0
            }
        }
        return step
    }

    /// Reads without displacing what readers need from the page cache.
    private static func scan(
        _ context: StreamContext, _ path: String, _ meta: SegmentMeta, _ block: Int, _ blocks: Int
    ) -> SegmentScan.Outcome {
        do throws(Errno) {
            let file = try context.disk.open(path, .readOnly)
            defer { withExtendedLifetime(file) {} }
            let offset = block * SegmentMeta.blockLength
            let count = min(blocks * SegmentMeta.blockLength, max(0, Int(meta.end - meta.base) - offset))
            let wasCached = file.descriptor.flatMap { FileCalls.isCached($0, offset: offset, count: count) }
            let outcome = SegmentScan.scan(file, meta, from: block, blocks: blocks)
            if wasCached == false, let descriptor = file.descriptor {
                FileCalls.advise(descriptor, offset: offset, count: count, willNeed: false)
            }
            return outcome
        } catch {
            return SegmentScan.judge(error, at: block * SegmentMeta.blockLength, doing: "opened")
        }
    }
}
