// The settings as people and programs read them: aligned columns with the place of each value, JSON, and the README's table.

import Foundation

/// What `check-config` prints.
struct SettingsReport {
    let effective: EffectiveSettings

    private static func value(_ key: SettingKey, _ settings: Settings) -> String? {
        key.write(settings).map { $0.isEmpty ? "[]" : $0.map(EscapedText.plain).joined(separator: ", ") }
    }

    /// Three columns: name, value, place.
    var text: String {
        let rows = SettingKey.all.map { key in
            (key.name, Self.value(key, effective.settings) ?? "-", place(key))
        }
        let nameWidth = rows.map(\.0.count).max()!
        // One long value (a list, a path) does not push the third column off the screen.
        let valueWidth = min(40, rows.map(\.1.count).max()!)
        return rows.map { pad($0.0, nameWidth) + "  " + pad($0.1, valueWidth) + "  " + $0.2 + "\n" }.joined()
    }

    private func place(_ key: SettingKey) -> String {
        if key.name == SettingKey.dataDirectory.name, effective.settings.dataDirectory == nil {
            return effective.settings.mode == .dev ? "default (a temporary directory)" : "not set (serve needs it)"
        }
        return effective.origin(of: key).description
    }

    private struct Document: Encodable {
        struct Row: Encodable {
            let key: String
            let value: [String]?
            let origin: String
        }
        let mode: String
        let configurationFile: String?
        let settings: [Row]
    }

    /// One object: mode, file, and the settings in the table's order, each value a list of written forms (absent: not set).
    var json: String {
        let rows = SettingKey.all.map {
            Document.Row(key: $0.name, value: $0.write(effective.settings), origin: effective.origin(of: $0).description)
        }
        let document = Document(
            mode: effective.settings.mode.rawValue, configurationFile: effective.configurationFile?.string, settings: rows)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(document) else { preconditionFailure("strings can be encoded") }
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    /// The README's table. Pipes inside cells are escaped.
    static var markdown: String {
        var lines = ["| setting | default | allowed | what it does |", "|---|---|---|---|"]
        for key in SettingKey.all {
            var standard = key.serveStandard.flatMap { $0.isEmpty ? nil : "`\($0.joined(separator: ", "))`" } ?? "none"
            if let dev = key.devStandard { standard += " (dev: `\(dev.joined(separator: ", "))`)" }
            let cells = ["`\(key.name)`", standard, key.allowed, key.help]
            lines.append("| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
