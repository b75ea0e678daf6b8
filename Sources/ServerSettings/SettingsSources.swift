// Where settings come from, and how they become one effective value each:
//
//     flag  >  environment  >  configuration file  >  default of the mode
//
// First every source is read and checked completely, so that all problems are known at once; then swift-configuration looks each
// setting up, the first source that has it wins, and the report of that access says which source it was. Last come the rules that
// concern more than one setting.

import Configuration
import Synchronization
public import SystemPackage

/// The effective settings, with the place each was taken from.
public struct EffectiveSettings: Sendable {
    public var settings: Settings
    /// The configuration file that was read; nil: none.
    public let configurationFile: FilePath?
    private let origins: [String: SettingOrigin]

    init(settings: Settings, configurationFile: FilePath?, origins: [String: SettingOrigin]) {
        self.settings = settings
        self.configurationFile = configurationFile
        self.origins = origins
    }

    /// Whether `listen` was set somewhere.
    public var listenIsSet: Bool { origin(of: .listen) != .standard }

    /// The place a setting's value was taken from.
    public func origin(of key: SettingKey) -> SettingOrigin { origins[key.name] ?? .standard }
}

/// Flags, environment and file of one start of the server.
public struct SettingsSources: Sendable {
    /// The file that is read in serve mode if it exists and no other is named.
    public static let standardFile: FilePath = "/etc/durable-streams/config.yaml"

    /// The flags, in the order given.
    public var flags: [SettingFlag] = []
    /// The value of `--config`.
    public var configFlag: String?
    public var environment: [String: String] = [:]
    public var standardFile = Self.standardFile
    /// Whether serve mode may do without a data directory: for checking a file away from where it is used.
    public var dataDirectoryIsOptional = false

    public init(flags: [SettingFlag] = [], configFlag: String? = nil, environment: [String: String] = [:]) {
        self.flags = flags
        self.configFlag = configFlag
        self.environment = environment
    }

    /// Reads and checks everything.
    ///
    /// Dev mode reads no file unless one is named: trying the server out on a production machine must not touch its data.
    /// - Throws: all problems found.
    public func effective(mode: ServerMode) throws(SettingsFailure) -> EffectiveSettings {
        var problems: [SettingProblem] = []
        let flagLayer = flagLayer(problems: &problems)
        let environmentLayer = EnvironmentVariables.layer(environment, problems: &problems)
        let file = readFile(mode, problems: &problems)
        if !problems.isEmpty { throw SettingsFailure(problems) }

        let layers = [flagLayer, environmentLayer] + (file.map { [$0.contents.layer] } ?? [])
        var settings = Settings(mode: mode)
        var origins: [String: SettingOrigin] = [:]
        let winner = WinningLayer()
        let reader = ConfigReader(providers: layers.map(\.provider), accessReporter: winner)
        for key in SettingKey.all {
            let configKey = SettingsLayer.configKey(key)
            let texts = key.shape == .list ? reader.stringArray(forKey: configKey) : reader.string(forKey: configKey).map { [$0] }
            guard let texts else { continue }
            do {
                try key.read(texts, &settings)
            } catch {
                preconditionFailure("every layer's values have been read before: \(key.name): \(error)")
            }
            guard let origin = layers[winner.index].origins[key.name] else { preconditionFailure("the layer with the value has its place") }
            origins[key.name] = origin
        }
        takeStateDirectory(&settings, &origins)
        problems = Self.conflicts(settings, origins)
        if settings.dataDirectory == nil, mode == .serve, !dataDirectoryIsOptional { problems.append(Self.missingDataDirectory) }
        if !problems.isEmpty { throw SettingsFailure(problems) }
        return EffectiveSettings(settings: settings, configurationFile: file?.path, origins: origins)
    }

    private func flagLayer(problems: inout [SettingProblem]) -> SettingsLayer {
        var entries: [SettingsLayer.Entry] = []
        for key in SettingKey.all {
            let given = flags.filter { $0.key.name == key.name }
            guard let last = given.last else { continue }
            let entry = SettingsLayer.Entry(key, key.shape == .list ? given.map(\.text) : [last.text], .flag(key.flag))
            problems += entry.problems
            entries.append(entry)
        }
        return SettingsLayer(name: "flags", entries: entries)
    }

    private func readFile(_ mode: ServerMode, problems: inout [SettingProblem]) -> (contents: ConfigurationFile, path: FilePath)? {
        let path: FilePath
        let named: SettingOrigin
        if let configFlag {
            (path, named) = (FilePath(configFlag), .flag("--config"))
        } else if let variable = environment[EnvironmentVariables.configName], !variable.isEmpty {
            (path, named) = (FilePath(variable), .environment(EnvironmentVariables.configName))
        } else if mode == .serve {
            (path, named) = (standardFile, .standard)
        } else {
            return nil
        }
        let contents = ConfigurationFile.read(path, mustExist: named != .standard, named: named, problems: &problems)
        return contents.map { ($0, path) }
    }

    /// systemd's `StateDirectory=` (systemd.exec(5)): the first of the directories, below flag, variable and file.
    private func takeStateDirectory(_ settings: inout Settings, _ origins: inout [String: SettingOrigin]) {
        guard settings.mode == .serve, settings.dataDirectory == nil else { return }
        guard let first = environment["STATE_DIRECTORY"]?.split(separator: ":").first else { return }
        settings.dataDirectory = FilePath(String(first))
        origins[SettingKey.dataDirectory.name] = .environment("STATE_DIRECTORY")
    }

    private static var missingDataDirectory: SettingProblem {
        let key = SettingKey.dataDirectory
        return SettingProblem(
            .flag(key.flag),
            "no data directory; expected \(key.flag) DIR, \(key.environmentName), \(key.name) in the configuration file, or "
                + "STATE_DIRECTORY as systemd sets it")
    }

    /// What is wrong between settings that are each right.
    private static func conflicts(_ settings: Settings, _ origins: [String: SettingOrigin]) -> [SettingProblem] {
        var problems: [SettingProblem] = []
        /// The place to look at: that of the first of the settings that somebody has set.
        func place(_ keys: SettingKey...) -> SettingOrigin { keys.lazy.compactMap { origins[$0.name] }.first ?? .standard }
        if settings.targetLimit >= settings.headLimit {
            let (head, target) = (SizeText.write(settings.headLimit), SizeText.write(settings.targetLimit))
            problems.append(
                SettingProblem(
                    place(.headLimit, .targetLimit),
                    "head-limit \(head) is not above target-limit \(target); expected more, because the target is part of the head"))
        }
        if settings.tlsCertificates.count != settings.tlsKeys.count {
            problems.append(
                SettingProblem(
                    place(.tlsCertificates, .tlsKeys),
                    "\(settings.tlsCertificates.count) tls-certificate and \(settings.tlsKeys.count) tls-key; expected a key for each certificate, in the same order"
                ))
        }
        if !settings.listenTLS.isEmpty, settings.tlsCertificates.isEmpty {
            problems.append(
                SettingProblem(place(.listenTLS), "listen-tls without a certificate; expected tls-certificate and tls-key"))
        }
        if settings.tlsClientCertificates != .off, settings.tlsClientCA == nil {
            problems.append(
                SettingProblem(
                    place(.tlsClientCertificates),
                    "tls-client-auth \(settings.tlsClientCertificates.rawValue) without tls-client-ca; expected the authorities that are trusted"
                ))
        }
        if settings.portFile != nil, (settings.listen + settings.listenTLS).allSatisfy({ $0.port == nil }) {
            problems.append(
                SettingProblem(place(.portFile), "port-file without a TCP address in listen; expected one, because it receives its port"))
        }
        return problems
    }
}

/// Remembers which provider gave the value of the last access.
private final class WinningLayer: AccessReporter {
    private let last = Mutex(0)

    /// The position of the provider.
    var index: Int { last.withLock { $0 } }

    func report(_ event: AccessEvent) {
        // Providers are asked in order, up to and including the first that has a value.
        last.withLock { $0 = max(0, event.providerResults.count - 1) }
    }
}
