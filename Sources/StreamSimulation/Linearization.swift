// Whether the answers seen so far can have come from some order of the commands.
//
//     asked ────────────────────▶ answered            a command takes effect at one moment between the two
//         asked ──────▶ answered
//
// `candidates` are all the ways in which it may have been: a state of the model, and what the commands that have taken effect there but
// are not answered yet will have to be answered. An answer keeps the candidates from which it follows, after any commands under way may
// have taken effect before it. None left: the server has done what no order of the commands explains. Effects are laid as late as
// possible, so there are few candidates.
//
// After a crash the commands that were under way may still have taken effect, until `forgetAbandoned` says that it would have been seen.

import StreamRules

public struct Linearization {
    struct Candidate: Equatable {
        var store: ModelStore
        /// Of commands that have taken effect and are not answered.
        var answers: [Int: ModelAnswer] = [:]
    }

    struct Asked {
        let command: ModelCommand
        let at: Int64
        /// When the server ended before it answered.
        var until: Int64?
    }

    private(set) var candidates: [Candidate]
    private(set) var asked: [Int: Asked] = [:]
    /// Ids of streams with waiting readers.
    var read: Set<UInt64> = []
    private(set) var highWater = 1

    init(chunkSize: Int) { candidates = [Candidate(store: ModelStore(chunkSize: chunkSize))] }

    /// One of the possible states, for making commands that have a chance.
    var anyStore: ModelStore { candidates[0].store }

    mutating func ask(_ command: ModelCommand, at time: Int64) { asked[command.number] = Asked(command: command, at: time) }

    /// False when no order explains the answer.
    mutating func answer(_ number: Int, _ seen: ModelAnswer, at time: Int64) -> Bool {
        guard let asked = asked.removeValue(forKey: number) else { return false }
        var found: [Candidate] = []
        for candidate in candidates {
            if let due = candidate.answers[number] {
                var candidate = candidate
                if due.matches(seen, ids: &candidate.store.ids) {
                    candidate.answers[number] = nil
                    Self.add(candidate, to: &found)
                }
                continue
            }
            extend(candidate, for: asked, names: names(of: asked.command), at: time, &found) { candidate in
                results(of: asked.command, on: candidate, at: asked.at...time).compactMap { result in
                    var next = Candidate(store: result.store, answers: candidate.answers)
                    return result.answer.matches(seen, ids: &next.store.ids) ? next : nil
                }
            }
        }
        guard take(found) else { return false }
        if let renewed = seen.renewed { change { $0.renewalLasts(renewed, at: asked.at) } }
        return true
    }

    /// The command was refused without anything having been done, because the server could not.
    mutating func refuse(_ number: Int, at time: Int64) -> Bool {
        guard let asked = asked.removeValue(forKey: number) else { return false }
        var found: [Candidate] = []
        for var candidate in candidates where candidate.answers[number] == nil {
            candidate.store.mayBeRenewed(asked.command.name, until: time)
            Self.add(candidate, to: &found)
        }
        return take(found)
    }

    /// Something was seen of the stream with this id that follows from the states for which `result` gives any.
    mutating func observe(_ id: UInt64, at time: Int64, _ result: (ModelStore) -> [ModelStore]) -> Bool {
        var found: [Candidate] = []
        for candidate in candidates {
            guard let life = candidate.store.ids.first(where: { $0.value == id })?.key else { continue }
            let name = candidate.store.stream(life)?.name ?? []
            extend(candidate, for: nil, names: [name], at: time, &found) { candidate in
                result(candidate.store).map { Candidate(store: $0, answers: candidate.answers) }
            }
        }
        return take(found)
    }

    mutating func change(_ body: (inout ModelStore) -> Void) {
        var found: [Candidate] = []
        for var candidate in candidates {
            body(&candidate.store)
            Self.add(candidate, to: &found)
        }
        candidates = found
    }

    mutating func crash(at time: Int64) {
        for (number, command) in asked where command.until == nil { asked[number]!.until = time }
        let touched = Set(asked.values.flatMap { names(of: $0.command) })
        read = []
        change { $0.crashed(at: time, touched: touched) }
    }

    /// The commands that the server ended before answering have had their effect by now, or have none.
    mutating func forgetAbandoned() {
        let abandoned = asked.filter { $0.value.until != nil }.map(\.key)
        if abandoned.isEmpty { return }
        for number in abandoned { asked[number] = nil }
        var found: [Candidate] = []
        for var candidate in candidates {
            for number in abandoned { candidate.answers[number] = nil }
            Self.add(candidate, to: &found)
        }
        candidates = found
    }

    // MARK: Orders

    private mutating func take(_ found: [Candidate]) -> Bool {
        if found.isEmpty { return false }
        candidates = found
        highWater = max(highWater, found.count)
        return true
    }

    private static func add(_ candidate: Candidate, to found: inout [Candidate]) {
        if !found.contains(candidate) { found.append(candidate) }
    }

    private func names(of command: ModelCommand) -> [[UInt8]] {
        if case .create(let request) = command.verb, let fork = request.fork { return [command.name, fork.source] }
        return [command.name]
    }

    /// Lets any commands under way that have to do with `names` take effect, in any order, and then `last`, which is what `goal` does.
    private func extend(
        _ candidate: Candidate, for goal: Asked?, names: [[UInt8]], at time: Int64, _ found: inout [Candidate],
        last: (Candidate) -> [Candidate]
    ) {
        let direct = last(candidate)
        for next in direct { Self.add(next, to: &found) }
        let others = related(candidate, names)
        if others.isEmpty { return }
        walk(candidate, others, [], direct, for: goal, at: time, &found, last: last)
    }

    private func walk(
        _ candidate: Candidate, _ others: [Int], _ path: [Int], _ direct: [Candidate], for goal: Asked?, at time: Int64,
        _ found: inout [Candidate], last: (Candidate) -> [Candidate]
    ) {
        for number in others {
            let rest = others.filter { $0 != number }
            for next in effects(of: number, on: candidate, at: time, before: goal) {
                for reached in last(next) where !isReached(reached, from: direct, by: path + [number], at: time) {
                    Self.add(reached, to: &found)
                }
                if !rest.isEmpty { walk(next, rest, path + [number], direct, for: goal, at: time, &found, last: last) }
            }
        }
    }

    private func effects(of number: Int, on candidate: Candidate, at time: Int64, before goal: Asked? = nil) -> [Candidate] {
        let asked = asked[number]!
        let end = max(asked.at, asked.until ?? time)
        return results(of: asked.command, on: candidate, at: asked.at...end, before: goal).map { result in
            var next = Candidate(store: result.store, answers: candidate.answers)
            next.answers[number] = result.answer
            return next
        }
    }

    /// A command that is under way renews when it is accepted, and reads or is seen when that is durable: so what comes between the two
    /// finds the stream renewed, and not what the command does.
    private func results(
        of command: ModelCommand, on candidate: Candidate, at time: ClosedRange<Int64>, before goal: Asked? = nil
    ) -> [ModelStore.Result] {
        var store = candidate.store
        for name in names(of: command) {
            var underWay = asked.filter { candidate.answers[$0.key] == nil }.map(\.value.command)
            if let goal { underWay.append(goal.command) }
            let mayBeRenewed = underWay.contains { other in
                guard other.number != command.number, other.name == name else { return false }
                switch other.verb {
                case .read, .create, .append: return true
                case .metadata, .delete: return false
                }
            }
            if mayBeRenewed { store.mayBeRenewed(name, until: time.upperBound) }
        }
        return store.apply(command, at: time, read: read)
    }

    /// Whether the same is reached when the commands of `path` take effect afterwards: then they may as well wait.
    private func isReached(_ goal: Candidate, from starts: [Candidate], by path: [Int], at time: Int64) -> Bool {
        var front = starts
        for number in path { front = front.flatMap { effects(of: number, on: $0, at: time) } }
        return front.contains(goal)
    }

    /// Commands under way that may bear on what is known of `names`.
    private func related(_ candidate: Candidate, _ names: [[UInt8]]) -> [Int] {
        let open = asked.filter { candidate.answers[$0.key] == nil }
        if open.isEmpty { return [] }
        var family = candidate.store.family(of: Set(names))
        var taken: Set<Int> = []
        while let next = open.first(where: { entry in
            !taken.contains(entry.key) && self.names(of: entry.value.command).contains { family.contains($0) }
        }) {
            taken.insert(next.key)
            family = candidate.store.family(of: family.union(self.names(of: next.value.command)))
        }
        return taken.sorted()
    }
}
