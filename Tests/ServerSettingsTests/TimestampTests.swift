import Foundation
import Testing

@testable import ServerSettings

struct TimestampTests {
    static let cases: [(Int64, String)] = [
        (0, "1970-01-01T00:00:00.000Z"), (-5, "1970-01-01T00:00:00.000Z"), (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"), (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"), (1_795_440_117_007, "2026-11-23T13:21:57.007Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ]

    @Test(arguments: cases) func writes(_ milliseconds: Int64, _ text: String) {
        #expect(Timestamp(milliseconds: milliseconds).text == text)
    }

    /// Every day of 400 years has the date that a calendar gives it.
    @Test func agreesWithTheCalendar() throws {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = try #require(TimeZone(identifier: "UTC"))
        var wrong: [Int64] = []
        for day in Int64(0)..<146_097 {
            let timestamp = Timestamp(milliseconds: day * 86_400_000)
            if timestamp.day == 1 {
                let parts = calendar.dateComponents([.year, .month, .day], from: Date(timeIntervalSince1970: Double(day) * 86400))
                if parts.year != Int(timestamp.year) || parts.month != Int(timestamp.month) || parts.day != 1 { wrong.append(day) }
            }
            let next = Timestamp(milliseconds: (day + 1) * 86_400_000)
            if next.day != timestamp.day + 1 && next.day != 1 { wrong.append(day) }
        }
        #expect(wrong.isEmpty)
    }
}
