// What all the streams of one server share: the journal, the segments' descriptors, budgets, and the way to the readers.
//
// @unchecked Sendable: confined to the reactor. It is used by stream actors (whose executor the reactor is), by the registry and the
// checkpointer, all of which run on the loop's thread; `EventLoop.isolated` checks that at every entry into an actor.

import Reactor
import StreamRules
import StreamStore
import SystemPackage

public struct StoreLimits: Sendable {
    public var chunkSize: UInt32 = 1 << 20
    public var segmentSize = 64 << 20
    public var journalSize = 256 << 20
    /// All tail buffers together, bytes.
    public var tailBufferBudget = 256 << 20
    /// Beyond so many producers in memory, about half a kilobyte each, idle streams that remember many are dropped from it.
    public var producersInMemory = 131_072
    public var descriptorCache = 512
    /// Bytes that a stream may have in the catalog instead of a segment.
    public var inlineLimit = 4096
    /// From so many unflushed bytes on a stream is flushed without waiting for a checkpoint.
    public var flushThreshold = 4 << 20
    /// Flushes under way at once.
    public var flushConcurrency = 4
    /// Streams kept in memory though nobody uses them.
    public var idleStreams = 16_384
    /// Streams that have changed or ended since the last checkpoint, from which on one is due: they are all in memory.
    public var unsavedStreams = 32_768
    /// Commands that wait for a stream to be loaded or for room in the journal.
    public var parkedCommands = 65_536
    /// Content of commands that wait for room in the journal, bytes: a few of the largest bodies.
    public var parkedBytes = 512 << 20
    public var checkpointMilliseconds: Int64 = 30_000
    /// Forks in a line of forks of forks (ACCESS.md 16).
    public static let forkDepth = 1_000
    /// A JSON body of so many bytes is a worker's: smaller ones take less than half a millisecond.
    public var preparedBytes = 64 * 1024

    public init() {}
}

public final class StreamContext: @unchecked Sendable {
    public let loop: EventLoop
    public let dispatcher: any Dispatcher
    public let disk: any Disk
    public let catalog: any Catalog
    public let journal: Journal
    public let streamsDirectory: String
    public let limits: StoreLimits
    public let syncs: Bool
    /// Passes over readers.
    public private(set) var fanouts: FanoutList!
    @exclusivity(unchecked) private var clock: ExpiryClock

    var descriptors: DescriptorCache
    var touched: [StreamActor] = []
    var dirty: [StreamActor] = []
    /// Deleted streams whose entries are still in the catalog.
    var deletedIDs: Set<UInt64> = []
    /// Counts the checkpoints that have removed entries, and the evictions: a lookup that overlaps one may have seen an older entry.
    @exclusivity(unchecked) var removals = 0
    /// Streams that were kept for forks which are gone, and whose end the journal had no room for.
    var orphans: [UInt64: StreamActor] = [:]
    /// Ranges of streams whose bytes on the disk are not what was written (Scrubber).
    var damaged: [UInt64: [Range<UInt64>]] = [:]
    /// A producer that has been idle for so long may be forgotten, milliseconds. Changes when the configuration is read again.
    @exclusivity(unchecked) public var producerRetention: Int64 = 7 * 86_400_000
    /// Bytes of JSON that have been validated, each body once however long it waits.
    @exclusivity(unchecked) package internal(set) var bytesPrepared = 0
    @exclusivity(unchecked) var tailFootprint = 0
    /// Producers that the streams in memory remember.
    @exclusivity(unchecked) var producers = 0
    @exclusivity(unchecked) var flushesUnderWay = 0
    var flushQueue: [StreamActor] = []
    /// Streams with a TTL that have live readers; the registry renews them.
    var liveTTL: [UInt64: StreamActor] = [:]
    /// Made right behind the context, and kept as long.
    unowned(unsafe) var registry: StreamRegistry!
    /// A write to a segment or the catalog failed in a way after which nothing is certain; the server must end and recover.
    public var onFatal: (String) -> Void = { _ in }
    public var onNote: (String) -> Void = { _ in }
    /// Something was refused or put off for want of space on the disk.
    public var onNoSpace: () -> Void = {}
    /// A stream's name and what is damaged in it.
    public var onDamage: ([UInt8], String) -> Void = { _, _ in }

    public init(
        loop: EventLoop, dispatcher: any Dispatcher, disk: any Disk, catalog: any Catalog, journal: Journal, streamsDirectory: String,
        limits: StoreLimits, syncs: Bool, clock: ExpiryClock
    ) {
        self.clock = clock
        self.loop = loop
        self.dispatcher = dispatcher
        self.disk = disk
        self.catalog = catalog
        self.journal = journal
        self.streamsDirectory = streamsDirectory
        self.limits = limits
        self.syncs = syncs
        descriptors = DescriptorCache(capacity: limits.descriptorCache)
        fanouts = FanoutList(self)
    }

    /// Expiry time, Unix milliseconds: what the moments in records are.
    var now: Int64 { clock.now(loop.now) }
    /// By which `Stream-Expires-At` is judged, Unix milliseconds.
    var calendar: Int64 { clock.calendar(wall: loop.wallNow, loop.now) }
    var clockReading: ExpiryClock.Reading { clock.reading(wall: loop.wallNow, loop.now) }

    /// Remembers bytes that are not what was written, ascending and joined; false: that was known.
    func noteDamage(of stream: UInt64, _ range: Range<UInt64>) -> Bool {
        var ranges = damaged[stream] ?? []
        if ranges.contains(where: { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound }) { return false }
        var joined = range
        ranges.removeAll { other in
            guard other.lowerBound <= joined.upperBound, joined.lowerBound <= other.upperBound else { return false }
            joined = min(other.lowerBound, joined.lowerBound)..<max(other.upperBound, joined.upperBound)
            return true
        }
        ranges.insert(joined, at: ranges.firstIndex { $0.lowerBound > joined.lowerBound } ?? ranges.count)
        damaged[stream] = ranges
        return true
    }

    /// Compares the clocks; by how much the wall clock has jumped.
    func observeClock() -> Int64? {
        guard let jump = clock.observe(wall: loop.wallNow, loop.now) else { return nil }
        let ahead = clock.drift
        let state =
            abs(ahead) <= ExpiryClock.tolerance
            ? "it is right again" : "times to live go on without it, and no stream expires by it alone for an hour"
        onNote("the wall clock has jumped by \(jump / 1000) s: \(state)")
        return jump
    }

    /// Runs on the loop after each commit: every stream with something in the batch completes it.
    func committed(_ lsn: UInt64) {
        let streams = touched
        touched = []
        for stream in streams { loop.isolated(stream) { $0.committed(through: lsn) } }
        registry.journalCommitted()
    }

    /// Starts queued flushes while fewer than `flushConcurrency` are under way.
    func startFlushes() {
        while flushesUnderWay < limits.flushConcurrency, !flushQueue.isEmpty {
            let stream = flushQueue.removeFirst()
            loop.isolated(stream) { $0.startQueuedFlush() }
        }
    }
}
