// Certificates in files, made for a test.

import Glibc
import TransportSecurity

struct TestCertificate: Sendable {
    let chain: String
    let key: String
    let made: MadeCertificate

    /// Writes `<folder>/<name>.pem` and `<name>.key`.
    init(
        _ names: [String] = SelfSignedCertificate.localNames, use: CertificateUse = .server, from: Int64 = -3600, to: Int64 = 86_400,
        issuer: TestCertificate? = nil, in folder: String, as name: String = "server"
    ) throws {
        let now = Int64(time(nil))
        made = try SelfSignedCertificate.make(
            names: names, use: use, validFrom: now + from, validTo: now + to, issuer: issuer?.made)
        chain = "\(folder)/\(name).pem"
        key = "\(folder)/\(name).key"
        try Folder.write(made.certificate, to: chain)
        try Folder.write(made.key, to: key)
    }

    /// For servers of which nothing but that they speak TLS is asked.
    static let localhost = Result { try TestCertificate(in: Folder.make()) }
}
