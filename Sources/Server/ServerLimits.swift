// Every bound of the connections, with its reason; from the settings, or fixed here.

import HTTP2Session
import HTTPWire
import ServerSettings

struct ServerLimits {
    var wire = WireLimits()
    var http2 = HTTP2Limits()
    /// TLS handshakes in progress; for a further one the oldest makes room.
    var handshakes = 4096
    /// Steps of handshakes in one turn: each is up to half a millisecond of computing.
    var handshakeSteps = 8
    var bodyBytes: Int
    var connections: Int
    var connectionsPerAddress: Int
    /// All that is held for peers (PeerTable).
    var peerBytes: Int
    var idleMilliseconds: Int64
    var headerMilliseconds: Int64
    /// A body of which no byte comes for so long is given up.
    var bodyMilliseconds: Int64
    var bodyGraceMilliseconds: Int64
    var bodyBytesPerSecond: Int
    var longPollMilliseconds: Int64
    var eventsMilliseconds: Int64
    /// After so long without an event a reader of events is sent a comment; 0: never.
    var heartbeatMilliseconds: Int64
    var drainMilliseconds: Int64
    /// A peer that takes less than `peerFloorBytes`, and less than all, in so long is cut off: a tail of its data is in the kernel and another in our queue. One that has vanished
    /// is found by the kernel in the same time, whether it was sent something or not.
    var peerMilliseconds: Int64
    /// After a refusal the peer's bytes are read and dropped for so long, so that a reset does not overtake the answer.
    var lingerMilliseconds: Int64 = 2_000
    /// When the server ends, a connection that has not been used yet has so long to send its first request.
    var newConnectionMilliseconds: Int64 = 500
    /// Bytes that one connection may send in one turn before the others have theirs.
    var sendBudget = 512 * 1024
    /// Bytes of answers too large for one call that all connections together may send in one turn, while everyone else waits: a millisecond
    /// or so, and a few when the kernel has to find new memory for them.
    var sendBytesPerTurn = 1 << 20
    /// What an HTTP/2 connection may send in a turn whose share is used up: other answers may be among it.
    var sendBytesBeyond = 16 * 1024
    /// A reader of events that catches up gets so many bytes at once: what it has not taken of them is all that the server holds for it.
    var eventsPieceBytes = 64 * 1024
    /// Pieces of large events that are kept for the readers who get the same, all together; beyond that each reader's are encoded for it alone.
    var sharedEventsBytes = 32 << 20
    /// What passes over live readers may send in one turn: about a millisecond.
    var liveBytesPerTurn = 1 << 20
    /// What readers of events that catch up may send in one turn: theirs is encoded and copied, which costs several times as much as a file.
    var catchUpBytesPerTurn = 256 * 1024
    /// Connections accepted in one turn.
    var acceptBudget = 256
    /// Pipelined requests of one connection answered in one turn.
    var pipelineBudget = 64
    /// Requests of one address begun in one turn, over all its connections, and of one HTTP/2 connection: a millisecond or two.
    var requestsPerAddress = 256
    /// Requests of all connections together, of what the sockets tell and once more of what was postponed. Beyond it each connection has one.
    var requestsPerTurn = 256
    /// Requests that each of many postponed connections gets at least, when they share a turn.
    var smallShare = 8
    /// Connections that go on with what is here and not told by their sockets.
    var readsPerTurn = 64
    /// Bytes of bodies, and of HTTP/2, that one connection and all together may receive in one turn: new memory for them costs the kernel up to
    /// two milliseconds a megabyte.
    var receiveBudget = 256 * 1024
    var receiveBytesPerTurn = 1 << 20
    /// What each of many bodies gets at least, when they share a turn.
    var smallReceive = 16 * 1024
    /// Bytes of further requests that are kept while one is being answered.
    var pipelineBytes = 16 * 1024
    /// Memory of answers that peers do not take, of all together: beyond it, whoever has much of it is cut off (`Exchange.holdsTooMuch`).
    var pinnedBytes: Int { peerBytes / 2 }
    /// A peer that is sent something takes so many bytes, or all there is, each time that `peerMilliseconds` pass.
    var peerFloorBytes = 16 * 1024

    init(_ settings: Settings, connections: Int) {
        wire.headBytes = settings.headLimit
        http2.headBytes = settings.headLimit
        http2.headerBombBytes = 8 * settings.headLimit
        wire.targetBytes = settings.targetLimit
        bodyBytes = settings.bodyLimit
        self.connections = connections
        connectionsPerAddress = settings.connectionsPerAddress > 0 ? settings.connectionsPerAddress : max(64, connections / 4)
        peerBytes = max(settings.peerMemory, 4 * settings.bodyLimit)
        idleMilliseconds = settings.idleTimeout.milliseconds
        headerMilliseconds = settings.headerTimeout.milliseconds
        peerMilliseconds = settings.peerTimeout.milliseconds
        bodyMilliseconds = settings.bodyTimeout.milliseconds
        bodyGraceMilliseconds = settings.bodyGrace.milliseconds
        bodyBytesPerSecond = settings.bodyMinimumRate
        longPollMilliseconds = settings.longPollTimeout.milliseconds
        eventsMilliseconds = settings.sseInterval.milliseconds
        heartbeatMilliseconds = settings.sseHeartbeat.milliseconds
        drainMilliseconds = settings.drainTimeout.milliseconds
    }

    /// The bytes a second that a body has to keep while it holds `bytes`; 0: none.
    ///
    /// - Parameters:
    ///   - pressure: how much of the memory for peers is in use, 0 to 1.
    ///   - bound: of that memory.
    func bodyRate(holding bytes: Int, pressure: Double, bound: Int) -> Int {
        let holdsMuch = bytes >= bound / 64
        if pressure < 0.5 { return holdsMuch ? bodyBytesPerSecond : 0 }
        if bytes < 64 * 1024 { return 0 }
        return bodyBytesPerSecond * Int(1 + 63 * (min(1, pressure) - 0.5) * 2)
    }
}

extension Duration {
    var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
