import ArgumentParser
import Testing

@testable import ServerSettings

struct SettingsOptionsTests {
    @Test func everySettingHasAFlag() throws {
        // All on one command line, in the reverse of the table's order, each with a value of its own.
        func parsed(_ arguments: (SettingKey) -> [String]) throws -> [String: [String]] {
            let flags = try SettingsOptions.parse(SettingKey.all.reversed().flatMap(arguments)).flags
            return Dictionary(grouping: flags, by: \.key.name).mapValues { $0.map(\.text) }
        }
        func expected(_ texts: (SettingKey) -> [String]) -> [String: [String]] {
            Dictionary(uniqueKeysWithValues: SettingKey.all.map { ($0.name, texts($0)) })
        }
        let once = try parsed { $0.shape == .onOff ? [$0.flag] : [$0.flag, "value of \($0.name)"] }
        #expect(once == expected { [$0.shape == .onOff ? "true" : "value of \($0.name)"] })
        let twice = try parsed { $0.shape == .onOff ? [$0.flag, "--no-\($0.name)"] : [$0.flag, "a \($0.name)", "\($0.flag)=b"] }
        #expect(
            twice
                == expected { key in
                    switch key.shape {
                    case .one: ["b"]
                    case .list: ["a \(key.name)", "b"]
                    case .onOff: ["false"]
                    }
                })
    }

    @Test func noFlagsAreNoFlags() throws {
        let options = try SettingsOptions.parse([])
        #expect(options.flags.isEmpty)
        #expect(options.config == nil)
        #expect(try SettingsOptions.parse(["--config", "x"]).sources(environment: [:]).configFlag == "x")
    }

    @Test func helpNamesEverySettingOnceInItsSection() throws {
        let lines = CheckConfigCommand.helpMessage(columns: 400).split(separator: "\n", omittingEmptySubsequences: false)
        for key in SettingKey.all {
            let line = try #require(lines.firstIndex { $0.hasPrefix("  \(key.flag) ") || $0.hasPrefix("  \(key.flag)/") })
            let title = try #require(lines[..<line].last { !$0.hasPrefix(" ") && $0.hasSuffix(":") })
            #expect(title == key.group.rawValue.uppercased() + ":")
            #expect((lines[line] + lines[line + 1]).contains(key.help.dropLast()))
        }
        #expect(lines.contains { $0.hasSuffix("before it is answered 204 (default: 30s).") })
        #expect(lines.contains { $0.hasSuffix("or without one (default: always; dev: none).") })
        #expect(!lines.contains { $0.contains("--markdown") })
    }

    static let statuses: [([String], Int32)] = [(["--listn", "x"], 2), (["--listen"], 2), (["extra"], 2), (["--help"], 0)]

    @Test(arguments: statuses) func argumentsThatCannotBeUnderstoodEndWith2(_ arguments: [String], _ status: Int32) {
        let error = #expect(throws: (any Error).self) { try CheckConfigCommand.parse(arguments) }
        if let error { #expect(CheckConfigCommand.exitStatus(for: error) == status) }
        #expect(CheckConfigCommand.exitStatus(for: ExitCode(3)) == 3)
    }
}
