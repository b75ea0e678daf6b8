// A connection whose TLS handshake is going on; when that is complete, HTTP/1.1 or HTTP/2 takes over the descriptor, as ALPN has said.
//
//     accepted ──▶ handshake … ──▶ h2 ──▶ HTTP2Connection
//                      │       └─▶ http/1.1, or nothing said ──▶ Connection
//                      ├──▶ plain HTTP ──▶ 400 in clear ──▶ closed
//                      └──▶ failed, ended, too slow ──▶ closed
//
// A handshake is a few hundred microseconds of computing. So many steps are taken in one turn, so many handshakes may be in progress
// (the rest waits in the listener's backlog), and each has as long as a request's head has (`header-timeout`).

import HTTP2Session
import Logging
import Reactor
import StreamHTTP
import SystemCalls
import TransportSecurity

final class TLSHandshakeConnection: ServedConnection, @unchecked Sendable {
    let descriptor: Int32
    let generation: UInt32
    unowned(unsafe) private let server: ServerCore
    private let session: TLSSession
    private let deadline: Int64
    private var interest: Readiness = .readable
    private var isOver = false
    private var isLingering = false
    var readsLater = false

    init(descriptor: Int32, generation: UInt32, server: ServerCore, session: TLSSession) {
        self.descriptor = descriptor
        self.generation = generation
        self.server = server
        self.session = session
        deadline = server.loop.now + server.limits.headerMilliseconds
        server.handshakes += 1
        server.wheel.enter(UInt64(generation) << 32 | UInt64(UInt32(descriptor)), at: deadline)
    }

    func ready(_ readiness: Readiness) {
        if readiness.contains(.failed) || (readiness.contains(.hangUp) && !readiness.contains(.readable)) {
            close()
            return
        }
        if isLingering {
            if case .bytes = SocketCalls.receive(descriptor, into: server.receiveBuffer) { return }
            close()
            return
        }
        // What has no share of this turn is told of again in the next.
        if server.handshakeSteps == 0 { return }
        server.handshakeSteps -= 1
        switch session.handshake() {
        case .complete:
            isOver = true
            server.handshakes -= 1
            server.handshakeIsComplete(self, session)
        case .wantRead: setInterest(.readable)
        case .wantWrite: setInterest(.writable)
        case .plainHTTP: refuseInClear()
        case .ended: close()
        case .failed(let failure):
            server.logger.debug("a TLS handshake has failed", metadata: ["reason": "\(failure)"])
            close()
        }
    }

    private func setInterest(_ wanted: Readiness) {
        if wanted == interest { return }
        interest = wanted
        server.loop.change(descriptor, to: wanted)
    }

    private func refuseInClear() {
        let problem = Problem(400, "This port speaks HTTPS, and the request came in clear. Use https:// in the URL.")
        let body = server.responder.refuse(problem, ResponseContext(), &server.head)
        server.serializeHead(keepAlive: false, minorVersion: 1)
        server.output += body
        _ = server.output.withUnsafeBytes { SocketCalls.send(descriptor, $0) }
        SocketCalls.shutdownWrite(descriptor)
        // Its bytes are read and dropped, so that a reset does not overtake the answer.
        isLingering = true
        setInterest(.readable)
    }

    func visit(now: Int64) -> Int64? {
        if isOver { return nil }
        if now < deadline { return deadline }
        close()
        return nil
    }

    func resumeReading() {}
    func drain() { close() }
    func failPending() {}

    func close() {
        if isOver { return }
        isOver = true
        server.handshakes -= 1
        server.closed(self)
    }
}
