// A certificate chain with its private key: what a server proves its names with.
//
//     chain file    CERTIFICATE (the server's own), CERTIFICATE (who issued it), …      key file    PRIVATE KEY
//                   └─ names: the DNS entries of its subjectAltName, exact or `*.` and a domain (RFC 6125 6.4.3)
//
// Invariant: what exists has been checked: it parses, the key belongs to the first certificate, and that one was valid at the time given.
//
// Sendable: nothing changes after `init`, and OpenSSL's reference counts are atomic; so a disk worker may load what the reactor uses.

import COpenSSL

/// A server's certificate chain and key, loaded and checked.
public final class TLSIdentity: @unchecked Sendable {
    public let certificateFile: String
    public let keyFile: String
    /// The DNS names that the certificate is for, in lower case, `*.example.org` for a wildcard.
    public let names: [String]
    /// The end of its validity, in seconds since 1970: for a warning before it comes.
    public let expires: Int64
    let chain: [OpaquePointer]
    let key: OpaquePointer

    /// Reads and checks both files; waits for the disk.
    ///
    /// - Parameter now: seconds since 1970.
    public convenience init(certificateFile: String, keyFile: String, now: Int64) throws(TLSLoadFailure) {
        let certificates = try PEMFile.read(certificateFile, isSecret: false)
        var key = try PEMFile.read(keyFile, isSecret: true)
        defer { key.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }
        try self.init(certificates: certificates, key: key, certificateFile: certificateFile, keyFile: keyFile, now: now)
    }

    /// The same of texts in PEM form; the file names are for messages.
    public init(certificates: [UInt8], key: [UInt8], certificateFile: String, keyFile: String, now: Int64) throws(TLSLoadFailure) {
        let chain = PEMFile.certificates(certificates)
        guard let own = chain.first else { throw .noCertificate(file: certificateFile, reason: ErrorQueue.takeText()) }
        let privateKey: OpaquePointer
        do throws(TLSLoadFailure) {
            try Self.checkValidity(own, certificateFile, now)
            privateKey = try Self.privateKey(key, keyFile)
        } catch {
            for certificate in chain { X509_free(certificate) }
            throw error
        }
        // From here on `deinit` frees both.
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.chain = chain
        self.key = privateKey
        names = Self.names(of: own)
        expires = Self.seconds(X509_get0_notAfter(own))
        let match = chain.firstIndex { X509_check_private_key($0, privateKey) == 1 }
        ErrorQueue.clear()
        if match != 0 {
            throw .keyMismatch(certificateFile: certificateFile, keyFile: keyFile, belongsTo: match.map { $0 + 1 })
        }
    }

    deinit {
        for certificate in chain { X509_free(certificate) }
        EVP_PKEY_free(key)
    }

    /// Whether the certificate is valid at `now` still; nil if so.
    public func fault(at now: Int64) -> TLSLoadFailure? {
        do throws(TLSLoadFailure) {
            try Self.checkValidity(chain[0], certificateFile, now)
            return nil
        } catch {
            return error
        }
    }

    private static func checkValidity(_ certificate: OpaquePointer, _ file: String, _ now: Int64) throws(TLSLoadFailure) {
        let (from, end) = (X509_get0_notBefore(certificate), X509_get0_notAfter(certificate))
        if seconds(from) > now { throw .notYetValid(file: file, from: text(from)) }
        if seconds(end) < now { throw .expired(file: file, since: text(end)) }
    }

    private static func privateKey(_ text: [UInt8], _ file: String) throws(TLSLoadFailure) -> OpaquePointer {
        var isEncrypted = false
        if let key = readKey(text, &isEncrypted) { return key }
        let reason = ErrorQueue.takeText()
        if isEncrypted { throw .encryptedKey(file: file) }
        throw .noKey(file: file, reason: reason)
    }

    /// The private key of a PEM text; the caller owns it. nil: the error queue says why.
    static func readKey(_ text: [UInt8], _ isEncrypted: inout Bool) -> OpaquePointer? {
        ErrorQueue.clear()
        let bio = BIO_new_mem_buf(text, Int32(text.count))
        defer { BIO_free(bio) }
        // Without this callback OpenSSL would ask for the passphrase at the terminal.
        return withUnsafeMutablePointer(to: &isEncrypted) { asked in
            PEM_read_bio_PrivateKey(
                bio, nil,
                { _, _, _, asked in
                    asked!.assumingMemoryBound(to: Bool.self).pointee = true
                    return -1
                }, asked)
        }
    }

    private static func names(of certificate: OpaquePointer) -> [String] {
        guard let raw = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else {
            ErrorQueue.clear()
            return []
        }
        let list = OpaquePointer(raw)
        defer { GENERAL_NAMES_free(list) }
        var names: [String] = []
        for index in 0..<copenssl_name_count(list) {
            var count: Int32 = 0
            guard let bytes = copenssl_dns_name(list, index, &count) else { continue }
            names.append(ServerName.normalized(UnsafeRawBufferPointer(start: bytes, count: Int(count))))
        }
        return names
    }

    /// Seconds since 1970, counted by days so that no time zone is asked.
    static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        let epoch = ASN1_TIME_set(nil, 0)
        defer { ASN1_STRING_free(epoch) }
        var (days, seconds): (Int32, Int32) = (0, 0)
        guard ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return 0 }
        return Int64(days) * 86_400 + Int64(seconds)
    }

    /// `Nov 23 19:31:20 2026 GMT`
    private static func text(_ time: UnsafePointer<ASN1_TIME>?) -> String {
        let bio = BIO_new(BIO_s_mem())
        defer { BIO_free(bio) }
        guard ASN1_TIME_print(bio, time) == 1 else { return "a time that cannot be read" }
        return BIOText.text(bio)
    }
}

enum BIOText {
    /// What has been written to a memory BIO.
    static func bytes(_ bio: OpaquePointer?) -> [UInt8] {
        var start: UnsafeMutablePointer<CChar>?
        let count = copenssl_memory(bio, &start)
        return Array(UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count))
    }

    static func text(_ bio: OpaquePointer?) -> String { String(decoding: bytes(bio), as: UTF8.self) }
}
