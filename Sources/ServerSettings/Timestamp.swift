// A time in UTC in the form of RFC 3339 with milliseconds: 2026-11-23T13:21:57.123Z.
//
// Days are turned into a date by counting years from 1 March, so that the leap day is a year's last day, in eras of
// 400 years = 146097 days, after which the Gregorian calendar repeats.

/// A point in time, taken apart.
struct Timestamp {
    let year: Int64
    let month: Int64
    let day: Int64
    let hour: Int64
    let minute: Int64
    let second: Int64
    let millisecond: Int64

    /// - Parameter milliseconds: since 1970-01-01T00:00:00Z; a time before it counts as that moment.
    init(milliseconds: Int64) {
        let total = max(0, milliseconds)
        millisecond = total % 1000
        let ofDay = total / 1000 % 86400
        (hour, minute, second) = (ofDay / 3600, ofDay / 60 % 60, ofDay % 60)
        let days = total / 86_400_000 + 719_468  // since 0000-03-01
        let era = days / 146_097
        let ofEra = days % 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * ofYear + 2) / 153
        day = ofYear - (153 * monthFromMarch + 2) / 5 + 1
        month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
    }

    /// `2026-11-23T13:21:57.123Z`
    var text: String {
        "\(Self.digits(year, 4))-\(Self.digits(month, 2))-\(Self.digits(day, 2))T\(timeOfDay).\(Self.digits(millisecond, 3))Z"
    }

    /// `13:21:57`
    var timeOfDay: String { "\(Self.digits(hour, 2)):\(Self.digits(minute, 2)):\(Self.digits(second, 2))" }

    private static func digits(_ number: Int64, _ width: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }
}
