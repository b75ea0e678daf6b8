// A server from start to end.
//
//     data directory (lock, format) ─▶ catalog ─▶ recovery ─▶ journal ─▶ listeners ─▶ READY ─▶ turns …
//     SIGTERM/SIGINT ─▶ stop accepting ─▶ end waits, finish answers ─▶ checkpoint ─▶ exit 0
//     SIGHUP ─▶ RELOADING ─▶ the configuration is read on a disk worker ─▶ taken over, or refused as a whole ─▶ READY
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
import TransportSecurity

struct LoopDispatcher: Dispatcher {
    let loop: EventLoop
    let workers: DiskWorkers
    func work(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) { workers.submit(Self.index(lane), job) }
    func post(_ job: @escaping @Sendable () -> Void) { loop.post(job) }

    private static func index(_ lane: WorkLane) -> Int {
        switch lane {
        case .journal: 0
        case .checkpoint: 1
        case .read: 2
        case .search: 3
        case .compute: 4
        case .background: 5
        }
    }

    /// - Parameter readers: threads for reads, `disk-workers`.
    static func workers(readers: Int) -> DiskWorkers {
        DiskWorkers([("journal", 1), ("store", 4), ("read", readers), ("search", 1), ("compute", 1), ("back", 1)])
    }
}

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

    private var settings: Settings
    private let manager: ServiceManager
    private let reread: (@Sendable () throws(SettingsFailure) -> Settings)?
    private let descriptors: Int
    private let logger = Logger(label: "durable-streams")
    private let loop: EventLoop
    private let workers: DiskWorkers
    private let journalThread: JournalThread
    private let directory: DataDirectory
    private let catalog: LMDBCatalog
    private let context: StreamContext
    private let registry: StreamRegistry
    private let checkpointer: Checkpointer
    private let diskWatch: DiskWatch
    private let scrubber: Scrubber
    private let core: ServerCore
    private var listeners: [Listener] = []
    private var signals: SignalSource?
    private var material: TLSMaterial?
    private var tickets: SessionTicketKeys?
    private var isLoadingTLS = false
    private var loadsTLSAgain = false
    private var tlsFault: String?
    private var tlsLookedAt: Int64 = 0
    private var draining = false
    private var finishing = false
    private var exitCode: Int32 = 0

    private enum Reload {
        case none
        /// A worker reads the configuration; `again`: asked for once more meanwhile.
        case reading(again: Bool)
    }
    private var reload = Reload.none
    /// What the service manager was told last, and when.
    private var status = ""
    private var statusToldAt: Int64 = 0
    /// Stands behind the status while the configuration file has faults.
    private var reloadFault: String?

    /// The status is told again at most so often.
    private static let statusMilliseconds: Int64 = 5_000
    /// What is asked for beyond the drain's own time, for the last checkpoint.
    private static let checkpointMicroseconds: UInt64 = 60_000_000

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
    private func listen(_ conditions: StartConditions) throws {
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

    // MARK: TLS

    /// Before the listeners: one that speaks TLS needs a context.
    private func startTLS(_ conditions: StartConditions) throws {
        guard !settings.tlsCertificates.isEmpty else {
            if let socket = conditions.sockets.first(where: { $0.name == "https" }) {
                throw StartFault(
                    description:
                        "the passed socket \(socket.name) (descriptor \(socket.descriptor)) speaks TLS, and there is no certificate; expected tls-certificate and tls-key",
                    errno: EINVAL)
            }
            return
        }
        do throws(TLSLoadFailure) {
            let material = try TLSMaterial(settings, now: loop.wallNow / 1000)
            let tickets = try SessionTicketKeys(now: loop.now)
            core.tls = try material.context(settings, tickets)
            (self.material, self.tickets) = (material, tickets)
            logger.notice(
                TLSMaterial.kernelSpeaksTLS
                    ? "TLS: the kernel encrypts what it can" : "TLS: this kernel has none, so that OpenSSL encrypts everything")
            noteTLS(material)
        } catch {
            throw StartFault(description: "TLS: \(error)", errno: nil)
        }
    }

    private func noteTLS(_ material: TLSMaterial) {
        for identity in material.identities {
            let days = (identity.expires - loop.wallNow / 1000) / 86400
            logger.notice(
                "certificate",
                metadata: ["file": "\(identity.certificateFile)", "names": "\(identity.names.joined(separator: " "))", "days": "\(days)"])
        }
    }

    /// Loads the certificates anew on a disk worker; the former ones stay in force if anything is wrong with these.
    private func reloadTLS(onlyIfChanged: Bool) {
        guard let former = material else { return }
        // Whoever asks is told, also what has been said before.
        if !onlyIfChanged { tlsFault = nil }
        if isLoadingTLS {
            if !onlyIfChanged { loadsTLSAgain = true }
            return
        }
        isLoadingTLS = true
        let (settings, now) = (settings, loop.wallNow / 1000)
        let confined = Confined(self)
        let dispatcher = context.dispatcher
        dispatcher.work(.background) {
            let result: Result<TLSMaterial, TLSLoadFailure>? =
                if onlyIfChanged && !former.isOutdated {
                    nil
                } else {
                    Result { () throws(TLSLoadFailure) in try TLSMaterial(settings, now: now) }
                }
            dispatcher.post { confined.value.hasLoadedTLS(result) }
        }
    }

    private func hasLoadedTLS(_ result: Result<TLSMaterial, TLSLoadFailure>?) {
        isLoadingTLS = false
        if loadsTLSAgain {
            // These were read before the settings that are in force now.
            loadsTLSAgain = false
            reloadTLS(onlyIfChanged: false)
            return
        }
        guard let result, let tickets else { return }
        do throws(TLSLoadFailure) {
            let material = try result.get()
            core.tls = try material.context(settings, tickets)
            self.material = material
            tlsFault = nil
            logger.notice("certificates loaded again")
            noteTLS(material)
        } catch {
            let text = "\(error)"
            if text == tlsFault { return }
            tlsFault = text
            logger.error(
                "the certificates were read again and cannot be used; the former ones stay in force", metadata: ["error": "\(text)"])
        }
    }

    /// Drawn once for the process (ResponderSettings.tagLife).
    private static let tagLife = UInt64.random(in: 1 ... .max)

    private static func router(_ settings: Settings) -> RouterSettings {
        var router = RouterSettings()
        router.origins = responder(settings).origins
        router.strictTransport = settings.strictTransport > .zero
        if !settings.allowedHosts.allowsAll { router.allowsHost = { settings.allowedHosts.allow($0) } }
        router.forksStayInSegment = settings.forkScope == .segment
        return router
    }

    private static func responder(_ settings: Settings) -> ResponderSettings {
        var responder = ResponderSettings()
        if case .only(let origins) = settings.corsOrigins { responder.origins = origins.map { Array($0.utf8) } }
        responder.tagLife = tagLife
        responder.publicCache = settings.cacheVisibility == .public
        responder.strictTransportSeconds = UInt64(settings.strictTransport.milliseconds / 1000)
        return responder
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

    /// Whether the certificates' files have changed is looked at so often.
    private static let tlsLookMilliseconds: Int64 = 10_000

    private func watchTLS() {
        guard let tickets else { return }
        do throws(TLSLoadFailure) {
            try tickets.advance(to: loop.now)
        } catch {
            logger.error("no new key for session tickets", metadata: ["error": "\(error)"])
        }
        if loop.now - tlsLookedAt < Self.tlsLookMilliseconds { return }
        tlsLookedAt = loop.now
        reloadTLS(onlyIfChanged: true)
    }

    /// Once a second: TTLs, the reaper, eviction, the journal's spare files, the status.
    private func tick() {
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

    // MARK: The service manager

    private var servingText: String {
        StatusText.serving(streams: registry.streamCount, liveReaders: core.liveReaders) + (reloadFault.map { "; \($0)" } ?? "")
    }

    /// Tells what has changed, now and then.
    private func tellStatus() {
        guard manager.isPresent, loop.now - statusToldAt >= Self.statusMilliseconds else { return }
        let text = draining ? StatusText.draining(connections: core.connectionCount) : servingText
        if text == status { return }
        status = text
        statusToldAt = loop.now
        manager.status(text)
    }

    // MARK: The configuration read again

    private func readConfigurationAgain() {
        guard let reread else { return }
        if draining { return }
        if case .reading = reload {
            reload = .reading(again: true)
            return
        }
        reload = .reading(again: false)
        manager.reloading()
        let confined = Confined(self)
        let dispatcher = context.dispatcher
        dispatcher.work(.background) {
            let result = Result { () throws(SettingsFailure) in try reread() }
            dispatcher.post { confined.value.hasReadConfiguration(result) }
        }
    }

    private func hasReadConfiguration(_ result: Result<Settings, SettingsFailure>) {
        guard case .reading(let again) = reload else { preconditionFailure("nobody reads the configuration") }
        reload = .none
        switch result {
        case .success(let new): adopt(SettingsChange(from: settings, to: new))
        case .failure(let failure):
            for problem in failure.problems { logger.error("configuration: \(problem)") }
            logger.log(.error, .reloadRefused, "the configuration was read again and has faults; the former one stays in force")
            reloadFault = "the configuration file has faults, the former configuration is in force"
        }
        if draining { return }
        status = servingText
        statusToldAt = loop.now
        manager.ready(status: status)
        if again { readConfigurationAgain() }
    }

    private func adopt(_ change: SettingsChange) {
        reloadFault = nil
        settings = change.settings
        let budget = DescriptorBudget(settings: settings, descriptors: descriptors)
        context.producerRetention = settings.producerRetention.milliseconds
        core.adopt(
            ServerLimits(settings, connections: budget.connections), Self.responder(settings), Self.router(settings),
            isTrustedProxy: settings.trustedProxies.contains, logsAccess: settings.accessLog)
        for listener in listeners { listener.prepareConnections() }
        reloadTLS(onlyIfChanged: false)
        scrubber.rate = settings.scrubRate
        scrubber.pause = settings.scrubPause.milliseconds
        LogOutput.changeLevel(to: settings.logLevel)
        for setting in change.applied {
            logger.notice("changed", metadata: ["setting": "\(setting.name)", "from": "\(setting.old)", "to": "\(setting.new)"])
        }
        if !change.waiting.isEmpty {
            logger.warning(
                "changed settings take effect at the next start only", metadata: ["settings": "\(change.waiting.joined(separator: " "))"])
        }
        logger.notice("the configuration was read again", metadata: ["changed": "\(change.applied.count)"])
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
        status = StatusText.draining(connections: core.connectionCount)
        manager.stopping(status: status)
        // The unit's time-out need not know of drain-timeout.
        manager.extendTimeout(
            microseconds: UInt64(core.limits.drainMilliseconds) * 1000 + Self.checkpointMicroseconds, status: status)
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
        logger.log(.critical, .diskFailed, "\(reason); the server ends, and the next start recovers what was acknowledged")
        core.failPending()
        manager.failed(reason, errno: context.journal.failure?.rawValue ?? EIO)
        for listener in listeners { listener.close() }
        loop.stop()
    }
}
