// The bytes of one connection, in clear or with TLS: the same calls and the same answers for both.
//
//     in clear   recv, send, sendfile
//     TLS        SSL_read, SSL_write; of a file: sendfile where the kernel encrypts (kTLS), else read from the page cache and SSL_write
//
// A TLS write that could not go on has to be continued with the same bytes, and with as many at least (`pendingBytes`). They are: what was
// not taken becomes the first item of a `SendQueue`, bytes of a file are read again from where the last write ended, and a share of a turn that
// is smaller than what is pending is raised to it.

import Glibc
import SystemCalls
import TransportSecurity

struct ByteChannel {
    let descriptor: Int32
    let tls: TLSSession?

    @inline(__always)
    func receive(into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
        guard let tls else { return SocketCalls.receive(descriptor, into: buffer) }
        return Self.transfer(tls.read(into: buffer))
    }

    @inline(__always)
    func send(_ bytes: UnsafeRawBufferPointer, more: Bool = false) -> Transfer {
        guard let tls else { return SocketCalls.send(descriptor, bytes, more: more) }
        return bytes.isEmpty ? .bytes(0) : Self.transfer(tls.write(bytes))
    }

    private static func transfer(_ outcome: TLSTransfer) -> Transfer {
        switch outcome {
        case .bytes(let count): .bytes(count)
        case .wantRead, .wantWrite: .wouldBlock
        case .closed, .cut: .end
        case .failed: .failed(EPROTO)
        }
    }

    /// The fewest bytes that the next send has to offer: at most one record of TLS, from a send that was blocked.
    var pendingBytes: Int { tls?.pendingWrite ?? 0 }

    /// Whether files go out by the kernel's own hand.
    var sendsFiles: Bool { tls?.kernelSends ?? true }

    /// Only where it `sendsFiles`.
    func sendFile(_ file: Int32, offset: Int, count: Int) -> Transfer {
        guard let tls else { return SocketCalls.sendFile(descriptor, from: file, offset: offset, count: count) }
        return tls.sendFile(from: file, offset: offset, count: count)
    }

    /// Bytes are here of which the socket's readiness will not tell.
    var hasBufferedInput: Bool { tls?.hasBufferedInput ?? false }

    /// Ends our side; the peer sees the end after all bytes.
    func endSending() {
        if let tls { _ = tls.sendClose() }
        SocketCalls.shutdownWrite(descriptor)
    }
}
