// What is known of a request while it is being served, and its content as it arrives.

import HTTPWire
import StreamHTTP

/// What is known of a request while it is being served.
final class PendingRequest {
    /// nil: it is answered without a stream.
    let asked: StreamRequest?
    let context: ResponseContext
    let keepAlive: Bool
    let minorVersion: Int
    let problem: Problem?
    var body: BodyReceiver
    /// When the last byte of the body came, and since when its rate is measured (monotonic ms).
    var lastByteAt: Int64 = 0
    var rateSince: Int64 = 0
    /// Bytes that had arrived then.
    var receivedBefore = 0
    /// For the access log, when it is on: method and target, and when the request began.
    var accessLine: String?
    var began: Int64 = 0
    /// The bytes of the body that have arrived, until the request is answered.
    var held: PeerCharge
    /// It brings content for a stream, which is held until that has had its turn.
    var bringsContent = false
    /// A long head stays here with the request: so many bytes of it are counted.
    var headBytes = 0
    /// The content lies whole behind the head in the buffer: so many bytes, and no receiver is needed.
    var inPlaceCount = 0

    init(
        _ asked: StreamRequest?, context: ResponseContext, keepAlive: Bool, minorVersion: Int, problem: Problem?, body: BodyReceiver,
        client: PeerShare
    ) {
        held = PeerCharge(client)
        self.asked = asked
        self.context = context
        self.keepAlive = keepAlive
        self.minorVersion = minorVersion
        self.problem = problem
        self.body = body
    }

    /// Whether a wait can go on without it: nothing in it that the answer depends on, but the cursor and `offset=now`.
    var isPlain: Bool {
        keepAlive && minorVersion == 1 && accessLine == nil && held.bytes == headBytes && !context.headOnly
            && context.isPlain
    }
}
