// Who may vouch for clients: the certificates of a file, any of which a client's chain has to end in.
//
// Sendable: nothing changes after `init`, and OpenSSL's reference counts are atomic.

import COpenSSL

/// The authorities that clients' certificates are verified against.
public final class ClientAuthorities: @unchecked Sendable {
    public let file: String
    let certificates: [OpaquePointer]

    /// Reads a file of certificates in PEM form; waits for the disk.
    public convenience init(file: String) throws(TLSLoadFailure) {
        try self.init(certificates: try PEMFile.read(file, isSecret: false), file: file)
    }

    public init(certificates text: [UInt8], file: String) throws(TLSLoadFailure) {
        certificates = PEMFile.certificates(text)
        self.file = file
        if certificates.isEmpty { throw .noCertificate(file: file, reason: ErrorQueue.takeText()) }
    }

    deinit { for certificate in certificates { X509_free(certificate) } }
}
