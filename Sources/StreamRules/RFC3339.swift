// The time of `Stream-Expires-At` (PROTOCOL.md section 2), in the grammar of RFC 3339 section 5.6:
//
//     2026-02-28T23:59:59.25+05:30
//     0    5  8  11 14 17 19 └ fraction of any length, offset Z or ±hh:mm
//
// `T` and `Z` may be lower case; a space for `T` is an ISO 8601 habit and refused. A day must exist in its month. Second 60
// passes only where a leap second can be, at 23:59:60 UTC, and means the first second of the next day, as in Unix time.

/// Reads RFC 3339 times.
public enum RFC3339 {
    /// The time in Unix milliseconds, rounded down; nil if malformed. Years are 0000…9999, so it may be negative.
    public static func parse(_ bytes: UnsafeRawBufferPointer) -> Int64? {
        guard bytes.count >= 20, bytes[4] == 0x2D, bytes[7] == 0x2D, bytes[10] | 0x20 == 0x74, bytes[13] == 0x3A, bytes[16] == 0x3A,
            let century = twoDigits(bytes, 0, 0...99), let yearOfCentury = twoDigits(bytes, 2, 0...99),
            let month = twoDigits(bytes, 5, 1...12), let day = twoDigits(bytes, 8, 1...31),
            let hour = twoDigits(bytes, 11, 0...23), let minute = twoDigits(bytes, 14, 0...59), let second = twoDigits(bytes, 17, 0...60)
        else { return nil }
        let year = century * 100 + yearOfCentury
        guard day <= days(inMonth: month, year: year) else { return nil }

        var index = 19
        guard let milliseconds = fraction(bytes, &index), let offsetMinutes = offset(bytes, index) else { return nil }
        let minutes = daysFromUnixEpoch(year, month, day) * 1440 + hour * 60 + minute - offsetMinutes
        if second == 60 {
            let minuteOfDay = minutes % 1440
            guard minuteOfDay == 1439 || minuteOfDay == -1 else { return nil }
        }
        return (minutes * 60 + second) * 1000 + milliseconds
    }

    private static func twoDigits(_ bytes: UnsafeRawBufferPointer, _ index: Int, _ range: ClosedRange<Int64>) -> Int64? {
        guard index + 2 <= bytes.count else { return nil }
        let (tens, ones) = (bytes[index] &- 0x30, bytes[index + 1] &- 0x30)
        guard tens < 10, ones < 10 else { return nil }
        let value = Int64(tens) * 10 + Int64(ones)
        return range.contains(value) ? value : nil
    }

    /// The optional fraction at `index`, which moves behind it.
    private static func fraction(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Int64? {
        guard bytes[index] == 0x2E else { return 0 }
        index += 1
        var milliseconds: Int64 = 0
        var unit: Int64 = 100
        let first = index
        while index < bytes.count, bytes[index] &- 0x30 < 10 {
            milliseconds += Int64(bytes[index] &- 0x30) * unit
            unit /= 10
            index += 1
        }
        return index > first ? milliseconds : nil
    }

    /// The offset from UTC in minutes, which is all that may follow.
    private static func offset(_ bytes: UnsafeRawBufferPointer, _ index: Int) -> Int64? {
        guard index < bytes.count else { return nil }
        switch bytes[index] {
        case 0x5A, 0x7A:
            return bytes.count == index + 1 ? 0 : nil
        case 0x2B, 0x2D:
            guard bytes.count == index + 6, bytes[index + 3] == 0x3A,
                let hours = twoDigits(bytes, index + 1, 0...23), let minutes = twoDigits(bytes, index + 4, 0...59)
            else { return nil }
            let east = hours * 60 + minutes
            return bytes[index] == 0x2B ? east : -east
        default:
            return nil
        }
    }

    private static func days(inMonth month: Int64, year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days from 1970-01-01 in the Gregorian calendar, which RFC 3339 extends to year 0. Years are counted from March, so
    /// that the leap day is the last of its year.
    private static func daysFromUnixEpoch(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        // A whole cycle of 400 years is added to keep every division of positive numbers.
        let marchYear = (month <= 2 ? year - 1 : year) + 400
        let marchMonth = (month + 9) % 12
        let dayOfYear = (153 * marchMonth + 2) / 5 + day - 1
        let days = marchYear * 365 + marchYear / 4 - marchYear / 100 + marchYear / 400 + dayOfYear
        // 0000-03-01 is 719,468 days before 1970-01-01; 400 years are 146,097 days.
        return days - 146_097 - 719_468
    }
}
