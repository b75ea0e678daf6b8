// StreamAppender: appends that are stored exactly once, whatever happens to the connection (PROTOCOL.md section 3 "Idempotent producers").
//
// Every append carries the producer's id (random, so nobody else's), epoch 0 and the next sequence number. One request is in flight at a
// time, and it is repeated with the same number until the server's answer is final:
//
//     200, 204      stored now, or a duplicate of what was stored before the answer got lost    → next number
//     5xx, 408, 429, no answer                                                                   → wait, send again
//     403 + Producer-Epoch, 409 + Producer-Expected-Seq, 409 + Stream-Closed, any other          → failure that says which

public final class StreamAppender {
    private let session: HTTPSession
    private let address: StreamAddress
    private let contentType: String
    private let producer: String
    private var sequence = 0
    private var policy: RetryPolicy
    /// The tail after the last append, if the server said.
    public private(set) var offset: String?

    /// - Parameter producer: unique to this appender; tests name it.
    public init(session: HTTPSession, address: StreamAddress, contentType: String, policy: RetryPolicy, producer: String? = nil) {
        self.session = session
        self.address = address
        self.contentType = contentType
        self.policy = policy
        self.producer = producer ?? Self.randomName()
    }

    /// Appends one body, and closes the stream with it if asked to.
    /// - Parameter order: `Stream-Seq`.
    /// - Throws: `refused`, `unreachable`, `badInput`, `interrupted`.
    public func append(_ body: [UInt8], closing: Bool = false, order: String? = nil) throws(ClientFailure) {
        precondition(!body.isEmpty, "an append has a body")
        var fields = [
            try HeaderField(name: "Content-Type", value: contentType, from: "content type"), HeaderField("Producer-Id", producer),
            HeaderField("Producer-Epoch", "0"), HeaderField("Producer-Seq", "\(sequence)"),
        ]
        if closing { fields.append(HeaderField("Stream-Closed", "true")) }
        if let order { fields.append(try HeaderField(name: "Stream-Seq", value: order, from: "--seq")) }
        let answer = try session.send(HTTPRequest(.post, address.url, fields: fields, body: body), retrying: &policy)
        guard answer.isSuccess else { throw explained(answer) }
        sequence += 1
        offset = answer.nextOffset ?? offset
    }

    /// Closes the stream without an append. Repeating it does no harm, so it needs no number.
    public func close() throws(ClientFailure) {
        let answer = try session.send(Self.closeRequest(address), retrying: &policy)
        guard answer.isSuccess else { throw answer.failure }
        offset = answer.nextOffset ?? offset
    }

    public static func closeRequest(_ address: StreamAddress) -> HTTPRequest {
        HTTPRequest(.post, address.url, fields: [HeaderField("Stream-Closed", "true")])
    }

    private func explained(_ answer: HTTPAnswer) -> ClientFailure {
        let own: String
        switch answer.status {
        case 403:
            guard let epoch = answer["producer-epoch"] else { return answer.failure }
            own = "another writer took over this producer id with epoch \(epoch)"
        case 409:
            if let expected = answer["producer-expected-seq"] {
                let received = answer["producer-received-seq"] ?? "\(sequence)"
                own = "the server lost count of this producer (expected sequence number \(expected), received \(received))"
            } else if answer.isClosed {
                own = "the stream is closed"
            } else {
                return answer.failure
            }
        default: return answer.failure
        }
        return .refused(status: answer.status, text: answer.text.isEmpty ? own : "\(own): \(answer.text)")
    }

    private static func randomName() -> String {
        var name = "durable-streams-"
        for _ in 0..<2 {
            let digits = String(UInt64.random(in: .min ... .max), radix: 16)
            name += String(repeating: "0", count: 16 - digits.count) + digits
        }
        return name
    }
}
