// A connection whose TLS handshake is going on; when that is complete, HTTP/1.1 or HTTP/2 takes over the descriptor, as ALPN has said.
//
//     accepted ──▶ handshake … ──▶ h2 ──▶ HTTP2Connection
//                      │       └─▶ http/1.1, or nothing said ──▶ Connection
//                      ├──▶ plain HTTP ──▶ 400 in clear ──▶ closed
//                      └──▶ failed, ended, too slow ──▶ closed
//
// A handshake is a few hundred microseconds of computing. So many steps are taken in one turn, and so many handshakes may be in progress: for a
// further one the oldest gives way, which is one that says nothing or goes on for ever, because an honest one is over in two round trips. Each has as
// long as a request's head has (`header-timeout`), and a quarter of that while half of the places are taken. A connection that has said nothing
// costs a descriptor and this object; OpenSSL's session is made when the first byte is here.

import HTTP2Session
import Logging
import Reactor
import StreamHTTP
import SystemCalls
import TransportSecurity

final class TLSHandshakeConnection: ServedConnection, @unchecked Sendable {
    let descriptor: Int32
    let id: ConnectionID
    unowned(unsafe) private let server: ServerCore
    let share: PeerShare
    private var session: TLSSession?
    private let began: Int64
    /// Its neighbours in the list of handshakes.
    fileprivate var older: TLSHandshakeConnection?
    fileprivate unowned(unsafe) var newer: TLSHandshakeConnection?
    fileprivate var olderOfShare: TLSHandshakeConnection?
    fileprivate unowned(unsafe) var newerOfShare: TLSHandshakeConnection?
    fileprivate var isListed = false
    private var interest: Readiness = .readable
    private var isOver = false
    private var isLingering = false
    var readsLater = false

    init(descriptor: Int32, id: ConnectionID, server: ServerCore, share: PeerShare) {
        self.descriptor = descriptor
        self.id = id
        self.server = server
        self.share = share
        began = server.loop.now
        server.wheel.enter(id.packed, at: began + server.limits.headerMilliseconds / 4)
    }

    private func begin() -> TLSSession? {
        if let session { return session }
        guard let context = server.tls else { return nil }
        do throws(TLSFailure) {
            let made = try TLSSession(context, descriptor: descriptor)
            session = made
            return made
        } catch {
            server.logger.error("a TLS connection could not be begun", metadata: ["error": "\(error)"])
            return nil
        }
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
        guard let session = begin() else {
            close()
            return
        }
        switch session.handshake() {
        case .complete:
            isOver = true
            server.handshakes.remove(self)
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
        let isCrowded = server.handshakes.count > server.limits.handshakes / 2
        let deadline = began + (isCrowded ? server.limits.headerMilliseconds / 4 : server.limits.headerMilliseconds)
        if now >= deadline {
            close()
            return nil
        }
        // Looked at a few times, because it may become crowded.
        return min(deadline, now + max(20, server.limits.headerMilliseconds / 4))
    }

    func resumeReading() {}
    func drain() { close() }
    func failPending() {}

    func close() {
        if isOver { return }
        isOver = true
        server.handshakes.remove(self)
        server.closed(self)
    }
}

/// The handshakes in progress in the order in which they came, all and those of each address. Who is in it is counted, once, however it ends.
final class HandshakeList {
    private(set) unowned(unsafe) var oldest: TLSHandshakeConnection?
    private var newest: TLSHandshakeConnection?
    private(set) var count = 0

    func add(_ connection: TLSHandshakeConnection) {
        connection.isListed = true
        connection.older = newest
        newest?.newer = connection
        newest = connection
        if oldest == nil { oldest = connection }
        count += 1
        let share = connection.share
        share.handshakes += 1
        connection.olderOfShare = share.newestHandshake
        share.newestHandshake?.newerOfShare = connection
        share.newestHandshake = connection
        if share.oldestHandshake == nil { share.oldestHandshake = connection }
    }

    func remove(_ connection: TLSHandshakeConnection) {
        guard connection.isListed else { return }
        connection.isListed = false
        count -= 1
        connection.share.handshakes -= 1
        let (older, newer) = (connection.older, connection.newer)
        older?.newer = newer
        if let newer { newer.older = older } else { newest = older }
        if oldest === connection { oldest = newer }
        connection.older = nil
        connection.newer = nil
        let share = connection.share
        let (olderOfShare, newerOfShare) = (connection.olderOfShare, connection.newerOfShare)
        olderOfShare?.newerOfShare = newerOfShare
        if let newerOfShare { newerOfShare.olderOfShare = olderOfShare } else { share.newestHandshake = olderOfShare }
        if share.oldestHandshake === connection { share.oldestHandshake = newerOfShare }
        connection.olderOfShare = nil
        connection.newerOfShare = nil
    }
}
