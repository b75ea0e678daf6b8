// The environment as a source: `DURABLE_STREAMS_` and the setting's name in capitals. Lists are separated by commas. An empty variable
// counts as not set, as in a shell. An unknown variable with the prefix is an error, because it is a misspelled one, with
// one exception: Kubernetes and Docker set variables of this form for a service or container of this name.
//
//     DURABLE_STREAMS_SERVICE_HOST   DURABLE_STREAMS_SERVICE_PORT   DURABLE_STREAMS_SERVICE_PORT_HTTP
//     DURABLE_STREAMS_PORT=tcp://10.0.0.7:4437   DURABLE_STREAMS_PORT_4437_TCP   DURABLE_STREAMS_PORT_4437_TCP_ADDR

import Configuration

/// The settings in a process's environment.
enum EnvironmentVariables {
    /// Names the configuration file; not a setting itself.
    static let configName = SettingKey.environmentName(of: "config")

    /// Reads all variables with the prefix. Problems come in the order of the table, unknown variables last, sorted.
    static func layer(_ environment: [String: String], problems: inout [SettingProblem]) -> SettingsLayer {
        let prefixed = environment.filter { $0.key.hasPrefix(SettingKey.environmentPrefix) && !$0.value.isEmpty }
        var known: [String: String] = [:]
        var entries: [SettingsLayer.Entry] = []
        for key in SettingKey.all {
            guard let value = prefixed[key.environmentName] else { continue }
            known[key.environmentName] = value
            let texts = key.shape == .list ? items(value) : [value]
            let entry = SettingsLayer.Entry(key, texts, .environment(key.environmentName))
            problems += entry.problems
            entries.append(entry)
        }
        let suffixes = (SettingKey.all.map(\.environmentName) + [configName]).map {
            String($0.dropFirst(SettingKey.environmentPrefix.count))
        }
        for (name, value) in prefixed.sorted(by: { $0.key < $1.key })
        where known[name] == nil && name != configName && !isServiceLink(name, value) {
            let suffix = String(name.dropFirst(SettingKey.environmentPrefix.count))
            let nearest = NearestName.find(suffix, in: suffixes)
            let hint = nearest.map { "did you mean \(SettingKey.environmentPrefix)\($0)?" } ?? "check-config --help lists the settings"
            problems.append(SettingProblem(.environment(name), "unknown variable with the value \(EscapedText.quoted(value)); \(hint)"))
        }
        return SettingsLayer(provider: EnvironmentVariablesProvider(environmentVariables: known), entries: entries)
    }

    /// The items of a comma-separated list, split as `EnvironmentVariablesProvider` splits them.
    private static func items(_ value: String) -> [String] {
        value.split(separator: ",", omittingEmptySubsequences: false).map { item in
            var item = item.drop(while: \.isWhitespace)
            while item.last?.isWhitespace == true { item.removeLast() }
            return String(item)
        }
    }

    /// Whether an orchestrator sets the variable for a service called durable-streams.
    static func isServiceLink(_ name: String, _ value: String) -> Bool {
        let rest = name.dropFirst(SettingKey.environmentPrefix.count)
        if rest == "SERVICE_HOST" || rest == "SERVICE_PORT" || rest.hasPrefix("SERVICE_PORT_") { return true }
        if rest == "PORT" || rest == "NAME" { return value.contains("://") || (rest == "NAME" && value.hasPrefix("/")) }
        guard rest.hasPrefix("PORT_") else { return false }
        let parts = rest.dropFirst("PORT_".count).split(separator: "_", omittingEmptySubsequences: false)
        return (2...3).contains(parts.count) && UInt16(parts[0]) != nil && ["TCP", "UDP", "SCTP"].contains(parts[1])
            && (parts.count == 2 || ["PROTO", "PORT", "ADDR"].contains(parts[2]))
    }
}
