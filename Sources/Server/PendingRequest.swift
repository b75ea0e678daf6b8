// What is known of a request while it is being served, and its content as it arrives.

import HTTPWire
import StreamHTTP

final class PendingRequest {
    /// What becomes of it when its content is here.
    enum Subject {
        case stream(StreamRequest)
        case control(ControlRequest)
        case preflight
        case problem(Problem)
        /// It is being answered already.
        case none
    }

    let subject: Subject
    let context: ResponseContext
    let keepAlive: Bool
    let minorVersion: Int
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
        _ subject: Subject, context: ResponseContext, keepAlive: Bool, minorVersion: Int, body: BodyReceiver = .nothing, client: PeerShare
    ) {
        held = PeerCharge(client)
        self.subject = subject
        self.context = context
        self.keepAlive = keepAlive
        self.minorVersion = minorVersion
        self.body = body
    }

    /// What is asked of a stream.
    var asked: StreamRequest? { if case .stream(let asked) = subject { asked } else { nil } }

    /// Whether a wait can go on without it: nothing in it that the answer depends on, but the cursor and `offset=now`.
    var isPlain: Bool {
        keepAlive && minorVersion == 1 && accessLine == nil && held.bytes == headBytes && !context.headOnly
            && context.isPlain
    }
}
