// What a stream's life is, and what only counts in one part of it.
//
//     creating ─commit─▶ present ─end accepted─▶ ending ─commit─▶ gone
//                                                  └ with forks ─commit─▶ retained ─last fork gone─▶ ending ─commit─▶ gone
//
// A call that meets `creating` (reads) or `ending` (all but reads) waits for the commit and is then executed anew.

enum StreamLife {
    /// Its create record is not durable.
    case creating
    case present
    /// The record of its end has been accepted and is not durable.
    case ending(Ending)
    /// It has ended and is kept for its forks.
    case retained
    case gone

    struct Ending {
        /// The end is durable with this record.
        let lsn: UInt64
        /// It becomes `retained`, and otherwise `gone`.
        let keepsForForks: Bool
        /// How it is seen until then.
        var seen: Seen
    }

    enum Seen {
        /// Not yet: its create record is not durable either.
        case unborn
        /// As it was.
        case whole
        /// No longer: its time was over.
        case expired
        /// As what is kept for forks.
        case retained
    }

    /// It takes calls.
    var isOpen: Bool {
        switch self {
        case .creating, .present: true
        case .ending, .retained, .gone: false
        }
    }

    var isGone: Bool { if case .gone = self { true } else { false } }
    var isPresent: Bool { if case .present = self { true } else { false } }
    var isRetained: Bool { if case .retained = self { true } else { false } }

    /// Nobody reads it: it is kept for its forks, or was.
    var isSeenAsRetained: Bool {
        switch self {
        case .retained: true
        case .ending(let ending): ending.seen == .retained
        case .creating, .present, .gone: false
        }
    }

    /// It has ended or is about to, and its bytes stay for forks.
    var isKeptForForks: Bool {
        switch self {
        case .retained: true
        case .ending(let ending): ending.keepsForForks
        case .creating, .present, .gone: false
        }
    }

    /// How it is seen from the moment on at which an end is accepted.
    func seen(expired: Bool) -> Seen {
        switch self {
        case .creating: expired ? .expired : .unborn
        case .present: expired ? .expired : .whole
        case .ending, .retained, .gone: .retained
        }
    }

    /// The first of its records is durable.
    mutating func becomesBorn() {
        switch self {
        case .creating: self = .present
        case .ending(var ending):
            if ending.seen == .unborn { ending.seen = .whole }
            self = .ending(ending)
        case .present, .retained, .gone: break
        }
    }
}
