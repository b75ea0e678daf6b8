import Foundation
import SystemPackage
import Testing

@testable import ServerSettings

/// A file with a content, removed when it is no longer used.
final class TemporaryFile {
    let path: String

    init(_ content: String) throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("settings-\(UUID().uuidString).yaml").path
        try Data(content.utf8).write(to: URL(fileURLWithPath: path))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

struct SettingsSourcesTests {
    private static func sources(
        _ flags: [SettingFlag] = [], config: String? = nil, environment: [String: String] = [:], standard: String = "/nonexistent/c.yaml"
    ) -> SettingsSources {
        var sources = SettingsSources(flags: flags, configFlag: config, environment: environment)
        sources.standardFile = FilePath(standard)
        return sources
    }

    private static func failure(_ sources: SettingsSources, _ mode: ServerMode = .serve) -> [String] {
        do {
            _ = try sources.effective(mode: mode)
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    /// Flag, variable, file: the first that is there wins, and is named.
    @Test(arguments: 0..<8) func precedence(_ present: Int) throws {
        let file = try TemporaryFile("# first line\n" + (present & 4 != 0 ? "long-poll-timeout: 3s\n" : ""))
        let sources = Self.sources(
            present & 1 != 0 ? [SettingFlag(.longPollTimeout, "1s")] : [], config: file.path,
            environment: ["STATE_DIRECTORY": "/s"].merging(present & 2 != 0 ? ["DURABLE_STREAMS_LONG_POLL_TIMEOUT": "2s"] : [:]) { $1 })
        let effective = try sources.effective(mode: .serve)
        let expected: (Duration, String) =
            present & 1 != 0
            ? (.seconds(1), "--long-poll-timeout")
            : present & 2 != 0
                ? (.seconds(2), "DURABLE_STREAMS_LONG_POLL_TIMEOUT")
                : present & 4 != 0 ? (.seconds(3), "\(file.path):2") : (.seconds(30), "default")
        #expect(effective.settings.longPollTimeout == expected.0)
        #expect(effective.origin(of: .longPollTimeout).description == expected.1)
        #expect(effective.origin(of: .sseInterval) == .standard)
        #expect(effective.configurationFile == FilePath(file.path))
    }

    /// The same for a list, which replaces the weaker list as a whole.
    @Test(arguments: 0..<8) func precedenceOfLists(_ present: Int) throws {
        let file = try TemporaryFile(present & 4 != 0 ? "listen: [\":31\", \":32\"]\n" : "")
        let sources = Self.sources(
            present & 1 != 0 ? [SettingFlag(.listen, ":11"), SettingFlag(.listen, ":12")] : [], config: file.path,
            environment: ["STATE_DIRECTORY": "/s"].merging(present & 2 != 0 ? ["DURABLE_STREAMS_LISTEN": ":21, :22"] : [:]) { $1 })
        let effective = try sources.effective(mode: .serve)
        let expected: ([ListenAddress], SettingOrigin) =
            present & 1 != 0
            ? ([.all(port: 11), .all(port: 12)], .flag("--listen"))
            : present & 2 != 0
                ? ([.all(port: 21), .all(port: 22)], .environment("DURABLE_STREAMS_LISTEN"))
                : present & 4 != 0
                    ? ([.all(port: 31), .all(port: 32)], .file(file.path, line: 1)) : ([.ipv4(0x7f00_0001, port: 4437)], .standard)
        #expect(effective.settings.listen == expected.0)
        #expect(effective.origin(of: .listen) == expected.1)
    }

    @Test func theLastFlagWins() throws {
        let sources = Self.sources([SettingFlag(.dataDirectory, "/a"), SettingFlag(.dataDirectory, "/b")])
        #expect(try sources.effective(mode: .serve).settings.dataDirectory == "/b")
    }

    @Test func aPathInAVariableIsNotAList() throws {
        let sources = Self.sources(environment: ["DURABLE_STREAMS_DATA_DIR": " /a, b"])
        #expect(try sources.effective(mode: .serve).settings.dataDirectory == " /a, b")
    }

    @Test func allProblemsOfAllSourcesAreReportedInOrder() throws {
        let file = try TemporaryFile("listne: x\nlog-format: xml\nlong-poll-timeout: 5\n")
        let sources = Self.sources(
            [SettingFlag(.listen, "a"), SettingFlag(.listen, ":1"), SettingFlag(.listen, "b"), SettingFlag(.longPollTimeout, "1s")],
            config: file.path,
            environment: ["DURABLE_STREAMS_LOG_LEVEL": "loud", "DURABLE_STREAMS_ZZZZZZZZZ": "1", "DURABLE_STREAMS_DISK_WORKERS": "0"])
        #expect(
            Self.failure(sources) == [
                #"--listen: "a" has no port; expected \#(ListenAddress.expected)"#,
                #"--listen: "b" has no port; expected \#(ListenAddress.expected)"#,
                #"DURABLE_STREAMS_DISK_WORKERS: "0" is too small; expected 1 to 64 (each is a thread)"#,
                #"DURABLE_STREAMS_LOG_LEVEL: "loud" is not one of the choices; expected trace, debug, info, notice, warning, error or critical"#,
                #"DURABLE_STREAMS_ZZZZZZZZZ: unknown variable with the value "1"; check-config --help lists the settings"#,
                #"\#(file.path):1: unknown key "listne"; did you mean listen?"#,
                #"\#(file.path):2: log-format: "xml" is not one of the choices; expected text or json"#,
                // Overridden by a flag, wrong nevertheless.
                #"\#(file.path):3: long-poll-timeout: "5" has no unit; expected \#(DurationText.expected)"#,
            ])
    }

    @Test func theFileIsNamedByFlagThenVariableThenDefault() throws {
        let (a, b, c) = (try TemporaryFile("disk-workers: 1"), try TemporaryFile("disk-workers: 2"), try TemporaryFile("disk-workers: 3"))
        let state = ["STATE_DIRECTORY": "/s"]
        let variable = state.merging(["DURABLE_STREAMS_CONFIG": b.path]) { $1 }
        #expect(try Self.sources(config: a.path, environment: variable, standard: c.path).effective(mode: .serve).settings.diskWorkers == 1)
        #expect(try Self.sources(environment: variable, standard: c.path).effective(mode: .serve).settings.diskWorkers == 2)
        #expect(try Self.sources(environment: state, standard: c.path).effective(mode: .serve).settings.diskWorkers == 3)
        #expect(try Self.sources(environment: state).effective(mode: .serve).settings.diskWorkers == 4)
        // Dev reads only what it is told to.
        #expect(try Self.sources(standard: c.path).effective(mode: .dev).settings.diskWorkers == 4)
        #expect(try Self.sources(environment: variable, standard: c.path).effective(mode: .dev).settings.diskWorkers == 2)
        #expect(try Self.sources(environment: state).effective(mode: .serve).configurationFile == nil)
    }

    @Test func aNamedFileHasToExist() {
        #expect(Self.failure(Self.sources(config: "/nonexistent/x")) == ["--config: /nonexistent/x: No such file or directory"])
        let variable = ["DURABLE_STREAMS_CONFIG": "/nonexistent/y"]
        #expect(Self.failure(Self.sources(environment: variable)) == ["DURABLE_STREAMS_CONFIG: /nonexistent/y: No such file or directory"])
    }

    static let missing =
        "--data-dir: no data directory; expected --data-dir DIR, DURABLE_STREAMS_DATA_DIR, data-dir in the configuration file, "
        + "or STATE_DIRECTORY as systemd sets it"

    /// STATE_DIRECTORY, --data-dir, mode → directory, place
    static let directories: [(String?, String?, ServerMode, String?, SettingOrigin)] = [
        ("/var/lib/a", nil, .serve, "/var/lib/a", .environment("STATE_DIRECTORY")),
        ("/var/lib/a:/var/lib/b", nil, .serve, "/var/lib/a", .environment("STATE_DIRECTORY")),
        ("/var/lib/a", "/x", .serve, "/x", .flag("--data-dir")),
        (nil, "/x", .serve, "/x", .flag("--data-dir")),
        ("/var/lib/a", nil, .dev, nil, .standard),
        (nil, "/x", .dev, "/x", .flag("--data-dir")),
        (nil, nil, .dev, nil, .standard),
    ]

    @Test(arguments: directories)
    func dataDirectory(_ state: String?, _ flag: String?, _ mode: ServerMode, _ directory: String?, _ origin: SettingOrigin) throws {
        let sources = Self.sources(
            flag.map { [SettingFlag(.dataDirectory, $0)] } ?? [], environment: state.map { ["STATE_DIRECTORY": $0] } ?? [:])
        let effective = try sources.effective(mode: mode)
        #expect(effective.settings.dataDirectory?.string == directory)
        #expect(effective.origin(of: .dataDirectory) == origin)
    }

    @Test func serveNeedsADataDirectory() throws {
        #expect(Self.failure(Self.sources()) == [Self.missing])
        #expect(Self.failure(Self.sources(environment: ["STATE_DIRECTORY": ""])) == [Self.missing])
        var optional = Self.sources()
        optional.dataDirectoryIsOptional = true
        #expect(try optional.effective(mode: .serve).settings.dataDirectory == nil)
    }

    static let conflicts: [([SettingFlag], [String: String], [String])] = [
        (
            [SettingFlag(.headLimit, "8K")], [:],
            ["--head-limit: head-limit 8KiB is not above target-limit 8KiB; expected more, because the target is part of the head"]
        ),
        (
            [], ["DURABLE_STREAMS_TARGET_LIMIT": "64K"],
            [
                "DURABLE_STREAMS_TARGET_LIMIT: head-limit 32KiB is not above target-limit 64KiB; expected more, because the target is part of the head"
            ]
        ),
        ([SettingFlag(.headLimit, "8K"), SettingFlag(.targetLimit, "4K")], [:], []),
        (
            [SettingFlag(.portFile, "p"), SettingFlag(.listen, "unix:/x")], [:],
            ["--port-file: port-file without a TCP address in listen; expected one, because it receives its port"]
        ),
        ([SettingFlag(.portFile, "p"), SettingFlag(.listen, "unix:/x"), SettingFlag(.listen, ":0")], [:], []),
        ([SettingFlag(.listen, "127.0.0.1:0"), SettingFlag(.listen, "localhost:0")], [:], []),
        (
            [SettingFlag(.listen, "127.0.0.1:80"), SettingFlag(.listen, "localhost:80")], [:],
            [#"--listen: "localhost:80" is listed twice; expected each address once"#]
        ),
        ([], ["DURABLE_STREAMS_LISTEN": ":80,"], [#"DURABLE_STREAMS_LISTEN: "" has no port; expected \#(ListenAddress.expected)"#]),
    ]

    @Test(arguments: conflicts) func conflictsBetweenSettings(_ flags: [SettingFlag], _ environment: [String: String], _ messages: [String])
    {
        #expect(Self.failure(Self.sources(flags + [SettingFlag(.dataDirectory, "/d")], environment: environment)) == messages)
    }
}
