// One log event as one line of bytes. Whatever a message or a value contains, the result has exactly one newline, at its end.
//
//     journal     <6>stream created path=/v1/stream/a bytes=12              level as sd-daemon(3) has it; the journal keeps the time
//     plain       2026-11-23T13:21:57.123Z info stream created path=/v1/stream/a bytes=12
//     terminal    13:21:57 stream created path=/v1/stream/a bytes=12        local time; the level only where it is not info
//     JSON        {"time":"2026-11-23T13:21:57.123Z","level":"info","message":"stream created","path":"/v1/stream/a"}
//
// In text, a value that is empty or contains a space, a quote, an equals sign, a backslash or an unsafe character is quoted, with
// backslash escapes (`EscapedText`); keys come sorted and keep letters, digits, `_`, `-` and `.` only. Keys in capitals (`STREAM`) are fields
// of the journal: text leaves them out, JSON has them in small letters.

import Logging

/// Where a line goes, which decides what precedes the message.
enum LogDestination: Sendable, Equatable {
    /// The systemd journal reads standard error.
    case journal
    /// A file, a pipe, a container's log.
    case plain
    /// A person; local time is this many seconds ahead of UTC.
    case terminal(secondsFromUTC: Int)
}

/// Writes log lines.
struct LogLine {
    let destination: LogDestination
    let format: LogFormat

    /// The syslog priority that journald reads from `<n>` (sd-daemon(3)).
    static func priority(_ level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }

    /// The line, with its newline.
    /// - Parameter milliseconds: since 1970-01-01T00:00:00Z, not negative.
    func bytes(level: Logger.Level, message: String, metadata: Logger.Metadata, milliseconds: Int64) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(192)
        let pairs = metadata.sorted { $0.key < $1.key }
        if destination == .journal { line.append(contentsOf: "<\(Self.priority(level))>".utf8) }
        switch format {
        case .text: appendText(level, message, pairs, milliseconds, to: &line)
        case .json: appendJSON(level, message, pairs, milliseconds, to: &line)
        }
        line.append(UInt8(ascii: "\n"))
        return line
    }

    /// The message and the metadata in text form, without what precedes them and without a newline.
    func text(message: String, metadata: Logger.Metadata) -> String {
        var text: [UInt8] = []
        appendContent(message, metadata.sorted { $0.key < $1.key }, to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    // MARK: Text

    private typealias Pairs = [(key: String, value: Logger.MetadataValue)]

    private func appendText(_ level: Logger.Level, _ message: String, _ pairs: Pairs, _ milliseconds: Int64, to line: inout [UInt8]) {
        switch destination {
        case .journal: break
        case .plain: line.append(contentsOf: "\(Timestamp(milliseconds: milliseconds).text) \(level.rawValue) ".utf8)
        case .terminal(let ahead):
            let local = Timestamp(milliseconds: milliseconds + Int64(ahead) * 1000)
            line.append(contentsOf: (local.timeOfDay + (level == .info ? " " : " \(level.rawValue): ")).utf8)
        }
        appendContent(message, pairs, to: &line)
    }

    private func appendContent(_ message: String, _ pairs: Pairs, to line: inout [UInt8]) {
        EscapedText.append(message, to: &line, quoted: false)
        for (key, value) in pairs where !Self.isJournalField(key) {
            line.append(UInt8(ascii: " "))
            appendKey(key, to: &line)
            line.append(UInt8(ascii: "="))
            let text = Self.text(of: value)
            if Self.isPlain(text) {
                EscapedText.append(text, to: &line, quoted: false)
            } else {
                line.append(UInt8(ascii: "\""))
                EscapedText.append(text, to: &line, quoted: true)
                line.append(UInt8(ascii: "\""))
            }
        }
    }

    private static func isJournalField(_ key: String) -> Bool {
        !key.isEmpty && key.utf8.allSatisfy { UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0 || $0 == UInt8(ascii: "_") }
    }

    private static func isPlain(_ text: String) -> Bool {
        !text.isEmpty
            && text.unicodeScalars.allSatisfy {
                !$0.properties.isWhitespace && $0 != "\"" && $0 != "=" && $0 != "\\" && !EscapedText.isUnsafe($0)
            }
    }

    private func appendKey(_ key: String, to line: inout [UInt8]) {
        if key.isEmpty { line.append(UInt8(ascii: "_")) }
        for byte in key.utf8.prefix(100) {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
                line.append(byte)
            default: line.append(UInt8(ascii: "_"))
            }
        }
    }

    /// A value as text: lists as `[a, b]`, dictionaries as `{a: b}`, sorted.
    static func text(of value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let text): text
        case .stringConvertible(let value): value.description
        case .array(let values): "[" + values.map(text).joined(separator: ", ") + "]"
        case .dictionary(let values):
            "{" + values.sorted { $0.key < $1.key }.map { "\($0.key): \(text(of: $0.value))" }.joined(separator: ", ") + "}"
        }
    }

    // MARK: JSON (RFC 8259)

    /// The members that every object has; metadata of the same name gets an underscore behind it.
    private static let ownMembers: Set<String> = ["time", "level", "message"]

    private func appendJSON(_ level: Logger.Level, _ message: String, _ pairs: Pairs, _ milliseconds: Int64, to line: inout [UInt8]) {
        line.append(UInt8(ascii: "{"))
        if destination != .journal {
            line.append(contentsOf: "\"time\":\"\(Timestamp(milliseconds: milliseconds).text)\",".utf8)
        }
        line.append(contentsOf: "\"level\":\"\(level.rawValue)\",\"message\":".utf8)
        Self.appendJSONString(message, to: &line)
        for (key, value) in pairs {
            let key = Self.isJournalField(key) ? key.lowercased() : key
            line.append(UInt8(ascii: ","))
            Self.appendJSONString(Self.ownMembers.contains(key) ? key + "_" : key, to: &line)
            line.append(UInt8(ascii: ":"))
            Self.appendJSONValue(value, to: &line)
        }
        line.append(UInt8(ascii: "}"))
    }

    private static func appendJSONValue(_ value: Logger.MetadataValue, to line: inout [UInt8]) {
        switch value {
        case .string(let text): appendJSONString(text, to: &line)
        case .stringConvertible(let value) where value is any FixedWidthInteger: line.append(contentsOf: value.description.utf8)
        case .stringConvertible(let value as Bool): line.append(contentsOf: String(value).utf8)
        case .stringConvertible(let value): appendJSONString(value.description, to: &line)
        case .array(let values):
            line.append(UInt8(ascii: "["))
            for (position, value) in values.enumerated() {
                if position > 0 { line.append(UInt8(ascii: ",")) }
                appendJSONValue(value, to: &line)
            }
            line.append(UInt8(ascii: "]"))
        case .dictionary(let values):
            line.append(UInt8(ascii: "{"))
            for (position, pair) in values.sorted(by: { $0.key < $1.key }).enumerated() {
                if position > 0 { line.append(UInt8(ascii: ",")) }
                appendJSONString(pair.key, to: &line)
                line.append(UInt8(ascii: ":"))
                appendJSONValue(pair.value, to: &line)
            }
            line.append(UInt8(ascii: "}"))
        }
    }

    private static func appendJSONString(_ text: String, to line: inout [UInt8]) {
        line.append(UInt8(ascii: "\""))
        var used = 0
        for scalar in text.unicodeScalars {
            used += UTF8.width(scalar)
            if used > EscapedText.limit {
                line.append(contentsOf: "…".utf8)
                break
            }
            switch scalar {
            case "\"": line.append(contentsOf: #"\""#.utf8)
            case "\\": line.append(contentsOf: #"\\"#.utf8)
            case "\n": line.append(contentsOf: #"\n"#.utf8)
            case "\r": line.append(contentsOf: #"\r"#.utf8)
            case "\t": line.append(contentsOf: #"\t"#.utf8)
            case let control where EscapedText.isUnsafe(control):
                let hex = String(control.value, radix: 16)
                line.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - hex.count) + hex).utf8)
            default: line.append(contentsOf: UTF8.encode(scalar)!)
            }
        }
        line.append(UInt8(ascii: "\""))
    }
}
