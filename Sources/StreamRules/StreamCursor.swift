// The cursor of live responses (PROTOCOL.md section 9): it makes the URLs of successive live reads differ, so that a CDN
// joins the readers of one moment and never serves one of them the answer of an earlier moment.
//
//     2024-10-09T00:00:00Z      +20 s      +40 s            now
//              │ interval 0 │ interval 1 │ interval 2 │ … │ current │
//
// A client that sends a cursor at or past the current interval has been here in this interval already: it gets a
// strictly larger one, by a random step, so that many such clients spread out.

/// Arithmetic of cursors, which are counts of intervals.
public enum StreamCursor {
    /// 2024-10-09T00:00:00Z in Unix milliseconds.
    public static let originMilliseconds: Int64 = 1_728_432_000_000
    /// The length of an interval.
    public static let intervalMilliseconds: Int64 = 20_000
    /// The largest step, 3600 s in intervals.
    public static let largestStep: UInt64 = 180
    /// The largest cursor that is accepted: every answer to it is larger and fits.
    public static let maximum = UInt64.max - largestStep

    /// The interval that holds the given time; 0 before the origin.
    @inlinable
    public static func interval(atUnixMilliseconds now: Int64) -> UInt64 {
        now <= originMilliseconds ? 0 : UInt64((now - originMilliseconds) / intervalMilliseconds)
    }

    /// The cursor to answer with: the current interval, or one strictly larger than a client's that is not behind it.
    /// - Parameters:
    ///   - client: what `parse` made of the client's parameter.
    ///   - now: Unix milliseconds.
    public static func answer(client: UInt64?, now: Int64, random: inout some RandomNumberGenerator) -> UInt64 {
        let current = interval(atUnixMilliseconds: now)
        guard let client, client >= current else { return current }
        let seconds = UInt64.random(in: 1...3600, using: &random)
        return min(client, maximum) + max(1, seconds / 20)
    }

    /// Reads a client's cursor: digits, at most `maximum`. Anything else is nil and counts as absent.
    public static func parse(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
        DecimalText.parse(bytes, maximum: maximum)
    }

    /// The most bytes that `write` needs.
    public static let maximumLength = 20

    /// The bytes that `write` will write.
    public static func length(_ cursor: UInt64) -> Int {
        DecimalText.length(cursor)
    }

    /// Writes the decimal text of a cursor and returns its length, at most `maximumLength`.
    public static func write(_ cursor: UInt64, into address: UnsafeMutableRawPointer) -> Int {
        DecimalText.write(cursor, to: address)
    }
}
