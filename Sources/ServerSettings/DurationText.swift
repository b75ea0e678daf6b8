// Durations as people write them: a whole number and a unit.
//
//     300ms   30s   5m   1h   2d   0
//
// A number without unit is refused, except 0: nobody remembers which unit a program meant.

/// Reading and writing durations with units.
public enum DurationText {
    static let units: [(suffix: String, milliseconds: Int64)] = [
        ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]
    static let expected = "a whole number with a unit, ms, s, m, h or d, such as 300ms, 30s or 5m"

    /// Reads a duration.
    public static func read(_ text: String) throws(ValueFault) -> Duration {
        let digits = text.prefix { "0"..."9" ~= $0 }
        let suffix = text.dropFirst(digits.count)
        if digits.isEmpty { throw ValueFault(text, "is not a duration", expected: expected) }
        guard let number = Int64(digits) else { throw ValueFault(text, "is too large", expected: expected) }
        if suffix.isEmpty {
            if number == 0 { return .zero }
            throw ValueFault(text, "has no unit", expected: expected)
        }
        guard let unit = units.first(where: { $0.suffix == suffix }) else {
            throw ValueFault(text, "is not a duration", expected: expected)
        }
        let (milliseconds, overflow) = number.multipliedReportingOverflow(by: unit.milliseconds)
        if overflow { throw ValueFault(text, "is too large", expected: expected) }
        return .milliseconds(milliseconds)
    }

    /// The written form: the largest unit that divides it, seconds below two minutes. Whole milliseconds only.
    public static func write(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let milliseconds = seconds * 1000 + attoseconds / 1_000_000_000_000_000
        if milliseconds == 0 { return "0s" }
        if milliseconds < 120_000, milliseconds % 1000 == 0 { return "\(milliseconds / 1000)s" }
        let unit = units.last { milliseconds % $0.milliseconds == 0 }!
        return "\(milliseconds / unit.milliseconds)\(unit.suffix)"
    }
}
