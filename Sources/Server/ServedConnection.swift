// What the server knows of a connection, whatever it speaks.

import Reactor

protocol ServedConnection: ReadinessHandler {
    var descriptor: Int32 { get }
    /// Its place among the server's connections.
    var id: ConnectionID { get }

    /// Where it comes from, and what is held for that address.
    var share: PeerShare { get }

    /// It stands in the server's list of those that have something to read of which the socket does not tell.
    var readsLater: Bool { get set }

    /// The deadline wheel's visit: what is due is done; the next visit is returned.
    func visit(now: Int64) -> Int64?
    /// Goes on reading what is here already, of which the socket will not tell.
    func resumeReading()
    /// The server is ending: waits end, idle connections close, answers in progress are finished.
    func drain()
    /// The journal has failed: what is being executed will not be acknowledged.
    func failPending()
    func close()
}

/// A connection of which a turn takes a share.
protocol RequestingConnection: ServedConnection {
    /// It stands in the server's list of those whose bodies were more than a turn's.
    var isPutOff: Bool { get set }
    /// Goes on with the requests that are here, up to so many.
    func resumePostponed(_ share: Int)
    /// Goes on receiving.
    ///
    /// - Parameter limit: of a body's bytes at once.
    func resumeReceiving(_ limit: Int)
}
