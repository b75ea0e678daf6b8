// How long a peer may take little of what waits for it.
//
//     waits ──▶ period of `peer-timeout` ──(a floor's worth taken)──▶ the next period
//                  │    └──(the server has to do something first)──▶ what is left of it is kept
//                  └──(it ends)──▶ the peer is cut off
//
// A byte now and then is not enough to keep a place and the memory behind it.

struct PeerFloor {
    /// When the peer is cut off (monotonic ms); `.max`: nothing waits for it, or it waits for the server.
    private(set) var deadline = Int64.max
    /// Bytes since the period began.
    private var taken: Int32 = 0
    /// Of the period, while the server is the one that is waited for (ms).
    private var left: Int32 = 0

    /// Something waits for the peer, or has waited since the period began.
    var isCounting: Bool { deadline != .max || left > 0 }

    /// Something waits for the peer, which has taken `count` bytes of it just now.
    /// - Returns: whether a period begins: the first one, or one behind a floor's worth.
    @discardableResult
    mutating func took(_ count: Int, now: Int64, _ limits: ServerLimits) -> Bool {
        taken = Int32(clamping: Int(taken) + count)
        if Int(taken) >= limits.peerFloorBytes || !isCounting {
            taken = 0
            left = 0
            deadline = now + limits.peerMilliseconds
            return true
        }
        if deadline == .max { deadline = now + Int64(left) }
        return false
    }

    /// The server has to do something before the peer can take more.
    mutating func waitsForServer(now: Int64) {
        if deadline != .max { left = Int32(clamping: max(1, deadline - now)) }
        deadline = .max
    }

    /// The peer is given until then.
    mutating func extend(to moment: Int64) { deadline = moment }

    /// The peer has taken all.
    mutating func tookAll() { self = PeerFloor() }
}
