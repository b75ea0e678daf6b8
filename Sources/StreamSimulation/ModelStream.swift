// One stream as PROTOCOL.md describes it, without a disk: the whole content, and what the rules need to know of its past.
//
// Times are intervals. When exactly a command met its stream is not seen from outside: somewhere between being asked and being
// answered. So the model knows of the last access that renewed a TTL only that it was not before `renewed.lowerBound` and not after
// `renewed.upperBound`; when the clock stands still while commands are under way, both are the same.

import StreamRules

public struct ModelStream: Equatable, Sendable {
    let name: [UInt8]
    let type: [UInt8]
    let expiry: Expiry
    let chunkSize: Int
    let origin: ModelOrigin?
    /// Cuts that a fork has from its source, all up to its first own byte.
    let inheritedCuts: [Int]

    /// With a fork's inherited bytes.
    var content: [UInt8] = []
    /// Ends of what is never divided: appends of a byte stream, messages of JSON. Inherited ones included.
    var atoms: [Int] = []
    /// Ends of appends, own ones only.
    var appendEnds: [Int] = []
    var closed = false
    var closedBy: ProducerStamp?
    var lastSequence: [UInt8]?
    var producers: [[UInt8]: ProducerState] = [:]
    /// Deleted, and kept for its forks.
    var isRetained = false

    /// The last access that renewed the TTL.
    var renewed: ClosedRange<Int64>
    /// A crash does not take back renewals before this moment,
    var lastingRenewal: Int64
    /// and may leave one up to this moment that was recorded ahead of time.
    var recordedRenewal: Int64

    var isJSON: Bool { ModelStream.mediaType(type) == Array("application/json".utf8) }
    var tail: Int { content.count }
    var start: Int { origin?.position ?? 0 }

    /// What a fork was made with.
    struct ModelOrigin: Equatable, Sendable {
        /// The life of the source's name.
        let source: Int
        let sourceName: [UInt8]
        /// As given.
        let givenOffset: Int?
        let offset: Int
        let subOffset: Int
        /// The first own byte.
        let position: Int
    }

    init(
        name: [UInt8], type: [UInt8], expiry: Expiry, chunkSize: Int, origin: ModelOrigin? = nil, inheritedCuts: [Int] = [],
        at time: ClosedRange<Int64>
    ) {
        self.name = name
        self.type = type
        self.expiry = expiry
        self.chunkSize = chunkSize
        self.origin = origin
        self.inheritedCuts = inheritedCuts
        renewed = time
        lastingRenewal = time.lowerBound
        recordedRenewal = time.upperBound
    }

    // MARK: Content

    /// `pieces`: the atoms, one of a byte stream, in stored form.
    mutating func append(_ pieces: [[UInt8]]) {
        let before = content.count
        for piece in pieces where !piece.isEmpty {
            content += piece
            atoms.append(content.count)
        }
        if content.count > before { appendEnds.append(content.count) }
    }

    /// Where responses end: a chunk takes atoms while they fit, and an empty chunk takes one whatever its size.
    var cuts: [Int] {
        var cuts = inheritedCuts
        var open = inheritedCuts.last ?? 0
        var end = start
        var index = atoms.firstIndex { $0 > start } ?? atoms.count
        while index < atoms.count {
            while index < atoms.count, atoms[index] - open <= chunkSize || end == open {
                end = atoms[index]
                index += 1
            }
            if index < atoms.count {
                cuts.append(end)
                open = end
            }
        }
        return cuts
    }

    func endOfRead(from position: Int) -> Int { cuts.first { $0 > position } ?? tail }

    func isMessageBoundary(_ position: Int) -> Bool { position == 0 || atoms.contains(position) }

    /// Without parameters, in lower case.
    static func mediaType(_ type: [UInt8]) -> [UInt8] {
        let media = type.prefix { $0 != UInt8(ascii: ";") }.filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
        return media.map { $0 >= 65 && $0 <= 90 ? $0 + 32 : $0 }
    }

    // MARK: Time

    /// A create, an append or a read at `time` renews the TTL. A write's own record lasts; a read leaves one that also covers the reads
    /// after it, and that lasts once the read has been answered.
    mutating func renew(at time: ClosedRange<Int64>, isRead: Bool) {
        renewed = max(renewed.lowerBound, time.lowerBound)...max(renewed.upperBound, time.upperBound)
        if !isRead { lastingRenewal = max(lastingRenewal, time.lowerBound) }
        recordedRenewal = max(recordedRenewal, time.upperBound + (isRead ? expiry.renewalGrain : 0))
    }

    enum Life { case alive, ended, either }

    /// Whether the stream's time is over, as far as that can be known. A waiting reader keeps a TTL from ending.
    func life(at time: ClosedRange<Int64>, isRead: Bool) -> Life {
        let first: Int64
        let last: Int64
        switch expiry {
        case .never: return .alive
        case .at(let moment, _): (first, last) = (moment, moment)
        case .timeToLive:
            if isRead { return .alive }
            guard let low = expiry.deadline(renewed: renewed.lowerBound), let high = expiry.deadline(renewed: renewed.upperBound) else {
                return .alive
            }
            (first, last) = (low, high)
        }
        if time.lowerBound >= last { return .ended }
        if time.upperBound < first { return .alive }
        return .either
    }

    /// Where it could have been both: what is known now.
    mutating func narrow(to life: Life, at time: ClosedRange<Int64>) {
        guard case .timeToLive(let seconds) = expiry else { return }
        let window = Int64(clamping: seconds) * 1000
        switch life {
        case .alive: renewed = max(renewed.lowerBound, time.lowerBound - window + 1)...renewed.upperBound
        case .ended: renewed = renewed.lowerBound...min(renewed.upperBound, time.upperBound - window)
        case .either: break
        }
    }
}
