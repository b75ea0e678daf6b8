// StreamType: which content type a writer's appends carry, settled before the first of them.
//
//     given        --create   requests
//     yes          no         none
//     no           no         HEAD                         its Content-Type; 404 is a failure
//     yes or no    yes        HEAD, and on 404 PUT         a PUT refused with 409 lost a race: somebody else has just created it

public struct StreamType {
    static let byDefault = "application/octet-stream"

    private let session: HTTPSession
    private let address: StreamAddress
    private let policy: RetryPolicy

    public init(session: HTTPSession, address: StreamAddress, policy: RetryPolicy) {
        self.session = session
        self.address = address
        self.policy = policy
    }

    /// - Throws: `refused`, `unreachable`, `badInput`, `interrupted`.
    public func settle(given: String?, creating: Bool) throws(ClientFailure) -> String {
        if let given, !creating { return given }
        var policy = policy
        var answer = try session.send(HTTPRequest(.head, address.url), retrying: &policy)
        if answer.status == 404, creating {
            let fields = try given.map { type throws(ClientFailure) in
                [try HeaderField(name: "Content-Type", value: type, from: "content type")]
            }
            answer = try session.send(HTTPRequest(.put, address.url, fields: fields ?? []), retrying: &policy)
            if answer.status == 409 { answer = try session.send(HTTPRequest(.head, address.url), retrying: &policy) }
        }
        guard answer.isSuccess else { throw answer.failure }
        return given ?? answer["content-type"] ?? Self.byDefault
    }
}
