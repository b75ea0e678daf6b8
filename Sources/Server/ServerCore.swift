// What all connections of one server share: the loop, the parser's and encoder's memory, the deadlines, the streams.
//
// @unchecked Sendable: confined to the reactor, like the connections.

import DequeModule
import HTTPWire
import Logging
import Reactor
import ServerSettings
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls
import SystemPackage
import TransportSecurity

final class ServerCore: @unchecked Sendable {
    let loop: EventLoop
    /// Read at each use: a reload may change them.
    @exclusivity(unchecked) private(set) var limits: ServerLimits
    let registry: StreamRegistry
    let checkpointer: Checkpointer
    let dispatcher: any Dispatcher
    let logger: Logger
    var router: Router
    private(set) var responder: Responder

    /// Shared by all connections within one turn: nothing in them outlives the call that filled them.
    let receiveBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 * 1024, alignment: 64)
    /// For bytes on their way from a file or a session to a socket.
    let fileBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 * 1024, alignment: 64)
    /// For events that are being encoded.
    let eventBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: ServerCore.eventBufferBytes, alignment: 64)
    static let eventBufferBytes = 512 * 1024
    var requestHead = RequestHead()
    var head = ResponseHead()
    var output: [UInt8] = []
    /// Parts of files that `memory(of:)` has read, until its next call.
    var scratch: [OwnedBytes] = []

    let wheel: DeadlineWheel
    private(set) var connections = ConnectionTable()
    var connectionCount: Int { connections.count }
    /// The loop wakes at the wheel's next slot.
    @exclusivity(unchecked) private var wheelIsTimed = false
    /// With more requests than their share of the turns, in the order in which they get on.
    private var postponed: Deque<any RequestingConnection> = []
    /// Readers of events that catch up, in the order in which they get on.
    private var postponedEvents: Deque<any Exchange> = []
    /// What readers of the passes under way share.
    var sharedForms = SharedFormsList()
    @exclusivity(unchecked) var hasSharedForms = false
    /// What is left of this turn's share for readers that catch up.
    @exclusivity(unchecked) var pumpBudget: FanoutBudget
    /// Connections with input that is here already, of which no readiness will tell.
    private var unread: Deque<any ServedConnection> = []
    /// Whose bodies were more than a turn's, in the order in which they get on.
    private var receivers: Deque<any RequestingConnection> = []
    /// HTTP/2 connections with something to send, each once.
    private var unflushed: [HTTP2Connection] = []
    /// Asked in each turn, and cheaper than asking the list.
    @exclusivity(unchecked) private var hasUnflushed = false
    /// With more to send than the turns had room for, in the order in which they are to send.
    private var senders: Deque<Connection> = []
    /// For listeners that speak TLS; a reload replaces it.
    @exclusivity(unchecked) var tls: TLSContext?
    /// Where the redirecting listeners send to.
    var securePort: UInt16 = 443
    let handshakes = HandshakeList()
    /// What is left of this turn's shares.
    @exclusivity(unchecked) var handshakeSteps: Int
    @exclusivity(unchecked) var sendBytesLeft: Int
    @exclusivity(unchecked) var receiveBytesLeft: Int
    /// Counts requests, and what it is when this turn's share is used up.
    @exclusivity(unchecked) var requestsBegun: UInt64 = 0
    @exclusivity(unchecked) private var lastRequest: UInt64
    var requestsAreSpent: Bool { requestsBegun >= lastRequest }
    /// The next turn goes on with what is postponed.
    @exclusivity(unchecked) private var continues = false
    /// Pieces of events that are kept for several readers.
    let sharedEvents = ByteAccount()
    /// What peers have not taken.
    let pinned = PinnedBlocks()
    /// Addresses, and the memory that is held for them.
    let peers: PeerTable
    @exclusivity(unchecked) private(set) var logsAccess: Bool
    /// Connections that wait for new data: long-polls and event streams.
    @exclusivity(unchecked) var liveReaders = 0
    @exclusivity(unchecked) private(set) var isDraining = false
    var onConnectionsGone: (() -> Void)?
    /// Answers control requests, at once or later.
    lazy var control: (ControlRequest, @escaping @Sendable (ControlAnswer) -> Void) -> Void = ControlDesk(server: self).answer

    /// Bodies up to this size are copied behind their head.
    static let copyLimit = 64 * 1024
    static let heartbeat = EventFrames(
        UnsafeRawBufferPointer(start: EventStream.heartbeat.utf8Start, count: EventStream.heartbeat.utf8CodeUnitCount))
    static let lastChunk = ByteSlice(EventFrames.lastChunk)
    static let closingBracket = ByteSlice([UInt8(ascii: "]")])

    init(
        loop: EventLoop, limits: ServerLimits, registry: StreamRegistry, checkpointer: Checkpointer, dispatcher: any Dispatcher,
        responder: ResponderSettings, router: RouterSettings, isTrustedProxy: @escaping (UInt128?) -> Bool, logger: Logger, logsAccess: Bool
    ) {
        self.logsAccess = logsAccess
        self.loop = loop
        self.limits = limits
        pumpBudget = FanoutBudget(limits.catchUpBytesPerTurn)
        handshakeSteps = limits.handshakeSteps
        sendBytesLeft = limits.sendBytesPerTurn
        receiveBytesLeft = limits.receiveBytesPerTurn
        registry.context.fanouts.bytesPerTurn = limits.liveBytesPerTurn
        lastRequest = UInt64(limits.requestsPerTurn)
        self.registry = registry
        self.checkpointer = checkpointer
        self.dispatcher = dispatcher
        self.logger = logger
        self.router = Router(router)
        self.responder = Responder(settings: responder)
        self.responder.now = loop.wallNow
        wheel = DeadlineWheel(now: loop.now)
        peers = PeerTable(bound: limits.peerBytes, connectionBound: limits.connectionsPerAddress, isTrusted: isTrustedProxy)
        output.reserveCapacity(4096)
    }

    deinit {
        receiveBuffer.deallocate()
        fileBuffer.deallocate()
        eventBuffer.deallocate()
    }

    /// Takes over what was read again. Requests and waits under way keep the deadlines that they have.
    func adopt(
        _ limits: ServerLimits, _ settings: ResponderSettings, _ router: RouterSettings, isTrustedProxy: @escaping (UInt128?) -> Bool,
        logsAccess: Bool
    ) {
        self.limits = limits
        registry.context.fanouts.bytesPerTurn = limits.liveBytesPerTurn
        (peers.bound, peers.connectionBound, peers.isTrusted) = (limits.peerBytes, limits.connectionsPerAddress, isTrustedProxy)
        self.logsAccess = logsAccess
        self.router = Router(router)
        responder = Responder(settings: settings)
        responder.now = loop.wallNow
    }

    // MARK: Connections

    func accept(_ descriptor: Int32, from address: PeerAddress = .unix, _ spoken: Listener.Spoken = .clear) {
        let share = peers.share(of: address)
        if connectionCount >= limits.connections || isDraining || !peers.enter(share) {
            peers.forgetIfUnused(share)
            refuseConnection(descriptor, inClear: spoken != .tls)
            return
        }
        let id = connections.reserve()
        let connection: any ServedConnection
        switch spoken {
        case .tls:
            connection = TLSHandshakeConnection(descriptor: descriptor, id: id, server: self, share: share)
        case .clear: connection = Connection(descriptor: descriptor, id: id, server: self, share: share)
        case .redirect:
            connection = Connection(descriptor: descriptor, id: id, server: self, share: share, redirects: true)
        }
        do {
            try loop.register(descriptor, connection, for: .readable)
        } catch {
            logger.error("a connection could not be registered", metadata: ["error": "\(error)"])
            connections.giveBack(id)
            (connection as? Connection)?.handOver()
            peers.leave(share)
            _ = Descriptor(owning: descriptor)
            return
        }
        connections.put(connection)
        if let handshake = connection as? TLSHandshakeConnection {
            handshakes.add(handshake)
            makeRoomForHandshakes(share)
        }
    }

    /// Whoever has been at a handshake for longest gives way: an honest one is over in two round trips.
    private func makeRoomForHandshakes(_ share: PeerShare) {
        if handshakes.count > limits.handshakes { handshakes.oldest?.close() }
        if !share.isExempt, share.handshakes > max(1, limits.handshakes / 4) { share.oldestHandshake?.close() }
    }

    /// The client that a trusted proxy speaks for: the rightmost address that is no trusted proxy itself.
    func client(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, behind proxy: PeerShare) -> PeerShare {
        for field in head.fields.reversed() where field.name == .forwardedFor {
            for element in bytes[field.valueRange].split(separator: UInt8(ascii: ",")).reversed() {
                guard let address = ForwardedAddress.parse(element) else { return proxy }
                if !peers.isTrusted(address) { return peers.share(of: .internet(address)) }
            }
        }
        return proxy
    }

    private var refusedConnections = 0
    private var refusalLines = Interval(10_000)

    /// Says 503 and closes. What the peer has sent by now is read, so that closing does not reset the connection under the answer. A peer that
    /// expects TLS is told nothing: a handshake for that would cost what the limit is to save.
    private func refuseConnection(_ descriptor: Int32, inClear: Bool) {
        let owned = Descriptor(owning: descriptor)
        if inClear {
            _ = responder.refuse(Problem(503, "The server has as many connections as it may have."), ResponseContext(), &head)
            serializeHead(keepAlive: false, minorVersion: 1)
            output += Array("The server has as many connections as it may have.\n".utf8)
            _ = output.withUnsafeBytes { SocketCalls.send(owned.number, $0) }
            SocketCalls.shutdownWrite(owned.number)
            _ = SocketCalls.receive(owned.number, into: receiveBuffer)
        }
        refusedConnections += 1
        if refusalLines.begins(loop.now) {
            logger.log(
                .warning, .connectionLimitReached, "connections are refused: the limit is reached",
                metadata: ["limit": "\(limits.connections)", "refused": "\(refusedConnections)"])
            refusedConnections = 0
        }
    }

    private var slowPeers = 0
    private var slowPeerLines = Interval(10_000)

    /// A peer is cut off, because too much waits for peers. Said every ten seconds while it lasts.
    func logSlowPeer() {
        slowPeers += 1
        guard slowPeerLines.begins(loop.now) else { return }
        logger.warning(
            "readers that do not take their answers are cut off: too much memory waits for them",
            metadata: ["bytes": "\(pinned.bytes)", "readers": "\(slowPeers)"])
        slowPeers = 0
    }

    private var exhaustionLines = Interval(10_000)

    /// No descriptor or no memory for another connection. Said every ten seconds while it lasts.
    func exhausted(_ code: Int32) {
        guard exhaustionLines.begins(loop.now) else { return }
        logger.log(
            .error, .descriptorsExhausted, "connections cannot be accepted for the moment",
            metadata: ["error": "\(Errno(rawValue: code))", "ERRNO": "\(code)", "connections": "\(connectionCount)"])
    }

    /// Puts HTTP in the place of the handshake that was.
    func handshakeIsComplete(_ handshake: TLSHandshakeConnection, _ session: TLSSession) {
        let (descriptor, id) = (handshake.descriptor, handshake.id)
        if session.applicationProtocol == .http2 {
            guard
                let connection = HTTP2Connection(
                    descriptor: descriptor, id: id, server: self, share: handshake.share, tls: session)
            else {
                closed(handshake)
                return
            }
            replace(handshake, by: connection)
        } else {
            replace(
                handshake,
                by: Connection(descriptor: descriptor, id: id, server: self, share: handshake.share, tls: session))
        }
    }

    /// A connection in clear has begun with HTTP/2's preface.
    func becomeHTTP2(_ former: Connection, _ bytes: UnsafeRawBufferPointer) {
        guard
            let connection = HTTP2Connection(
                descriptor: former.descriptor, id: former.id, server: self, share: former.share, tls: nil)
        else {
            former.close()
            return
        }
        former.handOver()
        replace(former, by: connection)
        connection.take(bytes)
        if isDraining { connection.drain() }
    }

    private func replace(_ former: any ServedConnection, by connection: any ServedConnection) {
        loop.replace(former.descriptor, by: connection, for: .readable)
        connections.put(connection)
        // It may have sent its first request with its last word of the handshake.
        readLater(connection)
    }

    func closed(_ connection: any ServedConnection) {
        loop.unregister(connection.descriptor)
        connections.giveBack(connection.id)
        _ = Descriptor(owning: connection.descriptor)
        peers.leave(connection.share)
        if connectionCount == 0 { onConnectionsGone?() }
    }

    func readLater(_ connection: any ServedConnection) {
        if connection.readsLater { return }
        connection.readsLater = true
        unread.append(connection)
        continueSoon()
    }
    func flushLater(_ connection: HTTP2Connection) {
        unflushed.append(connection)
        hasUnflushed = true
    }
    var hasReceivers: Bool { !receivers.isEmpty }
    func putOff(_ connection: any RequestingConnection) {
        if connection.isPutOff { return }
        connection.isPutOff = true
        receivers.append(connection)
        continueSoon()
    }
    var hasSenders: Bool { !senders.isEmpty }
    func sendLater(_ connection: Connection) {
        senders.append(connection)
        continueSoon()
    }
    func postpone(_ connection: any RequestingConnection) {
        postponed.append(connection)
        continueSoon()
    }
    func postponeEvents(_ reader: any Exchange) {
        postponedEvents.append(reader)
        continueSoon()
    }

    // MARK: Turns

    /// The end of a turn of the loop: deadlines, lookups, the journal's batch.
    func endTurn() {
        responder.now = loop.wallNow
        wheel.advance(to: loop.now) { connections[$0]?.visit(now: loop.now) }
        if !wheel.isEmpty, !wheelIsTimed {
            wheelIsTimed = true
            loop.schedule(after: DeadlineWheel.slotMilliseconds) { [self] in wheelIsTimed = false }
        }
        // Sends, which may make more to send: a reader that has taken all it had reads on.
        if hasUnflushed {
            hasUnflushed = false
            let waiting = unflushed
            unflushed = []
            for connection in waiting { connection.flushNow() }
            if hasUnflushed { continueSoon() }
        }
        registry.startLookups()
        registry.context.journal.submit()
        if hasSharedForms, registry.context.fanouts.isEmpty {
            hasSharedForms = false
            sharedForms.removeAll()
        }
        pumpBudget = FanoutBudget(limits.catchUpBytesPerTurn)
        handshakeSteps = limits.handshakeSteps
        sendBytesLeft = limits.sendBytesPerTurn
        receiveBytesLeft = limits.receiveBytesPerTurn
        lastRequest = requestsBegun + UInt64(limits.requestsPerTurn)
        checkpointer.runIfDue()
        checkpointer.journalCommitted()
    }

    /// Makes the next turn go on with what this one left.
    func continueSoon() {
        if continues { return }
        continues = true
        dispatcher.post { [self] in
            continues = false
            // Beside what the sockets tell. Each list is gone through once: what comes to it meanwhile is the next turn's.
            var left = postponed.count
            // The more there are, the less has each, and the sooner is everyone's turn; but not so little that most of it is going round.
            let share = max(limits.smallShare, min(limits.pipelineBudget, limits.requestsPerTurn / max(1, left)))
            lastRequest = requestsBegun + UInt64(limits.requestsPerTurn)
            while left > 0, !requestsAreSpent, let connection = postponed.popFirst() {
                left -= 1
                connection.resumePostponed(share)
            }
            left = min(unread.count, limits.readsPerTurn)
            while left > 0, let connection = unread.popFirst() {
                left -= 1
                connection.readsLater = false
                connection.resumeReading()
            }
            left = receivers.count
            receiveBytesLeft = limits.receiveBytesPerTurn
            let bytes = max(limits.smallReceive, min(limits.receiveBudget, limits.receiveBytesPerTurn / max(1, left)))
            while left > 0, receiveBytesLeft > 0, let connection = receivers.popFirst() {
                left -= 1
                connection.isPutOff = false
                connection.resumeReceiving(bytes)
            }
            left = senders.count
            while left > 0, sendBytesLeft > 0, let connection = senders.popFirst() {
                left -= 1
                connection.resumeSending()
            }
            pumpReaders()
            if !postponed.isEmpty || !postponedEvents.isEmpty || !unread.isEmpty || !receivers.isEmpty || !senders.isEmpty {
                continueSoon()
            }
        }
    }

    private func pumpReaders() {
        var left = postponedEvents.count
        while left > 0, !pumpBudget.isSpent, let reader = postponedEvents.popFirst() {
            left -= 1
            reader.resumePumping()
        }
    }

    func drain() {
        isDraining = true
        for connection in connections.all { connection.drain() }
        if connectionCount == 0 { onConnectionsGone?() }
    }

    func failPending() {
        for connection in connections.all { connection.failPending() }
    }

    func closeAll() {
        for connection in connections.all { connection.close() }
    }

    func log(_ message: String, name: [UInt8]?) {
        logger.error("\(message)", metadata: name.map { ["stream": "\(StreamLabel.text($0))"] })
    }
}
