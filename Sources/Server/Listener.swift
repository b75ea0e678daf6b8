// A listening socket: accepts in bursts with a budget per turn, and rests when the process is out of descriptors instead of spinning.
//
// It is the server's own, or the service manager's, which has passed it. A passed one is never taken away: when the server ends, the
// manager still holds it, and who connects meanwhile waits in its backlog for the next server.

import Glibc
import Logging
import Reactor
import ServerSettings
import SystemCalls
import SystemPackage
import Systemd

final class Listener: ReadinessHandler {
    /// Where it was asked to listen, or found to: the port may be 0.
    private let address: ListenAddress
    let isPassed: Bool
    let spoken: Spoken

    /// What its connections speak.
    enum Spoken {
        case clear, tls
        /// In clear, and every answer is where the same is with TLS.
        case redirect
    }
    private let socket: ListeningSocket
    /// Of the file of the server's own Unix socket: it is removed at the end if it is still the same.
    private var identity: FileCalls.Identity?
    private unowned let server: ServerCore
    private var isPaused = false
    private var isOpen = true

    /// The kernel queues so many connections that have not been accepted (bounded by net.core.somaxconn).
    static let backlog: Int32 = 65_535

    init(_ address: ListenAddress, _ spoken: Spoken, server: ServerCore) throws(Errno) {
        self.address = address
        self.spoken = spoken
        self.server = server
        isPassed = false
        socket = ListeningSocket(try Self.open(address))
        if case .unix(let path) = address { identity = FileCalls.identity(path, ofSocket: true) }
        prepareConnections()
        try server.loop.register(socket.number, self, for: .readable)
    }

    /// Takes over a socket that listens already.
    init(_ passed: PassedSocket, server: ServerCore) throws(Errno) {
        address = Self.address(of: passed.descriptor)
        self.server = server
        isPassed = true
        spoken = passed.name == "https" ? .tls : passed.name == "redirect" ? .redirect : .clear
        socket = ListeningSocket(Descriptor(owning: passed.descriptor))
        prepareConnections()
        try server.loop.register(socket.number, self, for: .readable)
    }

    /// What a socket is bound to, in the form in which it would be configured.
    static func address(of descriptor: Int32) -> ListenAddress {
        switch SocketCalls.localAddress(of: descriptor) {
        case .ipv4(let host, let port): .ipv4(host, port: port)
        case .ipv6(let host, let port): .ipv6(host, port: port)
        case .unix(let path): .unix(path)
        case nil: .unix("")
        }
    }

    /// Whether connections to `other` come in here already.
    func serves(_ other: ListenAddress) -> Bool {
        if address == other { return true }
        guard case .all(let port) = other else { return false }
        return address == .ipv6(0, port: port) || address == .ipv4(0, port: port)
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

    /// Tells the kernel what it does for connections accepted from now on.
    func prepareConnections() {
        if case .unix = address { return }
        SocketCalls.prepareConnections(of: socket.number, peerMilliseconds: server.limits.peerMilliseconds)
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
        for _ in 0..<server.limits.acceptBudget {
            switch SocketCalls.accept(socket.number) {
            case .connection(let descriptor, let address): server.accept(descriptor, from: address, spoken)
            case .none: return
            case .exhausted(let code):
                server.exhausted(code)
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

    /// Stops accepting; the file of the server's own Unix socket is removed.
    func close() {
        guard isOpen else { return }
        isOpen = false
        server.loop.unregister(socket.number)
        socket.close()
        if let identity, case .unix(let path) = address, FileCalls.identity(path, ofSocket: true) == identity {
            try? FileCalls.unlink(path)
        }
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
