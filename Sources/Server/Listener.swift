// A listening socket: accepts in bursts with a budget per turn, and rests when the process is out of descriptors instead of spinning.

import Glibc
import Logging
import Reactor
import ServerSettings
import SystemCalls
import SystemPackage

final class Listener: ReadinessHandler {
    let address: ListenAddress
    private let socket: ListeningSocket
    private unowned let server: ServerCore
    private var isPaused = false
    private var isOpen = true

    /// The kernel queues so many connections that have not been accepted (bounded by net.core.somaxconn).
    static let backlog: Int32 = 65_535

    init(_ address: ListenAddress, server: ServerCore) throws(Errno) {
        self.address = address
        self.server = server
        socket = ListeningSocket(try Self.open(address))
        try server.loop.register(socket.number, self, for: .readable)
    }

    private static func open(_ address: ListenAddress) throws(Errno) -> Descriptor {
        switch address {
        case .ipv4(let host, let port):
            let text = (0..<4).map { String((host >> (24 - 8 * UInt32($0))) & 255) }.joined(separator: ".")
            return try SocketCalls.listenTCP(host: text, port: port, backlog: backlog)
        case .ipv6(let host, let port):
            let text = (0..<8).map { String(UInt16(truncatingIfNeeded: host >> (112 - 16 * UInt128($0))), radix: 16) }.joined(
                separator: ":")
            return try SocketCalls.listenTCP(host: text, port: port, backlog: backlog)
        case .all(let port):
            do throws(Errno) {
                return try SocketCalls.listenTCP(host: "::", port: port, backlog: backlog, dualStack: true)
            } catch {
                if error == .addressInUse || error == .permissionDenied { throw error }
                return try SocketCalls.listenTCP(host: "0.0.0.0", port: port, backlog: backlog)
            }
        case .unix(let path): return try SocketCalls.listenUnix(path: path, backlog: backlog)
        }
    }

    var port: UInt16? { SocketCalls.port(of: socket.number) }

    /// The address with the port that the kernel chose.
    var description: String {
        guard let port else { return address.description }
        let text = address.description
        guard let colon = text.lastIndex(of: ":") else { return text }
        return text[...colon] + String(port)
    }

    func ready(_ readiness: Readiness) {
        var isTCP = true
        if case .unix = address { isTCP = false }
        for _ in 0..<server.limits.acceptBudget {
            switch SocketCalls.accept(socket.number) {
            case .connection(let descriptor): server.accept(descriptor, isTCP: isTCP)
            case .none: return
            case .exhausted(let code):
                server.logger.error(
                    "connections cannot be accepted for the moment", metadata: ["error": "\(Errno(rawValue: code))"])
                pause()
                return
            }
        }
    }

    private func pause() {
        guard !isPaused, isOpen else { return }
        isPaused = true
        server.loop.change(socket.number, to: [])
        server.loop.schedule(after: 100) { [self] in
            isPaused = false
            if isOpen { server.loop.change(socket.number, to: .readable) }
        }
    }

    /// Stops accepting; a Unix socket's file is removed.
    func close() {
        guard isOpen else { return }
        isOpen = false
        server.loop.unregister(socket.number)
        socket.close()
        if case .unix(let path) = address { try? FileCalls.unlink(path) }
    }
}

/// The listening descriptor, closed once.
private final class ListeningSocket {
    let number: Int32
    private var isOpen = true
    init(_ descriptor: consuming Descriptor) { number = descriptor.release() }
    deinit { close() }
    func close() {
        if isOpen { _ = Descriptor(owning: number) }
        isOpen = false
    }
}
