// What became visible in one group commit, for all readers of one stream at once.

import StreamRules
import StreamStore

public struct Publication: Sendable {
    public let facts: StreamFacts
    public let from: UInt64
    /// Ends of the appends that became visible, ascending; the last is the new tail. Empty when only the end of the stream came.
    public let appendEnds: [UInt64]
    /// The bytes of [from, tail).
    public let slices: [ByteSlice]
    /// The stream has ended: how its readers are told.
    public let end: Refusal?

    /// The same without the bytes, for readers that read them from the stream.
    func withoutBytes() -> Publication { Publication(facts: facts, from: from, appendEnds: appendEnds, slices: [], end: end) }

    /// This and what was published after it as one; without the bytes, where nobody will use them, and with the ends of `appends` appends at most.
    func joined(by later: Publication, keepingBytes: Bool, appends: Int) -> Publication {
        Publication(
            facts: later.facts, from: from, appendEnds: Array((appendEnds + later.appendEnds).prefix(appends)),
            slices: keepingBytes ? slices + later.slices : [], end: later.end)
    }
}
