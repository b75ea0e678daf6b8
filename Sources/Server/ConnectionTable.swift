// The server's connections by slot and generation. A slot is used again; its generation tells the users apart, so what stands in the deadline wheel for
// one that has gone finds nobody, whatever descriptors the kernel hands out.

struct ConnectionID: Equatable {
    let slot: UInt32
    let generation: UInt32

    /// As the deadline wheel keeps it.
    var packed: UInt64 { UInt64(generation) << 32 | UInt64(slot) }
}

struct ConnectionTable {
    private struct Slot {
        var connection: (any ServedConnection)?
        var generation: UInt32
    }

    private var slots: [Slot] = []
    private var free: [UInt32] = []

    /// Places that are taken.
    var count: Int { slots.count - free.count }

    /// A place for a connection that is about to be made: it is put there, or the place is given back.
    mutating func reserve() -> ConnectionID {
        if let slot = free.popLast() { return ConnectionID(slot: slot, generation: slots[Int(slot)].generation) }
        slots.append(Slot(connection: nil, generation: 0))
        return ConnectionID(slot: UInt32(slots.count - 1), generation: 0)
    }

    /// Puts a connection in its place, or another one in the place of one whose descriptor it takes over.
    mutating func put(_ connection: any ServedConnection) { slots[Int(connection.id.slot)].connection = connection }

    mutating func giveBack(_ id: ConnectionID) {
        slots[Int(id.slot)].connection = nil
        slots[Int(id.slot)].generation &+= 1
        free.append(id.slot)
    }

    /// The one that the deadline wheel means, if it is still there.
    subscript(packed: UInt64) -> (any ServedConnection)? {
        let slot = slots[Int(UInt32(truncatingIfNeeded: packed))]
        return slot.generation == UInt32(packed >> 32) ? slot.connection : nil
    }

    var all: [any ServedConnection] { slots.compactMap(\.connection) }
}
