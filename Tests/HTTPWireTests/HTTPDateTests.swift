import HTTPWire
import Testing

@Suite("Dates")
struct HTTPDateTests {
    private func date(_ seconds: Int64) -> String {
        var bytes = [UInt8](repeating: 0x2A, count: HTTPDate.count + 1)
        bytes.withUnsafeMutableBytes { HTTPDate.write(unixSeconds: seconds, into: $0) }
        precondition(bytes.last == 0x2A, "29 bytes and no more")
        return text(bytes.dropLast())
    }

    @Test("known dates") func known() {
        #expect(date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")  // the example of RFC 9110 5.6.7
        #expect(date(0) == "Thu, 01 Jan 1970 00:00:00 GMT")
        #expect(date(-1) == "Wed, 31 Dec 1969 23:59:59 GMT")
        #expect(date(951_782_400) == "Tue, 29 Feb 2000 00:00:00 GMT")
        #expect(date(2_147_483_647) == "Tue, 19 Jan 2038 03:14:07 GMT")
        #expect(date(4_107_542_400) == "Mon, 01 Mar 2100 00:00:00 GMT")
        #expect(date(253_402_300_799) == "Fri, 31 Dec 9999 23:59:59 GMT")
        #expect(date(-62_167_219_200) == "Sat, 01 Jan 0000 00:00:00 GMT")
    }

    @Test("every day of 1600 to 2800, against a calendar that counts")
    func everyDay() {
        let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        var days = -135_140  // 1600-01-01, a Saturday
        var weekday = 6
        var wrong = 0
        for year in 1600...2800 {
            let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
            for (month, length) in [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].enumerated() {
                for day in 1...length {
                    let second = abs(days &* 7919) % 86_400
                    let time = "\(padded(second / 3600)):\(padded(second / 60 % 60)):\(padded(second % 60))"
                    let expected = "\(weekdays[weekday]), \(padded(day)) \(months[month]) \(year) \(time) GMT"
                    if date(Int64(days) * 86_400 + Int64(second)) != expected { wrong += 1 }
                    days += 1
                    weekday = (weekday + 1) % 7
                }
            }
        }
        #expect(wrong == 0)
        #expect(days > 300_000)
    }

    @Test("every second of a day") func everySecond() {
        var wrong = 0
        for second in 0..<86_400 {
            let parts = [second / 3600, second / 60 % 60, second % 60].map { $0 < 10 ? "0\($0)" : "\($0)" }
            if date(Int64(second)) != "Thu, 01 Jan 1970 \(parts[0]):\(parts[1]):\(parts[2]) GMT" { wrong += 1 }
        }
        #expect(wrong == 0)
    }
}
