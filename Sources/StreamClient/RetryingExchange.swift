// RetryingExchange: the same request sent until a final answer comes, for requests that may be sent twice without harm.

extension HTTPSession {
    /// - Returns: an answer whose status no waiting would change; not necessarily a success.
    /// - Throws: `unreachable` when no answer came while the policy allowed trying; `refused` when the last one was transient; `interrupted`.
    func send(_ request: HTTPRequest, retrying policy: inout RetryPolicy) throws(ClientFailure) -> HTTPAnswer {
        while true {
            let failure: ClientFailure
            var retryAfter: Int?
            switch try perform(request) {
            case .answered(let answer), .stopped(let answer):
                guard answer.isTransient else {
                    policy.succeeded()
                    return answer
                }
                failure = answer.failure
                retryAfter = answer.retryAfter
            case .lost(let loss):
                failure = .unreachable(loss.reason)
                guard loss.isTransient else { throw failure }
                retryAfter = loss.answer?.retryAfter
            }
            try backOff(after: failure, retryAfter: retryAfter, policy: &policy)
        }
    }

    /// Sends once; the commands that a person types one at a time do not wait for a server to come back.
    /// - Throws: `unreachable`, `refused`, `interrupted`.
    public func sendOnce(_ request: HTTPRequest) throws(ClientFailure) -> HTTPAnswer {
        switch try perform(request) {
        case .answered(let answer), .stopped(let answer):
            guard answer.isSuccess else { throw answer.failure }
            return answer
        case .lost(let loss): throw .unreachable(loss.reason)
        }
    }

    /// Waits as the policy decides, or throws the failure. The first wait of a row is told to the user.
    func backOff(after failure: ClientFailure, retryAfter: Int?, policy: inout RetryPolicy) throws(ClientFailure) {
        let isFirst = policy.isCalm
        switch policy.failed(at: time.now(), retryAfter: retryAfter, chance: .random(in: .min ... .max)) {
        case .giveUp: throw failure
        case .wait(let milliseconds):
            note("\(failure.message ?? "failed"); trying again for up to \(policy.retryFor / 1000) s", isFirst)
            try pause(milliseconds: milliseconds)
        }
    }
}
