// One request and its answer on an HTTP/2 connection.
//
//     request     head ──▶ data … ──▶ end          (a head alone may be the end)
//     answer      [1xx …] ──▶ head ──▶ produced data … ──▶ end
//     and at any time: closed, with a code; afterwards every call does nothing
//
// Flow control is by need in both directions. What has come counts against the windows until the handler calls `consume`; what is to
// go is asked of the handler (`produce`) when the windows are open and the connection's turn comes, one frame at a time, and a handler
// that has nothing now says so and calls `resume` later. So a stream that nobody reads holds one window of the request and nothing of the
// answer, and delays no other.

import CNGHTTP2

/// What a handler gave to be sent.
public enum HTTP2Production: Sendable, Equatable {
    /// So many bytes, at least one, and there is more to come.
    case bytes(Int)
    /// Nothing now; the handler calls ``HTTP2Stream/resume()`` when there is.
    case deferred
    /// So many bytes, perhaps none, and the answer ends with them.
    case end(Int)
    /// The answer cannot be completed: the stream is reset with INTERNAL_ERROR.
    case failed
}

/// What takes a stream's content and gives its answer's. Called only from within ``HTTP2Session/receive(_:now:)``, ``HTTP2Session/send(into:)``
/// and ``HTTP2Session/close()``.
public protocol HTTP2StreamHandler: AnyObject {
    /// Content of the request; the bytes live until this returns. They are counted until ``HTTP2Stream/consume(_:)`` is called for them.
    func received(_ bytes: UnsafeRawBufferPointer, on stream: HTTP2Stream)

    /// The request is complete; trailers, if there were any, have been checked and dropped. Not called when the head was the end.
    func requestEnded(on stream: HTTP2Stream)

    /// Writes the answer's next bytes to `buffer`, which is what the windows have room for, at most one frame.
    func produce(into buffer: UnsafeMutableRawBufferPointer, on stream: HTTP2Stream) -> HTTP2Production

    /// The stream is over: 0 when both sides have ended it in order, else why (RFC 9113 7). The last call.
    func closed(_ stream: HTTP2Stream, code: UInt32)
}

/// One stream; confined to its session's thread.
public final class HTTP2Stream {
    public let identifier: Int32
    unowned(unsafe) let session: HTTP2Session
    /// Who takes the content and makes the answer; set by the session's delegate with the head. Content that nobody takes is dropped.
    public var handler: (any HTTP2StreamHandler)?
    public internal(set) var isClosed = false
    /// The peer has sent all of the request.
    public internal(set) var requestHasEnded = false
    public private(set) var responseHasBegun = false
    /// We have reset it of our own accord, which is no fault of the peer.
    var isReset = false
    /// Bytes received and not consumed.
    var unconsumed = 0
    /// The handler has deferred because the windows leave room for a few bytes only: it is asked again when they have grown.
    public var awaitsWindow = false {
        didSet { if awaitsWindow != oldValue { session.windowWaits += awaitsWindow ? 1 : -1 } }
    }

    init(_ identifier: Int32, _ session: HTTP2Session) {
        self.identifier = identifier
        self.session = session
    }

    /// Sends an interim answer, 100 or 103; before ``respond(status:lines:contentLength:hasBody:)``.
    ///
    /// - Parameter lines: as for the answer.
    public func respondInterim(status: Int, lines: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)) {
        precondition((100..<200).contains(status) && status != 101, "RFC 9113 8.6: no 101 in HTTP/2")
        if isClosed || responseHasBegun { return }
        session.perform {
            ResponseFields.withFields(status: status, lines: lines, contentLength: nil) { fields, count in
                nghttp2_submit_headers(session.library, UInt8(NGHTTP2_FLAG_NONE.rawValue), identifier, nil, fields, count, nil)
            }
        }
    }

    /// Sends the answer's head, and has its body produced. When the answer has ended and the request has not, the rest of that is declined
    /// (RST_STREAM with NO_ERROR, RFC 9113 8.1).
    ///
    /// - Parameters:
    ///   - status: not 1xx.
    ///   - lines: `Name: value CRLF …`, well-formed. Those that belong to an HTTP/1.1 connection are left out.
    ///   - contentLength: nil: the end of the body is the end of the stream. Not sent with 204 and 304.
    ///   - hasBody: whether to ask the handler; false for HEAD, 204, 304 and empty bodies.
    public func respond(status: Int, lines: UnsafeRawBufferPointer, contentLength: Int?, hasBody: Bool) {
        if isClosed { return }
        precondition(!responseHasBegun, "one answer for each request")
        responseHasBegun = true
        let length = status == 204 || status == 304 ? nil : contentLength
        session.perform {
            ResponseFields.withFields(status: status, lines: lines, contentLength: length) { fields, count in
                if !hasBody { return nghttp2_submit_response(session.library, identifier, fields, count, nil) }
                var provider = nghttp2_data_provider()
                provider.source.ptr = Unmanaged.passUnretained(self).toOpaque()
                provider.read_callback = produceData
                return nghttp2_submit_response(session.library, identifier, fields, count, &provider)
            }
        }
    }

    func windowHasGrown() {
        if awaitsWindow { resume() }
    }

    /// There is something to produce again.
    public func resume() {
        if isClosed { return }
        awaitsWindow = false
        session.perform {
            let code = nghttp2_session_resume_data(session.library, identifier)
            // Not deferred, or ended meanwhile: nothing to resume.
            return code == NGHTTP2_ERR_INVALID_ARGUMENT.rawValue ? 0 : code
        }
    }

    /// So many bytes of the request's content have really been taken: the peer may send as many more.
    public func consume(_ count: Int) {
        let part = min(count, unconsumed)
        if isClosed || part <= 0 { return }
        unconsumed -= part
        session.perform { nghttp2_session_consume(session.library, identifier, part) }
    }

    /// Whether so few bytes as `count` are a crumb: less than a useful part of the windows that the peer gives at other times. Sent as they come
    /// they would be acknowledged as they come, and neither side would ever get out of it (RFC 9293 3.8.6.2.1).
    public func isCrumb(_ count: Int) -> Bool {
        let useful = session.limits.usefulWindow
        return count < useful && nghttp2_session_get_remote_settings(session.library, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE) >= 2 * useful
    }

    /// Whether the peer would take more of the answer now: neither this stream's window nor the connection's is used up.
    public var windowIsOpen: Bool {
        if isClosed { return false }
        return nghttp2_session_get_stream_remote_window_size(session.library, identifier) > 0
            && nghttp2_session_get_remote_window_size(session.library) > 0
    }

    /// Ends the stream at once, with one of ``HTTP2ErrorCode``.
    public func reset(_ code: UInt32) {
        if isClosed || isReset { return }
        isReset = true
        session.perform { nghttp2_submit_rst_stream(session.library, UInt8(NGHTTP2_FLAG_NONE.rawValue), identifier, code) }
    }
}
