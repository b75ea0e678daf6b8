import StreamRules
import Testing

private let year: Int64 = 365 * 86_400_000

@Suite struct ExpiryClockTests {
    private let boot = Array("boot 1".utf8)

    @Test("a wall clock that is set does not move expiry time", arguments: [year, -year, 3_000, -3_000])
    func jumps(by jump: Int64) {
        var clock = ExpiryClock(wall: 1_000_000_000, monotonic: 5_000, boot: boot)
        #expect(clock.now(5_000) == 1_000_000_000)
        #expect(clock.observe(wall: 1_000_001_000, 6_000) == nil)
        #expect(clock.observe(wall: 1_000_002_000 + jump, 7_000) == jump)
        #expect(clock.now(7_000) == 1_000_002_000)
        #expect(clock.observe(wall: 1_000_003_000 + jump, 8_000) == nil && clock.drift == jump)
        // The calendar is the earlier of the two for an hour, then what the wall clock says.
        #expect(clock.calendar(wall: 1_000_003_000 + jump, 8_000) == 1_000_003_000 + min(0, jump))
        let later = 8_000 + ExpiryClock.doubt
        #expect(clock.calendar(wall: 1_000_003_000 + jump + ExpiryClock.doubt, later) == 1_000_003_000 + jump + ExpiryClock.doubt)
        // And back.
        #expect(clock.observe(wall: 1_000_004_000, 9_000) == -jump)
        #expect(clock.calendar(wall: 1_000_004_000, 9_000) == 1_000_004_000)
    }

    @Test("a jump that nobody has observed yet does not move the calendar forward")
    func unobserved() {
        let clock = ExpiryClock(wall: 1_000_000, monotonic: 0)
        #expect(clock.calendar(wall: 1_000_500, 500) == 1_000_500)
        #expect(clock.calendar(wall: 1_000_500 + year, 500) == 1_000_500)
        #expect(clock.calendar(wall: 1_000_500 - year, 500) == 1_000_500 - year)
    }

    struct Restart: Sendable, CustomTestStringConvertible {
        let what: String
        let drift: Int64
        let sameBoot: Bool
        /// While the server was down; and by how much the wall clock was set meanwhile.
        let downtime: Int64
        let set: Int64
        /// Expiry time at the start, less the saved reading's.
        let expected: Int64
        var testDescription: String { what }
    }

    static let restarts: [Restart] = [
        Restart(what: "nothing happened", drift: 0, sameBoot: true, downtime: 60_000, set: 0, expected: 60_000),
        Restart(what: "set ahead while down", drift: 0, sameBoot: true, downtime: 60_000, set: year, expected: 60_000),
        Restart(what: "set back while down", drift: 0, sameBoot: true, downtime: 60_000, set: -year, expected: 60_000),
        Restart(what: "ahead before, put right while down", drift: year, sameBoot: true, downtime: 60_000, set: -year, expected: 60_000),
        Restart(what: "rebooted", drift: 0, sameBoot: false, downtime: 60_000, set: 0, expected: 60_000),
        Restart(what: "rebooted, still ahead", drift: year, sameBoot: false, downtime: 60_000, set: 0, expected: 60_000),
        Restart(what: "rebooted, still behind", drift: -year, sameBoot: false, downtime: 60_000, set: 0, expected: 60_000),
        Restart(what: "rebooted, put right", drift: year, sameBoot: false, downtime: 60_000, set: -year, expected: 60_000),
        Restart(what: "rebooted, put right from behind", drift: -year, sameBoot: false, downtime: 60_000, set: year, expected: 60_000),
        Restart(what: "rebooted, clock lost", drift: 0, sameBoot: false, downtime: 60_000, set: -year, expected: 0),
        Restart(what: "off for a year", drift: 0, sameBoot: false, downtime: year, set: 0, expected: year),
    ]

    @Test(arguments: restarts)
    func restart(_ restart: Restart) {
        let saved = ExpiryClock.Reading(
            expiry: 2 * year, wall: 2 * year + restart.drift, monotonic: 10_000, boot: boot)
        let wall = saved.wall + restart.downtime + restart.set
        let monotonic = restart.sameBoot ? 10_000 + restart.downtime : 77
        let clock = ExpiryClock(
            wall: wall, monotonic: monotonic, boot: restart.sameBoot ? boot : Array("boot 2".utf8), saved: saved)
        #expect(clock.now(monotonic) - saved.expiry == restart.expected)
        #expect(clock.drift == wall - clock.now(monotonic))
        let reading = clock.reading(wall: wall, monotonic)
        #expect(reading.expiry == clock.now(monotonic) && reading.wall == wall && reading.monotonic == monotonic)
    }

    @Test("it never goes back over a restart, and a wall clock that is a little ahead ends nothing early")
    func smallDifferences() {
        let saved = ExpiryClock.Reading(expiry: 1_000_000, wall: 1_000_000, monotonic: 10_000, boot: boot)
        #expect(ExpiryClock(wall: 1_001_500, monotonic: 11_000, boot: boot, saved: saved).now(11_000) == 1_001_000)
        #expect(ExpiryClock(wall: 998_500, monotonic: 10_000, boot: boot, saved: saved).now(10_000) == 1_000_000)
        #expect(ExpiryClock(wall: 998_500, monotonic: 7, boot: [], saved: saved).now(7) == 1_000_000)
    }
}
