// read: GET, catch-up and live (PROTOCOL.md section 4). The reading is StreamReader's.

import ArgumentParser
import Glibc
import StreamClient

struct ReadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "read", abstract: "Print a stream, and follow it until it is closed.",
        discussion: """
            Data is printed as it comes, byte for byte; of a JSON stream, one message per line. Once the server has answered, lost connections \
            are made again, from where the reading was, for as long as --retry-for says.

            \(ClientExit.table)
            """)

    @Argument(help: "Name or URL of the stream.") var stream: String
    @OptionGroup var connection: ConnectionOptions

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Where to begin: -1 is the start, now the end, or an offset that the server gave.", valueName: "offset"))
    var offset = "-1"

    @Flag(inversion: .prefixedNo, help: "Wait for what is appended later, or stop at the end of what is there.")
    var follow = true

    @Flag(help: "Follow by server-sent events; long-poll is the default.")
    var sse = false

    @Flag(help: "Print JSON arrays as the server sends them.")
    var raw = false

    @Flag(help: "At the end, say on standard error where a later read would go on.")
    var offsets = false

    @Option(help: ArgumentHelp("How long to try again when the connection is lost.", valueName: "duration"))
    var retryFor = ClientDuration(milliseconds: 60_000)

    func validate() throws {
        if offset.isEmpty { throw ValidationError("--offset must not be empty.") }
    }

    func run() throws { try reportingFailures(read) }

    private func read() throws(ClientFailure) {
        let interruption = Interruption.install()
        let address = try connection.address(stream)
        let session = try connection.session(interruption: interruption)
        var options = StreamReader.Options()
        options.offset = offset
        options.isFollowing = follow
        options.isSSE = sse
        options.isRaw = raw
        let output = StandardOutput(interruption: interruption)
        let reader = StreamReader(session: session, address: address, options: options, policy: RetryPolicy(retryFor: retryFor)) {
            bytes throws(ClientFailure) in
            try output.write(bytes)
        }
        defer { if offsets { ClientExit.say("offset: \(terminalText(reader.nextOffset))") } }
        _ = try reader.run()
    }
}
