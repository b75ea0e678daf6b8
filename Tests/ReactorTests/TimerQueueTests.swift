import Testing

@testable import Reactor

@Suite struct TimerQueueTests {
    @Test func dueInOrderOfDeadlineThenOfEntry() {
        var fired: [Int] = []
        let queue = TimerQueue()
        let deadlines: [Int64] = [50, 10, 30, 10, 20, 50, 0, 30, 40, 10]
        for (index, deadline) in deadlines.enumerated() { _ = queue.add(at: deadline) { fired.append(index) } }
        #expect(queue.next == 0)
        for now in stride(from: -1, through: 60, by: 1) as StrideThrough<Int64> {
            queue.fire(now: now)
            let expected = deadlines.enumerated().filter { $0.element <= now }.sorted { ($0.element, $0.offset) < ($1.element, $1.offset) }
            #expect(fired == expected.map { $0.offset })
        }
        #expect(queue.next == nil)
    }

    /// Any one of many timers is cancelled, and once more.
    @Test func cancelled() {
        for cancelled in 0..<12 {
            var fired: [Int] = []
            let queue = TimerQueue()
            let tokens = (0..<12).map { index in queue.add(at: Int64((index * 7) % 5)) { fired.append(index) } }
            queue.cancel(tokens[cancelled])
            queue.cancel(tokens[cancelled])
            queue.fire(now: 100)
            #expect(fired.sorted() == (0..<12).filter { $0 != cancelled })
            queue.cancel(tokens[0])
        }
    }

    /// An action may cancel a timer that is due in the same turn, and add one that is due at once.
    @Test func actionsChangeTheQueue() {
        var fired: [String] = []
        let queue = TimerQueue()
        var second: TimerQueue.Token?
        _ = queue.add(at: 1) {
            fired.append("first")
            if let second { queue.cancel(second) }
            _ = queue.add(at: 0) { fired.append("third") }
        }
        second = queue.add(at: 1) { fired.append("second") }
        queue.fire(now: 1)
        #expect(fired == ["first"])
        queue.fire(now: 1)
        #expect(fired == ["first", "third"])
    }
}
