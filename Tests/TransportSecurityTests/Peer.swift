// The two ends of one connection in one thread: a `TLSSession` and an OpenSSL client, over a pair of sockets that never wait. Both are moved in
// turn until nothing moves, so that no test depends on time.

import COpenSSL
import Glibc
import SystemCalls
import Testing

@testable import TransportSecurity

/// A pair of connected, non-blocking stream sockets.
final class SocketPair {
    let (server, client): (Int32, Int32)
    private var clientIsOpen = true

    init(bufferBytes: Int32? = nil) throws {
        signal(SIGPIPE, SIG_IGN)
        var pair: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, type, 0, &pair) == 0, "errno \(errno)")
        (server, client) = (pair[0], pair[1])
        if let bufferBytes {
            for descriptor in pair { SocketCalls.setOption(descriptor, level: SOL_SOCKET, SO_SNDBUF, bufferBytes) }
        }
    }

    func closeClient() {
        if clientIsOpen { close(client) }
        clientIsOpen = false
    }

    deinit {
        closeClient()
        close(server)
    }
}

/// An OpenSSL client on one end.
final class TLSClient {
    struct Settings {
        var lowest = TLS1_2_VERSION
        var highest = TLS1_3_VERSION
        var offered: [String] = ["h2", "http/1.1"]
        var serverName: String? = "localhost"
        var certificate: MadeCertificate?
        var ciphers: String?
    }

    let session: OpaquePointer
    private let context: OpaquePointer
    private let kept = Kept()

    /// The newest ticket that has come.
    final class Kept { var ticket: OpaquePointer? }

    init(_ descriptor: Int32, _ settings: Settings = Settings(), ticket: OpaquePointer? = nil) throws {
        ERR_clear_error()
        context = try #require(SSL_CTX_new(TLS_client_method()))
        // Level 0, so that the client may offer what the server has to refuse.
        SSL_CTX_set_security_level(context, 0)
        // A write that was blocked is repeated from another array.
        copenssl_set_mode(context, Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER))
        try #require(copenssl_set_versions(context, settings.lowest, settings.highest) == 1)
        if let ciphers = settings.ciphers { try #require(SSL_CTX_set_cipher_list(context, ciphers) == 1) }
        copenssl_set_session_cache_mode(context, Int(SSL_SESS_CACHE_CLIENT) | Int(SSL_SESS_CACHE_NO_INTERNAL))
        SSL_CTX_sess_set_new_cb(context) { session, ticket in
            let kept = Unmanaged<Kept>.fromOpaque(SSL_get_ex_data(session, 0)!).takeUnretainedValue()
            SSL_SESSION_free(kept.ticket)
            kept.ticket = ticket
            return 1
        }
        if let certificate = settings.certificate {
            let chain = PEMFile.certificates(certificate.certificate)
            var isEncrypted = false
            let key = TLSIdentity.readKey(certificate.key, &isEncrypted)
            try #require(SSL_CTX_use_certificate(context, chain[0]) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1)
            for one in chain { X509_free(one) }
            EVP_PKEY_free(key)
        }
        session = try #require(SSL_new(context))
        SSL_set_ex_data(session, 0, Unmanaged.passUnretained(kept).toOpaque())
        SSL_set_fd(session, descriptor)
        if let name = settings.serverName { _ = copenssl_set_server_name(session, name) }
        var list: [UInt8] = []
        for name in settings.offered { list += [UInt8(name.utf8.count)] + Array(name.utf8) }
        if !list.isEmpty { SSL_set_alpn_protos(session, list, UInt32(list.count)) }
        if let ticket {
            // OpenSSL's client takes the ticket off a TLS 1.3 session that it has used.
            let copy = SSL_SESSION_dup(ticket)
            try #require(SSL_set_session(session, copy) == 1)
            SSL_SESSION_free(copy)
        }
        SSL_set_connect_state(session)
    }

    deinit {
        SSL_free(session)
        SSL_CTX_free(context)
        SSL_SESSION_free(kept.ticket)
    }

    /// The ticket that the server gave; the caller owns it.
    func takeTicket() -> OpaquePointer? {
        // In TLS 1.2 the ticket is the session's own; only that of a first one is announced.
        if SSL_version(session) == TLS1_2_VERSION { return SSL_get1_session(session) }
        defer { kept.ticket = nil }
        return kept.ticket
    }

    enum Step: Equatable { case done, waiting, failed }

    func handshake() -> Step {
        ERR_clear_error()
        let result = SSL_do_handshake(session)
        if result == 1 { return .done }
        let error = SSL_get_error(session, result)
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? .waiting : .failed
    }

    /// Bytes, none when nothing is there; nil at the end or after a failure.
    func read(_ limit: Int = 65_536) -> [UInt8]? {
        ERR_clear_error()
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = SSL_read(session, &bytes, Int32(limit))
        if count > 0 { return Array(bytes[..<Int(count)]) }
        return SSL_get_error(session, count) == SSL_ERROR_WANT_READ ? [] : nil
    }

    /// How many went, 0 when the socket is full.
    func write(_ bytes: [UInt8]) -> Int? {
        ERR_clear_error()
        let count = SSL_write(session, bytes, Int32(bytes.count))
        if count > 0 { return Int(count) }
        return SSL_get_error(session, count) == SSL_ERROR_WANT_WRITE ? 0 : nil
    }

    var applicationProtocol: String {
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(session, &start, &count)
        return String(decoding: UnsafeBufferPointer(start: start, count: Int(count)), as: UTF8.self)
    }

    /// The first common name of the server's certificate.
    var serverSubject: String {
        var text = [CChar](repeating: 0, count: 128)
        guard let certificate = SSL_get0_peer_certificate(session) else { return "" }
        let count = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, &text, 128)
        return String(decoding: text.prefix(Int(max(0, count))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    var isResumed: Bool { SSL_session_reused(session) == 1 }
}

/// Both ends.
struct Ends {
    let sockets: SocketPair
    let server: TLSSession
    let client: TLSClient

    init(
        _ context: TLSContext, _ settings: TLSClient.Settings = .init(), ticket: OpaquePointer? = nil, bufferBytes: Int32? = nil
    ) throws {
        sockets = try SocketPair(bufferBytes: bufferBytes)
        server = try TLSSession(context, descriptor: sockets.server)
        client = try TLSClient(sockets.client, settings, ticket: ticket)
    }

    /// Moves both until nothing moves.
    func shakeHands(location: SourceLocation = #_sourceLocation) -> (server: TLSHandshake, client: TLSClient.Step) {
        var result: (server: TLSHandshake, client: TLSClient.Step) = (.wantRead, .waiting)
        for _ in 0..<1000 {
            if result.client == .waiting { result.client = client.handshake() }
            if result.server == .wantRead || result.server == .wantWrite { result.server = server.handshake() }
            if result.client != .waiting, result.server != .wantRead, result.server != .wantWrite { break }
            if result.client == .failed || result.server == .ended { break }
        }
        return result
    }

    /// A finished handshake, or the test ends.
    func connect(location: SourceLocation = #_sourceLocation) throws {
        let result = shakeHands()
        try #require(result.server == .complete && result.client == .done, "\(result)", sourceLocation: location)
    }

    /// Reads on the server's side what the client's end has sent.
    func received(_ limit: Int = 65_536) -> (bytes: [UInt8], end: TLSTransfer) {
        var all: [UInt8] = []
        var block = [UInt8](repeating: 0, count: limit)
        while true {
            switch block.withUnsafeMutableBytes({ server.read(into: $0) }) {
            case .bytes(let count): all += block[..<count]
            case let end: return (all, end)
            }
        }
    }
}

/// Certificates and contexts for the tests. `now` is the real time: OpenSSL verifies the client's chain by its own clock.
struct Fixture {
    static var now: Int64 { Int64(time(nil)) }

    static func make(
        _ names: [String] = ["localhost"], use: CertificateUse = .server, issuer: MadeCertificate? = nil
    ) throws -> MadeCertificate {
        try SelfSignedCertificate.make(names: names, use: use, validFrom: now - 3600, validTo: now + 3600, issuer: issuer)
    }

    static func identity(_ names: [String] = ["localhost"]) throws -> TLSIdentity {
        let made = try make(names)
        return try TLSIdentity(
            certificates: made.certificate, key: made.key, certificateFile: "chain.pem", keyFile: "key.pem", now: now)
    }

    static func context(
        _ identities: [TLSIdentity]? = nil, _ settings: TLSSettings = .init(), keys: SessionTicketKeys? = nil
    ) throws -> TLSContext {
        try TLSContext(identities ?? [identity()], settings, ticketKeys: keys ?? SessionTicketKeys(now: 0))
    }
}

/// What OpenSSL knows of the server's side.
extension TLSSession {
    /// The name that the client asked for (SNI).
    var serverName: String? { SSL_get_servername(session, TLSEXT_NAMETYPE_host_name).map { String(cString: $0) } }

    /// Whether a ticket saved the key exchange with certificates.
    var isResumed: Bool { SSL_session_reused(session) == 1 }
}
