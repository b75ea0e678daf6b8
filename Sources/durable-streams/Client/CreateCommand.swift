// create: PUT (PROTOCOL.md section 2).

import ArgumentParser
import Glibc
import StreamClient

struct CreateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Create a stream and print its URL.",
        discussion: """
            A stream that exists with the same configuration is left as it is, data included; that is no failure. One with another \
            configuration is (exit code 1).

            \(ClientExit.table)
            """)

    @Argument(help: "Name or URL of the stream.") var stream: String
    @OptionGroup var connection: ConnectionOptions

    @Option(help: ArgumentHelp("Media type of the data (the server's default: application/octet-stream).", valueName: "type"))
    var contentType: String?

    @Flag(help: "Short for --content-type application/json.")
    var json = false

    @Option(help: ArgumentHelp("Expire when unused for so long: 90s, 30m, 12h, 7d.", valueName: "duration"))
    var ttl: ClientDuration?

    @Option(help: ArgumentHelp("Expire at this time: 2030-01-31T12:00:00Z.", valueName: "time"))
    var expiresAt: String?

    @Flag(help: "Create it closed: it never takes an append.")
    var closed = false

    @Option(help: ArgumentHelp("First content.", valueName: "text"))
    var data: String?

    @Option(help: ArgumentHelp("First content from a file; - is standard input.", valueName: "file"))
    var dataFile: String?

    func validate() throws {
        if json, contentType != nil { throw ValidationError("--json and --content-type exclude each other.") }
        if ttl != nil, expiresAt != nil { throw ValidationError("--ttl and --expires-at exclude each other.") }
        if data != nil, dataFile != nil { throw ValidationError("--data and --data-file exclude each other.") }
        if let ttl, ttl.wholeSeconds == nil { throw ValidationError("--ttl must be a whole number of seconds.") }
    }

    func run() throws { try reportingFailures(create) }

    private func create() throws(ClientFailure) {
        let address = try connection.address(stream)
        let session = try connection.session()
        var fields: [HeaderField] = []
        if let type = json ? "application/json" : contentType {
            fields.append(try HeaderField(name: "Content-Type", value: type, from: "--content-type"))
        }
        if let seconds = ttl?.wholeSeconds { fields.append(try HeaderField(name: "Stream-TTL", value: "\(seconds)", from: "--ttl")) }
        if let expiresAt { fields.append(try HeaderField(name: "Stream-Expires-At", value: expiresAt, from: "--expires-at")) }
        if closed { fields.append(try HeaderField(name: "Stream-Closed", value: "true", from: "--closed")) }
        let answer = try session.sendOnce(HTTPRequest(.put, address.url, fields: fields, body: try content()))
        if answer.status == 200 { ClientExit.say("the stream existed already, with the same configuration") }
        try ClientExit.print(terminalText(answer.location ?? address.url))
    }

    private func content() throws(ClientFailure) -> [UInt8] {
        if let data { return Array(data.utf8) }
        guard let dataFile else { return [] }
        if dataFile == "-" { return try readAll(STDIN_FILENO, named: "standard input") }
        let descriptor = open(dataFile, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .badInput("\(dataFile): \(String(cString: strerror(errno)))") }
        defer { Glibc.close(descriptor) }
        return try readAll(descriptor, named: dataFile)
    }
}
