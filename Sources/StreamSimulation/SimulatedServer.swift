// One life of a server without its network: the real registry, actors, journal, checkpointer and recovery, over simulated surroundings.
//
// Starts as ServerRuntime does, and ends as it does: by a fatal error, in order, or by a crash at any call.
//
// @unchecked Sendable: confined to the simulation's thread, which is the loop's.

import Reactor
import StreamActors
import StreamRules
import StreamStore
import SystemCalls
import SystemPackage

/// The time of all lives of a server.
public final class VirtualClock: @unchecked Sendable {
    public private(set) var monotonic: Int64 = 1_000
    public private(set) var wall: Int64 = 1_800_000_000_000

    /// Which start of the machine this is.
    public private(set) var boot = 1

    public init() {}

    public func reboot() {
        boot += 1
        monotonic = 1_000
    }

    public func advance(_ milliseconds: Int64) {
        monotonic += milliseconds
        wall += milliseconds
    }

    public var clocks: Clocks { Clocks(monotonic: { self.monotonic }, wall: { self.wall }) }
}

/// What a seed makes small.
public struct SimulatedLimits: Sendable {
    public var store = StoreLimits()
    public var journal = Journal.Sizes()

    public init() {}

    /// Sizes at which everything that happens once a day happens every few commands.
    public init(_ dice: Dice) {
        store.chunkSize = UInt32(dice.number(16, 64))
        store.segmentSize = dice.number(32, 256)
        store.tailBufferBudget = dice.pick([0, 2_000, 1 << 20])
        store.descriptorCache = dice.number(1, 4)
        store.inlineLimit = dice.pick([0, 8, 64])
        store.flushThreshold = dice.pick([1, 40, 200, 100_000])
        store.flushConcurrency = dice.number(1, 3)
        store.idleStreams = dice.pick([0, 1, 2, 4])
        store.checkpointMilliseconds = Int64(dice.pick([1, 300, 1_500, 9_000]))
        journal.firstFile = 8_192
        journal.smallestFile = dice.pick([8_192, 16_384])
        journal.urgentRoom = dice.pick([128, 512])
        store.journalSize = journal.smallestFile * dice.number(2, 5)
        store.preparedBytes = dice.pick([1, 24, 1 << 16])
    }
}

public final class SimulatedServer: @unchecked Sendable {
    public let disk: SimulatedDisk
    public let catalog: SimulatedCatalog
    public let threads = SimulatedThreads()
    public let loop: EventLoop
    public let context: StreamContext
    public let registry: StreamRegistry
    public let checkpointer: Checkpointer
    private let scrubber: Scrubber
    public let recovered: Recovered
    /// Why the server ends by itself.
    public private(set) var fatal: String?
    /// What the scrub has found.
    public private(set) var damage: [String] = []
    private var nextTick: Int64
    private var ending = false
    /// The last checkpoint of an orderly end has been made.
    public private(set) var hasEnded = false

    public static let journalDirectory = "/data/journal"
    public static let streamsDirectory = "/data/streams"

    public init(disk: SimulatedDisk, catalog: SimulatedCatalog, clock: VirtualClock, limits: SimulatedLimits) throws {
        self.disk = disk
        self.catalog = catalog
        loop = try EventLoop(clocks: clock.clocks)
        loop.adoptCurrentThread()
        var recovery = Recovery(disk: disk, journal: Self.journalDirectory, catalog: catalog)
        recovered = try recovery.run()
        let journal = try Journal(
            disk: disk, directory: Self.journalDirectory, lane: threads, dispatcher: threads, syncs: true,
            sizeLimit: limits.store.journalSize, recovered: recovered.position, sizes: limits.journal, clock: { clock.monotonic })
        context = StreamContext(
            loop: loop, dispatcher: threads, disk: disk, catalog: catalog, journal: journal, streamsDirectory: Self.streamsDirectory,
            limits: limits.store, syncs: true,
            clock: ExpiryClock(
                wall: clock.wall, monotonic: clock.monotonic, boot: Array("\(clock.boot)".utf8), saved: try catalog.mark().clock)
        )
        registry = try StreamRegistry(context: context, recovered: recovered)
        checkpointer = Checkpointer(context: context, registry: registry)
        scrubber = Scrubber(context: context, rate: 1 << 20, pause: 0)
        nextTick = clock.monotonic + 1_000
        context.onFatal = { [unowned self] in fatal = fatal ?? $0 }
        context.onDamage = { [unowned self] name, what in damage.append("\(StreamLabel.text(name)): \(what)") }
        journal.onFailure = { [unowned self] in fatal = fatal ?? "the journal could not be made durable: \($0.text)" }
        registry.sweepLeftovers()
    }

    /// As ServerCore ends a turn of the loop.
    public func endTurn() {
        registry.startLookups()
        context.journal.submit()
        checkpointer.runIfDue()
        checkpointer.journalCommitted()
        if ending { continueEnding() }
    }

    /// Reads the clock; once a second the registry looks after the time.
    public func passTime() {
        loop.runTurn(waiting: false)
        if loop.now >= nextTick {
            nextTick = loop.now + 1_000
            registry.tick()
            scrubber.tick()
            context.journal.trim()
        }
        endTurn()
    }

    public var isIdle: Bool { threads.isIdle && context.journal.isIdle }

    // MARK: An orderly end

    public func end() {
        ending = true
        continueEnding()
    }

    private func continueEnding() {
        guard fatal == nil, context.journal.isIdle, !hasEnded else { return }
        ending = false
        checkpointer.run { [unowned self] success in
            if success, context.journal.isIdle, !checkpointer.hasWork {
                try? context.journal.removeAllFiles()
                hasEnded = true
            } else if success, context.journal.failure == nil {
                ending = true
            } else {
                hasEnded = true
            }
        }
    }

    /// The process is gone: whatever it still held is dropped.
    public func drop() {
        disk.kill()
        threads.close()
        registry.abandon()
        threads.close()
    }
}
