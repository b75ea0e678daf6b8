// What a command is answered, in a form that the model predicts and the server's outcomes are brought to.

import StreamActors
import StreamRules
import StreamStore

public struct ModelFacts: Equatable, Sendable {
    /// In a prediction the life of the name (the number of the command that made it), in an answer the stream's id.
    var identity: UInt64
    var type: [UInt8]
    var tail: Int
    var closed: Bool
    var expiry: Expiry

    init(identity: UInt64, type: [UInt8], tail: Int, closed: Bool, expiry: Expiry) {
        self.identity = identity
        self.type = type
        self.tail = tail
        self.closed = closed
        self.expiry = expiry
    }

    init(_ facts: StreamFacts) {
        self.init(
            identity: facts.id, type: facts.contentType.bytes, tail: Int(facts.tail), closed: facts.closed, expiry: facts.expiry)
    }
}

public enum ModelAnswer: Equatable, Sendable {
    case created(ModelFacts, new: Bool)
    case appended(tail: Int, closed: Bool, producer: ProducerState?, stored: Bool, hadContent: Bool)
    case deleted
    case metadata(ModelFacts)
    case read(ModelFacts, from: Int, to: Int, bytes: [UInt8])
    case waiting(ModelFacts)
    case refused(Refusal)

    /// `bytes`: what a read's pieces hold.
    init(_ outcome: Outcome, bytes: [UInt8]) {
        switch outcome {
        case .created(let facts, let new): self = .created(ModelFacts(facts), new: new)
        case .appended(let tail, let closed, let producer, let stored, let hadContent):
            self = .appended(tail: Int(tail), closed: closed, producer: producer, stored: stored, hadContent: hadContent)
        case .deleted: self = .deleted
        case .metadata(let facts): self = .metadata(ModelFacts(facts))
        case .read(let result):
            self = .read(ModelFacts(result.facts), from: Int(result.from), to: Int(result.to), bytes: bytes)
        case .waiting(let facts): self = .waiting(ModelFacts(facts))
        // Words that say why are for people and may be any.
        case .refused(.configurationDiffers): self = .refused(.configurationDiffers(""))
        case .refused(.invalidJSON): self = .refused(.invalidJSON(""))
        case .refused(let refusal): self = .refused(refusal)
        }
    }

    /// The same with other facts, and the facts.
    private var split: (ModelAnswer, ModelFacts?) {
        func blank(_ facts: ModelFacts) -> ModelFacts {
            var facts = facts
            facts.identity = 0
            return facts
        }
        switch self {
        case .created(let facts, let new): return (.created(blank(facts), new: new), facts)
        case .metadata(let facts): return (.metadata(blank(facts)), facts)
        case .read(let facts, let from, let to, let bytes): return (.read(blank(facts), from: from, to: to, bytes: bytes), facts)
        case .waiting(let facts): return (.waiting(blank(facts)), facts)
        case .appended, .deleted, .refused: return (self, nil)
        }
    }

    /// The stream that a read's answer tells of, and a repeated create's: they renew a TTL.
    var renewed: UInt64? {
        switch self {
        case .created(let facts, new: false), .read(let facts, _, _, _), .waiting(let facts): facts.identity
        case .created, .appended, .deleted, .metadata, .refused: nil
        }
    }

    /// Whether this prediction is what was answered. A life's id becomes known with the first answer that tells it, and belongs to no
    /// other life, past or present.
    func matches(_ seen: ModelAnswer, ids: inout [Int: UInt64]) -> Bool {
        let (mine, myFacts) = split
        let (its, itsFacts) = seen.split
        guard mine == its else { return false }
        guard let myFacts, let itsFacts else { return true }
        return Self.bind(Int(myFacts.identity), to: itsFacts.identity, &ids)
    }

    static func bind(_ life: Int, to id: UInt64, _ ids: inout [Int: UInt64]) -> Bool {
        if let known = ids[life] { return known == id }
        if ids.values.contains(id) { return false }
        ids[life] = id
        return true
    }
}
