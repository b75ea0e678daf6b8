// The stored form of values that stand in journal records and in catalog entries alike; what stands before each says whether it is there.
//
//     expiry     u8 kind (0 never, 1 time to live, 2 moment)   u64 seconds, or milliseconds since 1970   string text as it was given
//     origin     u64 source id   string source name   u64 offset   u8 offset was given   u64 sub-offset   u64 position   u64 last cut
//     producer   string id   u64 epoch   u64 sequence

import StreamRules

extension ByteOutput {
    mutating func put(_ expiry: Expiry) {
        switch expiry {
        case .never: put(kind: 0, 0, [])
        case .timeToLive(let seconds): put(kind: 1, seconds, [])
        case .at(let milliseconds, let text): put(kind: 2, UInt64(bitPattern: milliseconds), text)
        }
    }

    private mutating func put(kind: UInt8, _ value: UInt64, _ text: [UInt8]) {
        put(kind)
        put(value)
        put(text)
    }

    mutating func put(_ origin: ForkOrigin) {
        put(origin.sourceID)
        put(origin.source)
        put(origin.offset)
        put(UInt8(origin.offsetWasGiven ? 1 : 0))
        put(origin.subOffset)
        put(origin.position)
        put(origin.lastCut)
    }

    mutating func put(_ producer: ProducerStamp) {
        put(producer.id)
        put(producer.epoch)
        put(producer.sequence)
    }
}

extension ByteReader {
    mutating func readExpiry() throws(CodingFault) -> Expiry {
        let kind = try read(UInt8.self)
        let value = try read(UInt64.self)
        let text = try readString()
        switch kind {
        case 0: return .never
        case 1: return .timeToLive(seconds: value)
        case 2: return .at(milliseconds: Int64(bitPattern: value), text: text)
        default: throw .invalid("expiry kind \(kind)")
        }
    }

    mutating func readOrigin() throws(CodingFault) -> ForkOrigin {
        ForkOrigin(
            sourceID: try read(), source: try readString(), offset: try read(), offsetWasGiven: try read(UInt8.self) != 0,
            subOffset: try read(), position: try read(), lastCut: try read())
    }

    mutating func readProducer() throws(CodingFault) -> ProducerStamp {
        ProducerStamp(id: try readString(), epoch: try read(), sequence: try read())
    }
}

/// How many bytes those forms take.
enum StoredLength {
    static func of(_ expiry: Expiry) -> Int {
        if case .at(_, let text) = expiry { return 1 + 8 + 4 + text.count }
        return 1 + 8 + 4
    }
    static func of(_ origin: ForkOrigin) -> Int { 8 + 4 + origin.source.count + 8 + 1 + 8 + 8 + 8 }
    static func of(_ producer: ProducerStamp) -> Int { 4 + producer.id.count + 16 }
}
