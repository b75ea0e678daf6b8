// Every bound of the connections, with its reason; from the settings, or fixed here.

import HTTP2Session
import HTTPWire
import ServerSettings

struct ServerLimits {
    var wire = WireLimits()
    var http2 = HTTP2Limits()
    /// TLS handshakes in progress; further connections wait to be accepted.
    var handshakes = 4096
    /// Steps of handshakes in one turn: each is up to half a millisecond of computing.
    var handshakeSteps = 8
    var bodyBytes: Int
    var connections: Int
    var idleMilliseconds: Int64
    var headerMilliseconds: Int64
    var bodyGraceMilliseconds: Int64
    var bodyBytesPerSecond: Int
    var longPollMilliseconds: Int64
    var eventsMilliseconds: Int64
    var drainMilliseconds: Int64
    /// A peer that takes nothing for so long is cut off: a tail of its data is in the kernel and another in our queue. One that has vanished
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
    /// A reader of events that catches up gets so many bytes of the stream at once, or one message: what it has not taken of them is all that
    /// the server holds for it.
    var eventsPieceBytes = 64 * 1024
    /// JSON messages larger than such a piece that are held for readers who catch up, all together; a reader beyond that is ended, and comes back.
    var largeEventsBytes = 256 << 20
    /// What passes over live readers may send in one turn: about a millisecond.
    var liveBytesPerTurn = 1 << 20
    /// What readers of events that catch up may send in one turn: theirs is encoded and copied, which costs several times as much as a file.
    var catchUpBytesPerTurn = 256 * 1024
    /// Bodies being received, of all connections together: each may be as large as `bodyBytes`, but not all at once.
    var bodiesBytes = 1 << 30
    /// Connections accepted in one turn.
    var acceptBudget = 256
    /// Pipelined requests of one connection answered in one turn.
    var pipelineBudget = 64
    /// Bytes of further requests that are kept while one is being answered.
    var pipelineBytes = 64 * 1024

    init(_ settings: Settings, connections: Int) {
        wire.headBytes = settings.headLimit
        http2.headBytes = settings.headLimit
        http2.headerBombBytes = 8 * settings.headLimit
        wire.targetBytes = settings.targetLimit
        bodyBytes = settings.bodyLimit
        bodiesBytes = max(bodiesBytes, 2 * settings.bodyLimit)
        self.connections = connections
        idleMilliseconds = settings.idleTimeout.milliseconds
        headerMilliseconds = settings.headerTimeout.milliseconds
        peerMilliseconds = settings.peerTimeout.milliseconds
        bodyGraceMilliseconds = settings.bodyGrace.milliseconds
        bodyBytesPerSecond = settings.bodyMinimumRate
        longPollMilliseconds = settings.longPollTimeout.milliseconds
        eventsMilliseconds = settings.sseInterval.milliseconds
        drainMilliseconds = settings.drainTimeout.milliseconds
    }
}

extension Duration {
    var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
