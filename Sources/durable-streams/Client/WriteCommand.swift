// write: POST with idempotent-producer headers (PROTOCOL.md section 3). What is decided here: content type, and which of the three inputs
// (arguments, standard input as one piece, standard input by lines) becomes which appends. The sending is StreamAppender's and LineWriter's.

import ArgumentParser
import Glibc
import StreamClient

struct WriteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "write", abstract: "Append to a stream.",
        discussion: """
            With text, the arguments joined by spaces are one append, without a newline. Without, each line of standard input is appended with \
            its newline, as soon as it comes; many lines share a request. Nothing is lost and nothing is stored twice, also when connections \
            break or the server restarts: requests are repeated for as long as --retry-for says.

            On JSON streams each argument, or each line, must be a JSON text and is one message; an array is one message too. With --raw, \
            standard input goes to the server as it is.

            \(ClientExit.table)
            """)

    @Argument(help: "Name or URL of the stream.") var stream: String
    @Argument(help: "What to append; standard input if there is none.") var text: [String] = []
    @OptionGroup var connection: ConnectionOptions

    @Flag(help: "Short for --content-type application/json.")
    var json = false

    @Option(help: ArgumentHelp("Media type of the data (default: the stream's, which is asked for).", valueName: "type"))
    var contentType: String?

    @Flag(help: "All of standard input is one append.")
    var raw = false

    @Flag(help: "Create the stream if it does not exist.")
    var create = false

    @Flag(help: "Close the stream with the last append; without any, just close it.")
    var close = false

    @Option(name: .customLong("seq"), help: ArgumentHelp("Stream-Seq: refused unless greater than the last one.", valueName: "text"))
    var order: String?

    @Option(help: ArgumentHelp("How long to try again when the server fails or cannot be reached.", valueName: "duration"))
    var retryFor = ClientDuration(milliseconds: 60_000)

    func validate() throws {
        if json, contentType != nil { throw ValidationError("--json and --content-type exclude each other.") }
        if raw, !text.isEmpty { throw ValidationError("--raw is for standard input; there is text too.") }
        if order != nil, text.isEmpty, !raw { throw ValidationError("--seq needs a single append: give text, or --raw.") }
    }

    func run() throws { try reportingFailures(append) }

    private func append() throws(ClientFailure) {
        let address = try connection.address(stream)
        let session = try connection.session()
        let given = json ? "application/json" : contentType
        let type = try StreamType(session: session, address: address, policy: RetryPolicy(retryFor: retryFor))
            .settle(given: given, creating: create)
        let isJSON = HTTPAnswer.isJSON(type)
        let appender = StreamAppender(session: session, address: address, contentType: type, policy: RetryPolicy(retryFor: retryFor))
        if text.isEmpty, !raw {
            var lines = LineWriter(form: isJSON ? .json : .bytes, appender: appender)
            try lines.run(closing: close)
        } else {
            let body =
                text.isEmpty
                ? try readAll(STDIN_FILENO, named: "standard input") : try LineBatch.single(text, form: isJSON ? .json : .bytes)
            if !body.isEmpty {
                try appender.append(body, closing: close, order: order)
            } else if close {
                try appender.close()
            }
        }
        if connection.verbose, let offset = appender.offset { ClientExit.say("offset: \(offset)") }
    }
}
