// How the process's file descriptors are shared out: some in reserve (standard streams, epoll, eventfd, timerfd, signalfd, listeners,
// journal, catalog, lock), up to a quarter for the cache of open segments, the rest for connections.
//
//     |reserve|  segments (≤ ¼)  |            connections            |
//     0                                                    RLIMIT_NOFILE

import Glibc

/// The number of connections and of cached files that the descriptor limit allows.
public struct DescriptorBudget: Sendable, Equatable {
    /// Descriptors that are neither a connection nor a cached segment.
    public static let reserve = 64
    /// The most connections that are allowed when nothing is configured: each has a slot whether the limit is finite or not.
    public static let automaticConnectionCeiling = 1 << 20

    /// The most connections, at least 1.
    public let connections: Int
    /// The most cached segment files, at least 1.
    public let cachedFiles: Int

    /// - Parameter descriptors: the soft limit of `RLIMIT_NOFILE`.
    public init(settings: Settings, descriptors: Int) {
        cachedFiles = max(1, min(settings.descriptorCache, descriptors / 4))
        let available = max(1, descriptors - Self.reserve - cachedFiles)
        connections = min(available, settings.connectionLimit == 0 ? Self.automaticConnectionCeiling : settings.connectionLimit)
    }

    /// The soft limit of `RLIMIT_NOFILE` (getrlimit(2)); `Int.max` when there is none.
    public static func descriptorLimit() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        return Int(clamping: limit.rlim_cur)
    }
}
