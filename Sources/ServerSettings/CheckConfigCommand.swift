// `durable-streams check-config`: reads flags, environment and file exactly as `serve` does, and says what would be in force and why,
// or everything that is wrong. It changes nothing, so that it may run beside a live server.

public import ArgumentParser
import Foundation

/// Validates the configuration and prints the effective values with the origin of each. Exit status 2 if anything is wrong,
/// 1 for what should not go into production.
public struct CheckConfigCommand: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "check-config",
        abstract: "Check the configuration and print the effective values and where each comes from.",
        discussion: """
            Each setting is taken from its flag, else from the environment variable DURABLE_STREAMS_ and its name in capitals \
            (--long-poll-timeout: DURABLE_STREAMS_LONG_POLL_TIMEOUT), else from the configuration file (long-poll-timeout: 30s), \
            else from the default. Exits with 0 if all is well and with 2, after a line for each problem, if not. With --production it also \
            looks at the machine, and exits with 1 after a line for each thing to change before users depend on the server.
            """)

    @Flag(help: "Use the defaults of dev instead of those of serve.")
    var dev = false

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Print only what is wrong.")
    var quiet = false

    @Flag(help: "Also say what should be changed before users depend on the server.")
    var production = false

    @Flag(help: .hidden)
    var markdown = false

    @OptionGroup var options: SettingsOptions

    public init() {}

    public func run() throws {
        let outcome = outcome(environment: ProcessInfo.processInfo.environment, standardFile: SettingsSources.standardFile.string)
        if outcome.status != SettingsFailure.exitStatus {
            print(outcome.output, terminator: "")
            if outcome.status != 0 { throw ExitCode(outcome.status) }
        } else {
            StandardError.report(outcome.output)
            throw ExitCode(outcome.status)
        }
    }

    /// What is printed, and the exit status.
    /// - Parameter facts: nil: those of this machine.
    func outcome(environment: [String: String], standardFile: String, facts: SystemFacts? = nil) -> (output: String, status: Int32) {
        if markdown { return (SettingsReport.markdown, 0) }
        var sources = options.sources(environment: environment)
        sources.standardFile = .init(standardFile)
        sources.dataDirectoryIsOptional = true
        do {
            let effective = try sources.effective(mode: dev ? .dev : .serve)
            if production {
                return Self.judge(
                    ProductionCheck(
                        settings: effective.settings, listenIsSet: effective.listenIsSet,
                        facts: facts ?? SystemFacts(dataDirectory: effective.settings.dataDirectory?.string)))
            }
            if quiet { return ("", 0) }
            let report = SettingsReport(effective: effective)
            return (json ? report.json : report.text, 0)
        } catch {
            return ("\(error)\n", SettingsFailure.exitStatus)
        }
    }

    private static func judge(_ check: ProductionCheck) -> (output: String, status: Int32) {
        let findings = check.findings
        var text = findings.map { "finding: \($0.what)\n    change: \($0.remedy)\n" }.joined()
        text += findings.isEmpty ? "nothing was found\n" : ""
        text += ProductionCheck.unchecked.map { "not checked: \($0)\n" }.joined()
        return (text, findings.isEmpty ? 0 : 1)
    }
}
