// When streams end, and how often a renewal is recorded (PROTOCOL.md section 6).

import StreamRules
import Testing

@Suite struct ExpiryTests {
    static let now: Int64 = 1_800_000_000_000

    static func at(_ milliseconds: Int64, _ text: String = "x") -> Expiry { .at(milliseconds: milliseconds, text: Array(text.utf8)) }

    @Test(
        arguments: [
            (.never, ExpiryTests.now, nil), (.timeToLive(seconds: 0), ExpiryTests.now, ExpiryTests.now),
            (.timeToLive(seconds: 1), ExpiryTests.now, ExpiryTests.now + 1000), (.timeToLive(seconds: 60), 5, 60_005),
            (.timeToLive(seconds: 60), -1_000, 59_000),
            (.timeToLive(seconds: StreamTTL.maximum), 0, 9_007_199_254_740_991_000),
            // Beyond what a moment can be: never.
            (.timeToLive(seconds: StreamTTL.maximum), Int64.max - 9_007_199_254_740_991_000, Int64.max),
            (.timeToLive(seconds: StreamTTL.maximum), Int64.max - 9_007_199_254_740_990_999, nil),
            (.timeToLive(seconds: 9_223_372_036_854_775), 0, 9_223_372_036_854_775_000),
            (.timeToLive(seconds: 9_223_372_036_854_776), 0, nil),
            (.timeToLive(seconds: UInt64.max), 0, nil), (.timeToLive(seconds: 1), Int64.max - 999, nil),
            // A fixed moment is not renewed.
            (ExpiryTests.at(7), ExpiryTests.now, 7), (ExpiryTests.at(-7), 0, -7), (ExpiryTests.at(.max), .max, .max),
            (ExpiryTests.at(.min), 0, .min),
        ] as [(Expiry, Int64, Int64?)])
    func deadline(expiry: Expiry, renewed: Int64, expected: Int64?) {
        #expect(expiry.deadline(renewed: renewed) == expected)
    }

    @Test(
        arguments: [
            (0, 250), (1, 250), (4, 250), (5, 312), (16, 1_000), (60, 3_750), (600, 37_500), (959, 59_937), (960, 60_000), (961, 60_000),
            (3_600, 60_000), (86_400, 60_000), (StreamTTL.maximum, 60_000), (UInt64.max, 60_000),
        ] as [(UInt64, Int64)])
    func renewalGrain(seconds: UInt64, expected: Int64) {
        #expect(Expiry.timeToLive(seconds: seconds).renewalGrain == expected)
    }

    @Test func onlyATimeToLiveIsRenewed() {
        #expect(Expiry.never.renewalGrain == 0)
        #expect(Self.at(Self.now).renewalGrain == 0)
    }

    /// What is the same configuration: each with each; a moment is the same however it was spelled.
    @Test func matches() {
        let classes: [[Expiry]] = [
            [.never], [.timeToLive(seconds: 0)], [.timeToLive(seconds: 60)], [.timeToLive(seconds: 61)],
            [Self.at(0, "1970-01-01T00:00:00Z"), Self.at(0, "1970-01-01T01:00:00+01:00")], [Self.at(60)], [Self.at(60_000)],
        ]
        for (left, lefts) in classes.enumerated() {
            for (right, rights) in classes.enumerated() {
                for mine in lefts {
                    for other in rights { #expect(mine.matches(other) == (left == right), "\(mine) \(other)") }
                }
            }
        }
    }
}
