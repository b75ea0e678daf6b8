// A connection to a port of the loopback address for clients that move bytes themselves: in clear, or with OpenSSL on top. Reading and writing
// never wait; connecting and the handshake do, until their deadline.

import COpenSSL
import Glibc
import Testing

/// What a client asks of TLS. No certificate is verified here: that of the server is looked at by the tests that are about it.
struct TLSClientOptions: Sendable {
    var protocols: [String] = []
    var serverName: String? = "localhost"
    var lowest = TLS1_2_VERSION
    var highest = TLS1_3_VERSION
    /// Of TLS 1.2 and before. Security level 0 is asked for with it: what the server has to refuse can be offered.
    var ciphers: String?
    /// What the client shows when it is asked.
    var certificate: TestCertificate?
}

final class ClientChannel {
    enum Outcome: Equatable {
        case bytes(Int)
        /// Nothing now: poll(2) for these events.
        case wait(Int16)
        case ended
    }

    let descriptor: Int32
    private var session: OpaquePointer?
    private var context: OpaquePointer?

    init(port: UInt16, tls: TLSClientOptions? = nil, receiveBuffer: Int32? = nil, within time: Duration = Deadline.usual) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        if var receiveBuffer { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size)) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        let descriptor = descriptor
        let result = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard result == 0 else { throw TestFault("cannot connect to port \(port): \(String(cString: strerror(errno)))") }
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        signal(SIGPIPE, SIG_IGN)
        if let tls { try shakeHands(tls, Deadline(in: time)) }
    }

    deinit {
        if let session { SSL_free(session) }
        if let context { SSL_CTX_free(context) }
        close(descriptor)
    }

    private func shakeHands(_ options: TLSClientOptions, _ deadline: Deadline) throws {
        ERR_clear_error()
        context = SSL_CTX_new(TLS_client_method())
        _ = copenssl_set_versions(context, options.lowest, options.highest)
        if options.ciphers != nil || options.lowest < TLS1_2_VERSION { SSL_CTX_set_security_level(context, 0) }
        if let ciphers = options.ciphers { SSL_CTX_set_cipher_list(context, ciphers) }
        if let certificate = options.certificate {
            guard SSL_CTX_use_certificate_chain_file(context, certificate.chain) == 1,
                SSL_CTX_use_PrivateKey_file(context, certificate.key, SSL_FILETYPE_PEM) == 1
            else { throw TestFault("the client's certificate cannot be used: \(Self.reason)") }
        }
        copenssl_set_mode(context, Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER))
        guard let session = SSL_new(context) else { throw TestFault("no TLS session: \(Self.reason)") }
        self.session = session
        SSL_set_fd(session, descriptor)
        if let name = options.serverName { _ = copenssl_set_server_name(session, name) }
        var list: [UInt8] = []
        for name in options.protocols { list += [UInt8(name.utf8.count)] + Array(name.utf8) }
        if !list.isEmpty { SSL_set_alpn_protos(session, list, UInt32(list.count)) }
        SSL_set_connect_state(session)
        while true {
            ERR_clear_error()
            let result = SSL_do_handshake(session)
            if result == 1 { return }
            guard case .wait(let events) = outcome(Int(result)) else {
                throw TestFault("the TLS handshake has failed: \(Self.reason)")
            }
            guard Poll.wait([(descriptor, events)], until: deadline) != nil else { throw TestFault("the TLS handshake takes too long") }
        }
    }

    private static var reason: String {
        var text = [CChar](repeating: 0, count: 256)
        let code = ERR_get_error()
        if code == 0 { return "the connection has ended" }
        ERR_error_string_n(code, &text, text.count)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private func outcome(_ result: Int) -> Outcome {
        guard let session else {
            if result > 0 { return .bytes(result) }
            return result < 0 && (errno == EAGAIN || errno == EINTR) ? .wait(0) : .ended
        }
        if result > 0 { return .bytes(result) }
        switch SSL_get_error(session, Int32(result)) {
        case SSL_ERROR_WANT_READ: return .wait(Int16(POLLIN))
        case SSL_ERROR_WANT_WRITE: return .wait(Int16(POLLOUT))
        default: return .ended
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Outcome {
        if let session {
            ERR_clear_error()
            return outcome(Int(SSL_read(session, buffer.baseAddress, Int32(buffer.count))))
        }
        let outcome = outcome(recv(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT)))
        return outcome == .wait(0) ? .wait(Int16(POLLIN)) : outcome
    }

    /// After `.wait` the next write begins with the same bytes, which may have moved.
    func write(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        if bytes.isEmpty { return .bytes(0) }
        if let session {
            ERR_clear_error()
            // One record at a time, so that the bytes of a repeated write are the same.
            return outcome(Int(SSL_write(session, bytes.baseAddress, Int32(min(bytes.count, 16_384)))))
        }
        let outcome = outcome(send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)))
        return outcome == .wait(0) ? .wait(Int16(POLLOUT)) : outcome
    }

    /// Tells the server that no more comes from here.
    func finishWriting() {
        if let session { SSL_shutdown(session) }
        shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Sends all of it. - Returns: false when the server takes no more.
    func sendAll(_ bytes: [UInt8], within time: Duration = Deadline.usual) throws -> Bool {
        let deadline = Deadline(in: time)
        var rest = ByteBuffer()
        rest.append(bytes)
        while !rest.isEmpty {
            switch rest.withBytes({ write($0) }) {
            case .bytes(let count): rest.removeFirst(count)
            case .wait(let events):
                guard Poll.wait([(descriptor, events)], until: deadline) != nil else { throw TestFault("the server takes no more bytes") }
            case .ended: return false
            }
        }
        return true
    }

    /// Everything until the server's end; nil: it did not end in time.
    func readToEnd(within time: Duration = Deadline.usual) -> [UInt8]? {
        let deadline = Deadline(in: time)
        var all: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65_536)
        while true {
            switch block.withUnsafeMutableBytes({ read(into: $0) }) {
            case .bytes(let count): all += block[..<count]
            case .wait(let events): if Poll.wait([(descriptor, events)], until: deadline) == nil { return nil }
            case .ended: return all
            }
        }
    }

    /// One request of HTTP/1.1 with the answer's first line; nil: there is none.
    func ask(_ target: String = "/v1/stream/none") throws -> String? {
        let text = "GET \(target) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        guard try sendAll(Array(text.utf8)), let answer = readToEnd(), !answer.isEmpty else { return nil }
        return String(decoding: answer.prefix { $0 != 13 }, as: UTF8.self)
    }

    var version: String { session.map { String(cString: SSL_get_version($0)) } ?? "" }

    /// The common name in the server's certificate.
    var serverSubject: String {
        guard let session, let certificate = SSL_get1_peer_certificate(session) else { return "" }
        defer { X509_free(certificate) }
        var text = [CChar](repeating: 0, count: 128)
        let count = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, &text, 128)
        return String(decoding: text.prefix(Int(max(0, count))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    var applicationProtocol: String {
        guard let session else { return "" }
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(session, &start, &count)
        return String(decoding: UnsafeBufferPointer(start: start, count: Int(count)), as: UTF8.self)
    }
}

enum Poll {
    /// Waits for one of the descriptors. - Returns: what each is ready for; nil: the deadline has passed.
    static func wait(_ entries: [(descriptor: Int32, events: Int16)], until deadline: Deadline?) -> [Int16]? {
        var list = entries.map { pollfd(fd: $0.descriptor, events: $0.events, revents: 0) }
        while true {
            let count = Glibc.poll(&list, nfds_t(list.count), deadline?.milliseconds ?? -1)
            if count > 0 { return list.map(\.revents) }
            if count == 0 || errno != EINTR { return nil }
        }
    }
}

/// Bytes that wait to go on, taken from the front.
struct ByteBuffer {
    private var bytes: [UInt8] = []
    private var start = 0

    var count: Int { bytes.count - start }
    var isEmpty: Bool { count == 0 }

    mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

    mutating func removeFirst(_ count: Int) {
        start += count
        if start == bytes.count {
            bytes.removeAll(keepingCapacity: true)
            start = 0
        } else if start > 1 << 20 {
            bytes.removeFirst(start)
            start = 0
        }
    }

    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[start...])) }
    }

    /// Where `text` begins.
    func firstIndex(of text: StaticString) -> Int? {
        withBytes { bytes in
            var from = 0
            while from + text.utf8CodeUnitCount <= bytes.count,
                let found = memchr(bytes.baseAddress! + from, Int32(text.utf8Start[0]), bytes.count - from)
            {
                let index = UnsafeRawPointer(found) - bytes.baseAddress!
                if index + text.utf8CodeUnitCount > bytes.count { return nil }
                if memcmp(found, text.utf8Start, text.utf8CodeUnitCount) == 0 { return index }
                from = index + 1
            }
            return nil
        }
    }

    /// All of it, which is taken out.
    mutating func takeAll() -> [UInt8] {
        defer { self = ByteBuffer() }
        return start == 0 ? bytes : Array(bytes[start...])
    }
}
