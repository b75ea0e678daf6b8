// Random commands over a few names, so that everything meets everything. They are made with an eye on a state of the model: appends
// that continue a producer's numbers, reads from positions that exist; and often enough without.

import StreamActors
import StreamRules

struct Workload {
    let dice: Dice
    let names: [[UInt8]]
    let forks: Bool
    private let types: [ContentType]
    /// In percent: creates with a TTL or an end.
    private let mortality: Int

    private static let allTypes = [
        "text/plain", "application/json", "application/octet-stream", "Text/Plain; charset=utf-8", "application/json;v=1",
    ].map { ContentType($0) }

    init(_ dice: Dice, forks: Bool) {
        self.dice = dice
        self.forks = forks
        names = (0..<dice.number(2, 6)).map { [UInt8(ascii: "a") + UInt8($0)] }
        types = dice.chance(60) ? Array(Self.allTypes.prefix(2)) : Self.allTypes
        mortality = dice.pick([0, 20, 60])
    }

    struct Made {
        let command: ModelCommand
        let content: [UInt8]
    }

    func next(_ number: Int, _ store: ModelStore, now: Int64) -> Made {
        let name = dice.pick(names)
        let stream = store.stream(named: name)
        switch dice.below(100) {
        case 0..<18: return create(number, name, store, now)
        case 18..<60:
            // Mostly to streams that are there.
            if stream == nil, dice.chance(70) { return create(number, name, store, now) }
            return append(number, name, stream)
        case 60..<84: return read(number, name, stream)
        case 84..<91: return Made(command: ModelCommand(number: number, name: name, verb: .metadata, body: .none), content: [])
        default: return Made(command: ModelCommand(number: number, name: name, verb: .delete, body: .none), content: [])
        }
    }

    func head(_ number: Int, _ name: [UInt8]) -> Made {
        Made(command: ModelCommand(number: number, name: name, verb: .metadata, body: .none), content: [])
    }

    func read(_ number: Int, _ name: [UInt8], from position: Int) -> Made {
        let request = ReadRequest(start: .position(UInt64(position)), mode: .catchUp)
        return Made(command: ModelCommand(number: number, name: name, verb: .read(request), body: .none), content: [])
    }

    func delete(_ number: Int, _ name: [UInt8]) -> Made {
        Made(command: ModelCommand(number: number, name: name, verb: .delete, body: .none), content: [])
    }

    // MARK: Kinds

    private func create(_ number: Int, _ name: [UInt8], _ store: ModelStore, _ now: Int64) -> Made {
        var fork: ForkRequest?
        if forks, dice.chance(45) { fork = self.fork(store) }
        var type: ContentType? = dice.chance(85) ? dice.pick(types) : nil
        var expiry = Expiry.never
        if dice.chance(mortality) {
            if dice.chance(70) {
                expiry = .timeToLive(seconds: dice.pick([0, 1, 2, 5, 20, 100_000]))
            } else {
                let moment = now + dice.pick([-1_000, 0, 700, 2_000, 10_000, 1_000_000])
                expiry = .at(milliseconds: moment, text: Array("at \(moment)".utf8))
            }
        }
        if let existing = store.stream(named: name), dice.chance(40) {
            // The same again.
            type = ContentType(existing.type)
            expiry = existing.expiry
            if let origin = existing.origin, fork != nil {
                fork = ForkRequest(
                    source: origin.sourceName, offset: origin.givenOffset.map { UInt64($0) }, subOffset: UInt64(origin.subOffset))
            }
        } else if let fork, dice.chance(70) {
            type = dice.chance(50) ? nil : store.stream(named: fork.source).map { ContentType($0.type) }
        }
        let isJSON = type?.isJSON ?? fork.flatMap { store.stream(named: $0.source)?.isJSON } ?? false
        let (body, content) = dice.chance(40) ? (.none, []) : self.body(number, isJSON: isJSON)
        let request = CreateRequest(contentType: type, expiry: expiry, closed: dice.chance(8), fork: fork)
        return Made(command: ModelCommand(number: number, name: name, verb: .create(request), body: body), content: content)
    }

    private func fork(_ store: ModelStore) -> ForkRequest {
        let name = dice.pick(names)
        guard let source = store.stream(named: name) else { return ForkRequest(source: name, offset: nil, subOffset: 0) }
        let offset: Int? = dice.chance(30) ? nil : position(in: source)
        return ForkRequest(source: name, offset: offset.map { UInt64($0) }, subOffset: dice.chance(60) ? 0 : UInt64(dice.below(4)))
    }

    private func append(_ number: Int, _ name: [UInt8], _ stream: ModelStream?) -> Made {
        var type = stream.map { ContentType($0.type) } ?? dice.pick(types)
        if dice.chance(6) { type = dice.pick(Self.allTypes) }
        let closes = dice.chance(7)
        var (body, content) = self.body(number, isJSON: stream?.isJSON ?? type.isJSON)
        if closes, dice.chance(50) { (body, content) = (.none, []) }
        if content.isEmpty, !closes { (body, content) = self.body(number, isJSON: false) }
        var producer: ProducerStamp?
        if dice.chance(35) {
            let id: [UInt8] = [dice.pick([UInt8(ascii: "p"), UInt8(ascii: "q")])]
            let known = stream?.producers[id]
            var epoch = known?.epoch ?? 0
            var sequence = known.map { $0.sequence + 1 } ?? 0
            switch dice.below(10) {
            case 0: (epoch, sequence) = (epoch + 1, UInt64(dice.below(2)))
            case 1: epoch = UInt64(dice.below(3))
            case 2: sequence = sequence > 0 ? sequence - 1 : 0
            case 3: sequence += UInt64(dice.below(3))
            default: break
            }
            producer = ProducerStamp(id: id, epoch: epoch, sequence: sequence)
            // A retry of what closed the stream.
            if let closer = stream?.closedBy, dice.chance(60) { producer = closer }
        }
        let sequence: [UInt8]? = dice.chance(15) ? dice.bytes(1).map { $0 % 6 + 65 } : nil
        let request = AppendRequest(
            contentType: content.isEmpty ? nil : type, hasContent: !content.isEmpty, closes: closes, sequence: sequence,
            producer: producer)
        return Made(command: ModelCommand(number: number, name: name, verb: .append(request), body: body), content: content)
    }

    private func read(_ number: Int, _ name: [UInt8], _ stream: ModelStream?) -> Made {
        let start: ReadRequest.Start =
            switch dice.below(10) {
            case 0, 1: .beginning
            case 2: .now
            default: .position(UInt64(stream.map { position(in: $0) } ?? dice.below(20)))
            }
        let mode: ReadRequest.Mode = dice.chance(55) ? .catchUp : dice.chance(60) ? .longPoll : .events
        let request = ReadRequest(start: start, mode: mode)
        return Made(command: ModelCommand(number: number, name: name, verb: .read(request), body: .none), content: [])
    }

    private func position(in stream: ModelStream) -> Int {
        switch dice.below(10) {
        case 0, 1: stream.tail
        case 2: dice.below(stream.tail + 4)
        case 3: stream.cuts.isEmpty ? 0 : dice.pick(stream.cuts)
        case 4: stream.start
        default: stream.atoms.isEmpty ? 0 : dice.pick(stream.atoms)
        }
    }

    // MARK: Content

    private func body(_ number: Int, isJSON: Bool) -> (ModelCommand.Body, [UInt8]) {
        if !isJSON || dice.chance(5) {
            var bytes = Array("\(number):".utf8)
            bytes += dice.bytes(dice.below(100) == 0 ? 70_000 : dice.pick([0, 3, 10, 30, 60]))
            return (.bytes(bytes), bytes)
        }
        if dice.chance(4) {
            let bytes = Array(dice.pick(["{", "[1,", "nul", "[1]2"]).utf8)
            return (.bytes(bytes), bytes)
        }
        if dice.chance(4) { return (.json(Array("[]".utf8), messages: []), Array("[]".utf8)) }
        let count = dice.chance(60) ? 1 : dice.number(2, 6)
        let texts = (0..<count).map { index -> String in
            switch dice.below(4) {
            case 0: "\(number * 10 + index)"
            case 1: "[\(number),\(index)]"
            case 2: "\"\(number):\(String(repeating: "x", count: dice.below(40)))\""
            default: "{\"n\":\(number)}"
            }
        }
        let plain = count == 1 && !texts[0].hasPrefix("[") && dice.chance(50)
        let content = plain ? texts[0] : "[" + texts.joined(separator: ",") + "]"
        return (.json(Array(content.utf8), messages: texts.map { Array(($0 + ",\n").utf8) }), Array(content.utf8))
    }
}
