// RetryPolicy: how long to wait before the same request is sent again, and when to stop trying. Pure: time and chance come as arguments.
//
//     calm ──failed──▶ troubled(since, attempt) ──failed──▶ … ──▶ giveUp, when `retryFor` has passed since the first failure
//       ▲                      │
//       └──────succeeded───────┘
//
// The wait doubles from `firstWait` to `longestWait`, and each is drawn evenly from its upper half so that clients that failed together
// do not come back together. A Retry-After longer than that is obeyed; one that reaches past the end of the window ends the trying at
// once, for coming earlier than asked would be no use. The last wait is cut so that one more attempt falls on the window's end.

public struct RetryPolicy: Sendable {
    public enum Decision: Equatable, Sendable {
        case wait(milliseconds: Int)
        case giveUp
    }

    private enum State {
        case calm
        case troubled(since: Int, attempt: Int)
    }

    public static let firstWait = 100
    public static let longestWait = 5_000

    /// Milliseconds from the first failure in which new attempts are made; 0 for none.
    public let retryFor: Int
    private var state = State.calm

    public init(retryFor: ClientDuration) { self.retryFor = retryFor.milliseconds }

    /// Whether the failure that is reported next would be the first in a row.
    public var isCalm: Bool { if case .calm = state { true } else { false } }

    public mutating func succeeded() { state = .calm }

    /// - Parameters:
    ///   - now: milliseconds on any clock that does not go back.
    ///   - retryAfter: milliseconds that the server asked to wait, if it did.
    ///   - chance: evenly distributed; only its value modulo the jitter's width counts.
    public mutating func failed(at now: Int, retryAfter: Int? = nil, chance: UInt64) -> Decision {
        let since: Int
        let attempt: Int
        switch state {
        case .calm: (since, attempt) = (now, 0)
        case .troubled(let first, let count): (since, attempt) = (first, count)
        }
        let remaining = retryFor - (now - since)
        guard remaining > 0 else { return .giveUp }
        let asked = retryAfter ?? 0
        guard asked <= remaining else { return .giveUp }
        state = .troubled(since: since, attempt: attempt + 1)
        let ceiling = min(Self.longestWait, Self.firstWait << min(attempt, 16))
        let half = ceiling / 2
        let drawn = half + Int(chance % UInt64(ceiling - half + 1))
        return .wait(milliseconds: min(max(drawn, asked), remaining))
    }
}
