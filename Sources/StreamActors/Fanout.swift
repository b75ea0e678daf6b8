// One publication to all of a stream's waiting readers, in shares of the reactor's turns.
//
//     publish ──▶ pass: reader reader reader … │ next turn │ reader reader … │ next turn │ … end
//                        `── one turn's share ─┘
//     published meanwhile ──▶ joined to one publication ──▶ the next pass
//
// Ten thousand sends are tens of milliseconds. A pass takes its share of a turn and goes on in the next, so other requests wait a millisecond or
// two and not for its end. What the stream publishes before the end of a pass is gathered: a stream that is written faster than its readers can be
// reached costs one send per reader and pass, however many appends there were.
//
// What is made for a reader depends on its owner, and many readers differ in nothing: an owner makes it once per `number` and distinct form.
//
// Invariants: a poll that has been taken waits no longer, whenever its turn comes (`ReaderList.isWaiting`). A follower is told of what lies behind its
// position, once. The stream's actor stays in memory until the pass is over. When the stream ends, whoever has not been reached is told that, and
// nothing of before.

import DequeModule
import StreamRules
import StreamStore

/// What is being told to one stream's readers.
///
/// @unchecked Sendable: confined to the reactor, like the readers in it.
public final class Fanout: @unchecked Sendable {
    fileprivate struct Work {
        var publication: Publication
        var polls: [StreamReader]
        var followers: [StreamReader]
        var isLarge: Bool
        /// So many appends are told apart; beyond that readers get what came in batches.
        private static let appendsKept = 16_384
        private static let largest = UInt64(TailBuffer.adoptionThreshold)

        init(_ publication: Publication, polls: [StreamReader], followers: [StreamReader]) {
            isLarge = publication.facts.tail - publication.from > Self.largest
            self.publication = isLarge ? publication.withoutBytes() : publication
            self.polls = polls
            self.followers = followers
        }

        /// What was published later, joined to it.
        mutating func join(_ later: Publication, polls: [StreamReader], followers: [StreamReader]) {
            isLarge = isLarge || later.facts.tail - publication.from > Self.largest
            publication = publication.joined(by: later, keepingBytes: !isLarge, appends: Self.appendsKept)
            self.polls += polls
            // The later list has everyone who still waits.
            self.followers = followers
        }
    }

    public let stream: StreamActor
    public var publication: Publication { work.publication }
    /// The publication comes without its bytes: they are more than one piece, and are read from the stream.
    public var isLarge: Bool { work.isLarge }
    /// Tells this pass from all others of the process.
    @exclusivity(unchecked) public fileprivate(set) var number: UInt64
    private var work: Work
    @exclusivity(unchecked) private var nextPoll = 0
    @exclusivity(unchecked) private var nextFollower = 0
    fileprivate var meanwhile: Work?

    fileprivate init(_ stream: StreamActor, _ work: Work, number: UInt64) {
        self.stream = stream
        self.work = work
        self.number = number
    }

    /// Begins the pass for what was published meanwhile; false if there was nothing.
    fileprivate func turnOver() -> Bool {
        guard let work = meanwhile else { return false }
        self.work = work
        meanwhile = nil
        nextPoll = 0
        nextFollower = 0
        return true
    }

    /// Tells whoever has not been told yet; false: the share is used up before the end.
    fileprivate func tell(_ list: FanoutList, _ stream: isolated StreamActor) -> Bool {
        let end = work.publication.end
        while nextPoll < work.polls.count {
            if list.isSpent { return false }
            let reader = work.polls[nextPoll]
            nextPoll += 1
            // It has left since, and may wait for something later.
            if reader.place != .polls || stream.readers.isWaiting(reader) { continue }
            stream.readers.leave(reader)
            if let end {
                reader.owner.end(end, reader, stream)
                list.spend(0)
            } else {
                list.spend(reader.owner.take(self, reader, stream))
            }
        }
        while nextFollower < work.followers.count {
            if list.isSpent { return false }
            let reader = work.followers[nextFollower]
            nextFollower += 1
            if reader.place != .followers { continue }
            if let end {
                stream.readers.leave(reader)
                reader.owner.end(end, reader, stream)
                list.spend(0)
            } else if reader.position < work.publication.facts.tail || work.publication.facts.closed {
                list.spend(reader.owner.take(self, reader, stream))
            }
        }
        return true
    }
}

/// How much of a turn something may take, in bytes sent; a send costs so many bytes' worth by itself.
public struct FanoutBudget {
    static let perSend = 4096
    public private(set) var left: Int
    public var isSpent: Bool { left <= 0 }

    public init(_ bytes: Int) { left = bytes }
    public mutating func spend(_ bytes: Int) { left -= bytes + Self.perSend }
}

/// The passes under way, which take turns.
///
/// @unchecked Sendable: confined to the reactor, like `StreamContext`.
public final class FanoutList: @unchecked Sendable {
    /// What all passes together may send in one turn, bytes: about a millisecond.
    @exclusivity(unchecked) public var bytesPerTurn = 1 << 20
    unowned(unsafe) private let context: StreamContext
    private var running: [UInt64: Fanout] = [:]
    private var order: Deque<Fanout> = []
    @exclusivity(unchecked) private var budget = FanoutBudget(0)
    /// The turn that `budget` is of.
    @exclusivity(unchecked) private var turn = UInt64.max
    @exclusivity(unchecked) private var lastNumber: UInt64 = 0
    /// A later turn goes on with the passes.
    @exclusivity(unchecked) private var isPosted = false
    public var isEmpty: Bool { running.isEmpty }
    /// Passes that did not end in their turn.
    public var count: Int { running.count }

    init(_ context: StreamContext) { self.context = context }

    fileprivate var isSpent: Bool { budget.isSpent }
    fileprivate func spend(_ bytes: Int) { budget.spend(bytes) }

    private func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    private func renewBudget() {
        turn = context.loop.turn
        budget = FanoutBudget(bytesPerTurn)
    }

    /// Tells the readers, or as many of them as this turn has room for. `polls` have been taken off the stream's list.
    func publish(_ publication: Publication, polls: [StreamReader], followers: [StreamReader], stream: isolated StreamActor) {
        if let fanout = running[stream.id] {
            if fanout.meanwhile == nil {
                fanout.meanwhile = Fanout.Work(publication, polls: polls, followers: followers)
            } else {
                fanout.meanwhile!.join(publication, polls: polls, followers: followers)
            }
            return
        }
        if turn != context.loop.turn { renewBudget() }
        let fanout = Fanout(stream, Fanout.Work(publication, polls: polls, followers: followers), number: nextNumber())
        if running.isEmpty, proceed(with: fanout, stream) { return }
        stream.hold()
        running[stream.id] = fanout
        order.append(fanout)
        goOnLater()
    }

    private func goOnLater() {
        if isPosted { return }
        isPosted = true
        context.dispatcher.post { [self] in
            isPosted = false
            goOn()
        }
    }

    /// A further share of the passes under way.
    private func goOn() {
        renewBudget()
        var waiting = order.count
        while waiting > 0, !budget.isSpent, let fanout = order.popFirst() {
            waiting -= 1
            let isDone = context.loop.isolated(fanout.stream) { stream in
                let isDone = proceed(with: fanout, stream)
                if isDone { stream.release() }
                return isDone
            }
            if isDone { running[fanout.stream.id] = nil } else { order.append(fanout) }
        }
        if !order.isEmpty { goOnLater() }
    }

    /// True when all has been told.
    private func proceed(with fanout: Fanout, _ stream: isolated StreamActor) -> Bool {
        repeat {
            if !fanout.tell(self, stream) { return false }
            fanout.number = nextNumber()
        } while fanout.turnOver()
        return true
    }

    /// Tells nobody any more: the process ends.
    func removeAll() {
        running = [:]
        order = []
    }
}
