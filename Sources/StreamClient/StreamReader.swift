// StreamReader: a stream from an offset on, printed as it comes, across answers, connections and servers that restart.
//
//     ReadProgress ──parameters──▶ HTTPSession ──pieces──▶ AnswerPrinter ──▶ output
//          ▲                                                    │
//          └──────────────── advance (head, or control event) ◀─┘
//
// A server that has never answered is not waited for; once it has, a lost connection and a transient refusal are tried again until the
// retry policy gives up. A live read that stays silent for its patience is asked anew without counting as a failure.

public final class StreamReader {
    public struct Options: Sendable {
        public var offset = "-1"
        public var isFollowing = true
        public var isSSE = false
        /// JSON arrays as the server sends them, instead of one message per line.
        public var isRaw = false
        public init() {}
    }

    public enum End: Equatable, Sendable { case closed, upToDate }

    /// Answers that bring nothing, or leave the offset where it is, come at most this often, in milliseconds, whatever the server does.
    static let shortestPoll = 100
    /// The longest reconnection time that an event stream can ask for, in milliseconds.
    static let longestReconnection = 30_000

    private let session: HTTPSession
    private let address: StreamAddress
    private let isRaw: Bool
    private let output: (UnsafeRawBufferPointer) throws(ClientFailure) -> Void
    private var policy: RetryPolicy
    private var progress: ReadProgress
    private var hasAnswered = false

    public init(
        session: HTTPSession, address: StreamAddress, options: Options, policy: RetryPolicy,
        output: @escaping (UnsafeRawBufferPointer) throws(ClientFailure) -> Void
    ) {
        self.session = session
        self.address = address
        self.policy = policy
        self.output = output
        isRaw = options.isRaw
        progress = ReadProgress(
            offset: options.offset, isFollowing: options.isFollowing, transport: options.isSSE ? .serverSentEvents : .longPoll)
    }

    /// Where a later read would go on.
    public var nextOffset: String { progress.offset }

    /// - Throws: every failure but `badInput`.
    public func run() throws(ClientFailure) -> End {
        // An event stream hides the stream's own content type.
        let isJSON = progress.transport == .serverSentEvents ? try askForJSON() : false
        while true {
            if case .ended(let closed) = progress.phase { return closed ? .closed : .upToDate }
            if progress.phase == .live, progress.transport == .serverSentEvents {
                try readEvents(isJSON: isJSON)
            } else {
                try readAnswer()
            }
        }
    }

    private func askForJSON() throws(ClientFailure) -> Bool {
        while true {
            let exchange = try session.perform(HTTPRequest(.head, address.url))
            if let answer = try accepted(exchange) { return answer.isJSON }
        }
    }

    /// One catch-up or long-poll request.
    private func readAnswer() throws(ClientFailure) {
        progress.begin()
        let isLive = progress.phase == .live
        let printer = AnswerPrinter(isRaw: isRaw, output: output)
        let began = session.time.now()
        var hasPrinted = false
        let exchange = try session.perform(request(isLive: isLive)) { [self] answer, bytes throws(ClientFailure) in
            hasPrinted = true
            try printer.print(bytes, of: answer, progress: &progress)
            return .more
        }
        if hasPrinted { policy.succeeded() }
        guard let answer = try accepted(exchange) else { return }
        try printer.finish()
        guard let next = answer.nextOffset ?? (answer.status == 204 ? progress.offset : nil) else {
            throw .badAnswer("the answer has no Stream-Next-Offset; is \(address.url) a durable stream?")
        }
        let moved = progress.advance(to: next, cursor: answer["stream-cursor"], isUpToDate: answer.isUpToDate, isClosed: answer.isClosed)
        try pace(isLive: isLive, moved: moved, began: began)
    }

    /// One SSE connection. Data is printed when the control event behind it has said where it ends, so nothing is printed twice.
    private func readEvents(isJSON: Bool) throws(ClientFailure) {
        progress.begin()
        let began = session.time.now()
        let printer = EventPrinter(isJSON: isJSON, isRaw: isRaw, output: output)
        var moved = false
        var request = request(isLive: true)
        request.fields.append(HeaderField("Accept", "text/event-stream"))
        let exchange = try session.perform(request) { [self] answer, bytes throws(ClientFailure) in
            try printer.feed(bytes, of: answer) { control throws(ClientFailure) in
                if progress.advance(
                    to: control.nextOffset, cursor: control.cursor, isUpToDate: control.isUpToDate, isClosed: control.isClosed)
                {
                    moved = true
                }
                policy.succeeded()
                hasAnswered = true
            }
            if case .ended = progress.phase { return .enough }
            return .more
        }
        guard try accepted(exchange) != nil else { return }
        if case .ended = progress.phase { return }
        if let asked = printer.reconnectionTime { try session.pause(milliseconds: min(asked, Self.longestReconnection)) }
        try pace(isLive: true, moved: moved, began: began)
    }

    private func request(isLive: Bool) -> HTTPRequest {
        HTTPRequest(
            .get, address.adding(progress.parameters), patience: isLive ? HTTPRequest.livePatience : HTTPRequest.patience)
    }

    private func pace(isLive: Bool, moved: Bool, began: Int) throws(ClientFailure) {
        // From the end of catching up to the first live request there is nothing to wait for.
        guard !moved, isLive ? progress.phase == .live : progress.phase == .catchingUp else { return }
        let rest = Self.shortestPoll - (session.time.now() - began)
        if rest > 0 { try session.pause(milliseconds: rest) }
    }

    /// The answer if it is a success; nil, after the due wait, if the request is to be sent again.
    private func accepted(_ exchange: Exchange) throws(ClientFailure) -> HTTPAnswer? {
        let failure: ClientFailure
        var retryAfter: Int?
        switch exchange {
        case .answered(let answer), .stopped(let answer):
            hasAnswered = true
            if answer.isSuccess {
                policy.succeeded()
                return answer
            }
            guard answer.isTransient else { throw answer.failure }
            failure = answer.failure
            retryAfter = answer.retryAfter
        case .lost(let loss):
            if loss.answer?.isSuccess == true { hasAnswered = true }
            failure = .unreachable(loss.reason)
            guard loss.isTransient, hasAnswered else { throw failure }
            if loss.isTimeout, progress.phase == .live, loss.answer?.isSuccess ?? true, policy.isCalm {
                return nil
            }
            retryAfter = loss.answer?.retryAfter
        }
        try session.backOff(after: failure, retryAfter: retryAfter, policy: &policy)
        return nil
    }
}
