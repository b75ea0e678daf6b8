import Glibc
import Reactor
import SystemCalls
import Testing

private final class Box<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}

private final class Reader: ReadinessHandler {
    var called: [Readiness] = []
    var action: () -> Void = {}
    func ready(_ readiness: Readiness) {
        called.append(readiness)
        action()
    }
}

/// Both ends of a Unix socket pair.
private final class Pair {
    private let near: Descriptor
    private let far: Descriptor

    init() {
        var ends: [Int32] = [0, 0]
        precondition(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        near = Descriptor(owning: ends[0])
        far = Descriptor(owning: ends[1])
    }

    var number: Int32 { near.number }

    /// Makes the near end readable.
    func sendByte() {
        var byte: UInt8 = 1
        #expect(write(far.number, &byte, 1) == 1)
    }
}

private actor Counter {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    var count = 0
    init(_ loop: EventLoop) { self.loop = loop }
    func add() -> Bool {
        count += 1
        return loop.isOnLoop
    }
}

@Suite struct EventLoopTests {
    private let loop: EventLoop

    init() throws {
        loop = try EventLoop()
        loop.adoptCurrentThread()
    }

    /// A timer that sets the next one, as every repeating timer does.
    @Test func timersMayScheduleTimers() {
        var fired: [Int] = []
        loop.schedule(after: 1_000_000) { fired.append(-1) }
        loop.schedule(after: 0) { [loop] in
            fired.append(1)
            loop.schedule(after: 0) {
                fired.append(2)
                loop.stop()
            }
        }
        let turn = loop.turn
        loop.run()
        #expect(fired == [1, 2] && loop.turn >= turn + 2, "what a timer schedules runs in a later turn")
    }

    /// Work posted by several threads at once all arrives, each thread's in its order.
    @Test func postFromOtherThreads() {
        let seen = Box([[Int]](repeating: [], count: 4))
        let left = Box(4 * 500)
        let threads = (0..<4).map { index in
            Processes.startThread(named: "post") { [loop] in
                for number in 0..<500 {
                    loop.post {
                        seen.value[index].append(number)
                        left.value -= 1
                        if left.value == 0 { loop.stop() }
                    }
                }
            }
        }
        loop.run()
        for thread in threads { thread.join() }
        #expect(seen.value.allSatisfy { $0 == Array(0..<500) })
    }

    @Test func workPostedByWorkRunsInALaterTurn() {
        let turns = Box<[UInt64]>([])
        loop.post { [loop] in
            turns.value.append(loop.turn)
            loop.post {
                turns.value.append(loop.turn)
                loop.stop()
            }
        }
        loop.run()
        #expect(turns.value.count == 2 && turns.value[0] < turns.value[1])
    }

    @Test func aTurnThatDoesNotWait() {
        let turn = loop.turn
        loop.runTurn(waiting: false)
        #expect(loop.turn == turn + 1)
    }

    @Test func runsActorJobs() {
        let counter = Counter(loop)
        let results = Box<[Bool]>([])
        for _ in 0..<10 {
            Task {
                let isOnLoop = await counter.add()
                counter.loop.post {
                    results.value.append(isOnLoop)
                    if results.value.count == 10 { counter.loop.stop() }
                }
            }
        }
        loop.run()
        #expect(results.value == [Bool](repeating: true, count: 10))
        #expect(loop.isolated(counter) { $0.count } == 10)
    }

    @Test func readiness() throws {
        let mine = Pair()
        let reader = Reader()
        try loop.register(mine.number, reader, for: .readable)
        loop.runTurn(waiting: false)
        #expect(reader.called.isEmpty)
        mine.sendByte()
        // Level-triggered: what is not taken is reported again.
        loop.runTurn(waiting: false)
        loop.runTurn(waiting: false)
        #expect(reader.called == [.readable, .readable])
        loop.change(mine.number, to: [.readable, .writable])
        loop.runTurn(waiting: false)
        #expect(reader.called.last == [.readable, .writable])
        loop.unregister(mine.number)
        loop.runTurn(waiting: false)
        #expect(reader.called.count == 3)
    }

    /// A handler that ends another one in the same turn; the number is given to a new registration at once.
    @Test func aRegistrationThatEndsInTheSameTurn() throws {
        let a = Pair()
        let b = Pair()
        let (first, second, replacement) = (Reader(), Reader(), Reader())
        a.sendByte()
        b.sendByte()
        let (loop, numbers) = (loop, [a.number, b.number])
        func ends(_ index: Int) -> () -> Void {
            {
                loop.unregister(numbers[1 - index])
                do { try loop.register(numbers[1 - index], replacement, for: .readable) } catch { Issue.record("\(error)") }
                loop.unregister(numbers[index])
            }
        }
        first.action = ends(0)
        second.action = ends(1)
        try loop.register(numbers[0], first, for: .readable)
        try loop.register(numbers[1], second, for: .readable)
        loop.runTurn(waiting: false)
        #expect(first.called.count + second.called.count == 1 && replacement.called.isEmpty)
        loop.runTurn(waiting: false)
        #expect(replacement.called == [.readable])
        extendLifetime((a, b, first, second))
    }

    @Test func hooksRunAtTheEndOfEachTurn() {
        var order: [String] = []
        loop.atEndOfTurn { order.append("hook") }
        loop.schedule(after: 0) { order.append("timer") }
        loop.runTurn(waiting: true)
        loop.runTurn(waiting: false)
        #expect(order == ["timer", "hook", "hook"])
    }
}
