// The executable: its subcommands, and one way in and out.

import ArgumentParser
import ServerSettings

@main
struct DurableStreams: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "durable-streams",
        abstract: "Durable streams over HTTP: append-only, each at its URL, read from any offset and tailed live.",
        subcommands: [VersionCommand.self],
        groupedSubcommands: [
            CommandGroup(
                name: "Server",
                subcommands: [ServeCommand.self, DevCommand.self, CheckConfigCommand.self, VerifyCommand.self, InspectCommand.self]),
            CommandGroup(
                name: "Client",
                subcommands: [
                    CreateCommand.self, WriteCommand.self, ReadCommand.self, HeadCommand.self, CloseCommand.self, ForkCommand.self,
                    DeleteCommand.self, BenchCommand.self,
                ]),
        ])

    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            exitAsUnixExpects(error)
        }
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")
    static let version = "0.1.0"

    func run() { print("durable-streams \(Self.version)") }
}
