// ConnectionOptions: which server, and what every request carries. Flag, then environment, then default.

import ArgumentParser
import Glibc
import StreamClient
import Systemd

struct ConnectionOptions: ParsableArguments {
    @Option(help: ArgumentHelp("URL below which the streams live (STREAM_URL; default \(Self.defaultURL)).", valueName: "url"))
    var url: String?

    @Option(name: .long, help: ArgumentHelp("A header field sent with every request; repeatable.", valueName: "name: value"))
    var header: [String] = []

    @Option(
        help: ArgumentHelp(
            "File with what is sent as the Authorization header; before STREAM_AUTH and systemd's credential stream-auth.",
            valueName: "file"))
    var authFile: String?

    @Flag(name: .shortAndLong, help: "Say on standard error what is asked and answered.")
    var verbose = false

    static let defaultURL = "http://localhost:4437/v1/stream"

    func address(_ stream: String) throws(ClientFailure) -> StreamAddress {
        try StreamAddress(base: base, name: stream)
    }

    var base: String { url ?? Self.environment("STREAM_URL") ?? Self.defaultURL }

    /// - Parameter interruption: from `Interruption.install`, for commands that run until Ctrl-C.
    func session(interruption: Int32? = nil) throws(ClientFailure) -> HTTPSession {
        let isVerbose = verbose
        return HTTPSession(fields: try fields(), interruption: interruption) { line, isImportant in
            if isImportant || isVerbose { ClientExit.say(line) }
        }
    }

    /// What every request carries.
    func fields() throws(ClientFailure) -> [HeaderField] {
        var fields: [HeaderField] = []
        for line in header { fields.append(try HeaderField(line: line, from: "--header \(line)")) }
        if !fields.contains(where: { $0.name.lowercased() == "authorization" }), let text = try secret() {
            fields.append(try .authorization(text))
        }
        return fields
    }

    /// What is sent as the Authorization header: from the file, then STREAM_AUTH, then the credential that systemd has loaded for this unit
    /// (LoadCredential=stream-auth:…).
    private func secret() throws(ClientFailure) -> String? {
        do throws(CredentialFault) {
            if let authFile { return try Credentials.file(authFile) }
            if let text = Self.environment("STREAM_AUTH") { return text }
            return try Credentials.named("stream-auth")
        } catch {
            throw .badInput("the authorization cannot be read: \(error)")
        }
    }

    /// Nil when it is not set or empty.
    private static func environment(_ name: String) -> String? {
        guard let value = getenv(name).map({ String(cString: $0) }), !value.isEmpty else { return nil }
        return value
    }
}

extension ClientDuration: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}
