// HTTP/2 windows with room for a few bytes: a piece of an answer waits for a larger one, for a moment.

import HTTP2SessionTesting
import StreamSimulation
import Testing

@testable import Server

@Suite struct SmallWindowTests {
    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    /// A reader of `target`, whose windows of 65,535 bytes are used up but for `left`.
    private func reader(_ bench: ServerBench, _ target: String, left: Int) throws -> DicePeer {
        let peer = try DicePeer(bench, .http1, buffer: nil)
        peer.send(Self.preface + RawFrames.frame(4, stream: 0, []))
        peer.send(RawFrames.headers(1, RawFrames.request("/v1/stream/\(target)", scheme: "http")))
        peer.give(.max)
        let bytes = take(bench, peer)
        let sent = Self.dataFrames(bytes).reduce(0) { $0 + $1.count }
        try #require(sent == 65_535)
        if left > 0 { grow(bench, peer, by: left) }
        return peer
    }

    private func grow(_ bench: ServerBench, _ peer: DicePeer, by count: Int) {
        peer.send(RawFrames.windowUpdate(0, UInt32(count)) + RawFrames.windowUpdate(1, UInt32(count)))
        peer.give(.max)
    }

    private func take(_ bench: ServerBench, _ peer: DicePeer) -> [UInt8] {
        peer.inbox = []
        for _ in 0..<20 {
            bench.settle()
            while peer.take(1 << 16) > 0 {}
        }
        return peer.inbox
    }

    private static func dataFrames(_ bytes: [UInt8]) -> [[UInt8]] {
        RawFrames.parse(bytes).filter { $0.type == 0 }.map(\.payload)
    }

    @Test func aPieceWaitsForALargerWindow() throws {
        let clock = VirtualClock()
        let bench = try ServerBench(clocks: clock.clocks)
        try bench.create("s", content: String(repeating: "x", count: 200_000))
        let peer = try reader(bench, "s?offset=-1", left: 10)
        #expect(Self.dataFrames(take(bench, peer)).isEmpty)
        // What is left of it does not wait: the window has grown.
        grow(bench, peer, by: 5_000)
        #expect(Self.dataFrames(take(bench, peer)).map(\.count) == [5_010])
        // A peer that gives no more gets the little that it asks for.
        grow(bench, peer, by: 10)
        #expect(Self.dataFrames(take(bench, peer)).isEmpty)
        for _ in 0..<10 {
            clock.advance(20)
            bench.settle()
        }
        #expect(Self.dataFrames(take(bench, peer)).map(\.count) == [10])
    }

    /// What fits is sent at once, however small the window is.
    @Test func theEndOfAnAnswerDoesNotWait() throws {
        let bench = try ServerBench(clocks: VirtualClock().clocks)
        try bench.create("s", content: String(repeating: "x", count: 65_545))
        let peer = try reader(bench, "s?offset=-1", left: 10)
        #expect(Self.dataFrames(take(bench, peer)).map(\.count) == [10])
    }
}
