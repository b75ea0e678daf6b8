// TLS on one connection: an OpenSSL session directly on the socket's descriptor.
//
//     socket ──recv──▶ read buffer (16 KB, gone when empty) ──decrypt──▶ the caller's buffer
//     socket ◀─write── write buffer (16 KB, gone when empty) ◀─encrypt── the caller's buffer
//     socket ◀─sendfile── the kernel encrypts (kTLS) ◀────────────────── page cache
//
// Why the descriptor and not memory BIOs: kTLS is only possible so; there is one copy less each way; and an idle connection holds
// no buffers, where a pair of memory BIOs keeps its own for as long as it lives: 13 KB in all, of which OpenSSL's SSL is 7.6. Why read-ahead: without it OpenSSL asks the
// socket twice for each record, five bytes and then the rest.
//
// What the reactor has to know:
// - With read-ahead, content may be here while the socket is empty, and no event will tell: a read that has filled its buffer is followed by
//   another, at once or in the next turn. After one that has not, what is left comes with the socket's next event (level-triggered).
// - After a write that gave `.wantWrite` the next write has to begin with the same bytes, and with as many at least: a record has been
//   encrypted from them. They may have moved. What a socket did not take stays in the queue's first item, so this comes by itself there.
// - OpenSSL writes with write(2) and sendfile(2), which raise SIGPIPE when the peer is gone: the process ignores that signal (it does anyhow,
//   because of sendfile on connections in clear).
//
// Invariant: after `.failed` and `.cut` nothing more is asked of OpenSSL: a session that had a fatal error must not be shut down (SSL_shutdown(3)).

import COpenSSL
import Glibc
import SystemCalls

/// Why TLS with a peer has failed. The reason is OpenSSL's text and contains nothing that the peer sent.
public struct TLSFailure: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable, Equatable {
        /// No version, cipher, group or application protocol in common, or a client certificate that is missing or not good.
        case handshake
        /// Bytes that are no TLS, or that were changed on the way.
        case protocolViolation
        /// The peer says that it has failed (an alert).
        case alert
        /// The connection is broken, with errno.
        case socket(Int32)
    }

    public let kind: Kind
    public let reason: String

    public var description: String { reason }
}

/// How far a handshake has come.
public enum TLSHandshake: Sendable, Equatable {
    case complete
    /// Go on when the socket is readable.
    case wantRead
    /// Go on when the socket is writable.
    case wantWrite
    /// The peer speaks plain HTTP. Nothing was taken from the socket: the request is still there, to be answered in clear.
    case plainHTTP
    /// The peer has ended the connection before the handshake was complete.
    case ended
    case failed(TLSFailure)
}

/// What came of a read or a write.
public enum TLSTransfer: Sendable, Equatable {
    /// So many bytes of content went; never 0 for a read.
    case bytes(Int)
    case wantRead
    case wantWrite
    /// The peer has ended its side in the orderly way (close_notify); reads only.
    case closed
    /// The connection ended without close_notify: what came before may be a part only. Many clients end so; HTTP's own framing decides.
    case cut
    case failed(TLSFailure)
}

/// TLS on one connection; confined to the thread of its context.
public final class TLSSession {
    let session: OpaquePointer
    /// OpenSSL calls it back, and holds no reference to it.
    private let context: TLSContext
    private let descriptor: Int32
    private var hasBegun = false
    private var closeIsBlocked = false
    /// The last read came to a record of which only a part has arrived.
    private var restIsMissing = false
    /// How the connection has ended; it answers every later call.
    private var ending: TLSTransfer?
    /// The next write has to offer at least so many bytes: a record has been encrypted from them and has not gone. 0: nothing is under way.
    public private(set) var pendingWrite = 0

    /// The most plaintext of one record (RFC 8446 5.1).
    private static let recordBytes = 16_384

    /// - Parameter descriptor: a connected, non-blocking stream socket, which the caller goes on owning, and closes after this object has gone.
    public init(_ context: TLSContext, descriptor: Int32) throws(TLSFailure) {
        ErrorQueue.clear()
        guard let session = context.makeSession() else { throw Self.takeFailure(ENOMEM) }
        guard SSL_set_fd(session, descriptor) == 1 else {
            SSL_free(session)
            throw Self.takeFailure(ENOMEM)
        }
        SSL_set_accept_state(session)
        self.session = session
        self.context = context
        self.descriptor = descriptor
    }

    deinit { SSL_free(session) }

    // MARK: Handshake

    public var isComplete: Bool { SSL_is_init_finished(session) == 1 }

    /// Goes on with the handshake. The caller bounds how many are in progress and how long each may take.
    public func handshake() -> TLSHandshake {
        switch ending {
        case nil, .closed: break
        case .failed(let failure): return .failed(failure)
        default: return .ended
        }
        if !hasBegun {
            let first = lookAtFirstByte()
            if first != .complete { return first }
            hasBegun = true
        }
        ErrorQueue.clear()
        let result = SSL_do_handshake(session)
        if result == 1 { return .complete }
        switch outcome(of: result) {
        case .wantRead: return .wantRead
        case .wantWrite: return .wantWrite
        case .failed(let failure): return .failed(failure)
        case .closed, .cut, .bytes: return .ended
        }
    }

    /// TLS begins with a record type below 0x20 and an SSLv2 greeting with the high bit; a method with a letter (RFC 9110 9).
    private func lookAtFirstByte() -> TLSHandshake {
        withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { byte in
            switch SocketCalls.peek(descriptor, into: byte) {
            case .bytes:
                let folded = byte[0] | 0x20
                return folded >= UInt8(ascii: "a") && folded <= UInt8(ascii: "z") && byte[0] < 0x80 ? .plainHTTP : .complete
            case .wouldBlock: return .wantRead
            case .end: return .ended
            case .failed(let code): return .failed(Self.takeFailure(code))
            }
        }
    }

    // MARK: Transfer

    /// Whether there is content of which the socket will not tell. A part of a record does not count once a read has found that the rest is
    /// missing: whoever read again because of it would do so for as long as the peer likes.
    public var hasBufferedInput: Bool { !restIsMissing && SSL_has_pending(session) == 1 }

    /// Reads content into `buffer`, which is not empty, until it is full or what has arrived is used up.
    public func read(into buffer: UnsafeMutableRawBufferPointer) -> TLSTransfer {
        if let ending { return ending }
        restIsMissing = false
        var total = 0
        while total < buffer.count {
            ErrorQueue.clear()
            var count = 0
            let result = SSL_read_ex(session, buffer.baseAddress! + total, buffer.count - total, &count)
            if result == 1 {
                total += count
                // Asking a socket that is likely to be empty would be a system call in vain.
                if SSL_has_pending(session) == 0 { break }
                continue
            }
            // What was read before comes first; the reason comes with the next call.
            let outcome = outcome(of: result)
            restIsMissing = outcome == .wantRead
            return total > 0 ? .bytes(total) : outcome
        }
        return .bytes(total)
    }

    /// Writes content from `bytes`, which is not empty: how much of it has gone, or why nothing can now. See above for `.wantWrite`.
    public func write(_ bytes: UnsafeRawBufferPointer) -> TLSTransfer {
        if let ending { return ending }
        if bytes.count < pendingWrite {
            // OpenSSL would call it a bad retry. The peer must not get bytes that do not follow each other, so the connection ends.
            let failure = TLSFailure(kind: .protocolViolation, reason: "a write went on with \(bytes.count) of \(pendingWrite) bytes")
            ending = .failed(failure)
            return .failed(failure)
        }
        var total = 0
        while total < bytes.count {
            ErrorQueue.clear()
            let part = min(bytes.count - total, Self.recordBytes)
            var count = 0
            let result = SSL_write_ex(session, bytes.baseAddress! + total, part, &count)
            if result == 1 {
                total += count
                pendingWrite = 0
                continue
            }
            let outcome = outcome(of: result)
            if outcome == .wantWrite { pendingWrite = part }
            return total > 0 ? .bytes(total) : outcome
        }
        return .bytes(total)
    }

    /// Whether the kernel encrypts what is sent, so that `sendFile` can be used (ktls, Linux 4.13 with the module `tls`); known when the handshake is
    /// complete.
    public var kernelSends: Bool { copenssl_kernel_sends(session) == 1 }

    /// sendfile(2) with encryption in the kernel; only where ``kernelSends``. `.end` when the file ended early.
    public func sendFile(from file: Int32, offset: Int, count: Int) -> Transfer {
        if ending != nil || !kernelSends { return .failed(EPIPE) }
        ErrorQueue.clear()
        let sent = SSL_sendfile(session, file, off_t(offset), count, 0)
        if sent > 0 { return .bytes(sent) }
        if sent == 0 { return .end }
        let code = errno
        if SSL_get_error(session, -1) == SSL_ERROR_WANT_WRITE { return .wouldBlock }
        ending = .failed(Self.takeFailure(code))
        return .failed(code)
    }

    /// Tells the peer that nothing more will be sent (close_notify, RFC 8446 6.1); reading goes on. `.bytes(0)`: it has gone, or cannot go
    /// any more: during a handshake, after a failure, and when a record was sent in part.
    public func sendClose() -> TLSTransfer {
        if ending != nil && ending != .closed || pendingWrite > 0 || !isComplete { return .bytes(0) }
        if SSL_get_shutdown(session) & SSL_SENT_SHUTDOWN != 0, !closeIsBlocked { return .bytes(0) }
        ErrorQueue.clear()
        let result = SSL_shutdown(session)
        closeIsBlocked = false
        if result >= 0 { return .bytes(0) }
        if SSL_get_error(session, result) == SSL_ERROR_WANT_WRITE {
            closeIsBlocked = true
            return .wantWrite
        }
        ErrorQueue.clear()
        return .bytes(0)
    }

    // MARK: What was negotiated

    /// What ALPN chose; nil for a client that does not use it, which speaks HTTP/1.1.
    public var applicationProtocol: ApplicationProtocol? {
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(session, &start, &count)
        let name = UnsafeRawBufferPointer(start: start, count: Int(count))
        return ApplicationProtocol.allCases.first { $0.matches(name) }
    }

    /// `TLSv1.2` or `TLSv1.3`.
    public var version: String { String(cString: SSL_get_version(session)) }

    /// The cipher's name in OpenSSL's form.
    public var cipher: String { SSL_CIPHER_get_name(SSL_get_current_cipher(session)).map { String(cString: $0) } ?? "" }

    /// The subject of the client's certificate in the form of RFC 2253, which has been verified; nil when none was shown.
    public var clientSubject: String? {
        guard let certificate = SSL_get0_peer_certificate(session) else { return nil }
        let bio = BIO_new(BIO_s_mem())
        defer { BIO_free(bio) }
        guard copenssl_print_name(bio, X509_get_subject_name(certificate)) >= 0 else { return nil }
        return BIOText.text(bio)
    }

    // MARK: Errors

    private func outcome(of result: Int32) -> TLSTransfer {
        let code = errno
        switch SSL_get_error(session, result) {
        case SSL_ERROR_WANT_READ: return .wantRead
        case SSL_ERROR_WANT_WRITE: return .wantWrite
        case SSL_ERROR_ZERO_RETURN: return .closed
        default:
            let outcome = Self.isEnd(code) ? TLSTransfer.cut : .failed(Self.takeFailure(code))
            ErrorQueue.clear()
            ending = outcome
            return outcome
        }
    }

    /// The socket's end without close_notify.
    private static func isEnd(_ code: Int32) -> Bool {
        ErrorQueue.isEmpty ? code == 0 || code == ECONNRESET || code == EPIPE : ErrorQueue.lastReason == SSL_R_UNEXPECTED_EOF_WHILE_READING
    }

    /// Empties the error queue into a failure. An empty queue means that the socket has failed, with `code`.
    private static func takeFailure(_ code: Int32) -> TLSFailure {
        if ErrorQueue.isEmpty { return TLSFailure(kind: .socket(code), reason: String(cString: strerror(code))) }
        let reason = ErrorQueue.lastReason
        let kind: TLSFailure.Kind =
            if reason > SSL_AD_REASON_OFFSET {
                .alert
            } else if agreementReasons.contains(reason) {
                .handshake
            } else {
                .protocolViolation
            }
        return TLSFailure(kind: kind, reason: ErrorQueue.takeText())
    }

    /// The two sides understand each other and have nothing in common, or do not trust each other.
    private static let agreementReasons: Set<Int32> = [
        SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SHARED_GROUPS,
        SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, SSL_R_NO_APPLICATION_PROTOCOL,
        SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, SSL_R_CERTIFICATE_VERIFY_FAILED, SSL_R_INAPPROPRIATE_FALLBACK,
    ]
}
