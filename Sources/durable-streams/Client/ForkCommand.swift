// fork: PUT with Stream-Forked-From (PROTOCOL.md section 7).

import ArgumentParser
import StreamClient

struct ForkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fork", abstract: "Create a stream that begins as another one's content, and print its URL.",
        discussion: """
            The fork has the source's content up to the fork point and goes on by itself; nothing is copied. Without --offset it \
            begins at the source's tail. Content type and expiry are the source's. A fork that exists with the same origin is left as it is; \
            a stream of another origin is a failure (exit code 1).

            \(ClientExit.table)
            """)

    @Argument(help: "Name or URL of the stream to fork.") var source: String
    @Argument(help: "Name or URL of the new stream, on the same server.") var target: String
    @OptionGroup var connection: ConnectionOptions

    @Option(help: ArgumentHelp("Offset of the source at which the fork begins, from Stream-Next-Offset.", valueName: "offset"))
    var offset: String?

    @Option(help: ArgumentHelp("So many messages (JSON) or bytes (anything else) past the offset.", valueName: "count"))
    var subOffset: UInt64?

    @Option(help: ArgumentHelp("Expire when unused for so long: 90s, 30m, 12h, 7d.", valueName: "duration"))
    var ttl: ClientDuration?

    @Option(help: ArgumentHelp("Expire at this time: 2030-01-31T12:00:00Z.", valueName: "time"))
    var expiresAt: String?

    func validate() throws {
        if ttl != nil, expiresAt != nil { throw ValidationError("--ttl and --expires-at exclude each other.") }
        if let ttl, ttl.wholeSeconds == nil { throw ValidationError("--ttl must be a whole number of seconds.") }
    }

    func run() throws { try reportingFailures(fork) }

    private func fork() throws(ClientFailure) {
        let from = try connection.address(source)
        let address = try connection.address(target)
        guard from.origin == address.origin else { throw .badInput("\(from.url) and \(address.url): a fork lives on its source's server") }
        let session = try connection.session()
        var fields = [try HeaderField(name: "Stream-Forked-From", value: from.path, from: "the source")]
        if let offset { fields.append(try HeaderField(name: "Stream-Fork-Offset", value: offset, from: "--offset")) }
        if let subOffset { fields.append(try HeaderField(name: "Stream-Fork-Sub-Offset", value: "\(subOffset)", from: "--sub-offset")) }
        if let seconds = ttl?.wholeSeconds { fields.append(try HeaderField(name: "Stream-TTL", value: "\(seconds)", from: "--ttl")) }
        if let expiresAt { fields.append(try HeaderField(name: "Stream-Expires-At", value: expiresAt, from: "--expires-at")) }
        let answer = try session.sendOnce(HTTPRequest(.put, address.url, fields: fields, body: []))
        if answer.status == 200 { ClientExit.say("the fork existed already, with the same origin") }
        try ClientExit.print(terminalText(answer.location ?? address.url))
    }
}
