import Foundation
import Logging
import Testing

@testable import ServerSettings

struct LogLineTests {
    static let time: Int64 = 1_795_440_117_123  // 2026-11-23T13:21:57.123Z

    private static func line(
        _ destination: LogDestination, _ format: LogFormat = .text, _ level: Logger.Level = .info, _ message: String,
        _ metadata: Logger.Metadata = [:]
    ) -> String {
        let bytes = LogLine(destination: destination, format: format).bytes(
            level: level, message: message, metadata: metadata, milliseconds: time)
        return String(decoding: bytes, as: UTF8.self)
    }

    static let levels: [(Logger.Level, String, String, String)] = [
        (.trace, "<7>", "trace", " trace: "), (.debug, "<7>", "debug", " debug: "), (.info, "<6>", "info", " "),
        (.notice, "<5>", "notice", " notice: "),
        (.warning, "<4>", "warning", " warning: "), (.error, "<3>", "error", " error: "), (.critical, "<2>", "critical", " critical: "),
    ]

    @Test(arguments: levels) func prefixes(_ level: Logger.Level, _ journal: String, _ word: String, _ terminal: String) {
        #expect(Self.line(.journal, .text, level, "m") == "\(journal)m\n")
        #expect(Self.line(.plain, .text, level, "m") == "2026-11-23T13:21:57.123Z \(word) m\n")
        #expect(Self.line(.terminal(secondsFromUTC: 0), .text, level, "m") == "13:21:57\(terminal)m\n")
        #expect(Self.line(.terminal(secondsFromUTC: 3600 * 11), .text, level, "m") == "00:21:57\(terminal)m\n")
        #expect(Self.line(.journal, .json, level, "m") == "\(journal){\"level\":\"\(word)\",\"message\":\"m\"}\n")
        #expect(Self.line(.plain, .json, level, "m") == "{\"time\":\"2026-11-23T13:21:57.123Z\",\"level\":\"\(word)\",\"message\":\"m\"}\n")
    }

    static let values: [(Logger.MetadataValue, String, String)] = [
        ("v", "v", #""v""#), ("", #""""#, #""""#), ("a b", #""a b""#, #""a b""#), ("a=b", #""a=b""#, #""a=b""#),
        ("/v1/stream/ü", "/v1/stream/ü", #""/v1/stream/ü""#),
        (#"say "x""#, #""say \"x\"""#, #""say \"x\"""#), (#"a\b"#, #""a\\b""#, #""a\\b""#), ("a\u{a0}b", "\"a\u{a0}b\"", "\"a\u{a0}b\""),
        ("a\nb", #""a\nb""#, #""a\nb""#), ("a\u{1b}[2Kb", #""a\x1b[2Kb""#, #""a\u001b[2Kb""#), ("\u{2028}", #""\u{2028}""#, #""\u2028""#),
        ("\u{9b}31m", #""\x9b31m""#, #""\u009b31m""#), ("\0", #""\x00""#, #""\u0000""#), (.stringConvertible(12), "12", "12"),
        (.stringConvertible(UInt64.max), "18446744073709551615", "18446744073709551615"), (.stringConvertible(true), "true", "true"),
        (.stringConvertible(1.5), "1.5", #""1.5""#), (["a", "b c"], #""[a, b c]""#, #"["a","b c"]"#), ([], "[]", "[]"),
        (["z": "1", "a": ["b"]], #""{a: [b], z: 1}""#, #"{"a":["b"],"z":"1"}"#),
    ]

    @Test(arguments: values) func metadataValues(_ value: Logger.MetadataValue, _ text: String, _ json: String) throws {
        #expect(Self.line(.journal, .text, .info, "m", ["k": value]) == "<6>m k=\(text)\n")
        let line = Self.line(.plain, .json, .info, "m", ["k": value])
        #expect(line == "{\"time\":\"2026-11-23T13:21:57.123Z\",\"level\":\"info\",\"message\":\"m\",\"k\":\(json)}\n")
        _ = try JSONSerialization.jsonObject(with: Data(line.utf8))
    }

    @Test func keysAreSortedAndClean() {
        let metadata: Logger.Metadata = ["b": "2", "a": "1", "c d=\n\"ü": "3", "": "4"]
        #expect(Self.line(.journal, .text, .info, "m", metadata) == "<6>m _=4 a=1 b=2 c_d_____=3\n")
        #expect(
            Self.line(.journal, .json, .info, "m", ["message": "x", "level": "y", "time": "z", "a\"\n": "1"])
                == #"<6>{"level":"info","message":"m","a\"\n":"1","level_":"y","message_":"x","time_":"z"}"# + "\n")
    }

    @Test func fieldsOfTheJournalAreNotInLines() {
        let metadata: Logger.Metadata = ["STREAM": "a", "MESSAGE_ID": "0", "b": "2"]
        #expect(Self.line(.plain, .text, .info, "m", metadata) == "2026-11-23T13:21:57.123Z info m b=2\n")
        #expect(
            Self.line(.journal, .json, .info, "m", metadata) == #"<6>{"level":"info","message":"m","message_id":"0","stream":"a","b":"2"}"#
                + "\n")
    }

    static let attacks = [
        "\n<3>forged", "x\r\n2026-11-23T13:21:57.123Z error forged", "\u{1b}[1A\u{1b}[2Kforged", "\u{85}forged", "\u{2028}forged",
        "\u{b}\u{c}forged",
        "\0forged", "\" level=error \"", "\\n\\", "\\\"\n", "}\n{\"level\":\"error\"", "\u{202e}degrof", "\n", "\r", "\u{7f}",
        "\u{9c}\u{9d}",
        String(repeating: "\n", count: 5000), String(repeating: "🎉\u{1b}", count: 5000),
    ]

    /// Wherever hostile text gets in, one event stays one line, without a byte that a terminal or a log reader would act on.
    @Test(arguments: attacks) func noInputForgesALine(_ text: String) throws {
        let metadata: Logger.Metadata = ["k": .string(text), text: "v", "list": [.string(text)], "map": [text: .string(text)]]
        let destinations: [LogDestination] = [.journal, .plain, .terminal(secondsFromUTC: 0)]
        for destination in destinations {
            for format in LogFormat.allCases {
                let line = Self.line(destination, format, .info, text, metadata)
                #expect(line.unicodeScalars.last == "\n")
                for scalar in line.unicodeScalars.dropLast() {
                    #expect(scalar.properties.generalCategory != .control)
                    #expect(scalar != "\u{2028}" && scalar != "\u{2029}" && !scalar.properties.isBidiControl)
                }
                #expect(line.utf8.count < 60_000)
                if format == .json, destination != .journal {
                    let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                    #expect(object?["level"] as? String == "info")
                    if text.utf8.count < 2048 { #expect(object?["message"] as? String == text) }
                }
            }
        }
    }

    /// In text, what stands between the quotes gives the value back, so that a value cannot pass for another key.
    @Test(arguments: attacks) func valuesCannotPassForKeys(_ text: String) {
        let line = Self.line(.journal, .text, .info, "m", ["k": .string(text)])
        let value = line.dropFirst("<6>m k=".count).dropLast()
        if value.hasPrefix("\"") {
            var escaped = false
            for scalar in value.dropFirst().dropLast().unicodeScalars {
                if scalar == "\"" { #expect(escaped) }
                escaped = scalar == "\\" && !escaped
            }
            #expect(!escaped && value.hasSuffix("\""))
        } else {
            #expect(!value.contains("\"") && !value.contains(" ") && !value.contains("="))
        }
    }
}
