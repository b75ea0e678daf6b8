// One source of settings, read completely: every value found there has been tried, also one that a stronger source overrides,
// because a mistake that is hidden today is an outage on the day the flag above it is removed.

import Configuration

/// A source of settings with the place of each value.
struct SettingsLayer {
    /// The values as swift-configuration looks them up.
    let provider: any ConfigProvider
    /// The place of each setting that the source has, by name.
    let origins: [String: SettingOrigin]

    /// A value as found: its texts, and the places of each of them where they differ.
    struct Entry {
        let key: SettingKey
        let texts: [String]
        let origins: [SettingOrigin]

        init(_ key: SettingKey, _ texts: [String], _ origin: SettingOrigin, items: [SettingOrigin] = []) {
            precondition(key.shape == .list || texts.count == 1, "\(key.name) takes one value")
            precondition(items.isEmpty || items.count == texts.count, "a place for every item")
            self.key = key
            self.texts = texts
            self.origins = [origin] + items
        }

        /// Everything that is wrong with the value: each item of a list by itself, then, if all are right, the list as a whole.
        var problems: [SettingProblem] {
            if key.shape != .list { return problem(of: texts, at: origins[0]).map { [$0] } ?? [] }
            let ofItems = texts.indices.compactMap { problem(of: [texts[$0]], at: place(ofItem: $0)) }
            if !ofItems.isEmpty { return ofItems }
            return problem(of: texts, at: nil).map { [$0] } ?? []
        }

        private func place(ofItem position: Int) -> SettingOrigin { origins.count > 1 ? origins[position + 1] : origins[0] }

        /// - Parameter place: nil: that of the last item that is as the fault says, else that of the whole.
        private func problem(of texts: [String], at place: SettingOrigin?) -> SettingProblem? {
            var scratch = Settings(mode: .serve)
            do {
                try key.read(texts, &scratch)
                return nil
            } catch {
                let origin = place ?? texts.lastIndex(of: error.found).map(self.place(ofItem:)) ?? origins[0]
                if case .file = origin { return SettingProblem(origin, "\(key.name): \(error)") }
                return SettingProblem(origin, "\(error)")
            }
        }
    }

    /// A layer from entries; each setting at most once.
    init(name: String, entries: [Entry]) {
        var values: [AbsoluteConfigKey: ConfigValue] = [:]
        for entry in entries {
            let content: ConfigContent = entry.key.shape == .list ? .stringArray(entry.texts) : .string(entry.texts[0])
            values[AbsoluteConfigKey(Self.configKey(entry.key))] = ConfigValue(content, isSecret: false)
        }
        self.init(provider: InMemoryProvider(name: name, values: values), entries: entries)
    }

    /// A layer that another provider looks up.
    init(provider: any ConfigProvider, entries: [Entry]) {
        self.provider = provider
        self.origins = Dictionary(uniqueKeysWithValues: entries.map { ($0.key.name, $0.origins[0]) })
    }

    /// The key under which every provider holds a setting; its environment form is `DURABLE_STREAMS_…`.
    static func configKey(_ key: SettingKey) -> ConfigKey { ConfigKey(["durable-streams", key.name]) }
}
