import SystemPackage
import Testing

@testable import ServerSettings

struct ProductionCheckTests {
    /// A machine and a configuration with nothing to find.
    private static func check(_ change: (inout Settings, inout SystemFacts) -> Void = { _, _ in }, listenIsSet: Bool = false) -> [Finding] {
        var settings = Settings(mode: .serve)
        settings.dataDirectory = "/var/lib/durable-streams"
        var facts = SystemFacts()
        facts.directoryMode = 0o700
        facts.freeBytes = 100 << 30
        facts.descriptorLimit = 1 << 20
        facts.backlogLimit = 4096
        facts.systemdRuns = true
        facts.unit = SystemFacts.Unit()
        facts.unit!.descriptorLimit = 1 << 20
        change(&settings, &facts)
        return ProductionCheck(settings: settings, listenIsSet: listenIsSet, facts: facts).findings
    }

    @Test func nothingIsFound() {
        #expect(Self.check().isEmpty)
        #expect(
            Self.check { settings, facts in
                settings.dataDirectory = nil
                facts.unit!.stateDirectory = "durable-streams"
                facts.socketAddresses = ["127.0.0.1:4437", "[::1]:4437", "/run/durable-streams-sockets/http.sock", "@abstract"]
            }.isEmpty)
        // What cannot be known is not found.
        #expect(
            Self.check { _, facts in
                facts.directoryMode = nil
                facts.freeBytes = nil
                facts.backlogLimit = nil
                facts.unit = nil
                facts.systemdRuns = false
            }.isEmpty)
    }

    typealias Change = @Sendable (inout Settings, inout SystemFacts) -> Void
    static let findings: [(String, Change)] = [
        ("durability is none", { settings, _ in settings.durability = .none }),
        ("no data directory", { settings, _ in settings.dataDirectory = nil }),
        ("is in /tmp, which is emptied", { settings, _ in settings.dataDirectory = "/tmp/data" }),
        ("is in /run, which is emptied", { settings, _ in settings.dataDirectory = "/run/data" }),
        ("in memory", { _, facts in facts.isInMemory = true }), ("every user", { _, facts in facts.directoryMode = 0o755 }),
        ("1000 MiB left", { _, facts in facts.freeBytes = 1000 << 20 }),
        ("0.0.0.0:4437", { settings, _ in settings.listen = [.ipv4(0, port: 4437), .unix("/run/x")] }),
        (":4437", { settings, _ in settings.listen = [.all(port: 4437)] }),
        ("[::]:4437", { _, facts in facts.socketAddresses = ["[::]:4437"] }),
        ("long-poll-timeout is 60s", { settings, _ in settings.longPollTimeout = .seconds(60) }),
        ("1024 descriptors", { _, facts in facts.unit!.descriptorLimit = 1024 }),
        (
            "there is no unit",
            { _, facts in
                facts.unit = nil
            }
        ), ("somaxconn is 128", { _, facts in facts.backlogLimit = 128 }), ("no watchdog", { _, facts in facts.unit!.hasWatchdog = false }),
        ("not restarted", { _, facts in facts.unit!.restarts = false }), ("at boot", { _, facts in facts.unit!.isEnabled = false }),
        ("have changed", { _, facts in facts.unit!.needsDaemonReload = true }),
    ]

    @Test(arguments: findings) func each(_ words: String, _ change: Change) {
        let found = Self.check(change)
        #expect(found.count == 1 && found[0].what.contains(words) && !found[0].remedy.isEmpty, "\(found)")
    }

    /// The configured addresses count only where the server would listen on them.
    @Test func passedSocketsReplaceTheDefaultAddress() {
        let change: Change = { settings, facts in
            settings.listen = [.all(port: 80)]
            facts.socketAddresses = ["127.0.0.1:4437"]
        }
        #expect(Self.check(change).isEmpty)
        #expect(Self.check(change, listenIsSet: true).count == 1)
    }

    @Test func theAnswerOfSystemctl() {
        var facts = SystemFacts()
        facts.read(
            """
            Restart=on-failure
            WatchdogUSec=1min
            LimitNOFILE=1048576
            StateDirectory=durable-streams
            Id=durable-streams.service
            LoadState=loaded
            ActiveState=active
            UnitFileState=disabled
            NeedDaemonReload=no

            Listen=[::]:4437 (Stream)
            Listen=/run/durable-streams-sockets/http.sock (Stream)
            Id=durable-streams.socket
            LoadState=loaded
            ActiveState=active
            UnitFileState=enabled
            NeedDaemonReload=no

            """)
        var unit = SystemFacts.Unit()
        unit.descriptorLimit = 1_048_576
        unit.stateDirectory = "durable-streams"
        #expect(facts.unit == unit)
        #expect(facts.socketAddresses == ["[::]:4437", "/run/durable-streams-sockets/http.sock"])

        facts = SystemFacts()
        facts.read(
            "Id=durable-streams.service\nLoadState=not-found\nWatchdogUSec=infinity\n\nId=durable-streams.socket\nLoadState=not-found\n")
        #expect(facts.unit == nil && facts.socketAddresses.isEmpty)

        facts = SystemFacts()
        facts.read(
            "Id=durable-streams.service\nLoadState=loaded\nUnitFileState=disabled\nWatchdogUSec=infinity\nRestart=no\nNeedDaemonReload=yes\nLimitNOFILE=infinity\n"
        )
        unit = SystemFacts.Unit(
            hasWatchdog: false, restarts: false, isEnabled: false, needsDaemonReload: true, descriptorLimit: .max, stateDirectory: nil)
        #expect(facts.unit == unit)
    }
}
