// Certificates made here: one for `localhost` that a developer's browser can be told to trust, and the tests' own with their authorities.
//
//     P-256 key ─▶ certificate (X.509 v3, ECDSA with SHA-256): subject = issuer = the first name,
//                  subjectAltName DNS:… IP:…, basicConstraints, keyUsage, extendedKeyUsage serverAuth

import COpenSSL

/// A certificate with its key, as PEM text.
public struct MadeCertificate: Sendable {
    public var certificate: [UInt8]
    /// PKCS #8, not encrypted: to be written with mode 600.
    public var key: [UInt8]
}

public enum CertificateUse: Sendable {
    case server, client, authority
}

public enum SelfSignedCertificate {
    /// What a browser on this machine calls this machine.
    public static let localNames = ["localhost", "127.0.0.1", "::1"]

    /// Makes a P-256 key and a certificate for it.
    ///
    /// - Parameters:
    ///   - names: DNS names, `*.` and a domain, IP addresses; the first is the subject's common name too.
    ///   - validFrom: seconds since 1970, as is `validTo`.
    ///   - issuer: who signs; nil: the key itself.
    public static func make(
        names: [String] = localNames, use: CertificateUse = .server, validFrom: Int64, validTo: Int64, issuer: MadeCertificate? = nil
    ) throws(TLSLoadFailure) -> MadeCertificate {
        precondition(!names.isEmpty, "a certificate is for somebody")
        ErrorQueue.clear()
        guard let made = assemble(names, use, validFrom, validTo, issuer) else { throw .library(reason: ErrorQueue.takeText()) }
        return made
    }

    private static func assemble(
        _ names: [String], _ use: CertificateUse, _ from: Int64, _ to: Int64, _ issuer: MadeCertificate?
    ) -> MadeCertificate? {
        guard let key = copenssl_make_p256_key(), let certificate = X509_new() else { return nil }
        defer {
            EVP_PKEY_free(key)
            X509_free(certificate)
        }
        var serial = [UInt8](repeating: 0, count: 16)
        guard RAND_bytes(&serial, 16) == 1 else { return nil }
        serial[0] = serial[0] & 0x7F | 0x40
        let number = BN_bin2bn(serial, 16, nil)
        defer { BN_free(number) }
        guard BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil, X509_set_version(certificate, 2) == 1,
            ASN1_TIME_set(X509_getm_notBefore(certificate), Int(from)) != nil,
            ASN1_TIME_set(X509_getm_notAfter(certificate), Int(to)) != nil,
            X509_set_pubkey(certificate, key) == 1,
            X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, names[0], -1, -1, 0) == 1
        else { return nil }

        var (issuerName, signer) = (X509_get_subject_name(certificate), Optional(key))
        var (parent, parentKey): (OpaquePointer?, OpaquePointer?)
        defer {
            X509_free(parent)
            EVP_PKEY_free(parentKey)
        }
        if let issuer {
            parent = PEMFile.certificates(issuer.certificate).first
            var isEncrypted = false
            parentKey = TLSIdentity.readKey(issuer.key, &isEncrypted)
            guard let parent, parentKey != nil else { return nil }
            (issuerName, signer) = (X509_get_subject_name(parent), parentKey)
        }
        guard X509_set_issuer_name(certificate, issuerName) == 1 else { return nil }

        var extensions: [(Int32, String)] =
            switch use {
            case .authority: [(NID_basic_constraints, "critical,CA:TRUE"), (NID_key_usage, "critical,keyCertSign,cRLSign")]
            case .server: [(NID_key_usage, "critical,digitalSignature"), (NID_ext_key_usage, "serverAuth")]
            case .client: [(NID_key_usage, "critical,digitalSignature"), (NID_ext_key_usage, "clientAuth")]
            }
        if use != .authority { extensions.append((NID_basic_constraints, "critical,CA:FALSE")) }
        extensions.append((NID_subject_alt_name, names.map { (isAddress($0) ? "IP:" : "DNS:") + $0 }.joined(separator: ",")))
        extensions.append((NID_subject_key_identifier, "hash"))
        var about = X509V3_CTX()
        X509V3_set_ctx(&about, parent ?? certificate, certificate, nil, nil, 0)
        for (kind, text) in extensions {
            guard let one = X509V3_EXT_conf_nid(nil, &about, kind, text) else { return nil }
            defer { X509_EXTENSION_free(one) }
            guard X509_add_ext(certificate, one, -1) == 1 else { return nil }
        }
        guard X509_sign(certificate, signer, EVP_sha256()) > 0 else { return nil }

        let (certificateText, keyText) = (BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()))
        defer {
            BIO_free(certificateText)
            BIO_free(keyText)
        }
        guard PEM_write_bio_X509(certificateText, certificate) == 1,
            PEM_write_bio_PKCS8PrivateKey(keyText, key, nil, nil, 0, nil, nil) == 1
        else { return nil }
        return MadeCertificate(certificate: BIOText.bytes(certificateText), key: BIOText.bytes(keyText))
    }

    private static func isAddress(_ name: String) -> Bool {
        guard let address = a2i_IPADDRESS(name) else { return false }
        ASN1_OCTET_STRING_free(address)
        return true
    }
}
