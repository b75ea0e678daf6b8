// What can be wrong with the files that TLS is configured with, each with the file and what was expected of it. No text contains any of a key.

/// Why certificates, keys or authorities cannot be used. Whoever reloads keeps what it has and says this.
public enum TLSLoadFailure: Error, Sendable, Equatable, CustomStringConvertible {
    case unreadable(file: String, reason: String)
    case tooLarge(file: String, limit: Int)
    /// A private key that every user of this machine can read or change.
    case keyOpenToOthers(file: String)
    case noCertificate(file: String, reason: String)
    case noKey(file: String, reason: String)
    case encryptedKey(file: String)
    /// `belongsTo`: the number, from 1, of the certificate in the file that the key does belong to.
    case keyMismatch(certificateFile: String, keyFile: String, belongsTo: Int?)
    case notYetValid(file: String, from: String)
    case expired(file: String, since: String)
    /// OpenSSL does not accept it for a server: too short a key, too weak a signature.
    case refused(file: String, reason: String)
    case noIdentity
    /// A setting that this OpenSSL does not know, or no memory.
    case library(reason: String)

    public var description: String {
        switch self {
        case .unreadable(let file, let reason): "\(file): \(reason)"
        case .tooLarge(let file, let limit): "\(file): larger than \(limit) bytes; expected a file in PEM form"
        case .keyOpenToOthers(let file): "\(file): every user of this machine can read or change this key; expected chmod o-rwx"
        case .noCertificate(let file, let reason):
            "\(file): no certificate; expected a chain in PEM form, the server's own certificate first (\(reason))"
        case .noKey(let file, let reason): "\(file): no private key; expected one in PEM form (\(reason))"
        case .encryptedKey(let file): "\(file): the private key is encrypted with a passphrase; expected a key without one"
        case .keyMismatch(let certificate, let key, nil): "\(key): the key does not belong to the certificate in \(certificate)"
        case .keyMismatch(let certificate, let key, let number?):
            "\(key): the key belongs to certificate \(number) in \(certificate); expected the server's own certificate first"
        case .notYetValid(let file, let from): "\(file): the certificate is not valid before \(from)"
        case .expired(let file, let since): "\(file): the certificate has expired on \(since)"
        case .refused(let file, let reason): "\(file): not usable for a server (\(reason))"
        case .noIdentity: "no certificate is given; expected at least one"
        case .library(let reason): "OpenSSL: \(reason)"
        }
    }
}
