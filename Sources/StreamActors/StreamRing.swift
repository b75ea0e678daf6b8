// All streams that are in memory, in a ring that a hand goes round, a few at each visit: what has to be done for all of them now and then is done in
// shares, however many there are.
//
//     [ stream ][ stream ][ stream ][ stream ] …
//                   ^ hand                            entering and leaving take constant time: the last one fills the gap

struct StreamRing {
    private var streams: [StreamActor] = []
    private var hand = 0

    var count: Int { streams.count }
    var all: [StreamActor] { streams }

    mutating func enter(_ stream: StreamActor) {
        stream.ringIndex = streams.count
        streams.append(stream)
    }

    mutating func leave(_ stream: StreamActor) {
        let index = stream.ringIndex
        guard index >= 0, index < streams.count, streams[index] === stream else { return }
        stream.ringIndex = -1
        let last = streams.removeLast()
        guard last !== stream else { return }
        streams[index] = last
        last.ringIndex = index
    }

    /// The next ones round, at most `limit` and each once.
    mutating func next(_ limit: Int) -> [StreamActor] {
        let count = min(limit, streams.count)
        if count == 0 { return [] }
        if hand >= streams.count { hand = 0 }
        let end = min(hand + count, streams.count)
        var found = Array(streams[hand..<end])
        if found.count < count { found += streams[..<(count - found.count)] }
        hand = (hand + count) % streams.count
        return found
    }
}
