// The description of one setting: its names, its default, its meaning, its range with the reason, and how its written form becomes
// a field of `Settings` and back. Flags, environment, file, check-config and the README's table are all derived from it.
//
//     name          long-poll-timeout
//     flag          --long-poll-timeout
//     environment   DURABLE_STREAMS_LONG_POLL_TIMEOUT
//     file          long-poll-timeout: 300ms

import SystemPackage

/// One setting.
public struct SettingKey: Sendable {
    /// The sections of `--help` and of the printed table.
    public enum Group: String, Sendable, CaseIterable {
        case network = "Network options"
        case tls = "TLS options"
        case storage = "Storage options"
        case reading = "Reading options"
        case limits = "Limit options"
        case timeouts = "Timeout options"
        case logging = "Logging options"
    }

    /// When a changed value is in force.
    public enum Effect: Sendable {
        /// When the configuration is read again (SIGHUP).
        case onReload
        /// When the server is started.
        case onStart
    }

    /// How many values a setting takes.
    public enum Shape: Sendable {
        case one
        /// Repeated flags, a comma-separated variable, a YAML list (or one scalar).
        case list
        /// `--name` and `--no-name`.
        case onOff
    }

    static let environmentPrefix = "DURABLE_STREAMS_"

    /// The name in the file; with two dashes, the flag.
    public let name: String
    public let group: Group
    public let shape: Shape
    /// What stands for the value in help texts, such as `DURATION`.
    public let valueName: String
    /// One line on what it does.
    public let help: String
    /// What is accepted, with the reason for a bound.
    public let allowed: String
    /// The default as it would be written; nil: none.
    let serveStandard: [String]?
    let devStandard: [String]?

    /// Reads the written values into the settings.
    let read: @Sendable ([String], inout Settings) throws(ValueFault) -> Void
    /// The written form of the effective value; nil: not set.
    let write: @Sendable (Settings) -> [String]?

    /// When a changed value is in force.
    public private(set) var effect = Effect.onStart

    /// The same setting, in force as soon as the configuration is read again.
    var onReload: SettingKey {
        var key = self
        key.effect = .onReload
        return key
    }

    /// The flag, with its dashes.
    public var flag: String { "--\(name)" }

    /// The environment variable.
    public var environmentName: String { Self.environmentName(of: name) }

    static func environmentName(of name: String) -> String {
        environmentPrefix + String(decoding: name.utf8.map { $0 == UInt8(ascii: "-") ? UInt8(ascii: "_") : $0 & 0xdf }, as: UTF8.self)
    }

    /// The default as it would be written; nil: none.
    func standard(in mode: ServerMode) -> [String]? {
        switch mode {
        case .serve: serveStandard
        case .dev: devStandard ?? serveStandard
        }
    }
}

// MARK: - Kinds of settings

extension SettingKey {
    typealias Field<Value> = WritableKeyPath<Settings, Value> & Sendable

    /// A setting that takes one value.
    private static func one<Value>(
        _ name: String, _ field: Field<Value>, _ group: Group, _ valueName: String, _ help: String, allowed: String,
        standard: String?, dev: String?, shape: Shape = .one,
        read: @escaping @Sendable (String) throws(ValueFault) -> Value, write: @escaping @Sendable (Value) -> String?
    ) -> SettingKey {
        SettingKey(
            name: name, group: group, shape: shape, valueName: valueName, help: help, allowed: allowed,
            serveStandard: standard.map { [$0] }, devStandard: dev.map { [$0] },
            read: { (texts, settings) throws(ValueFault) in
                precondition(texts.count == 1, "\(name) takes one value")
                settings[keyPath: field] = try read(texts[0])
            },
            write: { settings in write(settings[keyPath: field]).map { [$0] } })
    }

    /// Refuses what lies outside a range.
    private static func check<Value: Comparable>(
        _ value: Value, _ text: String, _ range: ClosedRange<Value>, _ allowed: String
    ) throws(ValueFault) -> Value {
        if value < range.lowerBound { throw ValueFault(text, "is too small", expected: allowed) }
        if value > range.upperBound { throw ValueFault(text, "is too large", expected: allowed) }
        return value
    }

    static func duration(
        _ name: String, _ field: Field<Duration>, _ group: Group, _ standard: String, _ range: ClosedRange<Duration>,
        because reason: String, _ help: String
    ) -> SettingKey {
        let allowed = "\(DurationText.write(range.lowerBound)) to \(DurationText.write(range.upperBound)) (\(reason))"
        return one(
            name, field, group, "DURATION", help, allowed: allowed, standard: standard, dev: nil,
            read: { text throws(ValueFault) in try check(try DurationText.read(text), text, range, allowed) },
            write: { DurationText.write($0) })
    }

    static func size(
        _ name: String, _ field: Field<Int>, _ group: Group, _ standard: String, dev: String? = nil, _ range: ClosedRange<Int>,
        because reason: String, _ help: String
    ) -> SettingKey {
        let allowed = "\(SizeText.write(range.lowerBound)) to \(SizeText.write(range.upperBound)) (\(reason))"
        return one(
            name, field, group, "SIZE", help, allowed: allowed, standard: standard, dev: dev,
            read: { text throws(ValueFault) in try check(try SizeText.read(text), text, range, allowed) },
            write: { SizeText.write($0) })
    }

    /// Bytes per second: a size, with or without `/s`.
    static func rate(
        _ name: String, _ field: Field<Int>, _ group: Group, _ standard: String, _ range: ClosedRange<Int>, because reason: String,
        _ help: String
    ) -> SettingKey {
        let allowed = "\(SizeText.write(range.lowerBound)) to \(SizeText.write(range.upperBound)) per second (\(reason))"
        return one(
            name, field, group, "SIZE", help, allowed: allowed, standard: standard, dev: nil,
            read: { text throws(ValueFault) in
                let size: Int
                do throws(ValueFault) {
                    size = try SizeText.read(text.hasSuffix("/s") ? String(text.dropLast(2)) : text)
                } catch {
                    throw ValueFault(text, error.reason, expected: error.expected + ", per second")
                }
                return try check(size, text, range, allowed)
            },
            write: { SizeText.write($0) + "/s" })
    }

    static func count(
        _ name: String, _ field: Field<Int>, _ group: Group, _ standard: String, _ range: ClosedRange<Int>, zero: String? = nil,
        because reason: String, _ help: String
    ) -> SettingKey {
        let zeroText = zero.map { "\($0) (0), or " } ?? ""
        let allowed = "\(zeroText)\(range.lowerBound) to \(range.upperBound) (\(reason))"
        return one(
            name, field, group, "NUMBER", help, allowed: allowed, standard: standard, dev: nil,
            read: { text throws(ValueFault) in
                if let zero, text == zero { return 0 }
                guard !text.isEmpty, text.utf8.allSatisfy({ 0x30...0x39 ~= $0 }) else {
                    throw ValueFault(text, "is not a whole number", expected: allowed)
                }
                guard let value = Int(text) else { throw ValueFault(text, "is too large", expected: allowed) }
                return zero != nil && value == 0 ? 0 : try check(value, text, range, allowed)
            },
            write: { value in if let zero, value == 0 { zero } else { String(value) } })
    }

    static func choice<Value: CaseIterable & RawRepresentable<String> & Sendable>(
        _ name: String, _ field: Field<Value>, _ group: Group, _ standard: Value, dev: Value? = nil, _ help: String
    ) -> SettingKey {
        let names = Value.allCases.map(\.rawValue)
        let allowed = names.dropLast().joined(separator: ", ") + " or " + names.last!
        return one(
            name, field, group, names.count > 3 ? "LEVEL" : names.joined(separator: "|"), help, allowed: allowed,
            standard: standard.rawValue, dev: dev?.rawValue,
            read: { text throws(ValueFault) in
                if let value = Value(rawValue: text) { return value }
                let hint = NearestName.find(text, in: names).map { "; did you mean \($0)?" } ?? ""
                throw ValueFault(text, "is not one of the choices", expected: allowed + hint)
            },
            write: { $0.rawValue })
    }

    static func onOff(_ name: String, _ field: Field<Bool>, _ group: Group, _ standard: Bool, _ help: String) -> SettingKey {
        one(
            name, field, group, "true|false", help, allowed: "true or false", standard: String(standard), dev: nil, shape: .onOff,
            read: { text throws(ValueFault) in
                switch text.lowercased() {
                case "true", "yes", "on": true
                case "false", "no", "off": false
                default: throw ValueFault(text, "is neither true nor false", expected: "true or false")
                }
            },
            write: { String($0) })
    }

    static func path(_ name: String, _ field: Field<FilePath?>, _ group: Group, _ valueName: String, _ help: String) -> SettingKey {
        one(
            name, field, group, valueName, help, allowed: "a path", standard: nil, dev: nil,
            read: { text throws(ValueFault) in
                if text.isEmpty || text.utf8.contains(0) { throw ValueFault(text, "is not a path", expected: "a path") }
                return FilePath(text)
            },
            write: { $0?.string })
    }

    /// A setting that takes several values.
    static func list<Value: Sendable>(
        _ name: String, _ field: Field<Value>, _ group: Group, _ valueName: String, _ standard: [String], dev: [String]? = nil,
        allowed: String, _ help: String,
        read: @escaping @Sendable ([String]) throws(ValueFault) -> Value, write: @escaping @Sendable (Value) -> [String]
    ) -> SettingKey {
        SettingKey(
            name: name, group: group, shape: .list, valueName: valueName, help: help, allowed: allowed,
            serveStandard: standard, devStandard: dev,
            read: { (texts, settings) throws(ValueFault) in settings[keyPath: field] = try read(texts) },
            write: { write($0[keyPath: field]) })
    }
}
