import Foundation
import StreamRules
import Testing

@Suite struct StreamCursorTests {
    @Test func origin() {
        #expect(StreamCursor.originMilliseconds == withBytes("2024-10-09T00:00:00Z", RFC3339.parse))
    }

    @Test(
        arguments: [
            (Int64.min, 0), (-1, 0), (0, 0), (1_728_431_999_999, 0), (1_728_432_000_000, 0), (1_728_432_019_999, 0), (1_728_432_020_000, 1),
            (1_728_432_039_999, 1), (1_728_432_040_000, 2), (1_728_432_000_000 + 86_400_000, 4320), (Int64.max, 461_168_515_421_138),
        ] as [(Int64, UInt64)])
    func interval(now: Int64, expected: UInt64) {
        #expect(StreamCursor.interval(atUnixMilliseconds: now) == expected)
    }

    @Test func noClientOrOneBehindGetsTheCurrentInterval() {
        var generator = SeededGenerator(seed: 1)
        let now = StreamCursor.originMilliseconds + 1000 * 20_000
        for client in [nil, 0, 1, 999] as [UInt64?] {
            #expect(StreamCursor.answer(client: client, now: now, random: &generator) == 1000)
        }
    }

    @Test(arguments: [1000, 1001, 1180, 123_456_789, StreamCursor.maximum] as [UInt64])
    func clientAtOrPastTheIntervalMovesOn(client: UInt64) {
        var generator = SeededGenerator(seed: client)
        let now = StreamCursor.originMilliseconds + 1000 * 20_000
        var steps: Set<UInt64> = []
        for _ in 0..<5000 {
            steps.insert(StreamCursor.answer(client: client, now: now, random: &generator) - client)
        }
        #expect(steps == Set(1...180))
    }

    @Test func nothingOverflows() {
        var generator = SeededGenerator(seed: 3)
        for client in [UInt64.max - 180, UInt64.max - 179, UInt64.max] {
            for _ in 0..<1000 { _ = StreamCursor.answer(client: client, now: .max, random: &generator) }
        }
    }

    @Test(
        arguments: [
            ("0", 0), ("1", 1), ("007", 7), ("3351900", 3_351_900), ("18446744073709551435", StreamCursor.maximum),
            ("18446744073709551436", nil),
            ("18446744073709551615", nil), ("18446744073709551616", nil), ("99999999999999999999", nil), ("", nil), ("-1", nil),
            ("+1", nil), ("1.0", nil),
            ("1e3", nil), (" 1", nil), ("1 ", nil), ("abc", nil), ("0x10", nil), ("1\u{0}", nil), ("١", nil),
        ] as [(String, UInt64?)])
    func parse(text: String, expected: UInt64?) {
        #expect(withBytes(text, StreamCursor.parse) == expected)
    }

    @Test func write() {
        var values: [UInt64] = [0, UInt64.max]
        var power: UInt64 = 1
        for _ in 0..<19 {
            power *= 10
            values += [power - 1, power, power + 1]
        }
        for value in values {
            #expect(StreamCursor.length(value) == "\(value)".utf8.count)
            let bytes = written(StreamCursor.length(value)) { StreamCursor.write(value, into: $0.baseAddress!) }
            #expect(bytes == Array("\(value)".utf8))
        }
        #expect("\(UInt64.max)".utf8.count == StreamCursor.maximumLength)
    }
}
