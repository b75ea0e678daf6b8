// `serve`: the production mode.

import ArgumentParser
import Glibc
import Logging
import Server
import ServerSettings
import Systemd

struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run the server.",
        discussion: """
            Settings come from flags, then DURABLE_STREAMS_… variables, then the YAML file, then the defaults; check-config shows what is \
            in force and where it comes from. The data directory is required (or systemd's STATE_DIRECTORY).

            Exit codes: 0 stopped by a signal; 1 could not start; 2 wrong configuration; 74 the disk failed, start again to recover.
            """)

    @OptionGroup var options: SettingsOptions

    func run() throws {
        let manager = ServiceManager()
        let effective = try options.settingsOrExit(mode: .serve) { failure in
            let more = failure.problems.count > 1 ? " (and \(failure.problems.count - 1) more, see the log)" : ""
            manager.failed("wrong configuration: \(failure.problems[0])\(more)", errno: EINVAL)
        }
        LogOutput.bootstrap(settings: effective.settings)
        guard let directory = effective.settings.dataDirectory else { preconditionFailure("serve has a data directory") }
        try Serving.run(effective, options, manager, dataDirectory: directory.string) { _ in }
    }
}

/// What `serve` and `dev` share.
enum Serving {
    static func run(
        _ effective: EffectiveSettings, _ options: SettingsOptions, _ manager: ServiceManager, dataDirectory: String,
        change: @escaping @Sendable (Settings) -> Settings = { $0 }, onlyTLS: Bool = false, _ started: (ServerRuntime) -> Void
    ) throws {
        let runtime: ServerRuntime
        do {
            var conditions = StartConditions()
            conditions.manager = manager
            conditions.sockets = try PassedSockets.take()
            conditions.listensBesides = effective.listenIsSet && !onlyTLS
            let (sources, mode) = (options.sources(), effective.settings.mode)
            conditions.reread = { () throws(SettingsFailure) in change(try sources.effective(mode: mode).settings) }
            runtime = try ServerRuntime(effective.settings, dataDirectory: dataDirectory, conditions)
        } catch {
            let code = (error as? StartFault)?.errno
            if LogOutput.isJournal {
                Logger(label: "durable-streams").log(
                    .critical, .notStarted, "could not start: \(error)", metadata: code.map { ["ERRNO": "\($0)"] } ?? [:])
            } else {
                StandardError.write("durable-streams: \(error)\n")
            }
            manager.failed("could not start: \(error)", errno: code)
            throw ExitCode(1)
        }
        started(runtime)
        let status = runtime.run()
        if status != 0 { throw ExitCode(status) }
    }
}
