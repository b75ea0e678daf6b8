// Every effective value of the server, typed. A value in here has been read and found within its range; what it means, its
// default and its range are described once, in `SettingKey`'s table, and nowhere else. The mode decides the defaults.

public import Logging
public import SystemPackage

/// How the server runs.
public enum ServerMode: String, Sendable, CaseIterable {
    /// Production: durable, data directory required.
    case serve
    /// Trying out and developing: nothing required, temporary data, no sync.
    case dev
}

/// When an append is acknowledged.
public enum Durability: String, Sendable, CaseIterable {
    /// After the journal's sync that covers it.
    case always
    /// After the write, without sync: a power failure may lose acknowledged appends.
    case none
}

/// The `Cache-Control` visibility of catch-up reads (PROTOCOL.md section 9).
public enum CacheVisibility: String, Sendable, CaseIterable {
    /// Shared caches may keep them.
    case `public`
    /// Only the reader's own cache may.
    case `private`
}

/// The form of log lines.
public enum LogFormat: String, Sendable, CaseIterable {
    /// A message followed by key=value pairs.
    case text
    /// One JSON object per line.
    case json
}

/// From which streams a fork may be made.
public enum ForkScope: String, Sendable, CaseIterable {
    /// From all.
    case any
    /// From those whose first path segment is the fork's own: where a proxy guards paths, nobody reads around it through a fork.
    case segment
}

/// The server's effective settings. Sizes are bytes.
public struct Settings: Sendable {
    /// The mode that decided the defaults.
    public let mode: ServerMode

    public var listen: [ListenAddress] = []
    /// Addresses where HTTPS is spoken.
    public var listenTLS: [ListenAddress] = []
    /// Addresses where every request is answered with its https URL.
    public var listenRedirect: [ListenAddress] = []
    /// Paths, or `credential:` and a name.
    public var tlsCertificates: [String] = []
    public var tlsKeys: [String] = []
    public var tlsClientCA: FilePath?
    public var tlsClientCertificates = ClientCertificatePolicy.off
    public var tlsMinimum = TLSMinimum.version12
    /// Zero: browsers are not told.
    public var strictTransport: Duration = .zero
    public var portFile: FilePath?
    public var corsOrigins: CORSOrigins = .any
    public var cacheVisibility: CacheVisibility = .public
    public var trustedProxies = TrustedProxies()
    public var allowedHosts = AllowedHosts()
    public var forkScope = ForkScope.any

    /// nil in dev mode: a temporary directory, removed at exit. Never nil in serve mode once `SettingsSources` has read it.
    public var dataDirectory: FilePath?
    public var durability: Durability = .always
    public var segmentSize = 0
    public var journalSize = 0
    public var tailBufferBudget = 0
    public var descriptorCache = 0
    public var checkpointInterval: Duration = .zero
    /// Bytes per second; 0: off.
    public var scrubRate = 0
    public var scrubPause: Duration = .zero
    public var diskWorkers = 0

    public var longPollTimeout: Duration = .zero
    public var sseInterval: Duration = .zero
    /// Zero: off.
    public var sseHeartbeat: Duration = .zero
    public var chunkSize = 0

    public var bodyLimit = 0
    public var headLimit = 0
    public var targetLimit = 0
    /// 0: derived from the descriptor limit, see `DescriptorBudget`.
    public var connectionLimit = 0
    /// 0: derived from the limit of connections.
    public var connectionsPerAddress = 0
    public var peerMemory = 0
    public var producerRetention: Duration = .zero

    public var idleTimeout: Duration = .zero
    public var headerTimeout: Duration = .zero
    public var peerTimeout: Duration = .zero
    public var bodyTimeout: Duration = .zero
    public var bodyGrace: Duration = .zero
    /// Bytes per second; 0: no floor.
    public var bodyMinimumRate = 0
    public var drainTimeout: Duration = .zero

    public var logLevel: Logger.Level = .info
    public var logFormat: LogFormat = .text
    public var accessLog = false

    /// The defaults of a mode. The data directory is nil.
    public init(mode: ServerMode) {
        self.mode = mode
        for key in SettingKey.all {
            guard let texts = key.standard(in: mode) else { continue }
            do {
                try key.read(texts, &self)
            } catch {
                preconditionFailure("the default of \(key.name) is within its range: \(error)")
            }
        }
    }
}

/// What reading the configuration again means for a running server.
public struct SettingsChange: Sendable {
    /// The settings from now on: those of `onReload` are new, all others as they were.
    public let settings: Settings
    /// Names of settings whose new value is in force, with the written form of old and new, in the table's order.
    public let applied: [(name: String, old: String, new: String)]
    /// Names of settings that differ now and stay as they were until the server is started again.
    public let waiting: [String]

    public init(from old: Settings, to new: Settings) {
        var settings = old
        var applied: [(name: String, old: String, new: String)] = []
        var waiting: [String] = []
        func text(_ key: SettingKey, _ settings: Settings) -> String? { key.write(settings)?.joined(separator: ", ") }
        for key in SettingKey.all where text(key, old) != text(key, new) {
            guard key.effect == .onReload, let texts = key.write(new) else {
                waiting.append(key.name)
                continue
            }
            do {
                try key.read(texts, &settings)
            } catch {
                preconditionFailure("the written form of \(key.name) reads as itself: \(error)")
            }
            applied.append((key.name, text(key, old) ?? "-", text(key, new) ?? "-"))
        }
        self.settings = settings
        self.applied = applied
        self.waiting = waiting
    }
}
