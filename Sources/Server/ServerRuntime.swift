// A server from start to end.
//
//     data directory (lock, format) ─▶ catalog ─▶ recovery ─▶ journal ─▶ listeners ─▶ READY ─▶ turns …
//     ServerRuntime.swift          the start, and what is done once a second
//     ServerRuntime+TLS.swift      certificates: the start, and when their files change
//     ServerRuntime+Reload.swift   the configuration read again; what the service manager is told
//     ServerRuntime+End.swift      the end: by a signal, or by an error of the journal

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
import TransportSecurity

public struct StartFault: Error, CustomStringConvertible {
    public let description: String
    /// The system's error behind it, if there is one.
    public var errno: Int32?
}

/// What a server is started with besides its settings.
public struct StartConditions: Sendable {
    /// Whoever started it and wants to know how it does.
    public var manager = ServiceManager(socketName: nil)
    /// Listening sockets that were passed.
    public var sockets: [PassedSocket] = []
    /// Whether `listen` was set somewhere; its default does not count beside passed sockets.
    public var listensBesides = true
    /// Reads the configuration again, on any thread.
    public var reread: (@Sendable () throws(SettingsFailure) -> Settings)?

    public init() {}
}

public final class ServerRuntime {
    /// EX_IOERR of sysexits.h: an error of the disk, after which the next start recovers.
    public static let exitIO: Int32 = 74

    var settings: Settings
    let manager: ServiceManager
    let reread: (@Sendable () throws(SettingsFailure) -> Settings)?
    let descriptors: Int
    let logger = Logger(label: "durable-streams")
    let loop: EventLoop
    let workers: DiskWorkers
    private let journalThread: JournalThread
    let directory: DataDirectory
    let catalog: LMDBCatalog
    let context: StreamContext
    let registry: StreamRegistry
    let checkpointer: Checkpointer
    private let diskWatch: DiskWatch
    let scrubber: Scrubber
    let core: ServerCore
    var listeners: [Listener] = []
    private var signals: SignalSource?
    var material: TLSMaterial?
    var tickets: SessionTicketKeys?
    var isLoadingTLS = false
    var loadsTLSAgain = false
    var tlsFault: String?
    var tlsLookedAt: Int64 = 0
    var draining = false
    var finishing = false
    var exitCode: Int32 = 0

    enum Reload {
        case none
        /// A worker reads the configuration; `again`: asked for once more meanwhile.
        case reading(again: Bool)
    }
    var reload = Reload.none
    /// What the service manager was told last, and when.
    var status = ""
    var statusToldAt: Int64 = 0
    /// Stands behind the status while the configuration file has faults.
    var reloadFault: String?

    /// The status is told again at most so often.
    static let statusMilliseconds: Int64 = 5_000
    /// What is asked for beyond the drain's own time, for the last checkpoint.
    static let checkpointMicroseconds: UInt64 = 60_000_000

    /// Opens everything up to and including the listeners. Signals aside, nothing is served before `run`.
    public init(_ settings: Settings, dataDirectory: String, _ conditions: StartConditions = StartConditions()) throws {
        self.settings = settings
        let manager = conditions.manager
        self.manager = manager
        reread = conditions.reread
        Processes.ignoreSignals()
        Allocator.prepare()
        TLSLibrary.prepare()
        descriptors = Processes.raiseDescriptorLimit()
        let budget = DescriptorBudget(settings: settings, descriptors: descriptors)
        let syncs = settings.durability == .always
        directory = try DataDirectory(dataDirectory)
        if syncs, FileCalls.isOnMemoryFileSystem(dataDirectory) {
            logger.log(
                .warning, .dataInMemory,
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
        let recovered = try Self.recover(disk, directory, catalog, manager, logger)
        for note in recovered.notes { logger.notice("recovery: \(note)") }
        if recovered.recordsReplayed > 0 {
            logger.log(
                .notice, .recovered, "recovered",
                metadata: ["records": "\(recovered.recordsReplayed)", "streams": "\(recovered.streams.count)"])
        }
        workers = LoopDispatcher.workers(readers: settings.diskWorkers)
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
                throw StartFault(
                    description: "the disk of the data directory \(dataDirectory) is full; free some space and start again",
                    errno: error.rawValue)
            case .readOnlyFileSystem:
                throw StartFault(
                    description: "the data directory \(dataDirectory) is on a read-only file system; the server needs to write there",
                    errno: error.rawValue)
            default:
                throw StartFault(
                    description: "cannot create a journal file in \(directory.journal): \(error.text)", errno: error.rawValue)
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
        context.producerRetention = settings.producerRetention.milliseconds
        registry = try StreamRegistry(context: context, recovered: recovered)
        checkpointer = Checkpointer(context: context, registry: registry)
        scrubber = Scrubber(context: context, rate: settings.scrubRate, pause: settings.scrubPause.milliseconds)
        core = ServerCore(
            loop: loop, limits: ServerLimits(settings, connections: budget.connections), registry: registry, checkpointer: checkpointer,
            dispatcher: dispatcher, responder: Self.responder(settings), router: Self.router(settings),
            isTrustedProxy: settings.trustedProxies.contains, logger: logger, logsAccess: settings.accessLog)
        diskWatch = DiskWatch(dataDirectory, loop: loop, dispatcher: dispatcher, logger: logger)
        context.onNoSpace = { [diskWatch] in diskWatch.isFull() }
        context.onNote = { [logger] in logger.log(.warning, .storageTrouble, "\($0)") }
        context.onDamage = { [logger] name, what in
            logger.log(.critical, .dataDamaged, "stored data is damaged: \(what)", metadata: ["stream": "\(StreamLabel.text(name))"])
        }
        try startTLS(conditions)
        try listen(conditions)
        if let port = listeners.first(where: { $0.spoken == .tls })?.port { core.securePort = port }
        context.onFatal = { [unowned self] in fatal($0) }
        journal.onFailure = { [unowned self] error in fatal("the journal could not be made durable: \(error.text)") }
        loop.atEndOfTurn { [core] in core.endTurn() }
        pending.handler = { [unowned self] signal in
            switch signal {
            case SIGTERM, SIGINT: drain()
            default: readConfigurationAgain()
            }
        }
        if let portFile = settings.portFile { try writePortFile(portFile.string) }
    }

    private static func recover(
        _ disk: SystemDisk, _ directory: DataDirectory, _ catalog: LMDBCatalog, _ manager: ServiceManager, _ logger: Logger
    ) throws -> Recovered {
        try StartWatch.during(manager: manager) { watch in
            var lastProgress = Clocks.monotonicMilliseconds()
            var recovery = Recovery(disk: disk, journal: directory.journal, catalog: catalog) { fraction in
                watch.progress(fraction)
                let now = Clocks.monotonicMilliseconds()
                guard now - lastProgress >= 1000 else { return }
                lastProgress = now
                logger.notice("recovering", metadata: ["percent": "\(Int(fraction * 100))"])
            }
            do {
                return try recovery.run()
            } catch let error as Errno {
                throw StartFault(
                    description: "the journal in \(directory.journal) cannot be read: \(error.text)", errno: error.rawValue)
            }
        }
    }

    /// Passed sockets first, then what `listen` says, unless it is one of them.
    func listen(_ conditions: StartConditions) throws {
        for passed in conditions.sockets {
            do throws(Errno) {
                listeners.append(try Listener(passed, server: core))
            } catch {
                throw StartFault(
                    description: "cannot accept on the passed socket \(passed.name) (descriptor \(passed.descriptor)): \(error.text)",
                    errno: error.rawValue)
            }
        }
        if !conditions.sockets.isEmpty, !conditions.listensBesides { return }
        // The default does not count beside addresses that were chosen.
        let inClear = conditions.listensBesides || settings.listenTLS.isEmpty ? settings.listen : []
        let wanted: [(ListenAddress, Listener.Spoken)] =
            inClear.map { ($0, .clear) } + settings.listenTLS.map { ($0, .tls) } + settings.listenRedirect.map { ($0, .redirect) }
        for (address, spoken) in wanted where !listeners.contains(where: { $0.isPassed && $0.serves(address) }) {
            do throws(Errno) {
                listeners.append(try Listener(address, spoken, server: core))
            } catch {
                throw StartFault(description: "cannot listen on \(address.description): \(error.text)", errno: error.rawValue)
            }
        }
    }

    /// Where the server listens, as a client writes it.
    public var addresses: [String] { listeners.map(\.description) }

    /// Signals that arrive before the server can act on them wait here.
    private final class PendingSignals {
        var handler: ((Int32) -> Void)?
        func action(_ signal: Int32) { handler?(signal) }
    }

    private func writePortFile(_ path: String) throws {
        let ports = listeners.compactMap(\.port)
        if ports.isEmpty { return }
        do throws(Errno) {
            let file = try SystemDisk().open(path + ".new", .createOrOpen)
            try file.truncate(size: 0)
            try file.write(Array(ports.map { "\($0)\n" }.joined().utf8), at: 0)
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
        manager.ready(status: servingText)
        status = servingText
        statusToldAt = loop.now
        registry.sweepLeftovers { [logger] removed in
            logger.notice("removed files of deleted streams", metadata: ["streams": "\(removed)"])
        }
        tick()
        if manager.isPresent, let limit = ServiceManager.watchdogInterval() {
            Heartbeat(loop: loop, lane: journalThread, limitMicroseconds: limit) { [manager] in manager.watchdog() }.start()
        }
        loop.run()
        return exitCode
    }

    /// Once a second: TTLs, the reaper, eviction, the journal's spare files, the status.
    func tick() {
        loop.schedule(after: 1000) { [self] in
            registry.tick()
            diskWatch.tick()
            scrubber.tick()
            context.journal.trim(after: Int(context.limits.checkpointMilliseconds / 1000))
            manager.retry()
            watchTLS()
            tellStatus()
            tick()
        }
    }
}
