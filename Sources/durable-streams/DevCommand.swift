// `dev`: a server for trying things out, without any configuration.

import ArgumentParser
import Glibc
import Server
import ServerSettings
import SystemCalls
import Systemd
import TransportSecurity

struct DevCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev", abstract: "Run a server for trying things out: no configuration, data in a temporary directory.",
        discussion: """
            Listens on 127.0.0.1:4437. Data lives in a temporary directory that is removed at the end, unless --data-dir is given; nothing is \
            synced to the disk unless --durability always is.
            """)

    @OptionGroup var options: SettingsOptions

    @Flag(help: "Speak HTTPS where it listens, with a certificate for localhost made for this run.") var tls = false

    func run() throws {
        var effective = try options.settingsOrExit(mode: .dev)
        LogOutput.bootstrap(settings: effective.settings)
        var made: String?
        defer { if let made { Self.removeTree(made) } }
        if tls {
            let directory = try Self.makeTemporaryDirectory()
            made = directory
            try Self.makeCertificate(directory)
        }
        let certificate = made
        /// The settings with what `--tls` says.
        let change: @Sendable (Settings) -> Settings = { settings in
            guard let certificate else { return settings }
            var settings = settings
            settings.tlsCertificates = [certificate + "/certificate.pem"]
            settings.tlsKeys = [certificate + "/key.pem"]
            settings.listenTLS = settings.listen
            return settings
        }
        effective.settings = change(effective.settings)
        var temporary: String?
        let directory: String
        if let given = effective.settings.dataDirectory {
            directory = given.string
        } else {
            directory = try Self.makeTemporaryDirectory()
            temporary = directory
        }
        defer { if let temporary { Self.removeTree(temporary) } }
        try Serving.run(effective, options, ServiceManager(), dataDirectory: directory, change: change, onlyTLS: tls) { runtime in
            Self.greet(runtime.addresses.first ?? "", directory, isTemporary: temporary != nil, certificate: certificate)
        }
    }

    private static func makeTemporaryDirectory() throws -> String {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array((parent + "/durable-streams-dev-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else {
            StandardError.write("durable-streams: cannot make a temporary directory in \(parent): \(String(cString: strerror(errno)))\n")
            throw ExitCode(1)
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func makeCertificate(_ directory: String) throws {
        let now = Int64(time(nil))
        let made = try SelfSignedCertificate.make(validFrom: now - 3600, validTo: now + 90 * 86400)
        for (name, bytes) in [("certificate.pem", made.certificate), ("key.pem", made.key)] {
            let file = open(directory + "/" + name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard file >= 0, write(file, bytes, bytes.count) == bytes.count, close(file) == 0 else {
                StandardError.write("durable-streams: cannot write \(directory)/\(name): \(String(cString: strerror(errno)))\n")
                throw ExitCode(1)
            }
        }
    }

    private static func removeTree(_ path: String) {
        for name in (try? FileCalls.list(path)) ?? [] {
            let child = path + "/" + name
            var information = stat()
            guard lstat(child, &information) == 0 else { continue }
            if information.st_mode & S_IFMT == S_IFDIR { removeTree(child) } else { try? FileCalls.unlink(child) }
        }
        try? FileCalls.removeDirectory(path)
    }

    private static func greet(_ address: String, _ directory: String, isTemporary: Bool, certificate: String?) {
        var url = "\(certificate == nil ? "http" : "https")://\(address)/v1/stream"
        var curl = certificate.map { "curl --cacert \($0)/certificate.pem" } ?? "curl"
        if address.hasPrefix("unix:") {
            url = "http://localhost/v1/stream"
            curl = "curl --unix-socket \(address.dropFirst(5))"
        }
        let text = """
            Durable Streams at \(url)
            Data in \(directory)\(isTemporary ? " (removed when the server stops)" : "")

              create   \(curl) -i -X PUT \(url)/hello -H 'Content-Type: text/plain'
              append   \(curl) -i -X POST \(url)/hello -H 'Content-Type: text/plain' -d 'Hello, stream!'
              read     \(curl) -i '\(url)/hello?offset=-1'
              tail     \(curl) -N '\(url)/hello?offset=-1&live=sse'


            """
        try? ClientExit.print(text)
    }
}
