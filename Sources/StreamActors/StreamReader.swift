// Live readers: who is told when something becomes visible in a stream.
//
//                   ┌────────── reads on, piece by piece ◀─────────┐
//     live read ──▶ behind ──(at the tail)──▶ waiting ──(news)──▶ told
//                                                │                 ├─ a poll: it is on no list any more, and is to be answered
//                                                └─────────────────┴─ a follower: it waits on, or falls behind
//
// A reader belongs to one stream from its first read to its end; its owner may have any number of them, on as many streams. The stream counts it
// wherever it stands: a reader keeps a time to live from running out, and its stream in memory.

import StreamRules

/// Who has readers.
///
/// Both calls come on the reactor, in shares of its turns, and never from within a call that the owner has made to the stream.
public protocol ReaderOwner: AnyObject, Sendable {
    /// Something has become visible. A poll is on no list any more: its owner answers, or reads again. A follower still waits, at `reader.position`;
    /// its owner moves that on to the tail, or has the stream count it among those that are behind, and reads.
    ///
    /// - Returns: how many bytes the owner has sent, or what costs as much.
    func take(_ news: Fanout, _ reader: StreamReader, _ stream: isolated StreamActor) -> Int

    /// The stream has ended, and the reader is on no list any more.
    func end(_ refusal: Refusal, _ reader: StreamReader, _ stream: isolated StreamActor)
}

/// One reader of one stream.
///
/// @unchecked Sendable: confined to the reactor, like the streams and the owners.
public final class StreamReader: @unchecked Sendable {
    public enum Kind: UInt8, Sendable {
        /// Is told once.
        case poll
        /// Is told until it leaves.
        case follower
    }

    // In an order that leaves no gaps: there are as many of these as there are readers.
    public let owner: any ReaderOwner
    /// The owner's own number for it.
    public let number: UInt32
    fileprivate var index: Int32 = 0
    /// The owner has everything up to here.
    public var position: UInt64 = 0
    /// Bytes in front of `position` that have not gone out yet: the beginning of a character.
    public var carry = Carry()
    public let kind: Kind
    fileprivate(set) var place = ReaderList.Place.nowhere
    /// Its owner wants nothing any more: it comes to wait nowhere.
    private(set) var isOver = false

    public init(_ kind: Kind, of owner: any ReaderOwner, number: UInt32 = 0) {
        self.kind = kind
        self.owner = owner
        self.number = number
    }

    /// For an owner that gives up before its first read has been answered; later it leaves its stream.
    public func end() { isOver = true }
}

/// The readers of one stream: each in one list, or in none, and found there in constant time.
struct ReaderList {
    enum Place: UInt8 { case nowhere, polls, followers, behind }

    private(set) var polls: [StreamReader] = []
    private(set) var followers: [StreamReader] = []
    private(set) var behind: [StreamReader] = []
    /// Counts those who have come to wait.
    private(set) var arrivals: UInt64 = 0

    var count: Int { polls.count + followers.count + behind.count }
    var hasWaiting: Bool { !polls.isEmpty || !followers.isEmpty }

    /// The reader waits at `reader.position`.
    mutating func wait(_ reader: StreamReader) {
        leave(reader)
        if reader.isOver { return }
        arrivals &+= 1
        switch reader.kind {
        case .poll: Self.enter(reader, &polls, .polls)
        case .follower: Self.enter(reader, &followers, .followers)
        }
    }

    /// The reader reads on by itself.
    mutating func fallBehind(_ reader: StreamReader) {
        leave(reader)
        if reader.isOver { return }
        Self.enter(reader, &behind, .behind)
    }

    /// - Returns: whether it was in a list.
    @discardableResult
    mutating func leave(_ reader: StreamReader) -> Bool {
        defer { reader.place = .nowhere }
        switch reader.place {
        case .nowhere: return false
        case .polls: return Self.leave(reader, &polls)
        case .followers: return Self.leave(reader, &followers)
        case .behind: return Self.leave(reader, &behind)
        }
    }

    /// Whether it waits. One that has been taken to be told does not.
    func isWaiting(_ reader: StreamReader) -> Bool {
        switch reader.place {
        case .polls: Self.has(reader, polls)
        case .followers: Self.has(reader, followers)
        case .nowhere, .behind: false
        }
    }

    /// Takes the polls off, but for those at `spared`. Constant time where nobody is spared.
    mutating func takePolls(sparing spared: UInt64?) -> [StreamReader] {
        let taken = polls
        polls = []
        guard let spared else { return taken }
        for reader in taken where reader.position == spared { Self.enter(reader, &polls, .polls) }
        return taken.filter { $0.position != spared }
    }

    /// Takes the followers off: their stream has ended.
    mutating func takeFollowers() -> [StreamReader] {
        defer { followers = [] }
        return followers
    }

    private static func enter(_ reader: StreamReader, _ list: inout [StreamReader], _ place: Place) {
        reader.place = place
        reader.index = Int32(list.count)
        list.append(reader)
    }

    private static func has(_ reader: StreamReader, _ list: [StreamReader]) -> Bool {
        Int(reader.index) < list.count && list[Int(reader.index)] === reader
    }

    private static func leave(_ reader: StreamReader, _ list: inout [StreamReader]) -> Bool {
        guard has(reader, list) else { return false }
        let index = Int(reader.index)
        list.swapAt(index, list.count - 1)
        list.removeLast()
        if index < list.count { list[index].index = Int32(index) }
        return true
    }
}
