// A client of one connection that gives and takes as many bytes at a time as it is told, over any transport:
//
//     requests ─▶ [HTTP/2 frames] ─▶ [TLS records] ─▶ so many bytes ─▶ socket
//     answers  ◀─ [HTTP/2 frames] ◀─ [TLS records] ◀─ so many bytes ◀─ socket
//
// TLS works on memory, so that a record can arrive byte by byte.

import COpenSSL
import Glibc
import HTTP2SessionTesting
import SystemCalls
import Testing
import TransportSecurity

@testable import Server

final class DicePeer {
    enum Transport: CaseIterable {
        case http1, http1TLS, http2, http2TLS
        var isSecure: Bool { self == .http1TLS || self == .http2TLS }
        var isHTTP2: Bool { self == .http2 || self == .http2TLS }
    }

    let transport: Transport
    let descriptor: Int32
    private var session: OpaquePointer?
    private var context: OpaquePointer?
    private(set) var client: HTTP2Client?
    /// Plain bytes on their way, and what of them is ready for the socket.
    private var plain: [UInt8] = []
    private var wire: [UInt8] = []
    /// HTTP/1.1: what has come and was not taken apart yet.
    var inbox: [UInt8] = []
    private(set) var ended = false
    /// Why TLS or HTTP/2 gave up.
    private(set) var fault: String?
    private var isOpen = true

    init(
        _ bench: ServerBench, _ transport: Transport, buffer: Int32?, address: UInt128 = 100, client http2: HTTP2Client = HTTP2Client()
    ) throws {
        self.transport = transport
        var pair: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        try #require(socketpair(AF_UNIX, type, 0, &pair) == 0)
        if let buffer { for one in pair { SocketCalls.setOption(one, level: SOL_SOCKET, SO_SNDBUF, buffer) } }
        descriptor = pair[1]
        bench.core.accept(pair[0], from: .internet(0xFFFF_0A00_0000 + address), transport.isSecure ? .tls : .clear)
        if transport.isSecure {
            let context = try #require(SSL_CTX_new(TLS_client_method()))
            self.context = context
            let session = try #require(SSL_new(context))
            self.session = session
            SSL_set_bio(session, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()))
            let name = transport.isHTTP2 ? "h2" : "http/1.1"
            let list = [UInt8(name.utf8.count)] + Array(name.utf8)
            SSL_set_alpn_protos(session, list, UInt32(list.count))
            SSL_set_connect_state(session)
        }
        if transport.isHTTP2 { client = http2 }
    }

    deinit {
        close()
        SSL_free(session)
        SSL_CTX_free(context)
    }

    func close() {
        if isOpen { Glibc.close(descriptor) }
        isOpen = false
    }

    func send(_ bytes: [UInt8]) { plain += bytes }

    /// Gives at most `limit` bytes to the socket.
    func give(_ limit: Int) {
        if let client { plain += client.output() }
        encrypt()
        let part = min(limit, wire.count)
        guard part > 0, isOpen else { return }
        switch wire[..<part].withUnsafeBytes({ SocketCalls.send(descriptor, $0) }) {
        case .bytes(let count): wire.removeFirst(count)
        case .wouldBlock: break
        case .end, .failed: wire = []
        }
    }

    private func encrypt() {
        guard let session else {
            wire += plain
            plain = []
            return
        }
        ERR_clear_error()
        if SSL_is_init_finished(session) == 0 { SSL_do_handshake(session) }
        if SSL_is_init_finished(session) == 1, !plain.isEmpty {
            let count = SSL_write(session, plain, Int32(plain.count))
            if count > 0 { plain.removeFirst(Int(count)) }
        }
        var block = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = BIO_read(SSL_get_wbio(session), &block, Int32(block.count))
            if count <= 0 { return }
            wire += block[..<Int(count)]
        }
    }

    /// Takes at most `limit` bytes from the socket. Returns how many there were.
    @discardableResult
    func take(_ limit: Int) -> Int {
        guard !ended, isOpen, limit > 0 else { return 0 }
        var block = [UInt8](repeating: 0, count: min(limit, 1 << 16))
        switch block.withUnsafeMutableBytes({ SocketCalls.receive(descriptor, into: $0) }) {
        case .bytes(let count):
            came(Array(block[..<count]))
            return count
        case .wouldBlock: return 0
        case .end, .failed:
            ended = true
            return 0
        }
    }

    private func came(_ bytes: [UInt8]) {
        guard let session else {
            read(bytes)
            return
        }
        BIO_write(SSL_get_rbio(session), bytes, Int32(bytes.count))
        ERR_clear_error()
        if SSL_is_init_finished(session) == 0 { SSL_do_handshake(session) }
        var block = [UInt8](repeating: 0, count: 16_384)
        while SSL_is_init_finished(session) == 1 {
            let count = SSL_read(session, &block, Int32(block.count))
            if count > 0 {
                read(Array(block[..<Int(count)]))
                continue
            }
            let error = SSL_get_error(session, count)
            if error != SSL_ERROR_WANT_READ, error != SSL_ERROR_ZERO_RETURN { fault = "TLS error \(error)" }
            return
        }
    }

    private func read(_ bytes: [UInt8]) {
        guard let client else {
            inbox += bytes
            return
        }
        do { try client.receive(bytes) } catch { fault = "HTTP/2: \(error)" }
    }
}

/// A certificate of the tests' own; nil where none can be made.
enum TestCertificate {
    static let pair: (chain: [UInt8], key: [UInt8])? = try? {
        let made = try SelfSignedCertificate.make(validFrom: Int64(time(nil)) - 60, validTo: Int64(time(nil)) + 86_400)
        return (made.certificate, made.key)
    }()
}
