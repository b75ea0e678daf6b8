// `serve`: the production mode.

import ArgumentParser
import Server
import ServerSettings

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
        let effective = try options.settingsOrExit(mode: .serve)
        LogOutput.bootstrap(settings: effective.settings)
        guard let directory = effective.settings.dataDirectory else { preconditionFailure("serve has a data directory") }
        try Serving.run(effective.settings, dataDirectory: directory.string) { _ in }
    }
}

/// What `serve` and `dev` share.
enum Serving {
    static func run(_ settings: Settings, dataDirectory: String, _ started: (ServerRuntime) -> Void) throws {
        let runtime: ServerRuntime
        do {
            runtime = try ServerRuntime(settings, dataDirectory: dataDirectory)
        } catch {
            StandardError.write("durable-streams: \(error)\n")
            throw ExitCode(1)
        }
        started(runtime)
        let status = runtime.run()
        if status != 0 { throw ExitCode(status) }
    }
}
