// What the server holds for its peers, and what one address may have of it (ACCESS.md 15, 16).
//
//     peer-memory   ├──────────────── everything ────────────────┤
//                   ├── large bodies: 3/4 ──┤    one address: 1/4
//
// Charged are bytes that are here and not what somebody has announced: bodies that have arrived, input behind a request that waits, output that
// a peer has not taken, the memory of HTTP/2 sessions and of TLS. Whoever cannot be charged is refused or closed; nobody else is.
//
// An address is an IPv4 address, or the /56 of an IPv6 one, which is what one subscriber has. Connections of trusted proxies are exempt from the
// share, because they speak for many; what a request holds is charged to the client that the proxy names.
//
// An entry is there as long as somebody refers to it: the table is as large as there are addresses connected.

import SystemCalls

/// One address, and what is held for it.
final class PeerShare {
    /// nil: Unix-domain sockets.
    let key: UInt128?
    /// A trusted proxy's: no bound of one address applies.
    let isExempt: Bool
    fileprivate(set) var connections = 0
    fileprivate(set) var bytes = 0
    /// Its TLS handshakes in progress.
    var handshakes = 0
    fileprivate let table: PeerTable

    fileprivate init(_ key: UInt128?, isExempt: Bool, _ table: PeerTable) {
        self.key = key
        self.isExempt = isExempt
        self.table = table
    }

    deinit { table.forget(key) }
}

/// All addresses, and the account of the memory that is held for them.
final class PeerTable {
    /// Weak by hand: an entry takes itself out when nobody refers to it any more.
    private var shares: [UInt128?: Unmanaged<PeerShare>] = [:]
    private(set) var held = 0
    /// `peer-memory`.
    var bound: Int
    /// Connections of one address.
    var connectionBound: Int
    var isTrusted: (UInt128?) -> Bool

    /// Memory that goes with a connection, whatever it does: bytes.
    static let tlsBytes = 16 * 1024

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

    /// The share of an address as a socket gives it.
    func share(of address: PeerAddress) -> PeerShare {
        let key: UInt128? =
            switch address {
            case .unix: nil
            case .internet(let number): Self.isMapped(number) ? number : number & ~((1 << 72) - 1)
            }
        if let known = shares[key] { return known.takeUnretainedValue() }
        let full: UInt128? = if case .internet(let number) = address { number } else { nil }
        let share = PeerShare(key, isExempt: isTrusted(full), self)
        shares[key] = Unmanaged.passUnretained(share)
        return share
    }

    static func isMapped(_ address: UInt128) -> Bool { address >> 32 == 0xFFFF }

    fileprivate func forget(_ key: UInt128?) { shares[key] = nil }

    /// Counts a connection; false: its address has as many as it may.
    func enter(_ share: PeerShare) -> Bool {
        if !share.isExempt, share.connections >= connectionBound { return false }
        share.connections += 1
        return true
    }

    func leave(_ share: PeerShare) { share.connections -= 1 }

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

    /// Charges what cannot be refused any more.
    func add(_ count: Int, to share: PeerShare) {
        held += count
        share.bytes += count
    }

    func release(_ count: Int, of share: PeerShare) {
        held -= count
        share.bytes -= count
    }
}

/// Bytes charged to one share, given back when the owner goes.
struct PeerCharge: ~Copyable {
    let share: PeerShare
    private(set) var bytes = 0
    private var table: PeerTable { share.table }

    init(_ share: PeerShare) { self.share = share }

    deinit { share.table.release(bytes, of: share) }

    /// Makes the charge `count` bytes; false, and it stays as it was: there is no room for more.
    mutating func set(_ count: Int) -> Bool {
        if count > bytes, !table.charge(count - bytes, to: share, total: count) { return false }
        if count < bytes { table.release(bytes - count, of: share) }
        bytes = count
        return true
    }

    /// Makes the charge `count` bytes, whether or not there is room.
    mutating func force(_ count: Int) {
        if count > bytes { table.add(count - bytes, to: share) } else { table.release(bytes - count, of: share) }
        bytes = count
    }
}
