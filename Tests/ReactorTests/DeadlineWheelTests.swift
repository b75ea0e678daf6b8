import Testing

@testable import Reactor

@Suite struct DeadlineWheelTests {
    /// Visited at the deadline or within one slot after it, and once.
    @Test(arguments: [0, 7, 1_000_000_003] as [Int64], [1, 5, 20, 33, 1000, 200_000] as [Int64])
    func visitedInTime(start: Int64, step: Int64) {
        let wheel = DeadlineWheel(now: start)
        let horizon = Int64(DeadlineWheel.slotCount - 1) * DeadlineWheel.slotMilliseconds
        let delays: [Int64] = [0, 1, 19, 20, 21, 39, 40, 500, 20_000, 60_000, horizon - 100]
        for (index, delay) in delays.enumerated() { wheel.enter(UInt64(index), at: start + delay) }
        var visited: [UInt64: Int64] = [:]
        var now = start
        while now < start + horizon + step {
            now += step
            wheel.advance(to: now) { owner in
                #expect(visited[owner] == nil)
                visited[owner] = now
                return nil
            }
        }
        #expect(visited.count == delays.count && wheel.isEmpty)
        for (index, delay) in delays.enumerated() {
            let moment = visited[UInt64(index)] ?? -1
            let earliest = start + delay
            #expect(
                moment >= earliest && moment <= earliest + 2 * DeadlineWheel.slotMilliseconds + step, "delay \(delay) at \(moment - start)")
        }
    }

    /// Beyond the horizon an owner is visited early, says when it wants to be visited, and is so in the end.
    @Test func beyondTheHorizon() {
        let wheel = DeadlineWheel(now: 0)
        let deadline: Int64 = 400_000
        wheel.enter(1, at: deadline)
        var visits: [Int64] = []
        var now: Int64 = 0
        while now < 500_000 {
            now += 10
            wheel.advance(to: now) { _ in
                visits.append(now)
                return now < deadline ? deadline : nil
            }
        }
        #expect(visits.count == 5 && visits.last.map { $0 >= deadline && $0 <= deadline + 40 } == true && wheel.isEmpty)
    }

    @Test func aPauseOfTheProcess() {
        let wheel = DeadlineWheel(now: 0)
        for owner in 0..<100 as Range<UInt64> { wheel.enter(owner, at: Int64(owner) * 100) }
        var visited: [UInt64] = []
        wheel.advance(to: 10_000_000) {
            visited.append($0)
            return nil
        }
        #expect(visited == Array(0..<100) && wheel.isEmpty)
    }
}
