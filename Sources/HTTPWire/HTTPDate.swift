// The date of the Date field: IMF-fixdate, always 29 octets (RFC 9110 5.6.7).
//
//     Sun, 06 Nov 1994 08:49:37 GMT
//     0    5  8   12   17 20 23 26
//
// The calendar: years are counted from March, so that the leap day is the last of its year, and in eras of 400 years, which all have 146097
// days. Day 0 is 1970-01-01, a Thursday. No time zone, no leap seconds.

/// Writes times as HTTP does.
public enum HTTPDate {
    /// The length of every date.
    public static let count = 29

    /// Writes `unixSeconds` (seconds since 1970-01-01T00:00:00Z) as `Sun, 06 Nov 1994 08:49:37 GMT`.
    ///
    /// Precondition: `output` has room for 29 bytes, and the year has four digits (0000 to 9999).
    public static func write(unixSeconds: Int64, into output: UnsafeMutableRawBufferPointer) {
        precondition(output.count >= count, "a date takes 29 bytes")
        let secondsPerDay: Int64 = 86_400
        let days = Int((unixSeconds - floorRemainder(unixSeconds, secondsPerDay)) / secondsPerDay)
        let second = Int(floorRemainder(unixSeconds, secondsPerDay))
        let (year, month, day) = civil(days)
        precondition((0...9999).contains(year), "an HTTP date has a year of four digits")

        let weekdays: StaticString = "ThuFriSatSunMonTueWed"
        let months: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
        copy(weekdays, Int(floorRemainder(Int64(days), 7)), to: output, at: 0)
        output[3] = Octet.comma
        output[4] = Octet.space
        twoDigits(day, to: output, at: 5)
        output[7] = Octet.space
        copy(months, month - 1, to: output, at: 8)
        output[11] = Octet.space
        twoDigits(year / 100, to: output, at: 12)
        twoDigits(year % 100, to: output, at: 14)
        output[16] = Octet.space
        twoDigits(second / 3600, to: output, at: 17)
        output[19] = Octet.colon
        twoDigits(second / 60 % 60, to: output, at: 20)
        output[22] = Octet.colon
        twoDigits(second % 60, to: output, at: 23)
        output[25] = Octet.space
        copy("GMT", 0, to: output, at: 26)
    }

    /// The Gregorian date that is `days` after 1970-01-01.
    private static func civil(_ days: Int) -> (year: Int, month: Int, day: Int) {
        let sinceMarch = days + 719_468  // days from 0000-03-01 to 1970-01-01
        let dayOfEra = Int(floorRemainder(Int64(sinceMarch), 146_097))
        let era = (sinceMarch - dayOfEra) / 146_097
        // Take out the leap days (every 4th year, but not the 100th; the era's last day is one too many), then years are 365 days long.
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        // From March on, five months are always 153 days.
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month, day)
    }

    private static func floorRemainder(_ value: Int64, _ divisor: Int64) -> Int64 {
        let remainder = value % divisor
        return remainder < 0 ? remainder + divisor : remainder
    }

    /// Copies the `index`th three-letter name of `names`.
    private static func copy(_ names: StaticString, _ index: Int, to output: UnsafeMutableRawBufferPointer, at start: Int) {
        for letter in 0..<3 { output[start + letter] = names.utf8Start[3 * index + letter] }
    }

    private static func twoDigits(_ value: Int, to output: UnsafeMutableRawBufferPointer, at start: Int) {
        output[start] = UInt8(ascii: "0") &+ UInt8(value / 10)
        output[start + 1] = UInt8(ascii: "0") &+ UInt8(value % 10)
    }
}
