// The suggestion behind "did you mean": the known name with the fewest edits (insert, delete, replace, swap of neighbours), if that is
// at most a third of its length, or a known name that the given one extends or abbreviates.

enum NearestName {
    /// The known name nearest to `name`, nil if none is near. Ties go to the first in the list.
    static func find(_ name: String, in known: [String]) -> String? {
        let given = fold(name)
        if given.isEmpty || given.count > 100 { return nil }
        var best: (name: String, distance: Int)?
        for candidate in known {
            let folded = fold(candidate)
            let distance = edits(given, folded)
            if distance * 3 <= max(3, folded.count), distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        if let best { return best.name }
        return given.count < 4 ? nil : known.first { fold($0).starts(with: given) || given.starts(with: fold($0)) }
    }

    /// Lower case with separators left out, so that `longPollTimeout` and `long_poll_timeout` are near `long-poll-timeout`.
    private static func fold(_ name: String) -> [UInt8] {
        name.lowercased().utf8.filter { $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: "_") }
    }

    /// The number of edits between two byte strings (optimal string alignment).
    static func edits(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...b.count)
        for i in 0..<a.count {
            var row = [i + 1]
            row.reserveCapacity(b.count + 1)
            for j in 0..<b.count {
                var cost = min(row[j] + 1, last[j + 1] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, beforeLast[j - 1] + 1) }
                row.append(cost)
            }
            (beforeLast, last) = (last, row)
        }
        return last[b.count]
    }
}
