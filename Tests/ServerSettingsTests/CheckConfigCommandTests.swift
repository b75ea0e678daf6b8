import Foundation
import Testing

@testable import ServerSettings

struct CheckConfigCommandTests {
    private static func outcome(
        _ arguments: [String], _ environment: [String: String] = [:], standardFile: String = "/nonexistent/c"
    ) throws -> (output: String, status: Int32) {
        try CheckConfigCommand.parse(arguments).outcome(environment: environment, standardFile: standardFile)
    }

    @Test func printsValuesAndOriginsAligned() throws {
        let file = try TemporaryFile("\nchunk-size: 2M\nsegment-size: 128M\n")
        let result = try Self.outcome(
            ["--listen", ":80", "--listen", "unix:/run/x.sock", "--long-poll-timeout", "300ms"],
            ["DURABLE_STREAMS_BODY_LIMIT": "1M", "STATE_DIRECTORY": "/var/lib/durable-streams"], standardFile: file.path)
        #expect(result.status == 0)
        #expect(
            result.output == """
                listen                   :80, unix:/run/x.sock       --listen
                port-file                -                           default
                cors-origins             *                           default
                cache-visibility         public                      default
                trusted-proxies          127.0.0.0/8, ::1/128, unix  default
                allowed-hosts            []                          default
                fork-scope               any                         default
                listen-tls               []                          default
                tls-certificate          []                          default
                tls-key                  []                          default
                tls-minimum              1.2                         default
                tls-client-ca            -                           default
                tls-client-auth          off                         default
                listen-redirect          []                          default
                strict-transport         0s                          default
                data-dir                 /var/lib/durable-streams    STATE_DIRECTORY
                durability               always                      default
                segment-size             128MiB                      \(file.path):3
                journal-size             256MiB                      default
                tail-buffer-budget       256MiB                      default
                descriptor-cache         512                         default
                checkpoint-interval      30s                         default
                disk-workers             4                           default
                scrub-rate               4MiB/s                      default
                scrub-pause              1d                          default
                long-poll-timeout        300ms                       --long-poll-timeout
                sse-interval             60s                         default
                sse-heartbeat            20s                         default
                chunk-size               2MiB                        \(file.path):2
                body-limit               1MiB                        DURABLE_STREAMS_BODY_LIMIT
                head-limit               32KiB                       default
                target-limit             8KiB                        default
                connection-limit         automatic                   default
                connections-per-address  automatic                   default
                peer-memory              1GiB                        default
                producer-retention       7d                          default
                idle-timeout             75s                         default
                header-timeout           10s                         default
                peer-timeout             30s                         default
                body-timeout             30s                         default
                body-grace               10s                         default
                body-minimum-rate        1KiB/s                      default
                drain-timeout            10s                         default
                log-level                info                        default
                log-format               text                        default
                access-log               false                       default

                """)
    }

    static let lines: [([String], String)] = [
        ([], "data-dir                 -                           not set (serve needs it)"),
        (["--dev"], "data-dir                 -                                default (a temporary directory)"),
        (["--dev"], "durability               none                             default"),
        (["--access-log"], "access-log               true                        --access-log"),
        (["--no-access-log"], "access-log               false                       --access-log"),
        (["--data-dir", "a\nb"], #"data-dir                 a\nb                        --data-dir"#),
    ]

    @Test(arguments: lines) func printsTheLine(_ arguments: [String], _ line: String) throws {
        #expect(try Self.outcome(arguments).output.split(separator: "\n").contains(Substring(line)))
    }

    @Test func printsAnEmptyList() throws {
        let file = try TemporaryFile("cors-origins: []")
        #expect(
            try Self.outcome(["--config", file.path]).output.contains(
                "cors-origins             []                          \(file.path):1\n"))
    }

    @Test func problemsEndWith2() throws {
        let result = try Self.outcome(["--listen", "80", "--durability", "sometimes"])
        #expect(result.status == 2)
        #expect(
            result.output == """
                --listen: "80" is a port alone; expected 127.0.0.1:80, or :80 for all addresses
                --durability: "sometimes" is not one of the choices; expected always or none

                """)
    }

    @Test func printsJSON() throws {
        struct Document: Decodable {
            struct Row: Decodable {
                let key: String
                let value: [String]?
                let origin: String
            }
            let mode: String
            let configurationFile: String?
            let settings: [Row]
        }
        let file = try TemporaryFile("data-dir: /d\n")
        let result = try Self.outcome(["--json", "--config", file.path])
        let document = try JSONDecoder().decode(Document.self, from: Data(result.output.utf8))
        #expect(document.mode == "serve")
        #expect(document.configurationFile == file.path)
        #expect(document.settings.map(\.key) == SettingKey.all.map(\.name))
        let row = try #require(document.settings.first { $0.key == "data-dir" })
        #expect(row.value == ["/d"])
        #expect(row.origin == "\(file.path):1")
        #expect(document.settings.first { $0.key == "port-file" }?.value == nil)
    }

    @Test func printsTheTable() throws {
        let result = try Self.outcome(["--markdown"])
        let lines = result.output.split(separator: "\n")
        #expect(result.status == 0)
        #expect(lines.count == SettingKey.all.count + 2)
        #expect(lines[0] == "| setting | default | allowed | what it does |")
        #expect(lines.contains("| `durability` | `always` (dev: `none`) | always or none | \(SettingKey.durability.help) |"))
        #expect(lines.allSatisfy { $0.count { $0 == "|" } == 5 })
    }
}
