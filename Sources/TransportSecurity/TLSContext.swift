// What all TLS connections of a server have in common: certificates, protocols, ciphers, tickets. Nothing changes after `init`; a reload makes
// another context for new connections, and old connections hold the one they began with.
//
//     TLSContext ─┬─ SSL_CTX of the first identity     every connection begins here; also for names that nobody has and for none
//                 ├─ SSL_CTX of the second
//                 └─ names ▶ SSL_CTX                   the client's SNI moves a connection to another (SSL_set_SSL_CTX)
//
// All of them are configured alike: after the move OpenSSL asks the new one for ALPN, and the first one for tickets.
//
// Versions and ciphers are Mozilla's "intermediate" (wiki.mozilla.org/Security/Server_Side_TLS, 5.7) without the three DHE ciphers: they need a
// finite-field exchange that costs the server much more than the client, and no client that speaks TLS 1.2 and HTTP needs them. The client's
// order counts, as Mozilla has it: all ciphers are strong, and a telephone without AES instructions prefers ChaCha20.
//
// Not offered: compression (CRIME), renegotiation, early data (replays), sessions kept by the server (a table that clients fill).
//
// Confined to the thread of its connections, because of the ticket keys.

import COpenSSL
import Glibc

/// What ALPN can choose (RFC 7301, RFC 9113 3.2).
public enum ApplicationProtocol: Sendable, Equatable, CaseIterable {
    case http2, http11

    /// As it goes over the wire.
    var name: StaticString {
        switch self {
        case .http2: "h2"
        case .http11: "http/1.1"
        }
    }

    func matches(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.elementsEqual(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    }
}

/// Whether clients have to show certificates of their own.
public enum ClientCertificates: Sendable {
    case notAsked
    /// One that is shown has to be good; a client may show none.
    case optional(ClientAuthorities)
    case required(ClientAuthorities)
}

public struct TLSSettings: Sendable {
    /// Best first: the first that the client offers is chosen. A client that offers none of them is refused (RFC 7301 3.2), one
    /// that does not use ALPN is served.
    public var applicationProtocols: [ApplicationProtocol] = [.http2, .http11]
    /// Refuse TLS 1.2 too.
    public var onlyVersion13 = false
    public var clientCertificates = ClientCertificates.notAsked
    /// Let the kernel encrypt where it can (``TLSSession/kernelSends``).
    public var kernelTLS = true

    public init() {}
}

/// The server's side of TLS, ready for connections.
public final class TLSContext {
    public let identities: [TLSIdentity]
    public let settings: TLSSettings
    let ticketKeys: SessionTicketKeys
    /// One SSL_CTX for each identity, in the same order.
    private let contexts: [OpaquePointer]
    private let contextOfName: [String: OpaquePointer]

    /// - Parameter ticketKeys: shared by successive contexts, so that a reload does not make tickets worthless.
    public init(_ identities: [TLSIdentity], _ settings: TLSSettings, ticketKeys: SessionTicketKeys) throws(TLSLoadFailure) {
        if identities.isEmpty { throw .noIdentity }
        var contexts: [OpaquePointer] = []
        var contextOfName: [String: OpaquePointer] = [:]
        do throws(TLSLoadFailure) {
            for identity in identities {
                let context = try Self.makeContext(identity, settings, ticketKeys)
                contexts.append(context)
                for name in identity.names where contextOfName[name] == nil { contextOfName[name] = context }
            }
        } catch {
            for context in contexts { SSL_CTX_free(context) }
            throw error
        }
        self.identities = identities
        self.settings = settings
        self.ticketKeys = ticketKeys
        self.contexts = contexts
        self.contextOfName = contextOfName
        let own = Unmanaged.passUnretained(self).toOpaque()
        for context in contexts {
            copenssl_set_server_name_callback(context, chooseIdentity, own)
            SSL_CTX_set_alpn_select_cb(context, chooseApplicationProtocol, own)
            SSL_CTX_set_ex_data(context, 0, own)
            SSL_CTX_set_tlsext_ticket_key_evp_cb(context, prepareTicket)
        }
    }

    deinit { for context in contexts { SSL_CTX_free(context) } }

    /// A new server-side session; nil without memory.
    func makeSession() -> OpaquePointer? { SSL_new(contexts[0]) }

    private static let ciphers = """
        ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
        ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305
        """
    private static let suites13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    private static let groups = "X25519:P-256:P-384"

    private static func makeContext(
        _ identity: TLSIdentity, _ settings: TLSSettings, _ ticketKeys: SessionTicketKeys
    ) throws(TLSLoadFailure) -> OpaquePointer {
        ErrorQueue.clear()
        guard let context = SSL_CTX_new(TLS_server_method()) else { throw .library(reason: ErrorQueue.takeText()) }
        do throws(TLSLoadFailure) {
            try configure(context, identity, settings, ticketKeys)
        } catch {
            SSL_CTX_free(context)
            throw error
        }
        return context
    }

    private static func configure(
        _ context: OpaquePointer, _ identity: TLSIdentity, _ settings: TLSSettings, _ ticketKeys: SessionTicketKeys
    ) throws(TLSLoadFailure) {
        SSL_CTX_set_security_level(context, 2)
        copenssl_set_server_options(context, settings.kernelTLS ? 1 : 0)
        // The read buffer takes all that has arrived in one call and goes when it is empty; a write may be continued from another address.
        copenssl_set_mode(
            context, Int(SSL_MODE_ENABLE_PARTIAL_WRITE) | Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER) | Int(SSL_MODE_RELEASE_BUFFERS))
        copenssl_set_read_ahead(context, 1)
        copenssl_set_session_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
        // The keys decide how long a ticket lives; OpenSSL's own time-out, by its own clock, only comes behind.
        SSL_CTX_set_timeout(context, Int(min(2 * ticketKeys.interval / 1000 + 1, 7 * 86_400)))
        guard SSL_CTX_set_num_tickets(context, 1) == 1,
            copenssl_set_versions(context, settings.onlyVersion13 ? TLS1_3_VERSION : TLS1_2_VERSION, TLS1_3_VERSION) == 1,
            SSL_CTX_set_cipher_list(context, ciphers) == 1, SSL_CTX_set_ciphersuites(context, suites13) == 1,
            copenssl_set_groups(context, groups) == 1
        else { throw .library(reason: ErrorQueue.takeText()) }

        guard SSL_CTX_use_certificate(context, identity.chain[0]) == 1, SSL_CTX_use_PrivateKey(context, identity.key) == 1 else {
            throw .refused(file: identity.certificateFile, reason: ErrorQueue.takeText())
        }
        for certificate in identity.chain.dropFirst() where copenssl_add_chain_certificate(context, certificate) != 1 {
            throw .refused(file: identity.certificateFile, reason: ErrorQueue.takeText())
        }
        try configureClientCertificates(context, settings.clientCertificates)
    }

    private static func configureClientCertificates(_ context: OpaquePointer, _ wanted: ClientCertificates) throws(TLSLoadFailure) {
        let authorities: ClientAuthorities
        var mode = SSL_VERIFY_PEER
        switch wanted {
        case .notAsked:
            mode = SSL_VERIFY_NONE
            try setTicketScope(context, mode, [])
            return
        case .optional(let some): authorities = some
        case .required(let some):
            authorities = some
            mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        }
        let store = SSL_CTX_get_cert_store(context)
        for certificate in authorities.certificates {
            guard X509_STORE_add_cert(store, certificate) == 1, SSL_CTX_add_client_CA(context, certificate) == 1 else {
                throw .refused(file: authorities.file, reason: ErrorQueue.takeText())
            }
        }
        SSL_CTX_set_verify(context, mode, nil)
        SSL_CTX_set_verify_depth(context, 4)
        try setTicketScope(context, mode, authorities.certificates)
    }

    /// A ticket is good only where clients are verified in the same way: it stands in for the certificate that was shown when it was made.
    private static func setTicketScope(_ context: OpaquePointer, _ mode: Int32, _ authorities: [OpaquePointer]) throws(TLSLoadFailure) {
        var text = [UInt8(truncatingIfNeeded: mode)]
        var digest = [UInt8](repeating: 0, count: 32)
        for certificate in authorities {
            guard X509_digest(certificate, EVP_sha256(), &digest, nil) == 1 else { throw .library(reason: ErrorQueue.takeText()) }
            text += digest
        }
        guard EVP_Digest(text, text.count, &digest, nil, EVP_sha256(), nil) == 1,
            SSL_CTX_set_session_id_context(context, digest, UInt32(digest.count)) == 1
        else { throw .library(reason: ErrorQueue.takeText()) }
    }

    // MARK: What OpenSSL asks

    /// The context for a name; nil for the first.
    fileprivate func context(for name: String) -> OpaquePointer? {
        if let exact = contextOfName[name] { return exact }
        return ServerName.wildcard(of: name).flatMap { contextOfName[$0] }
    }

    fileprivate static func of(_ raw: UnsafeMutableRawPointer) -> TLSContext {
        Unmanaged<TLSContext>.fromOpaque(raw).takeUnretainedValue()
    }
}

private func chooseIdentity(_ session: OpaquePointer?, _ alert: UnsafeMutablePointer<Int32>?, _ own: UnsafeMutableRawPointer?) -> Int32 {
    guard let own, let text = SSL_get_servername(session, TLSEXT_NAMETYPE_host_name) else { return SSL_TLSEXT_ERR_NOACK }
    let bytes = UnsafeRawBufferPointer(start: text, count: strlen(text))
    if let context = TLSContext.of(own).context(for: ServerName.normalized(bytes)) { SSL_set_SSL_CTX(session, context) }
    return SSL_TLSEXT_ERR_OK
}

/// The client's list: each name behind its length in one byte; OpenSSL has checked that they fill it exactly.
private func chooseApplicationProtocol(
    _ session: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ chosenCount: UnsafeMutablePointer<UInt8>?,
    _ offered: UnsafePointer<UInt8>?, _ count: UInt32, _ own: UnsafeMutableRawPointer?
) -> Int32 {
    guard let own, let offered, let chosen, let chosenCount else { return SSL_TLSEXT_ERR_NOACK }
    let list = UnsafeRawBufferPointer(start: offered, count: Int(count))
    for wanted in TLSContext.of(own).settings.applicationProtocols {
        var position = 0
        while position < list.count {
            let end = min(position + 1 + Int(list[position]), list.count)
            if wanted.matches(UnsafeRawBufferPointer(rebasing: list[position + 1..<end])) {
                chosen.pointee = offered + position + 1
                chosenCount.pointee = list[position]
                return SSL_TLSEXT_ERR_OK
            }
            position = end
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
}

private func prepareTicket(
    _ session: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ iv: UnsafeMutablePointer<UInt8>?, _ cipher: OpaquePointer?,
    _ authentication: OpaquePointer?, _ sealing: Int32
) -> Int32 {
    guard let own = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(session), 0), let name, let iv, let cipher, let authentication else { return -1 }
    return TLSContext.of(own).ticketKeys.prepare(name, iv, cipher, authentication, sealing: sealing == 1)
}
