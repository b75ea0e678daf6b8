// head: HEAD (PROTOCOL.md section 4).

import ArgumentParser
import StreamClient

struct HeadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "head", abstract: "Print what a stream is: its end, content type, and when it expires.",
        discussion: "Values the server does not give are left out.\n\n\(ClientExit.table)")

    @Argument(help: "Name or URL of the stream.") var stream: String
    @OptionGroup var connection: ConnectionOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws { try reportingFailures(head) }

    private func head() throws(ClientFailure) {
        let address = try connection.address(stream)
        let answer = try connection.session().sendOnce(HTTPRequest(.head, address.url))
        guard answer.nextOffset != nil else {
            throw .badAnswer("the answer has no Stream-Next-Offset; is \(address.url) a durable stream?")
        }
        try ClientExit.print(json ? StreamFacts(answer).json : StreamFacts(answer).lines)
    }
}
