import Testing

@testable import Reactor

@Suite struct TimerQueueTests {
    @Test func dueInOrderOfDeadlineThenOfEntry() {
        var fired: [Int] = []
        let queue = TimerQueue()
        let deadlines: [Int64] = [50, 10, 30, 10, 20, 50, 0, 30, 40, 10]
        for (index, deadline) in deadlines.enumerated() { queue.add(at: deadline) { fired.append(index) } }
        #expect(queue.next == 0)
        for now in stride(from: -1, through: 60, by: 1) as StrideThrough<Int64> {
            queue.fire(now: now)
            let due = deadlines.enumerated().sorted { ($0.element, $0.offset) < ($1.element, $1.offset) }
            #expect(fired == due.filter { $0.element <= now }.map { $0.offset })
            #expect(queue.next == due.first { $0.element > now }?.element)
        }
        #expect(queue.next == nil)
    }

    /// An action may add timers that are due at once, or are the next: they run in a later call.
    @Test func actionsAddTimers() {
        var fired: [String] = []
        let queue = TimerQueue()
        queue.add(at: 1) {
            fired.append("first")
            queue.add(at: 0) { fired.append("third") }
            queue.add(at: 3) { fired.append("fourth") }
        }
        queue.add(at: 1) { fired.append("second") }
        queue.add(at: 7) { fired.append("fifth") }
        queue.fire(now: 1)
        #expect(fired == ["first"] && queue.next == 0)
        queue.fire(now: 1)
        #expect(fired == ["first", "third", "second"] && queue.next == 3)
        queue.fire(now: 9)
        #expect(fired == ["first", "third", "second", "fourth", "fifth"] && queue.next == nil)
    }
}
