import Testing

@testable import StreamClient

@Suite struct ReadProgressTests {
    static func query(_ progress: ReadProgress) -> String {
        progress.parameters.map { "\($0.name)=\($0.value)" }.joined(separator: "&")
    }

    @Test func longPollCatchesUpFirst() {
        var progress = ReadProgress(offset: "-1", isFollowing: true, transport: .longPoll)
        #expect(Self.query(progress) == "offset=-1")
        #expect(progress.advance(to: "5", cursor: nil, isUpToDate: false, isClosed: false) == true)
        #expect(Self.query(progress) == "offset=5")
        #expect(progress.advance(to: "9", cursor: nil, isUpToDate: true, isClosed: false) == true)
        #expect(Self.query(progress) == "offset=9&live=long-poll")
        #expect(progress.advance(to: "9", cursor: "7", isUpToDate: true, isClosed: false) == false)
        #expect(Self.query(progress) == "offset=9&live=long-poll&cursor=7")
        #expect(progress.advance(to: "10", cursor: nil, isUpToDate: false, isClosed: false) == true)
        #expect(Self.query(progress) == "offset=10&live=long-poll&cursor=7")
        #expect(progress.advance(to: "10", cursor: nil, isUpToDate: true, isClosed: true) == true)
        #expect(progress.phase == .ended(closed: true))
    }

    @Test(arguments: [("-1", "offset=-1&live=sse"), ("4", "offset=4&live=sse"), ("now", "offset=now")])
    func eventsBeginLiveButNowIsLocatedFirst(_ offset: String, _ expected: String) {
        #expect(Self.query(ReadProgress(offset: offset, isFollowing: true, transport: .serverSentEvents)) == expected)
    }

    @Test(arguments: [
        (false, false, ReadProgress.Phase.catchingUp), (true, false, .ended(closed: false)), (true, true, .ended(closed: true)),
    ])
    func withoutFollowing(_ upToDate: Bool, _ closed: Bool, _ expected: ReadProgress.Phase) {
        var progress = ReadProgress(offset: "-1", isFollowing: false, transport: .longPoll)
        progress.advance(to: "1", cursor: nil, isUpToDate: upToDate, isClosed: closed)
        #expect(progress.phase == expected)
    }

    @Test func aServerThatStaysSilentAboutTheTailEndsTheReadingToo() {
        var progress = ReadProgress(offset: "3", isFollowing: false, transport: .longPoll)
        progress.advance(to: "3", cursor: nil, isUpToDate: false, isClosed: false)
        #expect(progress.phase == .ended(closed: false))
    }

    /// Every way to break two answers of up to eight units, and every length of the answer that follows: each unit is printed once, in order.
    @Test func nothingIsPrintedTwiceAndNothingIsLeftOut() {
        let stream = Array(0..<8)
        for firstCut in 0...8 {
            for secondCut in 0...8 {
                for answer in 1...8 {
                    var progress = ReadProgress(offset: "0", isFollowing: true, transport: .longPoll)
                    var printed: [Int] = []
                    func receive(from offset: Int, count: Int, piece: Int) {
                        progress.begin()
                        var units = stream[offset..<min(offset + count, 8)]
                        while !units.isEmpty {
                            let part = units.prefix(piece)
                            units = units.dropFirst(piece)
                            printed += part.dropFirst(progress.receive(part.count))
                        }
                    }
                    receive(from: 0, count: firstCut, piece: 3)
                    receive(from: 0, count: secondCut, piece: 2)
                    var offset = 0
                    while offset < 8 {
                        receive(from: offset, count: answer, piece: 5)
                        offset = min(offset + answer, 8)
                        progress.advance(to: "\(offset)", cursor: nil, isUpToDate: offset == 8, isClosed: false)
                    }
                    #expect(printed == stream, "\(firstCut) \(secondCut) \(answer)")
                }
            }
        }
    }
}
