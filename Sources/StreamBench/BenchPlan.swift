// What is to be measured: the options, checked before anything is sent.

public struct BenchPlan: Sendable {
    public enum Workload: String, CaseIterable, Sendable {
        case append, create, read
        case catchUp = "catch-up"
        case longPoll = "long-poll"
        case sse
        case fanOut = "fan-out"
        case mixed, get

        /// Readers that wait, and writers whose appends they receive.
        var isLive: Bool { self == .longPoll || self == .sse || self == .fanOut }
        var appends: Bool { self == .append || self == .mixed || isLive }
    }

    public enum Live: String, CaseIterable, Sendable {
        case sse
        case longPoll = "long-poll"
    }

    public var workload: Workload
    public var target: BenchTarget
    /// Sent with every request; names and values are well formed.
    public var fields: [(name: String, value: String)] = []

    /// Connections that send requests. Live workloads have one for each stream.
    public var connections: Int?
    public var streams = 1
    /// Bytes of one message; of the whole stream in catch-up.
    public var size: Int?
    /// Messages in one request; more than one needs JSON.
    public var batch = 1
    public var jsonMessages = false
    /// Each connection is an idempotent producer.
    public var producers = false
    public var readers: Int?
    public var live: Live?

    /// Operations per second, all connections together: the open loop.
    public var rate: Double?
    /// Milliseconds, as all durations here.
    public var duration = 5000
    public var warmUp = 1000
    /// Instead of the duration.
    public var operations: Int?
    public var runs = 1
    public var timeout = 10_000
    /// In fan-out, from the last receipt of an append to the next append.
    public var pause: Int?
    /// Connections being opened at the same time.
    public var burst = 256
    public var serverPID: Int32?
    public var keep = false

    public init(workload: Workload, target: BenchTarget) {
        self.workload = workload
        self.target = target
    }

    var connectionCount: Int { workload.isLive ? streams : connections ?? 64 }
    var readerCount: Int { workload.isLive ? readers ?? (workload == .fanOut ? 100 : streams) : 0 }
    var messageSize: Int {
        switch workload {
        case .read: size ?? 1024
        case .catchUp: size ?? 1 << 20
        case .create: size ?? 0
        default: size ?? 100
        }
    }
    var pauseMilliseconds: Int { pause ?? 250 }
    var liveMode: Live { workload == .longPoll ? .longPoll : workload == .sse ? .sse : live ?? .sse }

    /// The first thing that is wrong with the options, as a sentence for who typed them.
    public var problem: String? {
        for (name, value, range) in [
            ("--streams", streams, 1...10_000_000), ("--batch", batch, 1...100_000), ("--repeat", runs, 1...1000),
            ("--burst", burst, 1...1_000_000), ("--connections", connections ?? 1, 1...1_000_000),
            ("--readers", readers ?? 1, 1...1_000_000),
            ("--operations", operations ?? 1, 1...1_000_000_000), ("--size", size ?? 1, 1...16 << 30),
        ] where !range.contains(value) {
            return "\(name) must be from \(range.lowerBound) to \(range.upperBound)."
        }
        if duration < 10, operations == nil { return "--duration must be at least 10ms." }
        if timeout < 10 { return "--timeout must be at least 10ms." }
        if let rate, !(rate > 0 && rate <= 10_000_000) { return "--rate must be above 0 and at most 10000000." }
        if workload.isLive, connections != nil {
            return "\(workload.rawValue) has one writing connection for each stream; give --streams and --readers instead of --connections."
        }
        if readers != nil, !workload.isLive { return "--readers is for long-poll, sse and fan-out." }
        if live != nil, workload != .fanOut { return "--live is for fan-out; \(workload.rawValue) needs no such choice." }
        if pause != nil, workload != .fanOut { return "--pause is for fan-out." }
        if workload == .fanOut, streams != 1 { return "fan-out has one stream." }
        if workload == .fanOut, rate != nil {
            return "fan-out sends an append when the last one has reached all; give --pause instead of --rate."
        }
        if workload.isLive, readerCount < streams { return "--readers must be at least --streams, so that each stream is read." }
        if workload.isLive, jsonMessages {
            return "--json-messages is not for \(workload.rawValue), where bytes are counted to tell the appends apart."
        }
        if batch > 1, !jsonMessages {
            return "--batch puts several messages into one request, which only JSON streams have: add --json-messages."
        }
        if batch > 1, workload != .append { return "--batch is for append." }
        if producers, !workload.appends { return "--producers is for workloads that append." }
        if jsonMessages, messageSize < 2, workload != .create || messageSize == 1 { return "--size of a JSON message must be at least 2." }
        if workload == .get, size != nil || jsonMessages || streams != 1 {
            return "get reads the URL as it is; it has no --size, --streams or --json-messages."
        }
        if workload.appends || workload == .read, messageSize > 64 << 20 { return "--size of one message must be at most 64MiB." }
        return nil
    }
}

/// The server, and the path below which the streams live.
public struct BenchTarget: Sendable, Equatable {
    /// Without brackets.
    public let host: String
    public let port: UInt16
    /// As it goes into the Host field.
    public let authority: String
    /// Begins with `/`; with the query. Without a trailing `/`, so it is empty for the root, except that `get` asks for `/` then.
    public let path: String

    /// - Parameter url: `http://host[:port][/path]`.
    /// - Throws: what is wrong with it, as a sentence.
    public init(url: String) throws(BenchFailure) {
        guard !url.lowercased().hasPrefix("https://") else {
            throw BenchFailure(.usage, "\(url): bench speaks plain HTTP only; give it the http:// address behind the TLS proxy")
        }
        guard url.lowercased().hasPrefix("http://") else { throw BenchFailure(.usage, "\(url): expected http://HOST[:PORT]/PATH") }
        guard url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "#") }) else {
            throw BenchFailure(.usage, "\(url): a URL holds no spaces, no fragment and no characters outside ASCII")
        }
        let rest = url.dropFirst("http://".count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        var path = rest[authority.endIndex...]
        if path.first == "?" { throw BenchFailure(.usage, "\(url): expected a / before the query") }
        while path.last == "/" { path.removeLast() }
        self.path = String(path)
        var host = authority
        var port: UInt16? = 80
        if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
            host = authority[..<colon]
            port = UInt16(authority[authority.index(after: colon)...])
        }
        if host.first == "[", host.last == "]" { host = host.dropFirst().dropLast() }
        guard let port, port > 0, !host.isEmpty, !host.contains("@") else {
            throw BenchFailure(.usage, "\(url): expected http://HOST[:PORT]/PATH")
        }
        self.host = String(host)
        self.port = port
        self.authority = String(authority)
    }
}

/// Why nothing could be measured.
public struct BenchFailure: Error, Sendable {
    public enum Kind: Sendable { case usage, refused, unreachable }
    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }
}
