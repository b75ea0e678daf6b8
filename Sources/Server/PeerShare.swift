// What the server holds for its peers, and what one address may have of it (ACCESS.md 15, 16).
//
//     peer-memory   ├──────────────── everything ────────────────┤
//                   ├── large bodies: 3/4 ──┤    one address: 1/4
//
// Charged are bytes that are here and not what somebody has announced: bodies that have arrived, input behind a request that waits, the memory of
// HTTP/2 sessions. Whoever cannot be charged is refused or closed; nobody else is. Answers that a peer has not taken have an account of their own
// (`PinnedBlocks`), and here the part of it that is one address's.
//
// An address is an IPv4 address, or the /56 of an IPv6 one, which is what one subscriber has. Connections of trusted proxies are exempt from the
// share, because they speak for many; what a request holds is charged to the client that the proxy names.
//
// An entry is there as long as connections and charges are counted for it: the table is as large as there are addresses connected. Both are
// counted and given back on the reactor alone: the last reference to a connection may be a worker's, and nothing happens when that goes.

import SystemCalls

/// One address, and what is held for it.
final class PeerShare {
    /// Trust is an address's own, and not that of all who share its memory.
    struct Key: Hashable {
        /// nil: Unix-domain sockets.
        let number: UInt128?
        /// A trusted proxy's: no bound of one address applies.
        let isExempt: Bool
    }

    let key: Key
    var isExempt: Bool { key.isExempt }
    fileprivate(set) var connections = 0
    fileprivate(set) var bytes = 0
    /// Others who refer to it for a while.
    fileprivate var users = 0
    /// Answers that its peers have not taken.
    let waiting = PinnedBlocks()
    /// Requests that its peers have begun in the turn `turn`.
    private var begun = 0
    private var turn: UInt64 = 0
    /// Its TLS handshakes in progress.
    var handshakes = 0
    /// The first and last of them, in the order in which they came.
    var oldestHandshake: TLSHandshakeConnection?
    var newestHandshake: TLSHandshakeConnection?
    fileprivate let table: PeerTable

    fileprivate init(_ key: Key, _ table: PeerTable) {
        self.key = key
        self.table = table
    }
}

extension PeerShare {
    /// Whether its peers have begun fewer than `bound` requests in this turn.
    func mayBegin(in turn: UInt64, _ bound: Int) -> Bool { isExempt || self.turn != turn || begun < bound }

    func begins(in turn: UInt64) {
        if self.turn != turn { (self.turn, begun) = (turn, 0) }
        begun += 1
    }

    /// Somebody refers to it for a while, and nobody any more.
    func enter() { users += 1 }
    func leave() {
        users -= 1
        table.forgetIfUnused(self)
    }
}

/// All addresses, and the account of the memory that is held for them.
final class PeerTable {
    private var shares: [PeerShare.Key: PeerShare] = [:]
    /// Addresses that something is counted for.
    var count: Int { shares.count }
    private(set) var held = 0
    /// `peer-memory`.
    var bound: Int
    /// Connections of one address.
    var connectionBound: Int
    var isTrusted: (UInt128?) -> Bool

    init(bound: Int, connectionBound: Int, isTrusted: @escaping (UInt128?) -> Bool) {
        self.bound = bound
        self.connectionBound = connectionBound
        self.isTrusted = isTrusted
    }

    /// What one address may have.
    var shareBound: Int { bound / 4 }
    /// What large bodies may take together: a small request always finds room.
    private var largeBound: Int { bound / 4 * 3 }
    private static let smallBytes = 64 * 1024

    /// 0: nothing is held; 1: as much as may be.
    var pressure: Double { Double(held) / Double(max(1, bound)) }

    /// The share of an address as a socket gives it. The caller counts something for it, or forgets it.
    func share(of address: PeerAddress) -> PeerShare {
        let full: UInt128? = if case .internet(let number) = address { number } else { nil }
        let isExempt = isTrusted(full)
        let number = full.map { isExempt || Self.isMapped($0) ? $0 : $0 & ~((1 << 72) - 1) }
        let key = PeerShare.Key(number: number, isExempt: isExempt)
        if let known = shares[key] { return known }
        let share = PeerShare(key, self)
        shares[key] = share
        return share
    }

    static func isMapped(_ address: UInt128) -> Bool { address >> 32 == 0xFFFF }

    /// Takes an entry out for which nothing is counted any more.
    func forgetIfUnused(_ share: PeerShare) {
        if share.connections == 0, share.users == 0, shares[share.key] === share { shares[share.key] = nil }
    }

    /// Counts a connection; false: its address has as many as it may.
    func enter(_ share: PeerShare) -> Bool {
        if !share.isExempt, share.connections >= connectionBound { return false }
        share.connections += 1
        return true
    }

    func leave(_ share: PeerShare) {
        share.connections -= 1
        forgetIfUnused(share)
    }

    /// Charges what is held for a peer; false, and nothing is charged: there is no room.
    ///
    /// - Parameter total: what its owner holds with it: a small one may use what large ones may not.
    func charge(_ count: Int, to share: PeerShare, total: Int) -> Bool {
        if held + count > (total <= Self.smallBytes ? bound : largeBound) { return false }
        if !share.isExempt, share.bytes + count > shareBound { return false }
        held += count
        share.bytes += count
        return true
    }

    func release(_ count: Int, of share: PeerShare) {
        held -= count
        share.bytes -= count
    }
}

/// Bytes charged to one share, until its owner ends it on the reactor.
struct PeerCharge: ~Copyable {
    let share: PeerShare
    private(set) var bytes = 0
    private var isOpen = true
    private var table: PeerTable { share.table }

    init(_ share: PeerShare) {
        self.share = share
        share.enter()
    }

    /// Gives everything back, once.
    mutating func end() {
        guard isOpen else { return }
        isOpen = false
        table.release(bytes, of: share)
        bytes = 0
        share.leave()
    }

    /// Makes the charge `count` bytes; false, and it stays as it was: there is no room for more.
    mutating func set(_ count: Int) -> Bool {
        guard isOpen else { return count == 0 }
        if count > bytes, !table.charge(count - bytes, to: share, total: count) { return false }
        if count < bytes { table.release(bytes - count, of: share) }
        bytes = count
        return true
    }
}
