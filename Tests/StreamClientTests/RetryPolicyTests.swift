import Testing

@testable import StreamClient

@Suite struct RetryPolicyTests {
    /// Runs failures in virtual time until the policy gives up; each failing attempt takes `cost`.
    static func waits(retryFor: Int, cost: Int = 0, chance: UInt64, retryAfter: Int? = nil) -> (waits: [Int], end: Int) {
        var policy = RetryPolicy(retryFor: ClientDuration(milliseconds: retryFor))
        var now = 1_000_000
        var waits: [Int] = []
        while case .wait(let wait) = policy.failed(at: now, retryAfter: retryAfter, chance: chance) {
            waits.append(wait)
            now += wait + cost
            precondition(waits.count < 10_000)
        }
        return (waits, now - 1_000_000)
    }

    @Test func doublesToTheLongestWait() {
        // Chance 0 draws the lower end of each upper half.
        let run = Self.waits(retryFor: 60_000, chance: 0)
        #expect(Array(run.waits.prefix(8)) == [50, 100, 200, 400, 800, 1600, 2500, 2500])
        #expect(run.end == 60_000)
        // The other end: modulo the width of the half, plus one.
        var policy = RetryPolicy(retryFor: ClientDuration(milliseconds: 60_000))
        #expect(policy.failed(at: 0, chance: 50) == .wait(milliseconds: 100))
        #expect(policy.failed(at: 100, chance: 100) == .wait(milliseconds: 200))
        #expect(policy.failed(at: 300, chance: 201) == .wait(milliseconds: 200))
    }

    @Test(arguments: [0, 1, 17, 4999, UInt64.max]) func everyWaitIsInItsHalf(_ chance: UInt64) {
        let run = Self.waits(retryFor: 3_600_000, chance: chance)
        for (attempt, wait) in run.waits.dropLast().enumerated() {
            let ceiling = min(5000, 100 << min(attempt, 16))
            #expect((ceiling / 2...ceiling).contains(wait))
        }
        #expect(run.end == 3_600_000)
    }

    @Test(arguments: [(0, []), (1, [1]), (50, [50]), (60, [50, 10]), (151, [50, 100, 1])])
    func lastAttemptFallsOnTheEnd(_ retryFor: Int, _ expected: [Int]) {
        #expect(Self.waits(retryFor: retryFor, chance: 0).waits == expected)
    }

    @Test func timeSpentInAttemptsCounts() {
        #expect(Self.waits(retryFor: 10_000, cost: 10_000, chance: 0).waits == [50])
    }

    @Test func retryAfterIsObeyed() {
        #expect(Self.waits(retryFor: 60_000, chance: 0, retryAfter: 20_000).waits == [20_000, 20_000, 20_000])
        #expect(Self.waits(retryFor: 60_000, chance: 0, retryAfter: 60_001).waits == [])
        #expect(Self.waits(retryFor: 100, chance: 0, retryAfter: 0).waits == [50, 50])
        #expect(Self.waits(retryFor: 60_000, chance: 0, retryAfter: .max).waits == [])
    }

    @Test func successBeginsAnew() {
        var policy = RetryPolicy(retryFor: ClientDuration(milliseconds: 1000))
        #expect(policy.isCalm)
        #expect(policy.failed(at: 0, chance: 0) == .wait(milliseconds: 50))
        #expect(!policy.isCalm)
        #expect(policy.failed(at: 999, chance: 0) == .wait(milliseconds: 1))
        policy.succeeded()
        #expect(policy.isCalm)
        #expect(policy.failed(at: 5000, chance: 0) == .wait(milliseconds: 50))
        #expect(policy.failed(at: 6000, chance: 0) == .giveUp)
    }
}
