// The flags of `serve`, `dev` and `check-config`: one per setting, and `--config`. A flag only carries its text here; it is read
// together with all other sources, so that all mistakes are reported together and in the same words.

public import ArgumentParser
import Foundation

/// A setting's flag as given on the command line.
public struct SettingFlag: Sendable {
    public let key: SettingKey
    public let text: String

    public init(_ key: SettingKey, _ text: String) {
        self.key = key
        self.text = text
    }
}

extension Option {
    /// A flag for a setting that takes one value.
    fileprivate init(_ key: SettingKey) where Value == SettingFlag? {
        self.init(name: .customLong(key.name), help: key.argumentHelp, transform: { SettingFlag(key, $0) })
    }

    /// A flag for a setting that takes several.
    fileprivate init(wrappedValue: [SettingFlag], _ key: SettingKey) where Value == [SettingFlag] {
        self.init(
            wrappedValue: wrappedValue, name: .customLong(key.name), help: key.argumentHelp, transform: { SettingFlag(key, $0) })
    }
}

extension Flag where Value == Bool? {
    fileprivate init(_ key: SettingKey) {
        self.init(name: .customLong(key.name), inversion: .prefixedNo, help: key.argumentHelp)
    }
}

extension SettingKey {
    /// The help with the defaults.
    fileprivate var argumentHelp: ArgumentHelp {
        let serve = serveStandard.map { $0.joined(separator: ", ") }
        let dev = devStandard.map { $0.joined(separator: ", ") }
        let note =
            switch (serve, dev) {
            case (nil, _), ("", _): ""
            case (let serve?, nil): " (default: \(serve))"
            case (let serve?, let dev?): " (default: \(serve); dev: \(dev))"
            }
        let repeats = shape == .list ? " May be repeated." : ""
        return ArgumentHelp(help.dropLast() + note + "." + repeats, valueName: valueName)
    }
}

/// The flags for all settings, grouped in the sections of `--help`.
public struct SettingsOptions: ParsableArguments {
    @Option(
        name: .customLong("config"),
        help: ArgumentHelp(
            "Configuration file in YAML (default: \(SettingsSources.standardFile) if it exists; dev: none).", valueName: "FILE"))
    public var config: String?

    @OptionGroup(title: SettingKey.Group.network.rawValue) var network: NetworkOptions
    @OptionGroup(title: SettingKey.Group.tls.rawValue) var tls: TLSOptions
    @OptionGroup(title: SettingKey.Group.storage.rawValue) var storage: StorageOptions
    @OptionGroup(title: SettingKey.Group.reading.rawValue) var reading: ReadingOptions
    @OptionGroup(title: SettingKey.Group.limits.rawValue) var limits: LimitOptions
    @OptionGroup(title: SettingKey.Group.timeouts.rawValue) var timeouts: TimeoutOptions
    @OptionGroup(title: SettingKey.Group.logging.rawValue) var logging: LoggingOptions

    public init() {}

    /// The flags that were given.
    public var flags: [SettingFlag] {
        [network.given, tls.given, storage.given, reading.given, limits.given, timeouts.given, logging.given].flatMap { $0 }
    }

    /// These flags together with an environment.
    public func sources(environment: [String: String] = ProcessInfo.processInfo.environment) -> SettingsSources {
        SettingsSources(flags: flags, configFlag: config, environment: environment)
    }

    /// The effective settings; if anything is wrong, all of it is printed to standard error and the program ends with status 2.
    /// - Parameter telling: is told of a failure before it is thrown.
    /// - Throws: `ExitCode`, for `run()` to pass on.
    public func settingsOrExit(mode: ServerMode, telling: (SettingsFailure) -> Void = { _ in }) throws(ExitCode) -> EffectiveSettings {
        do {
            return try sources().effective(mode: mode)
        } catch {
            StandardError.report("\(error)\n")
            telling(error)
            throw ExitCode(SettingsFailure.exitStatus)
        }
    }
}

struct NetworkOptions: ParsableArguments {
    @Option(.listen) var listen: [SettingFlag] = []
    @Option(.portFile) var portFile: SettingFlag?
    @Option(.corsOrigins) var corsOrigins: [SettingFlag] = []
    @Option(.cacheVisibility) var cacheVisibility: SettingFlag?
    @Option(.trustedProxies) var trustedProxies: [SettingFlag] = []
    @Option(.allowedHosts) var allowedHosts: [SettingFlag] = []
    @Option(.forkScope) var forkScope: SettingFlag?

    var given: [SettingFlag] {
        listen + corsOrigins + trustedProxies + allowedHosts + [portFile, cacheVisibility, forkScope].compactMap { $0 }
    }
}

struct TLSOptions: ParsableArguments {
    @Option(.listenTLS) var listenTLS: [SettingFlag] = []
    @Option(.tlsCertificates) var tlsCertificates: [SettingFlag] = []
    @Option(.tlsKeys) var tlsKeys: [SettingFlag] = []
    @Option(.tlsMinimum) var tlsMinimum: SettingFlag?
    @Option(.tlsClientCA) var tlsClientCA: SettingFlag?
    @Option(.tlsClientCertificates) var tlsClientCertificates: SettingFlag?
    @Option(.listenRedirect) var listenRedirect: [SettingFlag] = []
    @Option(.strictTransport) var strictTransport: SettingFlag?

    var given: [SettingFlag] {
        listenTLS + tlsCertificates + tlsKeys + listenRedirect
            + [tlsMinimum, tlsClientCA, tlsClientCertificates, strictTransport].compactMap { $0 }
    }
}

struct StorageOptions: ParsableArguments {
    @Option(.dataDirectory) var dataDirectory: SettingFlag?
    @Option(.durability) var durability: SettingFlag?
    @Option(.segmentSize) var segmentSize: SettingFlag?
    @Option(.journalSize) var journalSize: SettingFlag?
    @Option(.tailBufferBudget) var tailBufferBudget: SettingFlag?
    @Option(.descriptorCache) var descriptorCache: SettingFlag?
    @Option(.checkpointInterval) var checkpointInterval: SettingFlag?
    @Option(.diskWorkers) var diskWorkers: SettingFlag?
    @Option(.scrubRate) var scrubRate: SettingFlag?
    @Option(.scrubPause) var scrubPause: SettingFlag?

    var given: [SettingFlag] {
        [
            dataDirectory, durability, segmentSize, journalSize, tailBufferBudget, descriptorCache, checkpointInterval, diskWorkers,
            scrubRate,
            scrubPause,
        ].compactMap { $0 }
    }
}

struct ReadingOptions: ParsableArguments {
    @Option(.longPollTimeout) var longPollTimeout: SettingFlag?
    @Option(.sseInterval) var sseInterval: SettingFlag?
    @Option(.sseHeartbeat) var sseHeartbeat: SettingFlag?
    @Option(.chunkSize) var chunkSize: SettingFlag?

    var given: [SettingFlag] { [longPollTimeout, sseInterval, sseHeartbeat, chunkSize].compactMap { $0 } }
}

struct LimitOptions: ParsableArguments {
    @Option(.bodyLimit) var bodyLimit: SettingFlag?
    @Option(.headLimit) var headLimit: SettingFlag?
    @Option(.targetLimit) var targetLimit: SettingFlag?
    @Option(.connectionLimit) var connectionLimit: SettingFlag?
    @Option(.connectionsPerAddress) var connectionsPerAddress: SettingFlag?
    @Option(.peerMemory) var peerMemory: SettingFlag?
    @Option(.producerRetention) var producerRetention: SettingFlag?

    var given: [SettingFlag] {
        [bodyLimit, headLimit, targetLimit, connectionLimit, connectionsPerAddress, peerMemory, producerRetention].compactMap { $0 }
    }
}

struct TimeoutOptions: ParsableArguments {
    @Option(.idleTimeout) var idleTimeout: SettingFlag?
    @Option(.headerTimeout) var headerTimeout: SettingFlag?
    @Option(.peerTimeout) var peerTimeout: SettingFlag?
    @Option(.bodyTimeout) var bodyTimeout: SettingFlag?
    @Option(.bodyGrace) var bodyGrace: SettingFlag?
    @Option(.bodyMinimumRate) var bodyMinimumRate: SettingFlag?
    @Option(.drainTimeout) var drainTimeout: SettingFlag?

    var given: [SettingFlag] {
        [idleTimeout, headerTimeout, peerTimeout, bodyTimeout, bodyGrace, bodyMinimumRate, drainTimeout].compactMap { $0 }
    }
}

struct LoggingOptions: ParsableArguments {
    @Option(.logLevel) var logLevel: SettingFlag?
    @Option(.logFormat) var logFormat: SettingFlag?
    @Flag(.accessLog) var accessLog: Bool?

    var given: [SettingFlag] {
        [logLevel, logFormat, accessLog.map { SettingFlag(.accessLog, String($0)) }].compactMap { $0 }
    }
}
