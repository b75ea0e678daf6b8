import Testing

@testable import ServerSettings

struct DurationTextTests {
    static let accepted: [(String, Duration, String)] = [
        ("0", .zero, "0s"), ("0s", .zero, "0s"), ("0d", .zero, "0s"), ("00", .zero, "0s"),
        ("1ms", .milliseconds(1), "1ms"), ("300ms", .milliseconds(300), "300ms"), ("1000ms", .seconds(1), "1s"),
        ("30s", .seconds(30), "30s"), ("60s", .seconds(60), "60s"), ("1m", .seconds(60), "60s"), ("119s", .seconds(119), "119s"),
        ("120s", .seconds(120), "2m"), ("5m", .seconds(300), "5m"), ("1h", .seconds(3600), "1h"), ("90m", .seconds(5400), "90m"),
        ("2d", .seconds(172_800), "2d"), ("25h", .seconds(90_000), "25h"), ("121s", .seconds(121), "121s"),
        ("120500ms", .milliseconds(120_500), "120500ms"), ("007s", .seconds(7), "7s"),
    ]

    @Test(arguments: accepted) func accepts(_ text: String, _ duration: Duration, _ written: String) throws {
        #expect(try DurationText.read(text) == duration)
        #expect(DurationText.write(duration) == written)
        #expect(try DurationText.read(written) == duration)
    }

    static let refused: [(String, String)] = [
        ("30", "has no unit"), ("1", "has no unit"), ("", "is not a duration"), ("s", "is not a duration"), ("30 s", "is not a duration"),
        (" 30s", "is not a duration"), ("30s ", "is not a duration"), ("-1s", "is not a duration"), ("+1s", "is not a duration"),
        ("1.5s", "is not a duration"), ("1m30s", "is not a duration"), ("30S", "is not a duration"), ("30sec", "is not a duration"),
        ("30us", "is not a duration"), ("1w", "is not a duration"), ("٣s", "is not a duration"), ("1e3s", "is not a duration"),
        ("9223372036854775808s", "is too large"), ("9223372036854775807s", "is too large"), ("106751991168d", "is too large"),
    ]

    @Test(arguments: refused) func refuses(_ text: String, _ reason: String) {
        let fault = #expect(throws: ValueFault.self) { try DurationText.read(text) }
        #expect(fault == ValueFault(text, reason, expected: "a whole number with a unit, ms, s, m, h or d, such as 300ms, 30s or 5m"))
    }
}
