// A beat comes only when the message has gone round. The lane and the turns of the loop are the test's, so either can be stuck.

import Reactor
import StreamStore
import Testing

@testable import Server

@Suite struct HeartbeatTests {
    private final class Count { var beats = 0 }

    /// Turns until the loop's time has passed by so much; the limit keeps a broken clock from hanging the test.
    private func run(_ loop: EventLoop, for milliseconds: Int64) {
        let end = loop.now + milliseconds
        for _ in 0..<1_000_000 where loop.now < end { loop.runTurn(waiting: true) }
    }

    /// Turns until it holds.
    private func run(_ loop: EventLoop, until condition: () -> Bool) -> Bool {
        for _ in 0..<100_000 where !condition() { loop.runTurn(waiting: true) }
        return condition()
    }

    private func make(limit: UInt64) throws -> (EventLoop, HeldJobs, Count) {
        let loop = try EventLoop()
        loop.adoptCurrentThread()
        let lane = HeldJobs(loop)
        let count = Count()
        Heartbeat(loop: loop, lane: lane, limitMicroseconds: limit) { count.beats += 1 }.start()
        return (loop, lane, count)
    }

    @Test func threeBeatsWithinTheLimit() throws {
        let (loop, _, count) = try make(limit: 30_000)
        let start = loop.now
        #expect(run(loop) { count.beats == 4 })
        // The first is sent at once, the others ten milliseconds apart.
        #expect(loop.now - start >= 30)
    }

    @Test func noBeatWhileTheLaneIsStuck() throws {
        let (loop, lane, count) = try make(limit: 3_000)
        #expect(run(loop) { count.beats > 3 })
        lane.isHeld = true
        // One that is through already may still arrive.
        for _ in 0..<4 { loop.runTurn(waiting: false) }
        let before = count.beats
        run(loop, for: 50)
        #expect(count.beats == before)
        lane.release()
        #expect(run(loop) { count.beats > before + 3 })
    }

    /// However long it is stuck, one message waits in it.
    @Test func oneMessageIsUnderWay() throws {
        let (loop, lane, count) = try make(limit: 3_000)
        lane.isHeld = true
        run(loop, for: 50)
        let before = count.beats
        lane.isHeld = false
        // Only what is held comes now, not what is sent from here on.
        lane.release()
        loop.runTurn(waiting: false)
        loop.runTurn(waiting: false)
        #expect(count.beats <= before + 2)
    }

    /// Without turns of the loop nothing beats, whatever the lane does.
    @Test func noBeatWhileTheLoopIsStuck() throws {
        let (_, lane, count) = try make(limit: 3_000)
        for _ in 0..<100 { lane.run {} }
        #expect(count.beats == 0)
    }
}
