// Secrets from the service manager or from files (systemd.exec(5), LoadCredential=): never from the command line, which every user of
// the machine can read in /proc.
//
//     LoadCredential=stream-auth:/etc/durable-streams/stream-auth   →   $CREDENTIALS_DIRECTORY/stream-auth

import Glibc

/// Why a secret cannot be read. The text never contains any of it.
public struct CredentialFault: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
}

public enum Credentials {
    /// The most bytes of a secret: a token or a key, not a file that was named by mistake.
    static let sizeLimit = 64 * 1024

    /// A credential of this unit; nil: there is none of that name.
    public static func named(_ name: String, directory: String? = getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) })
        throws(CredentialFault)
        -> String?
    {
        guard let directory, access(directory + "/" + name, F_OK) == 0 else { return nil }
        return try file(directory + "/" + name)
    }

    /// The first line of a file, without its end.
    public static func file(_ path: String) throws(CredentialFault) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CredentialFault(description: "\(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var status = stat()
        if fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_mode & 0o007 != 0 {
            throw CredentialFault(description: "\(path): every user of this machine can read or change it; expected chmod o-rwx")
        }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 4096)
        while bytes.count <= sizeLimit {
            let count = read(descriptor, &block, block.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw CredentialFault(description: "\(path): \(String(cString: strerror(errno)))")
            }
            if count == 0 { break }
            bytes += block[..<count]
        }
        if bytes.count > sizeLimit { throw CredentialFault(description: "\(path): larger than 64 KiB; expected a secret of one line") }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw CredentialFault(description: "\(path): not UTF-8") }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count <= 2, lines.count < 2 || lines[1].isEmpty, !lines[0].isEmpty else {
            throw CredentialFault(
                description: "\(path): \(lines.allSatisfy(\.isEmpty) ? "empty" : "more than one line"); expected a secret of one line")
        }
        return String(lines[0])
    }
}
