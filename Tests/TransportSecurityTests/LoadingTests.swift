import COpenSSL
import Glibc
import Testing

@testable import TransportSecurity

@Suite("Loading certificates")
struct LoadingTests {
    private let now = Fixture.now

    private func failure(_ chain: [UInt8], _ key: [UInt8], now: Int64? = nil) -> TLSLoadFailure? {
        do throws(TLSLoadFailure) {
            _ = try TLSIdentity(certificates: chain, key: key, certificateFile: "c.pem", keyFile: "k.pem", now: now ?? self.now)
            return nil
        } catch {
            return error
        }
    }

    @Test("good ones, with their names and their end")
    func good() throws {
        let made = try SelfSignedCertificate.make(validFrom: now - 10, validTo: now + 1000)
        let identity = try TLSIdentity(
            certificates: made.certificate, key: made.key, certificateFile: "c.pem", keyFile: "k.pem", now: now)
        #expect(identity.names == ["localhost"] && identity.expires == now + 1000 && identity.chain.count == 1)
        #expect(identity.fault(at: now) == nil && identity.fault(at: now + 1000) == nil && identity.fault(at: now + 1001) != nil)
        // A chain, and text around the certificates, as certbot and openssl write it.
        let authority = try Fixture.make(["authority"], use: .authority)
        let leaf = try Fixture.make(["A.example", "*.B.example", "10.0.0.1"], issuer: authority)
        let text = Array("subject=CN = a\n".utf8) + leaf.certificate + Array("\nissuer\n".utf8) + authority.certificate
        let chained = try TLSIdentity(certificates: text, key: leaf.key, certificateFile: "c.pem", keyFile: "k.pem", now: now)
        #expect(chained.chain.count == 2 && chained.names == ["a.example", "*.b.example"])
    }

    @Test("not valid yet, not valid any more")
    func validity() throws {
        let made = try SelfSignedCertificate.make(validFrom: 1_000_000_000, validTo: 1_100_000_000)
        #expect(failure(made.certificate, made.key, now: 1_050_000_000) == nil)
        #expect(
            failure(made.certificate, made.key, now: 1_000_000_000) == nil && failure(made.certificate, made.key, now: 1_100_000_000) == nil
        )
        let early = failure(made.certificate, made.key, now: 999_999_999)
        #expect(early == .notYetValid(file: "c.pem", from: "Sep  9 01:46:40 2001 GMT"))
        #expect("\(early!)" == "c.pem: the certificate is not valid before Sep  9 01:46:40 2001 GMT")
        let late = failure(made.certificate, made.key, now: 1_100_000_001)
        #expect("\(late!)" == "c.pem: the certificate has expired on Nov  9 11:33:20 2004 GMT")
    }

    @Test("a key of another certificate, or of a later one in the file")
    func mismatch() throws {
        let (one, two) = (try Fixture.make(), try Fixture.make())
        #expect(failure(one.certificate, two.key) == .keyMismatch(certificateFile: "c.pem", keyFile: "k.pem", belongsTo: nil))
        let wrongOrder = failure(one.certificate + two.certificate, two.key)
        #expect(wrongOrder == .keyMismatch(certificateFile: "c.pem", keyFile: "k.pem", belongsTo: 2))
        #expect("\(wrongOrder!)" == "k.pem: the key belongs to certificate 2 in c.pem; expected the server's own certificate first")
    }

    @Test("files that are no PEM, or are damaged")
    func garbage() throws {
        let made = try Fixture.make()
        let text = String(decoding: made.certificate, as: UTF8.self)
        for bytes in [
            [], Array("hello".utf8), made.key, Array(text.prefix(200).utf8), made.certificate + Array(text.prefix(300).utf8),
            Array(text.replacingCharacter(at: 100, with: "!").utf8), [UInt8](repeating: 0xFF, count: 5000),
        ] {
            guard case .noCertificate("c.pem", let reason) = failure(bytes, made.key) else {
                Issue.record("accepted: \(String(decoding: bytes, as: UTF8.self))")
                continue
            }
            #expect(!reason.isEmpty)
        }
        for bytes in [[], Array("hello".utf8), made.certificate, Array(made.key.prefix(120)), [UInt8](repeating: 0xFF, count: 5000)] {
            guard case .noKey("k.pem", _) = failure(made.certificate, bytes) else {
                Issue.record("accepted as a key")
                continue
            }
        }
        #expect(throws: TLSLoadFailure.self) { _ = try ClientAuthorities(certificates: Array("x".utf8), file: "ca.pem") }
        #expect(ERR_peek_error() == 0, "nothing is left in the error queue")
    }

    @Test("a key with a passphrase is refused, and nobody is asked for it")
    func encrypted() throws {
        let made = try Fixture.make()
        var isEncrypted = false
        let key = TLSIdentity.readKey(made.key, &isEncrypted)
        defer { EVP_PKEY_free(key) }
        let bio = BIO_new(BIO_s_mem())
        defer { BIO_free(bio) }
        let isWritten = Array("secret".utf8CString).withUnsafeBufferPointer { phrase in
            PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_256_cbc(), phrase.baseAddress, 6, nil, nil)
        }
        #expect(isWritten == 1)
        #expect(failure(made.certificate, BIOText.bytes(bio)) == .encryptedKey(file: "k.pem"))
    }

    @Test("files: missing, open to others, too large, a directory")
    func files() throws {
        var template = Array("/tmp/tls-test-XXXXXX".utf8CString)
        let folder = String(cString: mkdtemp(&template)!)
        let (chain, key) = (folder + "/c.pem", folder + "/k.pem")
        defer {
            for path in [chain, key] { unlink(path) }
            rmdir(folder)
        }
        func write(_ path: String, _ bytes: [UInt8], _ mode: mode_t) {
            unlink(path)
            let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
            #expect(Glibc.write(descriptor, bytes, bytes.count) == bytes.count && fchmod(descriptor, mode) == 0)
            Glibc.close(descriptor)
        }
        func load(_ chain: String, _ key: String) -> TLSLoadFailure? {
            do throws(TLSLoadFailure) {
                _ = try TLSIdentity(certificateFile: chain, keyFile: key, now: now)
                return nil
            } catch {
                return error
            }
        }
        let made = try Fixture.make()
        write(chain, made.certificate, 0o644)
        write(key, made.key, 0o640)
        #expect(load(chain, key) == nil)
        #expect(load(folder + "/none", key) == .unreadable(file: folder + "/none", reason: "No such file or directory"))
        #expect(load(folder, key) == .unreadable(file: folder, reason: "Is a directory"))
        write(key, made.key, 0o644)
        #expect(load(chain, key) == .keyOpenToOthers(file: key))
        write(chain, [UInt8](repeating: 65, count: PEMFile.sizeLimit + 1), 0o644)
        #expect(load(chain, key) == .tooLarge(file: chain, limit: PEMFile.sizeLimit))
    }

    @Test("a server without a certificate")
    func noIdentity() throws {
        #expect(throws: TLSLoadFailure.noIdentity) { _ = try Fixture.context([]) }
    }

    @Test("what is made is what it says, and each key is another")
    func made() throws {
        let (one, two) = (
            try SelfSignedCertificate.make(validFrom: now, validTo: now + 10),
            try SelfSignedCertificate.make(validFrom: now, validTo: now + 10)
        )
        #expect(one.key != two.key && one.certificate != two.certificate)
        let certificate = try #require(PEMFile.certificates(one.certificate).first)
        defer { X509_free(certificate) }
        #expect(X509_check_host(certificate, "localhost", 0, 0, nil) == 1 && X509_check_host(certificate, "other", 0, 0, nil) == 0)
        #expect(X509_check_ip_asc(certificate, "127.0.0.1", 0) == 1 && X509_check_ip_asc(certificate, "::1", 0) == 1)
        #expect(X509_check_ip_asc(certificate, "127.0.0.2", 0) == 0)
        #expect(X509_verify(certificate, X509_get0_pubkey(certificate)) == 1)
        #expect(EVP_PKEY_get_bits(X509_get0_pubkey(certificate)) == 256)
        ERR_clear_error()
    }
}

extension String {
    fileprivate func replacingCharacter(at offset: Int, with text: String) -> String {
        let place = index(startIndex, offsetBy: offset)
        return self[..<place] + text + self[index(after: place)...]
    }
}
