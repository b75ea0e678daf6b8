// Where a fork comes from (PROTOCOL.md 7).
//
//     source   0 ──────── cut ────────── offset ─ sub ─▶ position ┄┄┄ goes on by itself
//     fork     ┄┄┄┄┄┄┄┄ the source's bytes ┄┄┄┄┄┄┄┄┄┄┄┄▶ position ──── its own bytes ────▶
//                          └ lastCut
//
// A fork has the source's positions, and its chunks go on where the source's were: its open chunk begins at the source's last cut
// at or before the fork point, so a range that crosses the fork point is one answer.
// The number of fork points within one chunk is bounded: a fork that would be one too many begins with a cut. So an answer never
// has more parts than that, however many forks of forks a client makes.

public struct ForkOrigin: Sendable, Equatable {
    /// The stream that is forked; ids are never used twice.
    public let sourceID: UInt64
    public let source: [UInt8]
    /// The fork offset as given, or the source's tail at the time.
    public let offset: UInt64
    public let offsetWasGiven: Bool
    public let subOffset: UInt64
    /// The first position of the fork's own bytes.
    public let position: UInt64
    /// Where the chunk begins that is open at `position`; `position` itself when the fork begins with a cut.
    public let lastCut: UInt64

    /// Fork points in one chunk, at most.
    public static let crossingLimit = 256

    public init(
        sourceID: UInt64, source: [UInt8], offset: UInt64, offsetWasGiven: Bool, subOffset: UInt64, position: UInt64, lastCut: UInt64
    ) {
        self.sourceID = sourceID
        self.source = source
        self.offset = offset
        self.offsetWasGiven = offsetWasGiven
        self.subOffset = subOffset
        self.position = position
        self.lastCut = lastCut
    }

    /// Whether a repeated PUT asks for this fork. `tail` is the source's tail now: an offset that is left out stands for it, but also
    /// for the tail of the first time if that was left out too.
    public func matches(_ request: ForkRequest, tail: UInt64) -> Bool {
        guard request.source == source, request.subOffset == subOffset else { return false }
        guard let wanted = request.offset else { return !offsetWasGiven || tail == offset }
        return wanted == offset
    }
}
