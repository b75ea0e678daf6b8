// One wrapper for every socket call. The calls on the request path (`receive`, `send`, `sendFile`) report "would block" and
// "gone" as values, because they are ordinary there, and throw nothing.

import CLinux
import Glibc
import SystemPackage

public enum Transfer: Equatable, Sendable {
    /// So many bytes went through; for a receive, never 0.
    case bytes(Int)
    /// Nothing can be transferred now.
    case wouldBlock
    /// The peer has ended its side (receive only).
    case end
    /// The connection is broken.
    case failed(Int32)
}

public enum SocketCalls {
    @inline(__always)
    public static func receive(_ socket: Int32, into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
        while true {
            let got = Glibc.recv(socket, buffer.baseAddress, buffer.count, 0)
            if got > 0 { return .bytes(got) }
            if got == 0 { return .end }
            let code = errno
            if code == EINTR { continue }
            return code == EAGAIN ? .wouldBlock : .failed(code)
        }
    }

    /// As `receive`, but what is read stays in the socket.
    public static func peek(_ socket: Int32, into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
        while true {
            let got = Glibc.recv(socket, buffer.baseAddress, buffer.count, Int32(MSG_PEEK))
            if got > 0 { return .bytes(got) }
            if got == 0 { return .end }
            let code = errno
            if code == EINTR { continue }
            return code == EAGAIN ? .wouldBlock : .failed(code)
        }
    }

    @inline(__always)
    public static func send(_ socket: Int32, _ bytes: UnsafeRawBufferPointer, more: Bool = false) -> Transfer {
        while true {
            let flags = Int32(MSG_NOSIGNAL) | (more ? Int32(MSG_MORE) : 0)
            let sent = Glibc.send(socket, bytes.baseAddress, bytes.count, flags)
            if sent >= 0 { return .bytes(sent) }
            let code = errno
            if code == EINTR { continue }
            return code == EAGAIN ? .wouldBlock : .failed(code)
        }
    }

    /// sendfile(2): from the page cache to the socket without a copy. `.end` when the file ended early.
    public static func sendFile(_ socket: Int32, from file: Int32, offset: Int, count: Int) -> Transfer {
        var position = off_t(offset)
        while true {
            let sent = sendfile(socket, file, &position, count)
            if sent > 0 { return .bytes(sent) }
            if sent == 0 { return .end }
            let code = errno
            if code == EINTR { continue }
            return code == EAGAIN ? .wouldBlock : .failed(code)
        }
    }

    public enum Accepted: Sendable {
        case connection(Int32, PeerAddress)
        case none
        /// EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog.
        case exhausted(Int32)
    }

    public static func accept(_ listener: Int32) -> Accepted {
        while true {
            var family: Int32 = 0
            // Its octets, the most significant one first.
            var number: UInt128 = 0
            let socket = withUnsafeMutableBytes(of: &number) {
                clinux_accept4(listener, Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), &family, $0.baseAddress)
            }
            if socket >= 0 {
                if family != AF_INET && family != AF_INET6 { return .connection(socket, .unix) }
                return .connection(socket, .internet(UInt128(bigEndian: number)))
            }
            switch errno {
            case EINTR, ECONNABORTED, EPROTO, EPERM: continue
            case EAGAIN: return .none
            default: return .exhausted(errno)
            }
        }
    }

    public static func setOption(_ socket: Int32, level: Int32, _ name: Int32, _ value: Int32) {
        _ = clinux_set_int_option(socket, level, name, value)
    }

    public static func setNoDelay(_ socket: Int32) {
        setOption(socket, level: Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }

    /// Prepares a listening TCP socket so that the connections it accepts, which inherit this, send at once (no Nagle) and end by themselves
    /// when the peer has vanished: what was sent and is not acknowledged for `peerMilliseconds` ends them (TCP_USER_TIMEOUT, RFC 5482), and
    /// when nothing was sent for that long the kernel asks (RFC 9293 3.8.4). No call per connection, no timer of ours.
    public static func prepareConnections(of listener: Int32, peerMilliseconds: Int64) {
        setNoDelay(listener)
        setOption(listener, level: Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(clamping: peerMilliseconds))
        setOption(listener, level: SOL_SOCKET, SO_KEEPALIVE, 1)
        let seconds = Int32(clamping: max(1, peerMilliseconds / 1000))
        setOption(listener, level: Int32(IPPROTO_TCP), TCP_KEEPIDLE, seconds)
        setOption(listener, level: Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, seconds / 3))
        setOption(listener, level: Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    }

    /// Whether the kernel can encrypt what is sent (TCP_ULP "tls", Linux 4.13 with the module `tls`): without it the name is not known
    /// (ENOENT), with it the socket is merely not connected yet.
    public static func kernelSpeaksTLS() -> Bool {
        let number = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        if number < 0 { return false }
        let socket = Descriptor(owning: number)
        let name: StaticString = "tls"
        let status = setsockopt(
            socket.number, Int32(IPPROTO_TCP), TCP_ULP, name.utf8Start, socklen_t(name.utf8CodeUnitCount))
        return status == 0 || errno == ENOTCONN
    }

    /// Ends our side; the peer sees the end of the stream after all bytes.
    public static func shutdownWrite(_ socket: Int32) {
        _ = Glibc.shutdown(socket, Int32(SHUT_WR))
    }

    /// `dualStack`: an IPv6 listener that takes IPv4 connections too.
    public static func listenTCP(host: String, port: UInt16, backlog: Int32, dualStack: Bool = false) throws(Errno) -> Descriptor {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &list) == 0, let found = list else { throw .invalidArgument }
        defer { freeaddrinfo(list) }
        let family = found.pointee.ai_family
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let socket = Descriptor(owning: try unlessInterrupted { Glibc.socket(family, type, 0) })
        setOption(socket.number, level: SOL_SOCKET, SO_REUSEADDR, 1)
        if family == AF_INET6 { setOption(socket.number, level: Int32(IPPROTO_IPV6), IPV6_V6ONLY, dualStack ? 0 : 1) }
        try unlessInterrupted { Glibc.bind(socket.number, found.pointee.ai_addr, found.pointee.ai_addrlen) }
        try unlessInterrupted { Glibc.listen(socket.number, backlog) }
        return socket
    }

    /// Listens on a Unix socket; a socket file that nobody listens on any more is replaced.
    public static func listenUnix(path: String, backlog: Int32) throws(Errno) -> Descriptor {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { throw .fileNameTooLong }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        func call(_ function: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32, _ socket: Int32) throws(Errno) {
            try unlessInterrupted {
                withUnsafePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { function(socket, $0, length) }
                }
            }
        }
        func outcome(of call: () throws(Errno) -> Void) -> Errno? {
            do {
                try call()
                return nil
            } catch {
                return error
            }
        }
        let socket = Descriptor(owning: try unlessInterrupted { Glibc.socket(AF_UNIX, type, 0) })
        if let failure = outcome(of: { () throws(Errno) in try call({ Glibc.bind($0, $1, $2) }, socket.number) }) {
            // What is there is removed only if it is a socket that nobody listens on, as a crash leaves one; never a file, a link or a FIFO.
            guard failure == .addressInUse, FileCalls.identity(path, ofSocket: true) != nil else { throw failure }
            let probe = Descriptor(owning: try unlessInterrupted { Glibc.socket(AF_UNIX, type, 0) })
            guard outcome(of: { () throws(Errno) in try call({ Glibc.connect($0, $1, $2) }, probe.number) }) == .connectionRefused else {
                throw failure
            }
            try FileCalls.unlink(path)
            try call({ Glibc.bind($0, $1, $2) }, socket.number)
        }
        try unlessInterrupted { Glibc.listen(socket.number, backlog) }
        return socket
    }

    public enum LocalAddress: Equatable, Sendable {
        /// Most significant byte first in the integer.
        case ipv4(UInt32, port: UInt16)
        case ipv6(UInt128, port: UInt16)
        /// The path; a name in the abstract namespace begins with `@`, a socket without a name has none.
        case unix(String)
    }

    /// What a socket is bound to; nil for a family that is none of these.
    public static func localAddress(of socket: Int32) -> LocalAddress? {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let status = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket, $0, &length) }
        }
        guard status == 0 else { return nil }
        let family = Int32(address.ss_family)
        let end = min(Int(length), MemoryLayout<sockaddr_storage>.size)
        return withUnsafeBytes(of: &address) { bytes in
            switch family {
            case AF_INET:
                .ipv4(
                    UInt32(bigEndian: bytes.load(fromByteOffset: 4, as: UInt32.self)),
                    port: UInt16(bigEndian: bytes.load(fromByteOffset: 2, as: UInt16.self)))
            case AF_INET6:
                .ipv6(
                    bytes[8..<24].reduce(UInt128(0)) { $0 << 8 | UInt128($1) },
                    port: UInt16(bigEndian: bytes.load(fromByteOffset: 2, as: UInt16.self)))
            case AF_UNIX:
                if end > 2, bytes[2] == 0 {
                    .unix("@" + String(decoding: bytes[3..<end], as: UTF8.self))
                } else {
                    .unix(String(decoding: bytes[2..<max(2, end)].prefix { $0 != 0 }, as: UTF8.self))
                }
            default: nil
            }
        }
    }

    /// The TCP port that a listener is bound to; nil for a Unix socket.
    public static func port(of listener: Int32) -> UInt16? {
        switch localAddress(of: listener) {
        case .ipv4(_, let port), .ipv6(_, let port): port
        case .unix, nil: nil
        }
    }
}
