// The server's side of one HTTP/2 connection (RFC 9113) over libnghttp2: received bytes in, requests out; answers in, bytes to send out. It
// knows neither sockets nor clocks; the time comes with the bytes.
//
//                    ┌────────────────────────────── HTTP2Session ──────────────────────────────┐
//     receive ──────▶│ frames ─▶ header block ─▶ HTTP/1.1 head ─▶ delegate.requestHead          │
//                    │        └▶ DATA ─▶ stream.handler.received … requestEnded                 │
//     send(into:) ◀──│ frames ◀─ header block ◀─ stream.respond                                 │
//                    │        └─ DATA ◀─ stream.handler.produce, when windows are open          │
//                    └───────────────────────────────────────────────────────────────────────────┘
//
// How a connection drives it:
//
//     readable   receive(bytes, now:), then as for writable. While output waits for the socket nothing need be received: a peer that
//                does not read is not read from.
//     writable   first what the socket has not taken; then send(into: a shared buffer) until it gives 0. What the socket does not take
//                of that is kept by the connection: at most one buffer.
//     answered   an answer that comes from outside `receive` and `send` makes the session call delegate.outputWaits, once until the next send
//     after each isOver → close the connection; `failure` says why, if for a reason
//     closing    close(): every stream that is open is told, and nothing is called afterwards
//
// `receive`, `send` and `close` are not called from within a callback of the session, with one exception: `close` may be.
//
// Streams are served in turn, a frame each: priorities are not used (RFC 9113 5.3), so a long answer delays a short one by a frame at most.
//
// Invariant: `streams` has exactly the streams for which a head has begun to arrive and that libnghttp2 has not closed; libnghttp2's pointers to
// them are good because of it.

import CNGHTTP2

/// What a session tells its connection.
public protocol HTTP2SessionDelegate: AnyObject {
    /// A request has begun. The delegate sets the stream's handler, or answers at once.
    ///
    /// - Parameters:
    ///   - head: in HTTP/1.1's form, for `HeadScanner` and `RequestHead`; it lives until this returns. Its framing means nothing: whether
    ///     content follows is `hasContent`, its length, if it has a Content-Length, is kept to, and its end is the stream's.
    func requestHead(_ head: UnsafeRawBufferPointer, on stream: HTTP2Stream, hasContent: Bool)

    /// There is something to send that neither `receive` nor `send` has caused.
    func outputWaits(_ session: HTTP2Session)
}

/// One connection's server side; confined to one thread.
public final class HTTP2Session {
    public let limits: HTTP2Limits
    unowned let delegate: any HTTP2SessionDelegate
    private(set) var library: OpaquePointer
    private let account: UnsafeMutablePointer<cnghttp2_account>
    var streams: [Int32: HTTP2Stream] = [:]
    var head: RequestHeadWriter
    /// Why the session has ended, other than by agreement.
    public private(set) var failure: HTTP2Failure?
    private var isClosed = false
    private var isInside = false
    private var outputIsAnnounced = false
    /// What libnghttp2 has given to be sent and did not fit; it lives until the next call for more.
    private var chunk = UnsafeRawBufferPointer(start: nil, count: 0)
    var now: Int64
    private var resets: TokenBucket
    private var idleFrames: TokenBucket
    private var unpacked: TokenBucket

    /// A session that has its SETTINGS to send.
    ///
    /// - Parameter now: milliseconds of any clock that only goes forward, as in ``receive(_:now:)``.
    /// - Throws: `.memory`.
    public init(_ limits: HTTP2Limits, delegate: any HTTP2SessionDelegate, now: Int64) throws(HTTP2Failure) {
        self.limits = limits
        self.delegate = delegate
        self.now = now
        head = RequestHeadWriter(limit: limits.headBytes, bombLimit: limits.headerBombBytes)
        resets = TokenBucket(burst: limits.resetBurst, perSecond: limits.resetsPerSecond, now: now)
        unpacked = TokenBucket(burst: limits.unpackedBurst, perSecond: limits.unpackedPerSecond, now: now)
        idleFrames = TokenBucket(burst: limits.idleFrameBurst, perSecond: limits.idleFramesPerSecond, now: now)
        let account = UnsafeMutablePointer<cnghttp2_account>.allocate(capacity: 1)
        account.initialize(to: cnghttp2_account(used: 0, bound: limits.sessionBytes))
        self.account = account
        guard let session = Self.makeLibrarySession(limits, account) else {
            account.deallocate()
            throw .memory
        }
        library = session
        nghttp2_session_set_user_data(session, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit {
        precondition(streams.isEmpty, "a session is closed before it goes")
        nghttp2_session_del(library)
        account.deallocate()
    }

    private static func makeLibrarySession(_ limits: HTTP2Limits, _ account: UnsafeMutablePointer<cnghttp2_account>) -> OpaquePointer? {
        var option: OpaquePointer?
        guard nghttp2_option_new(&option) == 0, let option else { return nil }
        defer { nghttp2_option_del(option) }
        nghttp2_option_set_no_auto_window_update(option, 1)
        nghttp2_option_set_no_closed_streams(option, 1)
        nghttp2_option_set_max_outbound_ack(option, limits.waitingAcknowledgements)
        // libnghttp2 1.52 counts each arrival that has a part of a CONTINUATION's nine first octets.
        nghttp2_option_set_max_continuations(option, 9 * limits.continuations)
        // Ours counts more and by the caller's clock.
        nghttp2_option_set_stream_reset_rate_limit(option, UInt64.max, UInt64.max)
        var memory = cnghttp2_counted(account)
        var session: OpaquePointer?
        guard nghttp2_session_server_new3(&session, SessionCallbacks.shared.table, nil, option, &memory) == 0, let session else {
            return nil
        }
        let settings = [
            (NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.concurrentStreams),
            (NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindow),
            (NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.headBytes), (NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
        ].map { nghttp2_settings_entry(settings_id: Int32($0.0.rawValue), value: UInt32($0.1)) }
        guard nghttp2_submit_settings(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), settings, settings.count) == 0,
            nghttp2_session_set_local_window_size(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Int32(limits.connectionWindow)) == 0
        else {
            nghttp2_session_del(session)
            return nil
        }
        return session
    }

    // MARK: Bytes

    /// Takes bytes of the peer, all of them; nothing is done with them once the session has failed.
    ///
    /// - Parameter now: milliseconds, for the limits by time.
    public func receive(_ bytes: UnsafeRawBufferPointer, now: Int64) {
        if isClosed || failure != nil || bytes.isEmpty { return }
        precondition(!isInside, "not from within a callback")
        self.now = max(self.now, now)
        isInside = true
        withExtendedLifetime(self) {
            // In small parts, because a few bytes can unpack to a thousand times as many: what comes behind an excess is not unpacked.
            var index = 0
            while index < bytes.count, failure == nil, !isClosed {
                let part = UnsafeRawBufferPointer(rebasing: bytes[index..<min(index + limits.receiveBytes, bytes.count)])
                unpacked.give(part.count * limits.unpackedPerByte)
                let result = nghttp2_session_mem_recv(library, part.assumingMemoryBound(to: UInt8.self).baseAddress, part.count)
                if result < 0 { fail(Int32(result)) }
                index += part.count
            }
            isInside = false
        }
    }

    /// Fills `buffer` with what is to be sent, and gives how many bytes that is; less than there is room for: nothing more now.
    public func send(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        if isClosed { return 0 }
        precondition(!isInside, "not from within a callback")
        isInside = true
        defer { isInside = false }
        return withExtendedLifetime(self) {
            var filled = 0
            while filled < buffer.count {
                if chunk.isEmpty {
                    if isClosed || hasBroken { break }
                    var bytes: UnsafePointer<UInt8>?
                    let count = nghttp2_session_mem_send(library, &bytes)
                    if count < 0 { fail(Int32(count)) }
                    if count <= 0 { break }
                    chunk = UnsafeRawBufferPointer(start: bytes, count: count)
                }
                let part = min(chunk.count, buffer.count - filled)
                (buffer.baseAddress! + filled).copyMemory(from: chunk.baseAddress!, byteCount: part)
                chunk = UnsafeRawBufferPointer(rebasing: chunk[part...])
                filled += part
            }
            if filled < buffer.count { outputIsAnnounced = false }
            return filled
        }
    }

    /// libnghttp2 is in no state to be asked again.
    private var hasBroken = false

    public var wantsRead: Bool { !isClosed && failure == nil && nghttp2_session_want_read(library) != 0 }

    public var wantsWrite: Bool { !isClosed && (!chunk.isEmpty || !hasBroken && nghttp2_session_want_write(library) != 0) }

    /// Nothing more comes of this session: the connection is to be closed.
    public var isOver: Bool { !wantsRead && !wantsWrite }

    /// Streams that are open.
    public var streamCount: Int { streams.count }

    /// Bytes that libnghttp2 holds for this connection.
    public var memoryInUse: Int { account.pointee.used }

    // MARK: End

    /// Announces the end (RFC 9113 6.8): the peer is asked to begin no more requests here, and those under way to it are still taken.
    public func beginDrain() {
        perform { nghttp2_submit_shutdown_notice(library) }
    }

    /// Takes no more requests: a round trip after ``beginDrain()``. When the open streams have ended, the session is over.
    public func finishDrain() {
        let last = nghttp2_session_get_last_proc_stream_id(library)
        perform { nghttp2_submit_goaway(library, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, HTTP2ErrorCode.noError, nil, 0) }
    }

    /// Ends all streams without another word to the peer; their handlers are told.
    public func close() {
        if isClosed { return }
        isClosed = true
        let open = streams
        streams = [:]
        for stream in open.values { finish(stream, code: HTTP2ErrorCode.cancel) }
    }

    // MARK: Within the module

    /// Something that makes output; what was asked of a session that has ended is not done.
    func perform(_ action: () -> Int32) {
        if isClosed || hasBroken { return }
        let code = action()
        if code < 0 {
            // Asked too late: the stream or the session is about to close.
            if code > NGHTTP2_ERR_FATAL.rawValue { return }
            fail(code)
        }
        if !isInside, !outputIsAnnounced {
            outputIsAnnounced = true
            delegate.outputWaits(self)
        }
    }

    /// Ends the session for what the peer has done; it is told with GOAWAY.
    func end(_ reason: HTTP2Failure, code: UInt32 = HTTP2ErrorCode.enhanceYourCalm) {
        if failure != nil { return }
        failure = reason
        if nghttp2_session_terminate_session(library, code) != 0 { hasBroken = true }
    }

    /// libnghttp2 itself has ended it, with a code of its errors.
    private func fail(_ code: Int32) {
        hasBroken = true
        if failure != nil || isClosed { return }
        failure =
            switch code {
            case NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue: .preface
            case NGHTTP2_ERR_FLOODED.rawValue: .acknowledgementFlood
            case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue: .continuationFlood
            case NGHTTP2_ERR_NOMEM.rawValue: .memory
            default: .library(code: code)
            }
    }

    func noteProtocolError(_ code: UInt32) {
        if failure == nil { failure = .protocolError(code: code) }
    }

    func countReset() {
        if !resets.take(now: now) { end(.resetFlood) }
    }

    /// Streams that wait for their windows to grow.
    var windowWaits = 0

    func countIdleFrame() {
        if !idleFrames.take(now: now) { end(.idleFrameFlood) }
    }

    /// A field of a header block has been unpacked.
    func countUnpacked(_ count: Int) {
        if !unpacked.take(count, now: now) { end(.headerBomb) }
    }

    func allowAcknowledgements() { idleFrames.give(2) }

    /// Whether callbacks still have anything to do.
    var isOpen: Bool { !isClosed && failure == nil }

    func finish(_ stream: HTTP2Stream, code: UInt32) {
        stream.isClosed = true
        let handler = stream.handler
        stream.handler = nil
        handler?.closed(stream, code: code)
    }
}
