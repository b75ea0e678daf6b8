// All that is left to chance in a simulation, from one seed: the same seed gives the same run (SplitMix64).
//
// @unchecked Sendable: confined to the simulation's thread, like everything that it simulates.

public final class Dice: RandomNumberGenerator, @unchecked Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x1234_5678_9abc_def1 }

    public func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// 0 ..< `bound`, or 0.
    public func below(_ bound: Int) -> Int { bound <= 1 ? 0 : Int(next() % UInt64(bound)) }

    /// One of both ends or what lies between.
    public func number(_ low: Int, _ high: Int) -> Int { low + below(high - low + 1) }

    /// True `percent` times of a hundred.
    public func chance(_ percent: Int) -> Bool { below(100) < percent }

    public func pick<Element>(_ choices: [Element]) -> Element { choices[below(choices.count)] }

    /// Many are the same, which costs nothing.
    public func bytes(_ count: Int) -> [UInt8] {
        if count > 1_000 { return [UInt8](repeating: UInt8(truncatingIfNeeded: next()), count: count) }
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}
