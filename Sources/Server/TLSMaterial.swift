// Certificates and keys from the files that the settings name, loaded anew when the configuration is read again or a file has changed.
//
//     tls-certificate: [/etc/ssl/a.pem, credential:b.crt]        the n-th key is the n-th certificate's
//     tls-key:         [/etc/ssl/a.key, credential:b.key]        credential:NAME is $CREDENTIALS_DIRECTORY/NAME (systemd.exec(5), LoadCredential=)
//
// Loading waits for the disk, so it is a disk worker's job; what it gives is Sendable. Nothing is taken over unless all of it is good.

import Glibc
import ServerSettings
import SystemCalls
import TransportSecurity

struct TLSMaterial: Sendable {
    let identities: [TLSIdentity]
    let authorities: ClientAuthorities?
    let marks: [FileMark]

    /// What tells whether a file has been replaced or written.
    struct FileMark: Sendable, Equatable {
        let path: String
        let inode: UInt64
        let size: Int64
        let seconds: Int64
        let nanoseconds: Int64

        init(_ path: String) {
            var status = stat()
            let found = stat(path, &status) == 0
            self.path = path
            inode = found ? UInt64(status.st_ino) : 0
            size = found ? Int64(status.st_size) : -1
            seconds = found ? Int64(status.st_mtim.tv_sec) : 0
            nanoseconds = found ? Int64(status.st_mtim.tv_nsec) : 0
        }
    }

    /// Found out once: the module is there or not.
    static let kernelSpeaksTLS = SocketCalls.kernelSpeaksTLS()

    /// - Parameter now: seconds since 1970.
    init(_ settings: Settings, now: Int64) throws(TLSLoadFailure) {
        let certificates = settings.tlsCertificates.map(Self.resolve)
        let keys = settings.tlsKeys.map(Self.resolve)
        let clientCA = settings.tlsClientCA.map { Self.resolve($0.string) }
        // Before reading: a change in between is seen at the next look.
        marks = (certificates + keys + [clientCA].compactMap { $0 }).map { FileMark($0) }
        var identities: [TLSIdentity] = []
        for (certificate, key) in zip(certificates, keys) {
            identities.append(try TLSIdentity(certificateFile: certificate, keyFile: key, now: now))
        }
        self.identities = identities
        authorities = try Self.authorities(clientCA)
    }

    private static func authorities(_ file: String?) throws(TLSLoadFailure) -> ClientAuthorities? {
        guard let file else { return nil }
        return try ClientAuthorities(file: file)
    }

    /// Whether any of the files is another now.
    var isOutdated: Bool { marks.contains { FileMark($0.path) != $0 } }

    func context(_ settings: Settings, _ tickets: SessionTicketKeys) throws(TLSLoadFailure) -> TLSContext {
        var choices = TLSSettings()
        choices.onlyVersion13 = settings.tlsMinimum == .version13
        choices.kernelTLS = Self.kernelSpeaksTLS
        if let authorities {
            switch settings.tlsClientCertificates {
            case .off: break
            case .optional: choices.clientCertificates = .optional(authorities)
            case .required: choices.clientCertificates = .required(authorities)
            }
        }
        return try TLSContext(identities, choices, ticketKeys: tickets)
    }

    private static func resolve(_ path: String) -> String {
        let prefix = "credential:"
        guard path.hasPrefix(prefix) else { return path }
        let directory = getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) } ?? "/run/credentials/durable-streams.service"
        return directory + "/" + path.dropFirst(prefix.count)
    }
}
