// A server from start to end.
//
//     data directory (lock, format) ─▶ catalog ─▶ recovery ─▶ journal ─▶ listeners ─▶ READY ─▶ turns …
//     SIGTERM/SIGINT ─▶ stop accepting ─▶ end waits, finish answers ─▶ checkpoint ─▶ exit 0
//     an error of the journal ─▶ 503 to whoever waits ─▶ exit 74, so that the next start recovers

import CLinux
import Glibc
import Logging
import Reactor
import ServerSettings
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls
import SystemPackage
import Systemd

struct LoopDispatcher: Dispatcher {
    let loop: EventLoop
    let workers: DiskWorkers
    func work(_ job: @escaping @Sendable () -> Void) { workers.submit(job) }
    func post(_ job: @escaping @Sendable () -> Void) { loop.post(job) }
}

public struct StartFault: Error, CustomStringConvertible {
    public let description: String
}

public final class ServerRuntime {
    /// EX_IOERR of sysexits.h: an error of the disk, after which the next start recovers.
    public static let exitIO: Int32 = 74

    private let settings: Settings
    private let logger = Logger(label: "durable-streams")
    private let loop: EventLoop
    private let workers: DiskWorkers
    private let journalThread: JournalThread
    private let directory: DataDirectory
    private let catalog: LMDBCatalog
    private let context: StreamContext
    private let registry: StreamRegistry
    private let checkpointer: Checkpointer
    private let core: ServerCore
    private let replayedStreams: Set<UInt64>
    private var listeners: [Listener] = []
    private var signals: SignalSource?
    private var draining = false
    private var finishing = false
    private var exitCode: Int32 = 0

    /// Opens everything up to and including the listeners. `onSignal` aside, nothing is served before `run`.
    public init(_ settings: Settings, dataDirectory: String) throws {
        self.settings = settings
        Processes.ignoreBrokenPipes()
        let descriptors = Processes.raiseDescriptorLimit()
        let budget = DescriptorBudget(settings: settings, descriptors: descriptors)
        let syncs = settings.durability == .always
        directory = try DataDirectory(dataDirectory)
        if syncs, FileCalls.isOnMemoryFileSystem(dataDirectory) {
            logger.warning(
                "the data directory is on a memory file system: durability is \"always\", but a reboot loses everything",
                metadata: ["data-dir": "\(dataDirectory)"])
        }
        loop = try EventLoop()
        loop.adoptCurrentThread()
        let blocked: [Int32] = [SIGTERM, SIGINT, SIGHUP]
        // Blocked before any thread is started, so that all threads inherit it.
        signals = nil
        let pending = PendingSignals()
        signals = try SignalSource(blocked, on: loop) { pending.action($0) }
        let disk = SystemDisk()
        let logger = logger
        catalog = try LMDBCatalog(directory: directory.catalog, syncs: syncs) { logger.notice("\($0)") }
        var lastProgress = Clocks.monotonicMilliseconds()
        var recovery = Recovery(disk: disk, journal: directory.journal, catalog: catalog) { fraction in
            let now = Clocks.monotonicMilliseconds()
            guard now - lastProgress >= 1000 else { return }
            lastProgress = now
            logger.notice("recovering", metadata: ["percent": "\(Int(fraction * 100))"])
            ServiceManager.extendTimeout(microseconds: 30_000_000, status: "recovering \(Int(fraction * 100)) %")
        }
        let recovered: Recovered
        do {
            recovered = try recovery.run()
        } catch let error as Errno {
            throw StartFault(description: "the journal in \(directory.journal) cannot be read: \(error.text)")
        }
        replayedStreams = Set(recovered.streams.map(\.id))
        for note in recovered.notes { logger.notice("recovery: \(note)") }
        if recovered.recordsReplayed > 0 {
            logger.notice(
                "recovered", metadata: ["records": "\(recovered.recordsReplayed)", "streams": "\(recovered.streams.count)"])
        }
        workers = DiskWorkers(count: settings.diskWorkers)
        journalThread = JournalThread()
        let dispatcher = LoopDispatcher(loop: loop, workers: workers)
        let journal: Journal
        do throws(Errno) {
            journal = try Journal(
                disk: disk, directory: directory.journal, lane: journalThread, dispatcher: dispatcher, syncs: syncs,
                sizeLimit: settings.journalSize, recovered: recovered.position)
        } catch {
            switch error {
            case .noSpace:
                throw StartFault(description: "the disk of the data directory \(dataDirectory) is full; free some space and start again")
            case .readOnlyFileSystem:
                throw StartFault(
                    description: "the data directory \(dataDirectory) is on a read-only file system; the server needs to write there")
            default: throw StartFault(description: "cannot create a journal file in \(directory.journal): \(error.text)")
            }
        }
        var limits = StoreLimits()
        limits.chunkSize = UInt32(settings.chunkSize)
        limits.segmentSize = settings.segmentSize
        limits.journalSize = settings.journalSize
        limits.tailBufferBudget = settings.tailBufferBudget
        limits.descriptorCache = budget.cachedFiles
        limits.checkpointMilliseconds = settings.checkpointInterval.milliseconds
        context = StreamContext(
            loop: loop, dispatcher: dispatcher, disk: disk, catalog: catalog, journal: journal, streamsDirectory: directory.streams,
            limits: limits, syncs: syncs,
            clock: ExpiryClock(
                wall: loop.wallNow, monotonic: loop.now, boot: Clocks.bootID(), saved: try catalog.mark().clock))
        registry = try StreamRegistry(context: context, recovered: recovered)
        checkpointer = Checkpointer(context: context, registry: registry)
        var responder = ResponderSettings()
        if case .only(let origins) = settings.corsOrigins { responder.origins = origins.map { Array($0.utf8) } }
        responder.publicCache = settings.cacheVisibility == .public
        core = ServerCore(
            loop: loop, limits: ServerLimits(settings, connections: budget.connections), registry: registry, checkpointer: checkpointer,
            dispatcher: dispatcher, responder: responder, logger: logger, logsAccess: settings.accessLog)
        context.sink = core
        context.onNote = { logger.warning("\($0)") }
        for address in settings.listen {
            do throws(Errno) {
                listeners.append(try Listener(address, server: core))
            } catch {
                throw StartFault(description: "cannot listen on \(address.description): \(error.text)")
            }
        }
        context.onFatal = { [unowned self] in fatal($0) }
        journal.onFailure = { [unowned self] error in fatal("the journal could not be made durable: \(error.text)") }
        loop.atEndOfTurn { [core] in core.endTurn() }
        pending.handler = { [unowned self] signal in
            switch signal {
            case SIGTERM, SIGINT: drain()
            default: logger.notice("SIGHUP: nothing is re-read by this version")
            }
        }
        if let portFile = settings.portFile { try writePortFile(portFile.string) }
    }

    /// Where the server listens, as a client writes it.
    public var addresses: [String] { listeners.map(\.description) }

    /// Signals that arrive before the server can act on them wait here.
    private final class PendingSignals {
        var handler: ((Int32) -> Void)?
        func action(_ signal: Int32) { handler?(signal) }
    }

    private func writePortFile(_ path: String) throws {
        guard let port = listeners.compactMap(\.port).first else { return }
        do throws(Errno) {
            let file = try SystemDisk().open(path + ".new", .createOrOpen)
            try file.truncate(size: 0)
            try file.write(Array("\(port)\n".utf8), at: 0)
            try FileCalls.rename(path + ".new", to: path)
        } catch {
            throw StartFault(description: "cannot write the port file \(path): \(error.text)")
        }
    }

    /// Serves until a signal or a fatal error; returns the exit status.
    public func run() -> Int32 {
        logger.notice(
            "serving",
            metadata: [
                "listen": "\(addresses.joined(separator: " "))", "data-dir": "\(directory.path)", "streams": "\(registry.streamCount)",
                "durability": "\(settings.durability.rawValue)",
            ])
        ServiceManager.ready(status: "serving \(registry.streamCount) streams")
        sweepLeftovers()
        tick()
        loop.run()
        return exitCode
    }

    /// Once a second: TTLs, the reaper, eviction, the journal's spare files.
    private func tick() {
        loop.schedule(after: 1000) { [self] in
            registry.tick()
            context.journal.trim(after: Int(context.limits.checkpointMilliseconds / 1000))
            tick()
        }
    }

    /// Removes the files of streams that neither the catalog nor the journal knows: what a crash in the middle of a removal left. Streams that
    /// only the journal knows may be flushed to their files while this runs.
    private func sweepLeftovers() {
        let (context, disk, root) = (context, SystemDisk(), directory.streams)
        let firstNew = registry.nextStreamID
        let replayed = replayedStreams
        context.dispatcher.work { [logger] in
            let removed = try? StreamFiles.sweep(disk: disk, root: root) { id in
                try id >= firstNew || replayed.contains(id) || context.catalog.image(id: id) != nil
            }
            if let removed, removed > 0 { logger.notice("removed files of deleted streams", metadata: ["streams": "\(removed)"]) }
        }
    }

    // MARK: Ending

    private func drain() {
        if draining {
            // Asked twice: wait no longer for the peers.
            core.closeAll()
            return
        }
        draining = true
        logger.notice("draining", metadata: ["connections": "\(core.connectionCount)"])
        ServiceManager.stopping()
        for listener in listeners { listener.close() }
        core.onConnectionsGone = { [self] in finish() }
        loop.schedule(after: core.limits.drainMilliseconds) { [self] in
            core.closeAll()
            finish()
        }
        core.drain()
    }

    private func finish() {
        guard !finishing else { return }
        finishing = true
        finishWhenIdle()
    }

    private func finishWhenIdle() {
        if context.journal.failure != nil {
            loop.stop()
            return
        }
        guard context.journal.isIdle else {
            context.journal.submit()
            loop.schedule(after: 1) { [self] in finishWhenIdle() }
            return
        }
        let confined = Confined(self)
        checkpointer.run { success in confined.value.checkpointed(success) }
    }

    private func checkpointed(_ success: Bool) {
        if success, context.journal.isIdle, !checkpointer.hasWork {
            // Every record is in the catalog: the next start replays nothing.
            try? context.journal.removeAllFiles()
        } else if success, context.journal.failure == nil {
            finishWhenIdle()
            return
        } else {
            logger.warning("the last checkpoint did not succeed; the next start replays the journal")
        }
        logger.notice("stopped")
        loop.stop()
    }

    private func fatal(_ reason: String) {
        guard exitCode == 0 else { return }
        exitCode = Self.exitIO
        logger.critical("\(reason); the server ends, and the next start recovers what was acknowledged")
        ServiceManager.failed(reason, errno: EIO)
        core.failPending()
        for listener in listeners { listener.close() }
        loop.stop()
    }
}

/// A value that is used on the reactor only, carried through a closure that must be Sendable.
///
/// @unchecked Sendable: the checkpointer, which keeps the closure, runs on the reactor and calls it there.
private struct Confined<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}
