// The calls of a client's side: looking a host up, connecting without waiting, dropping what arrives.

import CLinux
import Glibc
import SystemPackage

/// An address of a TCP socket.
public struct SocketAddress: Sendable {
    fileprivate var storage = sockaddr_storage()
    fileprivate var length: socklen_t

    /// The addresses of a host, in the order in which they should be tried.
    ///
    /// - Parameter host: a name, or an address without brackets. A name is looked up and may take as long as the resolver does.
    /// - Returns: empty when there is none.
    public static func resolve(host: String, port: UInt16) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var result: [SocketAddress] = []
        var next = list
        while let entry = next {
            var address = SocketAddress(length: entry.pointee.ai_addrlen)
            withUnsafeMutableBytes(of: &address.storage) {
                $0.copyBytes(from: UnsafeRawBufferPointer(start: entry.pointee.ai_addr, count: Int(entry.pointee.ai_addrlen)))
            }
            result.append(address)
            next = entry.pointee.ai_next
        }
        return result
    }

    /// - Parameter address: most significant byte first in the integer.
    public static func ipv4(_ address: UInt32, port: UInt16 = 0) -> SocketAddress {
        var form = sockaddr_in()
        form.sin_family = sa_family_t(AF_INET)
        form.sin_port = port.bigEndian
        form.sin_addr = in_addr(s_addr: address.bigEndian)
        var result = SocketAddress(length: socklen_t(MemoryLayout<sockaddr_in>.size))
        withUnsafeMutableBytes(of: &result.storage) { $0.storeBytes(of: form, as: sockaddr_in.self) }
        return result
    }

    private init(length: socklen_t) { self.length = length }

    fileprivate var family: Int32 { Int32(storage.ss_family) }

    /// 127.0.0.0/8, of which every address can be a source.
    public var isIPv4Loopback: Bool {
        family == AF_INET && withUnsafeBytes(of: storage) { $0[4] == 127 }
    }
}

extension SocketCalls {
    /// IP_BIND_ADDRESS_NO_PORT (ip(7)), which Swift does not import: the port is chosen at the connect, unique for both ends and not for one.
    private static let bindAddressNoPort: Int32 = 24

    /// Begins a connection without delays for small segments (TCP_NODELAY), which is there, or has failed, when the socket becomes writable: see ``connectionError(_:)``.
    ///
    /// - Parameter source: the address it comes from; the kernel's choice otherwise.
    public static func connect(to target: SocketAddress, from source: SocketAddress? = nil) throws(Errno) -> Descriptor {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let socket = Descriptor(owning: try unlessInterrupted { Glibc.socket(target.family, type, 0) })
        setOption(socket.number, level: Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        if let source {
            setOption(socket.number, level: Int32(IPPROTO_IP), bindAddressNoPort, 1)
            try call(Glibc.bind, socket.number, source)
        }
        do throws(Errno) {
            try call(Glibc.connect, socket.number, target)
        } catch .nowInProgress {
        } catch {
            throw error
        }
        return socket
    }

    /// Why the connection that was begun has failed; nil: it has not.
    public static func connectionError(_ socket: Int32) -> Errno? {
        var code: Int32 = 0
        guard clinux_get_int_option(socket, SOL_SOCKET, SO_ERROR, &code) == 0 else { return Errno(rawValue: errno) }
        return code == 0 ? nil : Errno(rawValue: code)
    }

    /// Receives and drops up to `count` bytes, which are not copied (MSG_TRUNC, tcp(7)).
    public static func discard(_ socket: Int32, count: Int) -> Transfer {
        while true {
            let got = Glibc.recv(socket, nil, count, Int32(MSG_TRUNC))
            if got > 0 { return .bytes(got) }
            if got == 0 { return .end }
            let code = errno
            if code == EINTR { continue }
            return code == EAGAIN ? .wouldBlock : .failed(code)
        }
    }

    private static func call(
        _ function: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32, _ socket: Int32, _ address: SocketAddress
    ) throws(Errno) {
        try unlessInterrupted {
            withUnsafePointer(to: address.storage) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { function(socket, $0, address.length) }
            }
        }
    }
}
