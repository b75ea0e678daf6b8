// Deadlines for very many owners at eight bytes each.
//
//     slots (one per 20 ms, 4096 of them: 82 s)
//     [ … ][ owner owner ][ ][ owner ][ … ]
//            ^ cursor moves with time
//
// An owner is a number that its holder can turn back into an object (a connection's descriptor and generation). Each owner keeps its
// real deadline itself. Moving a deadline later costs nothing: when the owner's entry comes up, it is asked, and entered again. A
// deadline that moves earlier is entered a second time; the entry that is left over finds an owner that has nothing due.
// Invariant: an owner that is entered at or before its deadline is visited within one slot after it.

public final class DeadlineWheel {
    public static let slotMilliseconds: Int64 = 20
    static let slotCount = 4096
    /// Entries up to so far ahead come up at their time and not before; the rest of the span is for a cursor that is behind the clock.
    public static let horizonMilliseconds: Int64 = 60_000

    private var slots: [[UInt64]]
    @exclusivity(unchecked) private var cursor: Int64
    @exclusivity(unchecked) private var count = 0

    public init(now: Int64) {
        slots = Array(repeating: [], count: Self.slotCount)
        cursor = now / Self.slotMilliseconds
    }

    public var isEmpty: Bool { count == 0 }

    /// Enters an owner to be visited at `deadline` (monotonic milliseconds), or earlier if that lies beyond the wheel's horizon.
    public func enter(_ owner: UInt64, at deadline: Int64) {
        let wanted = (deadline + Self.slotMilliseconds - 1) / Self.slotMilliseconds
        let slot = min(max(wanted, cursor + 1), cursor + Int64(Self.slotCount) - 1)
        slots[Int(slot % Int64(Self.slotCount))].append(owner)
        count += 1
    }

    /// Visits every owner whose slot has passed. `visit` returns the deadline at which it wants to be visited next, nil for never.
    public func advance(to now: Int64, _ visit: (UInt64) -> Int64?) {
        let target = now / Self.slotMilliseconds
        while cursor < target {
            cursor += 1
            if count == 0 {
                cursor = target
                return
            }
            let index = Int(cursor % Int64(Self.slotCount))
            if slots[index].isEmpty { continue }
            let owners = slots[index]
            slots[index] = []
            count -= owners.count
            for owner in owners {
                if let next = visit(owner) { enter(owner, at: next) }
            }
        }
    }
}
