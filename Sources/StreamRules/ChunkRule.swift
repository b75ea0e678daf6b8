// Where responses end (PROTOCOL.md 4: "chunk ends fall on the same positions for every reader").
//
//     0        cut            cut      cut                    cut     tail
//     |--------|--------------|--------|======================|-------|
//       <= chunk  <= chunk               one atom > chunk
//
// An atom is what is never divided: an append of a byte stream, a message of a JSON stream. Cuts are made as atoms arrive: when an
// atom would carry the open chunk past the chunk size, the chunk is cut before it; an atom larger than the chunk size is a chunk by
// itself. The cuts depend on nothing but the atoms, so every reader, and every replay of the journal, finds the same.
// Invariant: two neighbouring cuts are at most `size` apart unless a single atom lies between them.

public struct ChunkRule: Sendable, Equatable {
    public let size: UInt64
    /// Start of the open chunk.
    public private(set) var lastCut: UInt64

    public init(size: UInt32, lastCut: UInt64) {
        self.size = UInt64(size)
        self.lastCut = lastCut
    }

    /// Takes the next atom, which ends at `end` and begins at `start`, where the last one ended. Returns the position of the cut that
    /// it caused, if any (never more than one: it lies at `start`).
    public mutating func add(from start: UInt64, to end: UInt64) -> UInt64? {
        if end - lastCut <= size || start == lastCut { return nil }
        lastCut = start
        return start
    }

    /// Takes a cut that was found in another way.
    public mutating func cut(at position: UInt64) { lastCut = position }

    /// Whether atoms up to `end` fit into the open chunk, so that no cut is made.
    public func fits(_ end: UInt64) -> Bool { end - lastCut <= size }
}
