// inspect: what is on the disk, for people.

import ArgumentParser
import Glibc
import ServerSettings
import StreamStore

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show what is in a data directory. Nothing is written; a server may be running.",
        subcommands: [InspectJournalCommand.self, InspectSegmentCommand.self, InspectCatalogCommand.self])
}

/// Prints lines until the reader of standard output has gone.
private func show(_ body: (_ line: (String) -> Void) throws -> Void) throws {
    do {
        try body { print(InspectionOutput.line($0)) }
    } catch {
        StandardError.write("durable-streams: \(error)\n")
        throw ExitCode(1)
    }
}

struct InspectJournalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "journal", abstract: "Show the batches and records of the journal, or of one of its files.")

    @Option(help: ArgumentHelp("The data directory.", valueName: "directory")) var dataDir: String
    @Option(help: ArgumentHelp("Only this file.", valueName: "number")) var file: UInt64?
    @Flag(help: "Batches without their records.") var batches = false

    func run() throws {
        try show { line in try StoreInspection.journal(dataDir, file: file, records: !batches, line) }
    }
}

struct InspectSegmentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "segment", abstract: "Show the segments of a stream, and check them.")

    @Option(help: ArgumentHelp("The data directory.", valueName: "directory")) var dataDir: String
    @Argument(help: "The stream's name.") var stream: String

    func run() throws {
        try show { line in try StoreInspection.segments(dataDir, stream: stream, line) }
    }
}

struct InspectCatalogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "catalog", abstract: "Show the catalog's entries, or all that the catalog knows of one stream.")

    @Option(help: ArgumentHelp("The data directory.", valueName: "directory")) var dataDir: String
    @Argument(help: "The stream's name.") var stream: String?

    func run() throws {
        try show { line in try StoreInspection.catalog(dataDir, stream: stream, line) }
    }
}
