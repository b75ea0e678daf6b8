// close: POST with Stream-Closed and no body (PROTOCOL.md section 3).

import ArgumentParser
import StreamClient

struct CloseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "close", abstract: "Close a stream: no more appends; readers come to its end.",
        discussion: "Closing a closed stream is no failure.\n\n\(ClientExit.table)")

    @Argument(help: "Name or URL of the stream.") var stream: String
    @OptionGroup var connection: ConnectionOptions

    func run() throws {
        try reportingFailures { () throws(ClientFailure) in
            let answer = try connection.session().sendOnce(StreamAppender.closeRequest(try connection.address(stream)))
            if connection.verbose, let offset = answer.nextOffset { ClientExit.say("offset: \(terminalText(offset))") }
        }
    }
}
