// verify: is everything on the disk as it was written?

import ArgumentParser
import Foundation
import Glibc
import ServerSettings
import StreamStore

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check every checksum and cross-reference of a data directory.",
        discussion: """
            Nothing is written. The server must be stopped, unless --online is given; then the catalog and the segments are checked, and the \
            journal, which is in motion, is not. A file that is missing beside a server is waited for up to 90 seconds, until a checkpoint has \
            told whether its stream was deleted.

            Exit codes: 0 all is well; 1 damage was found, or nothing could be checked; 2 wrong usage.
            """)

    @Option(help: ArgumentHelp("The data directory.", valueName: "directory")) var dataDir: String
    @Flag(help: "Check beside a running server.") var online = false
    @Flag(help: "Print the report as JSON.") var json = false

    func run() throws {
        let report: VerifyReport
        do {
            var shown = time(nil)
            let isTerminal = isatty(STDERR_FILENO) == 1
            var verifier = try StoreVerifier(dataDir, online: online) { report in
                guard isTerminal, time(nil) > shown else { return }
                shown = time(nil)
                StandardError.write("\r\(report.streams) streams, \(report.segmentBytes >> 20) MiB of segments")
            }
            report = try verifier.run()
            if isTerminal { StandardError.write("\r\u{1b}[K") }
        } catch {
            StandardError.write("durable-streams: \(error)\n")
            throw ExitCode(1)
        }
        print(try json ? InspectionOutput.json(report) : text(report), terminator: "")
        if !report.damage.isEmpty { throw ExitCode(1) }
    }

    private func text(_ report: VerifyReport) -> String {
        var lines = [
            "\(report.streams) streams, \(report.segments) segments with \(report.segmentBytes) bytes"
                + (online ? "" : ", \(report.journalRecords) records in the journal")
        ]
        lines += report.notes.map { "note: \(InspectionOutput.line($0))" }
        lines += report.damage.map { "DAMAGE: " + ($0.stream.map { "stream \($0): " } ?? "") + $0.what }.map(InspectionOutput.line)
        if report.unlisted > 0 { lines.append("… and \(report.unlisted) more") }
        lines.append(report.damage.isEmpty ? "no damage" : "\(report.damage.count + report.unlisted) findings")
        return lines.joined(separator: "\n") + "\n"
    }
}

enum InspectionOutput {
    static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }

    /// Names of streams come from outside: no control character reaches the terminal.
    static func line(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) ? "?" : $0 }))
    }
}
