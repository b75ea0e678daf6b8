// `durable-streams check-config`: reads flags, environment and file exactly as `serve` does, and says what would be in force and why,
// or everything that is wrong. It touches nothing else, so that it may run beside a live server.

public import ArgumentParser
import Foundation

/// Validates the configuration and prints the effective values with the origin of each. Exit status 2 if anything is wrong.
public struct CheckConfigCommand: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "check-config",
        abstract: "Check the configuration and print the effective values and where each comes from.",
        discussion: """
            Each setting is taken from its flag, else from the environment variable DURABLE_STREAMS_ and its name in capitals \
            (--long-poll-timeout: DURABLE_STREAMS_LONG_POLL_TIMEOUT), else from the configuration file (long-poll-timeout: 30s), \
            else from the default. Exits with 0 if all is well and with 2, after a line for each problem, if not.
            """)

    @Flag(help: "Use the defaults of dev instead of those of serve.")
    var dev = false

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: .hidden)
    var markdown = false

    @OptionGroup var options: SettingsOptions

    public init() {}

    public func run() throws {
        let outcome = outcome(environment: ProcessInfo.processInfo.environment, standardFile: SettingsSources.standardFile.string)
        if outcome.status == 0 {
            print(outcome.output, terminator: "")
        } else {
            StandardError.write(outcome.output)
            throw ExitCode(outcome.status)
        }
    }

    /// What is printed, and the exit status.
    func outcome(environment: [String: String], standardFile: String) -> (output: String, status: Int32) {
        if markdown { return (SettingsReport.markdown, 0) }
        var sources = options.sources(environment: environment)
        sources.standardFile = .init(standardFile)
        sources.dataDirectoryIsOptional = true
        do {
            let report = SettingsReport(effective: try sources.effective(mode: dev ? .dev : .serve))
            return (json ? report.json : report.text, 0)
        } catch {
            return ("\(error)\n", SettingsFailure.exitStatus)
        }
    }
}
