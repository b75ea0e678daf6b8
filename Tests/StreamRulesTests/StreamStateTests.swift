// The table of idempotent producers (PROTOCOL.md section 3), row by row and in every combination with what else a request is judged by.

import StreamRules
import Testing

@Suite struct StreamStateTests {
    static let type = ContentType("text/plain; charset=utf-8")
    static let producer: [UInt8] = Array("p".utf8)

    static func state(
        closedBy: ProducerStamp?? = nil, last: String? = nil, producers: [[UInt8]: ProducerState] = [:], tail: UInt64 = 40
    ) -> StreamState {
        var closer: ProducerStamp?
        if let closedBy { closer = closedBy }
        return StreamState(
            tail: tail, closed: closedBy != nil, closedBy: closer, lastSequence: last.map { Array($0.utf8) }, producers: producers,
            chunks: ChunkRule(size: 1024, lastCut: 0))
    }

    static func request(
        _ type: String? = "text/plain", content: Bool = true, closes: Bool = false, sequence: String? = nil, producer: ProducerStamp? = nil
    ) -> AppendRequest {
        AppendRequest(
            contentType: type.map { ContentType($0) }, hasContent: content, closes: closes, sequence: sequence.map { Array($0.utf8) },
            producer: producer)
    }

    static func stamp(_ epoch: UInt64, _ sequence: UInt64, id: String = "p") -> ProducerStamp {
        ProducerStamp(id: Array(id.utf8), epoch: epoch, sequence: sequence)
    }

    static func decide(_ state: StreamState, _ request: AppendRequest) -> AppendDecision {
        var state = state
        return state.decide(request, streamType: type)
    }

    // MARK: Producers

    struct Row: Sendable {
        let known: ProducerState?
        let epoch: UInt64
        let sequence: UInt64
        let expected: AppendDecision
    }

    static let largest: UInt64 = (1 << 53) - 1
    static let rows: [Row] = [
        // no state
        Row(known: nil, epoch: 0, sequence: 0, expected: .accept),
        Row(known: nil, epoch: 7, sequence: 0, expected: .accept),
        Row(known: nil, epoch: largest, sequence: 0, expected: .accept),
        Row(known: nil, epoch: 0, sequence: 1, expected: .refuse(.producerGap(expected: 0, received: 1))),
        Row(known: nil, epoch: 7, sequence: largest, expected: .refuse(.producerGap(expected: 0, received: largest))),
        // epoch < current, whatever the sequence
        Row(known: .init(epoch: 5, sequence: 3), epoch: 4, sequence: 0, expected: .refuse(.staleEpoch(current: 5))),
        Row(known: .init(epoch: 5, sequence: 3), epoch: 4, sequence: 3, expected: .refuse(.staleEpoch(current: 5))),
        Row(known: .init(epoch: 5, sequence: 3), epoch: 0, sequence: 4, expected: .refuse(.staleEpoch(current: 5))),
        Row(known: .init(epoch: 5, sequence: 3), epoch: 4, sequence: largest, expected: .refuse(.staleEpoch(current: 5))),
        // epoch > current
        Row(known: .init(epoch: 5, sequence: 3), epoch: 6, sequence: 0, expected: .accept),
        Row(known: .init(epoch: 5, sequence: 3), epoch: largest, sequence: 0, expected: .accept),
        Row(known: .init(epoch: 5, sequence: 3), epoch: 6, sequence: 1, expected: .refuse(.newEpochNotAtZero)),
        Row(known: .init(epoch: 5, sequence: 3), epoch: 6, sequence: 4, expected: .refuse(.newEpochNotAtZero)),
        // same epoch, sequence <= last
        Row(known: .init(epoch: 5, sequence: 3), epoch: 5, sequence: 0, expected: .duplicate(.init(epoch: 5, sequence: 3))),
        Row(known: .init(epoch: 5, sequence: 3), epoch: 5, sequence: 2, expected: .duplicate(.init(epoch: 5, sequence: 3))),
        Row(known: .init(epoch: 5, sequence: 3), epoch: 5, sequence: 3, expected: .duplicate(.init(epoch: 5, sequence: 3))),
        Row(known: .init(epoch: 0, sequence: 0), epoch: 0, sequence: 0, expected: .duplicate(.init(epoch: 0, sequence: 0))),
        // same epoch, the next one, and a gap
        Row(known: .init(epoch: 5, sequence: 3), epoch: 5, sequence: 4, expected: .accept),
        Row(known: .init(epoch: 0, sequence: 0), epoch: 0, sequence: 1, expected: .accept),
        Row(known: .init(epoch: 0, sequence: largest - 1), epoch: 0, sequence: largest, expected: .accept),
        Row(known: .init(epoch: 5, sequence: 3), epoch: 5, sequence: 5, expected: .refuse(.producerGap(expected: 4, received: 5))),
        Row(
            known: .init(epoch: 5, sequence: 3), epoch: 5, sequence: largest,
            expected: .refuse(.producerGap(expected: 4, received: largest))),
    ]

    /// Each row with and without content, closing and not, with another producer beside it, and with every outcome of Stream-Seq.
    @Test func everyRowOfAnOpenStream() {
        for row in Self.rows {
            for (content, closes) in [(true, false), (true, true), (false, true)] {
                for neighbour in [false, true] {
                    var producers: [[UInt8]: ProducerState] = [:]
                    if let known = row.known { producers[Self.producer] = known }
                    if neighbour { producers[Array("q".utf8)] = ProducerState(epoch: 9, sequence: 9) }
                    for (last, sequence, isGreater) in Self.sequences {
                        let state = Self.state(last: last, producers: producers)
                        let request = Self.request(
                            content: content, closes: closes, sequence: sequence, producer: Self.stamp(row.epoch, row.sequence))
                        // The producer is judged first: a duplicate stays one, whatever its Stream-Seq.
                        let expected = row.expected == .accept && !isGreater ? .refuse(.sequenceNotGreater) : row.expected
                        #expect(
                            Self.decide(state, request) == expected,
                            "\(row) content \(content) closes \(closes) last \(last ?? "-") sequence \(sequence ?? "-")")
                    }
                }
            }
        }
    }

    /// On a closed stream only the very request that closed it is a duplicate.
    @Test func everyRowOfAClosedStream() {
        let closers: [ProducerStamp?] = [nil, Self.stamp(5, 3), Self.stamp(5, 3, id: "q"), Self.stamp(5, 2), Self.stamp(4, 3)]
        for row in Self.rows {
            for closer in closers {
                for (content, closes) in [(true, false), (true, true), (false, true)] {
                    for type in ["text/plain", "image/png", nil] {
                        var producers: [[UInt8]: ProducerState] = [:]
                        if let known = row.known { producers[Self.producer] = known }
                        if let closer { producers[closer.id] = ProducerState(epoch: closer.epoch, sequence: closer.sequence) }
                        let state = Self.state(closedBy: .some(closer), last: "m", producers: producers)
                        let stamp = Self.stamp(row.epoch, row.sequence)
                        let request = Self.request(type, content: content, closes: closes, sequence: "a", producer: stamp)
                        let expected: AppendDecision =
                            stamp == closer ? .duplicate(ProducerState(epoch: stamp.epoch, sequence: stamp.sequence)) : .refuse(.closed)
                        #expect(Self.decide(state, request) == expected, "\(stamp) closed by \(String(describing: closer))")
                    }
                }
            }
        }
    }

    @Test(arguments: [nil, StreamStateTests.stamp(0, 0)])
    func aClosedStreamWithoutProducer(closer: ProducerStamp?) {
        let state = Self.state(closedBy: .some(closer), last: "m")
        #expect(Self.decide(state, Self.request(nil, content: false, closes: true)) == .alreadyClosed)
        #expect(Self.decide(state, Self.request(nil, content: false, closes: true, sequence: "a")) == .alreadyClosed)
        #expect(Self.decide(state, Self.request()) == .refuse(.closed))
        #expect(Self.decide(state, Self.request(closes: true)) == .refuse(.closed))
        #expect(Self.decide(state, Self.request("image/png")) == .refuse(.closed))
        #expect(Self.decide(state, Self.request(sequence: "a")) == .refuse(.closed))
    }

    // MARK: Stream-Seq

    /// last, sequence, whether it may pass. Compared bytewise: "10" is lower than "9", and upper case comes before lower case.
    static let sequences: [(String?, String?, Bool)] = [
        (nil, nil, true), (nil, "", true), (nil, "a", true), ("b", nil, true), ("", nil, true),
        ("b", "a", false), ("b", "b", false), ("b", "c", true), ("", "", false), ("", "a", true), ("a", "", false),
        ("9", "10", false), ("10", "9", true), ("09", "10", true), ("a", "B", false), ("B", "a", true),
        ("a", "aa", true), ("aa", "a", false), ("a", "ab", true), ("ab", "b", true), ("é", "z", false), ("z", "é", true),
        ("00000000000000000000000000000001", "00000000000000000000000000000002", true),
    ]

    @Test(arguments: StreamStateTests.sequences)
    func sequence(last: String?, sequence: String?, passes: Bool) {
        let decision = Self.decide(Self.state(last: last), Self.request(sequence: sequence))
        #expect(decision == (passes ? .accept : .refuse(.sequenceNotGreater)))
    }

    /// Bytes above 0x7F are greater than all below, and are no text that could be normalised.
    @Test func sequencesAreBytes() {
        for last in UInt8.min...UInt8.max {
            for next in [last &- 1, last, last &+ 1, 0x7F, 0x80, 0xFF] {
                var request = Self.request()
                request.sequence = [next]
                var state = Self.state()
                state.lastSequence = [last]
                #expect(Self.decide(state, request) == (next > last ? .accept : .refuse(.sequenceNotGreater)), "\(last) \(next)")
            }
        }
    }

    // MARK: Content type

    @Test(arguments: [
        ("text/plain", true), ("TEXT/Plain", true), ("text/plain;charset=latin1", true), ("text/plain ; x=\"y;z\"", true),
        (" text/plain\t", true),
        ("text/plai", false), ("text/plain2", false), ("text/html", false), ("text", false), ("", false), ("text/ plain", false),
        ("application/json; text/plain", false),
    ])
    func contentType(text: String, matches: Bool) {
        let refusal = AppendDecision.refuse(.contentTypeDiffers)
        #expect(Self.decide(Self.state(), Self.request(text)) == (matches ? .accept : refusal))
        #expect(Self.decide(Self.state(), Self.request(text, closes: true)) == (matches ? .accept : refusal))
        // Without content it is not looked at.
        #expect(Self.decide(Self.state(), Self.request(text, content: false, closes: true)) == .accept)
    }

    // MARK: Order

    /// Every fault together with all those behind it: the first is told.
    @Test func orderOfTheChecks() {
        let known: [[UInt8]: ProducerState] = [Self.producer: ProducerState(epoch: 5, sequence: 3)]
        let faults: [(ProducerStamp, AppendDecision)] = [
            (Self.stamp(4, 0), .refuse(.staleEpoch(current: 5))), (Self.stamp(6, 2), .refuse(.newEpochNotAtZero)),
            (Self.stamp(5, 3), .duplicate(ProducerState(epoch: 5, sequence: 3))),
            (Self.stamp(5, 9), .refuse(.producerGap(expected: 4, received: 9))),
        ]
        for (stamp, decision) in faults {
            let closed = Self.state(closedBy: .some(nil), last: "m", producers: known)
            let open = Self.state(last: "m", producers: known)
            #expect(Self.decide(closed, Self.request("image/png", sequence: "a", producer: stamp)) == .refuse(.closed))
            #expect(Self.decide(open, Self.request("image/png", sequence: "a", producer: stamp)) == decision)
        }
        let open = Self.state(last: "m", producers: known)
        #expect(Self.decide(open, Self.request("image/png", sequence: "a")) == .refuse(.contentTypeDiffers))
        #expect(Self.decide(open, Self.request("image/png", sequence: "a", producer: Self.stamp(5, 4))) == .refuse(.contentTypeDiffers))
        #expect(Self.decide(open, Self.request(sequence: "a", producer: Self.stamp(5, 4))) == .refuse(.sequenceNotGreater))
    }

    // MARK: The limit of producers

    /// A producer beyond the limit takes the place of the one that has been idle longest, if that is long enough.
    @Test func anIdleProducerMakesRoom() {
        var state = Self.state()
        for number in 0..<StreamState.producerLimit {
            state.producers[Array("n\(number)".utf8)] = ProducerState(epoch: 0, sequence: 0, seen: Int64(1_000 + number % 7))
        }
        let another = Self.request(producer: Self.stamp(0, 0, id: "another"))
        func decide(_ now: Int64) -> AppendDecision { state.decide(another, streamType: Self.type, now: now, retention: 500) }
        #expect(decide(1_499) == .refuse(.tooManyProducers))
        #expect(decide(1_500) == .accept)
        // Of those seen at the same time, the one with the lowest id.
        #expect(state.apply(count: 1, closes: false, sequence: nil, producer: another.producer, at: 1_500) == Array("n0".utf8))
        #expect(state.producers.count == StreamState.producerLimit && state.producers[Array("another".utf8)]?.seen == 1_500)
        #expect(state.apply(count: 1, closes: false, sequence: nil, producer: another.producer, at: 1_501) == nil)
        // A producer that is known needs no room.
        #expect(state.decide(Self.request(producer: Self.stamp(0, 1, id: "n5")), streamType: Self.type, now: 0, retention: 500) == .accept)
    }

    @Test func producerLimit() {
        var state = Self.state()
        for number in 0..<StreamState.producerLimit - 1 {
            state.producers[Array("n\(number)".utf8)] = ProducerState(epoch: 0, sequence: 0)
        }
        let newcomer = Self.request(producer: Self.stamp(0, 0))
        #expect(Self.decide(state, newcomer) == .accept)
        state.apply(count: 1, closes: false, sequence: nil, producer: Self.stamp(0, 0))
        #expect(state.producers.count == StreamState.producerLimit)
        #expect(Self.decide(state, Self.request(producer: Self.stamp(0, 0, id: "another"))) == .refuse(.tooManyProducers))
        #expect(
            Self.decide(state, Self.request(producer: Self.stamp(0, 1, id: "another"))) == .refuse(.producerGap(expected: 0, received: 1)))
        // Those it knows go on, also with a new epoch; so do requests without a producer.
        #expect(Self.decide(state, Self.request(producer: Self.stamp(0, 1))) == .accept)
        #expect(Self.decide(state, Self.request(producer: Self.stamp(1, 0))) == .accept)
        #expect(Self.decide(state, Self.request(producer: Self.stamp(0, 0))) == .duplicate(ProducerState(epoch: 0, sequence: 0)))
        #expect(Self.decide(state, Self.request()) == .accept)
    }

    // MARK: Applying

    @Test func apply() {
        var state = Self.state(tail: 0)
        state.apply(count: 10, closes: false, sequence: Array("b".utf8), producer: Self.stamp(1, 0))
        #expect(state.tail == 10 && !state.closed && state.lastSequence == Array("b".utf8))
        #expect(state.producers == [Self.producer: ProducerState(epoch: 1, sequence: 0)])
        state.apply(count: 5, closes: false, sequence: nil, producer: nil)
        #expect(state.tail == 15 && state.lastSequence == Array("b".utf8) && state.closedBy == nil)
        state.apply(count: 0, closes: true, sequence: Array("c".utf8), producer: Self.stamp(2, 0))
        #expect(state.tail == 15 && state.closed && state.closedBy == Self.stamp(2, 0) && state.lastSequence == Array("c".utf8))
        #expect(state.producers == [Self.producer: ProducerState(epoch: 2, sequence: 0)])
    }

    /// Random requests against a model that keeps every accepted request: a retry is a duplicate exactly when the original was accepted.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func randomHistory(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var state = Self.state(tail: 0)
        var accepted: [[UInt8]: [UInt64: UInt64]] = [:]
        var appends = 0
        for _ in 0..<4000 {
            let stamp = ProducerStamp(
                id: [UInt8.random(in: 0...2, using: &generator)], epoch: .random(in: 0...3, using: &generator),
                sequence: .random(in: 0...6, using: &generator))
            let epochs = accepted[stamp.id, default: [:]]
            let expected: AppendDecision
            if let current = epochs.keys.max(), let last = epochs[current] {
                if stamp.epoch < current {
                    expected = .refuse(.staleEpoch(current: current))
                } else if stamp.epoch > current {
                    expected = stamp.sequence == 0 ? .accept : .refuse(.newEpochNotAtZero)
                } else if stamp.sequence <= last {
                    expected = .duplicate(ProducerState(epoch: current, sequence: last))
                } else {
                    expected = stamp.sequence == last + 1 ? .accept : .refuse(.producerGap(expected: last + 1, received: stamp.sequence))
                }
            } else {
                expected = stamp.sequence == 0 ? .accept : .refuse(.producerGap(expected: 0, received: stamp.sequence))
            }
            let decision = Self.decide(state, Self.request(producer: stamp))
            #expect(decision == expected)
            if decision == .accept {
                state.apply(count: 1, closes: false, sequence: nil, producer: stamp)
                accepted[stamp.id, default: [:]][stamp.epoch] = stamp.sequence
                appends += 1
            }
        }
        #expect(state.tail == UInt64(appends))
    }
}
