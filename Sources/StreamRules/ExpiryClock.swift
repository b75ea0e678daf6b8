// The time by which streams expire: it goes on evenly, whatever the wall clock does.
//
//     wall clock   ───────────────╮ set a year ahead
//                                 ╰──────────────────  ▲
//     expiry time  ─────────────────────────────────   │ drift: how far the wall clock is ahead
//
// A time to live is a length of time, so it is measured by the clock that nobody sets (CLOCK_BOOTTIME, which also counts suspends); the
// wall clock only says where that began. Moments of records are stored in expiry time. A reading of both clocks is saved with each
// checkpoint, so that the time goes on after a restart although the wall clock may have been set in between:
//     same boot      by CLOCK_BOOTTIME, exactly
//     another boot   by the wall clock, with or without the drift of before: the smaller that does not lie before the saved reading,
//                    because living longer than asked for is allowed and dying earlier is not; never before that reading
// `Stream-Expires-At` is a moment of the wall clock. After a jump nobody knows which of the two times is right, so for an hour
// both have to have reached it; then the wall clock is believed.

public struct ExpiryClock: Sendable {
    /// Both clocks at one moment, milliseconds.
    public struct Reading: Sendable, Equatable {
        public let expiry: Int64
        public let wall: Int64
        /// CLOCK_BOOTTIME.
        public let monotonic: Int64
        /// Which boot of the machine `monotonic` belongs to.
        public let boot: [UInt8]

        public init(expiry: Int64, wall: Int64, monotonic: Int64, boot: [UInt8]) {
            self.expiry = expiry
            self.wall = wall
            self.monotonic = monotonic
            self.boot = boot
        }
    }

    /// Differences up to this count as none.
    public static let tolerance: Int64 = 2_000
    /// How long a jump is doubted.
    public static let doubt: Int64 = 3_600_000

    private let boot: [UInt8]
    /// Expiry time when the monotonic clock says 0.
    private let base: Int64
    /// The wall clock's lead at the last `observe`.
    public private(set) var drift: Int64
    private var doubtedUntil: Int64?

    public init(wall: Int64, monotonic: Int64, boot: [UInt8] = [], saved: Reading? = nil) {
        self.boot = boot
        var start = wall
        if let saved {
            if saved.boot == boot, !boot.isEmpty, monotonic >= saved.monotonic {
                start = saved.expiry + (monotonic - saved.monotonic)
            } else {
                let candidates = [wall, wall - (saved.wall - saved.expiry)].filter { $0 >= saved.expiry - Self.tolerance }
                start = max(saved.expiry, candidates.min() ?? saved.expiry)
            }
        }
        base = start - monotonic
        drift = wall - start
        if abs(drift) > Self.tolerance { doubtedUntil = monotonic + Self.doubt }
    }

    /// Expiry time, Unix milliseconds.
    @inline(__always)
    public func now(_ monotonic: Int64) -> Int64 { monotonic + base }

    /// By which `Stream-Expires-At` is judged, Unix milliseconds.
    public func calendar(wall: Int64, _ monotonic: Int64) -> Int64 {
        guard let doubtedUntil, monotonic < doubtedUntil else {
            // Between two observations a jump is not known yet.
            return abs(wall - now(monotonic) - drift) > Self.tolerance ? min(wall, now(monotonic)) : wall
        }
        return min(wall, now(monotonic))
    }

    /// Compares the clocks; returns by how many milliseconds the wall clock has jumped since the last time, if it has.
    public mutating func observe(wall: Int64, _ monotonic: Int64) -> Int64? {
        let before = drift
        drift = wall - now(monotonic)
        guard abs(drift - before) > Self.tolerance else { return nil }
        doubtedUntil = abs(drift) > Self.tolerance ? monotonic + Self.doubt : nil
        return drift - before
    }

    public func reading(wall: Int64, _ monotonic: Int64) -> Reading {
        Reading(expiry: now(monotonic), wall: wall, monotonic: monotonic, boot: boot)
    }
}
