// Listening sockets that the service manager has opened and passes on (sd_listen_fds(3), systemd.socket(5)).
//
//     descriptor   3        4        5                LISTEN_FDS=3, LISTEN_PID: this process
//     name         http     http     http             LISTEN_FDNAMES=http:http:http   (FileDescriptorName=)
//
// A name says what is spoken on a socket. `https` is HTTP with TLS, `redirect` answers with https URLs, `http` is plain HTTP; so is a socket without a name of its own (systemd then gives it that of
// its unit, systemd-socket-activate "unknown"). Every socket is checked before anything else is done, and every fault is reported: a socket
// that nobody accepts from would leave its clients waiting in the backlog for ever.

import CSystemd
import Glibc

/// A listening stream socket: TCP over IPv4 or IPv6, or Unix. Non-blocking, closed on exec.
public struct PassedSocket: Sendable, Equatable {
    public let descriptor: Int32
    public let name: String
}

/// Sockets that cannot be served. One line for each.
public struct PassedSocketsFault: Error, Sendable, Equatable, CustomStringConvertible {
    public let problems: [String]
    public var description: String { problems.joined(separator: "\n") }
}

public enum PassedSockets {
    /// What may be spoken on a socket, by its name.
    static let names: Set<String> = ["http", "https", "redirect"]

    /// Takes the sockets that were passed; empty when there are none. Once in a process's life: the variables are gone afterwards.
    public static func take() throws(PassedSocketsFault) -> [PassedSocket] {
        var list: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        let count = sd_listen_fds_with_names(1, &list)
        if count < 0 {
            throw PassedSocketsFault(problems: [
                "the sockets passed by the service manager cannot be taken (LISTEN_FDS, LISTEN_FDNAMES): \(String(cString: strerror(-count)))"
            ])
        }
        var sockets: [PassedSocket] = []
        for index in 0..<Int(count) {
            let name = list?[index].map { String(cString: $0) } ?? ""
            sockets.append(PassedSocket(descriptor: SD_LISTEN_FDS_START + Int32(index), name: name))
        }
        if let list {
            for index in 0..<Int(count) { free(list[index]) }
            free(list)
        }
        try check(sockets)
        for socket in sockets {
            // systemd leaves them blocking (NonBlocking=no).
            _ = fcntl(socket.descriptor, F_SETFL, fcntl(socket.descriptor, F_GETFL) | O_NONBLOCK)
        }
        return sockets
    }

    /// Refuses what is not a listening socket that this server can serve.
    static func check(_ sockets: [PassedSocket]) throws(PassedSocketsFault) {
        let problems = sockets.compactMap { socket -> String? in
            let place =
                "socket \(socket.name.isEmpty ? "without a name" : "\"\(socket.name)\"") (descriptor \(socket.descriptor)) passed by the service manager"
            if let kind = unusableKind(socket.descriptor) {
                return "\(place): \(kind); expected a listening stream socket, TCP or Unix (ListenStream=, Accept=no)"
            }
            if !isKnown(socket.name) {
                return
                    "\(place): nothing is spoken under this name; expected FileDescriptorName=\(names.sorted().joined(separator: " or "))"
            }
            return nil
        }
        if !problems.isEmpty { throw PassedSocketsFault(problems: problems) }
    }

    private static func isKnown(_ name: String) -> Bool {
        names.contains(name) || name.isEmpty || name == "unknown" || name.hasSuffix(".socket")
    }

    /// What a descriptor is, when it is nothing to accept connections from.
    private static func unusableKind(_ descriptor: Int32) -> String? {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return "is not open" }
        switch status.st_mode & S_IFMT {
        case S_IFSOCK: break
        case S_IFIFO: return "is a FIFO"
        case S_IFREG: return "is a file"
        case S_IFCHR, S_IFBLK: return "is a device"
        default: return "is not a socket"
        }
        switch option(descriptor, SO_TYPE) {
        case Int32(SOCK_STREAM.rawValue): break
        case Int32(SOCK_DGRAM.rawValue): return "is a datagram socket"
        case Int32(SOCK_SEQPACKET.rawValue): return "is a socket of sequential packets"
        default: return "is not a stream socket"
        }
        let family = option(descriptor, SO_DOMAIN)
        switch family {
        case AF_INET, AF_INET6:
            let transport = option(descriptor, SO_PROTOCOL)
            let multipathTCP: Int32 = 262
            if transport != Int32(IPPROTO_TCP), transport != multipathTCP { return "is a socket of IP protocol \(transport), not TCP" }
        case AF_UNIX: break
        default: return "is a socket of address family \(family)"
        }
        return option(descriptor, SO_ACCEPTCONN) == 1 ? nil : "is a connection, or does not listen"
    }

    private static func option(_ descriptor: Int32, _ name: Int32) -> Int32 {
        var value: Int32 = -1
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : -1
    }
}
