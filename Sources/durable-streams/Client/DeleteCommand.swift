// delete: DELETE (PROTOCOL.md section 6).

import ArgumentParser
import StreamClient

struct DeleteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete a stream and its data.", discussion: ClientExit.table)

    @Argument(help: "Name or URL of the stream.") var stream: String
    @OptionGroup var connection: ConnectionOptions

    func run() throws {
        try reportingFailures { () throws(ClientFailure) in
            _ = try connection.session().sendOnce(HTTPRequest(.delete, try connection.address(stream).url))
        }
    }
}
