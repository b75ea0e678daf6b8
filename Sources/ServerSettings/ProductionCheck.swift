// What is wrong with a configuration that is right: things that serve a trial well and bring a production server down, lose its data or
// open it to everybody. `check-config --production` prints them. What this machine is like is gathered first (`SystemFacts`), what
// follows from it is decided without looking at anything else.

import Glibc
import SystemCalls

/// Something that should be changed before users depend on the server.
struct Finding: Equatable {
    let what: String
    let remedy: String
}

struct ProductionCheck {
    let settings: Settings
    /// Whether `listen` was set somewhere.
    let listenIsSet: Bool
    let facts: SystemFacts

    /// What only a person or a proxy's configuration can tell; printed with the findings.
    static let unchecked = [
        "TTLs: streams without Stream-TTL or Stream-Expires-At are kept until somebody deletes them",
        "the proxy: HTTPS, cache headers passed through, event streams not buffered (deploy/examples has configurations that are tested)",
        "backups: of the whole data directory, stopped or as one snapshot, and a restore that was tried",
    ]

    var findings: [Finding] { storage + network + machine + unit }

    // MARK: Storage

    private var storage: [Finding] {
        var findings: [Finding] = []
        if settings.durability == .none {
            findings.append(
                Finding(what: "durability is none: a loss of power loses acknowledged appends", remedy: "durability: always"))
        }
        guard let directory = settings.dataDirectory?.string ?? facts.unit?.stateDirectory.map({ "/var/lib/" + $0 }) else {
            findings.append(
                Finding(what: "no data directory is set", remedy: "data-dir: /var/lib/durable-streams, or start it by its systemd unit"))
            return findings
        }
        let temporary = ["/tmp", "/var/tmp", "/run", "/dev/shm"].first { directory == $0 || directory.hasPrefix($0 + "/") }
        if let temporary {
            findings.append(
                Finding(what: "\(directory) is in \(temporary), which is emptied", remedy: "data-dir: /var/lib/durable-streams"))
        } else if facts.isInMemory {
            findings.append(
                Finding(what: "\(directory) is on a file system in memory: a reboot loses everything", remedy: "a directory on a disk"))
        }
        if let mode = facts.directoryMode, mode & 0o007 != 0 {
            findings.append(Finding(what: "every user of this machine can look into \(directory)", remedy: "chmod o-rwx \(directory)"))
        }
        let wanted = settings.journalSize + settings.journalSize / 4 + (1 << 30)
        if let free = facts.freeBytes, free < wanted {
            findings.append(
                Finding(
                    what:
                        "the disk of \(directory) has \(free >> 20) MiB left; the journal and a gigabyte of data need \(wanted >> 20) MiB",
                    remedy: "a larger disk, or a smaller journal-size"))
        }
        return findings
    }

    // MARK: Network

    private var network: [Finding] {
        var open: [String] = []
        if !facts.socketAddresses.isEmpty { open += facts.socketAddresses.filter(Self.isReachable) }
        if facts.socketAddresses.isEmpty || listenIsSet {
            open += settings.listen.filter { $0.port != nil }.map(\.description).filter(Self.isReachable)
        }
        var findings: [Finding] = []
        if !open.isEmpty {
            findings.append(
                Finding(
                    what: "plain HTTP without authentication can be reached from other machines (\(open.joined(separator: ", ")))",
                    remedy: "listen on 127.0.0.1 or a Unix socket, with a proxy in front that speaks HTTPS and knows the users"))
        }
        if settings.longPollTimeout > .seconds(55) {
            findings.append(
                Finding(
                    what:
                        "long-poll-timeout is \(DurationText.write(settings.longPollTimeout)): most proxies cut a silent request off after 60s",
                    remedy: "long-poll-timeout: 30s"))
        }
        return findings
    }

    /// Whether `host:port` is more than the machine's own loopback interface.
    private static func isReachable(_ address: String) -> Bool {
        !(address.hasPrefix("127.") || address.hasPrefix("[::1]") || address.hasPrefix("/") || address.hasPrefix("@"))
    }

    // MARK: The machine

    private static let descriptorsWanted = 65_536
    private static let backlogWanted = 4096

    private var machine: [Finding] {
        var findings: [Finding] = []
        let limit = facts.unit?.descriptorLimit ?? facts.descriptorLimit
        if limit < Self.descriptorsWanted {
            findings.append(
                Finding(
                    what: "\(limit) descriptors at most: so many connections and open files together",
                    remedy: facts.unit == nil ? "ulimit -Hn 1048576" : "LimitNOFILE=1048576 in the unit"))
        }
        if let backlog = facts.backlogLimit, backlog < Self.backlogWanted {
            findings.append(
                Finding(
                    what: "net.core.somaxconn is \(backlog): beyond so many waiting connections further ones are refused during a restart",
                    remedy: "sysctl -w net.core.somaxconn=65535, and the same in /etc/sysctl.d"))
        }
        return findings
    }

    // MARK: The unit

    private var unit: [Finding] {
        guard facts.systemdRuns else { return [] }
        guard let unit = facts.unit else {
            return [
                Finding(
                    what: "there is no unit durable-streams.service: nothing starts the server at boot or after a crash",
                    remedy: "install the package, or the files in systemd/")
            ]
        }
        var findings: [Finding] = []
        if !unit.hasWatchdog {
            findings.append(Finding(what: "the unit has no watchdog: a server that hangs stays", remedy: "WatchdogSec=60s in the unit"))
        }
        if !unit.restarts {
            findings.append(Finding(what: "the unit is not restarted after a failure", remedy: "Restart=on-failure in the unit"))
        }
        if !unit.isEnabled {
            findings.append(
                Finding(
                    what: "the server is not started at boot",
                    remedy: "systemctl enable --now durable-streams.socket durable-streams.service"))
        }
        if unit.needsDaemonReload {
            findings.append(Finding(what: "the unit's files have changed since they were read", remedy: "systemctl daemon-reload"))
        }
        return findings
    }
}

/// What the machine and its service manager say.
struct SystemFacts: Equatable {
    var isInMemory = false
    /// Permission bits of the data directory; nil: it does not exist or cannot be looked at.
    var directoryMode: UInt32?
    /// What is left for an ordinary user on the data directory's disk.
    var freeBytes: Int?
    /// The hard limit of `RLIMIT_NOFILE` here.
    var descriptorLimit = Int.max
    var backlogLimit: Int?
    var systemdRuns = false
    /// Where durable-streams.socket listens, while it is on.
    var socketAddresses: [String] = []
    var unit: Unit?

    struct Unit: Equatable {
        var hasWatchdog = true
        var restarts = true
        var isEnabled = true
        var needsDaemonReload = false
        var descriptorLimit: Int?
        var stateDirectory: String?
    }

    init() {}

    /// Asks the kernel and, if it is there, systemd.
    init(dataDirectory: String?) {
        systemdRuns = access("/run/systemd/system", F_OK) == 0
        if systemdRuns { read(Self.output(of: Self.question)) }
        if let directory = dataDirectory ?? unit?.stateDirectory.map({ "/var/lib/" + $0 }) {
            isInMemory = FileCalls.isOnMemoryFileSystem(directory)
            var information = stat()
            if stat(directory, &information) == 0 { directoryMode = information.st_mode & 0o7777 }
            var space = statvfs()
            if statvfs(directory, &space) == 0 { freeBytes = Int(clamping: UInt64(space.f_bavail) * UInt64(space.f_frsize)) }
        }
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 { descriptorLimit = Int(clamping: limit.rlim_max) }
        backlogLimit = Int(Self.output(of: "cat /proc/sys/net/core/somaxconn 2>/dev/null").filter(\.isNumber))
    }

    private static let question =
        "timeout 10 systemctl show durable-streams.service durable-streams.socket "
        + "-p Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,WatchdogUSec,Restart,LimitNOFILE,StateDirectory,Listen 2>/dev/null"

    private static func output(of command: String) -> String {
        guard let pipe = popen(command, "re") else { return "" }
        defer { pclose(pipe) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4096)
        while bytes.count < 1 << 16 {
            let count = fread(&block, 1, block.count, pipe)
            if count == 0 { break }
            bytes += block[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Takes the answer of `systemctl show`: a paragraph of lines NAME=value for each unit.
    mutating func read(_ answer: String) {
        var enabled = false
        for paragraph in answer.split(separator: "\n\n") {
            var values: [Substring: String] = [:]
            var listens: [String] = []
            for line in paragraph.split(separator: "\n") {
                guard let mark = line.firstIndex(of: "=") else { continue }
                let value = String(line[line.index(after: mark)...])
                if line[..<mark] == "Listen" { listens.append(value) } else { values[line[..<mark]] = value }
            }
            guard values["LoadState"] == "loaded" else { continue }
            let isEnabled = values["UnitFileState"]?.hasPrefix("enabled") == true
            if values["Id"]?.hasSuffix(".socket") == true {
                enabled = enabled || isEnabled
                if values["ActiveState"] == "active" || isEnabled {
                    // [::]:4437 (Stream)
                    socketAddresses = listens.map { String($0.prefix { $0 != " " }) }
                }
            } else {
                enabled = enabled || isEnabled
                let watchdog = values["WatchdogUSec"] ?? ""
                unit = Unit(
                    hasWatchdog: !watchdog.isEmpty && watchdog != "0" && watchdog != "infinity",
                    restarts: values["Restart"] != nil && values["Restart"] != "no",
                    isEnabled: false, needsDaemonReload: values["NeedDaemonReload"] == "yes",
                    descriptorLimit: values["LimitNOFILE"].map { Int($0) ?? Int.max },
                    stateDirectory: values["StateDirectory"].flatMap { $0.split(separator: " ").first.map(String.init) })
            }
        }
        unit?.isEnabled = enabled
    }
}
