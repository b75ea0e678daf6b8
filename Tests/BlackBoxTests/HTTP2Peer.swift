// An HTTP/2 client of the tests: libnghttp2's client session over a `ClientChannel`. It moves bytes only within its calls, so that one thread
// holds any number of streams.
//
//     request(…) ─▶ Stream        stream.status, fields, body …        run(until:) moves bytes until a condition holds

import CNGHTTP2
import Glibc
import HTTP2SessionTesting
import Testing

final class HTTP2Peer {
    final class Stream {
        let identifier: Int32
        fileprivate(set) var interim: [Int] = []
        fileprivate(set) var status = 0
        fileprivate(set) var fields: [(name: String, value: String)] = []
        /// What has come of the body and was not taken.
        fileprivate(set) var body = ByteBuffer()
        fileprivate(set) var received = 0
        /// The answer is complete.
        fileprivate(set) var hasEnded = false
        fileprivate(set) var closedWith: UInt32?
        fileprivate var arriving: [(name: String, value: String)] = []
        fileprivate var upload = ByteBuffer()
        fileprivate var uploadEnds = true
        fileprivate var isDeferred = false
        fileprivate init(_ identifier: Int32) { self.identifier = identifier }

        var isOver: Bool { closedWith != nil }
        var waitingUpload: Int { upload.count }
        subscript(name: String) -> String? { fields.first { $0.name == name }?.value }
    }

    let channel: ClientChannel
    private var library: OpaquePointer!
    private(set) var streams: [Int32: Stream] = [:]
    private(set) var goAways: [(last: Int32, code: UInt32)] = []
    private(set) var hasEnded = false
    private(set) var pings = 0
    private var output = ByteBuffer()
    private let scheme: String

    /// - Parameters:
    ///   - window: of each stream; nil: the 65,535 bytes of RFC 9113 6.9.2.
    ///   - connectionWindow: of all streams together.
    init(_ channel: ClientChannel, scheme: String, window: Int? = nil, connectionWindow: Int? = nil) {
        self.channel = channel
        self.scheme = scheme
        var callbacks: OpaquePointer?
        nghttp2_session_callbacks_new(&callbacks)
        defer { nghttp2_session_callbacks_del(callbacks) }
        nghttp2_session_callbacks_set_on_header_callback(callbacks) { _, frame, name, nameCount, value, valueCount, _, user in
            HTTP2Peer.of(user).streams[frame!.pointee.hd.stream_id]?.arriving.append(
                (
                    String(decoding: UnsafeBufferPointer(start: name, count: nameCount), as: UTF8.self),
                    String(decoding: UnsafeBufferPointer(start: value, count: valueCount), as: UTF8.self)
                ))
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
            HTTP2Peer.of(user).took(frame!.pointee)
            return 0
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { session, _, identifier, bytes, count, user in
            nghttp2_session_consume_connection(session, count)
            guard let stream = HTTP2Peer.of(user).streams[identifier] else { return 0 }
            stream.body.append(UnsafeBufferPointer(start: bytes, count: count))
            stream.received += count
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, identifier, code, user in
            HTTP2Peer.of(user).streams[identifier]?.closedWith = code
            return 0
        }
        var option: OpaquePointer?
        nghttp2_option_new(&option)
        defer { nghttp2_option_del(option) }
        nghttp2_option_set_no_auto_window_update(option, 1)
        nghttp2_session_client_new2(&library, callbacks, Unmanaged.passUnretained(self).toOpaque(), option)
        var settings = [nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0)]
        if let window {
            settings.append(
                nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue), value: UInt32(window)))
        }
        nghttp2_submit_settings(library, 0, settings, settings.count)
        if let connectionWindow { nghttp2_session_set_local_window_size(library, 0, 0, Int32(connectionWindow)) }
    }

    /// Connects and says what it is.
    convenience init(
        port: UInt16, tls: Bool, window: Int? = nil, connectionWindow: Int? = nil, receiveBuffer: Int32? = nil
    ) throws {
        let channel = try ClientChannel(port: port, tls: tls ? TLSClientOptions(protocols: ["h2"]) : nil, receiveBuffer: receiveBuffer)
        if tls, channel.applicationProtocol != "h2" { throw TestFault("ALPN gave \(channel.applicationProtocol), expected h2") }
        self.init(channel, scheme: tls ? "https" : "http", window: window, connectionWindow: connectionWindow)
    }

    deinit { nghttp2_session_del(library) }

    private static func of(_ user: UnsafeMutableRawPointer?) -> HTTP2Peer {
        Unmanaged<HTTP2Peer>.fromOpaque(user!).takeUnretainedValue()
    }

    private func took(_ frame: nghttp2_frame) {
        let type = UInt32(frame.hd.type)
        if type == NGHTTP2_GOAWAY.rawValue { goAways.append((frame.goaway.last_stream_id, frame.goaway.error_code)) }
        if type == NGHTTP2_PING.rawValue, frame.hd.flags & 1 != 0 { pings += 1 }
        guard let stream = streams[frame.hd.stream_id] else { return }
        if type == NGHTTP2_HEADERS.rawValue {
            let status = stream.arriving.first { $0.name == ":status" }.flatMap { Int($0.value) } ?? 0
            if status >= 200 { stream.status = status } else { stream.interim.append(status) }
            if status >= 200 { stream.fields = stream.arriving.filter { $0.name != ":status" } }
            stream.arriving = []
        }
        if frame.hd.flags & 1 != 0, type <= NGHTTP2_HEADERS.rawValue { stream.hasEnded = true }
    }

    // MARK: Requests

    /// Begins a request. - Parameter body: nil: there is none; more of it may come by `upload` unless `ends`.
    @discardableResult
    func request(
        _ method: String, _ path: String, authority: String, _ fields: [(String, String)] = [], body: [UInt8]? = nil, ends: Bool = true
    ) throws -> Stream {
        let all = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)] + fields
        let identifier = HTTP2Client.withFields(all) { fields, count -> Int32 in
            guard body != nil else { return nghttp2_submit_request(library, nil, fields, count, nil, nil) }
            var provider = nghttp2_data_provider()
            provider.read_callback = { _, identifier, buffer, room, flags, _, user in
                guard let stream = HTTP2Peer.of(user).streams[identifier] else { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
                let part = min(room, stream.upload.count)
                if part == 0, !stream.uploadEnds {
                    stream.isDeferred = true
                    return Int(NGHTTP2_ERR_DEFERRED.rawValue)
                }
                stream.upload.withBytes { if part > 0 { memcpy(buffer!, $0.baseAddress!, part) } }
                stream.upload.removeFirst(part)
                if stream.upload.isEmpty, stream.uploadEnds { flags!.pointee |= UInt32(NGHTTP2_DATA_FLAG_EOF.rawValue) }
                return part
            }
            return nghttp2_submit_request(library, nil, fields, count, &provider, nil)
        }
        guard identifier > 0 else { throw TestFault("libnghttp2 takes no request: \(identifier)") }
        let stream = Stream(identifier)
        stream.upload.append(body ?? [])
        stream.uploadEnds = ends
        streams[identifier] = stream
        return stream
    }

    /// Sends more of a request's content.
    func upload(_ bytes: some Sequence<UInt8>, ends: Bool, on stream: Stream) {
        stream.upload.append(bytes)
        stream.uploadEnds = ends
        if stream.isDeferred {
            stream.isDeferred = false
            nghttp2_session_resume_data(library, stream.identifier)
        }
    }

    func reset(_ stream: Stream, _ code: UInt32 = 8) { nghttp2_submit_rst_stream(library, 0, stream.identifier, code) }

    func ping() { nghttp2_submit_ping(library, 0, nil) }

    /// Takes what has come of a body, and makes room for more.
    func take(_ stream: Stream) -> [UInt8] {
        let bytes = stream.body.takeAll()
        if !stream.isOver, !bytes.isEmpty { nghttp2_session_consume_stream(library, stream.identifier, bytes.count) }
        return bytes
    }

    /// Forgets a stream that is over.
    func forget(_ stream: Stream) { streams[stream.identifier] = nil }

    // MARK: Moving bytes

    /// Sends what there is to send. - Returns: whether the socket has taken all of it.
    @discardableResult
    func flush() -> Bool {
        while true {
            while output.count < 1 << 18 {
                var bytes: UnsafePointer<UInt8>?
                let count = nghttp2_session_mem_send(library, &bytes)
                if count <= 0 { break }
                output.append(UnsafeBufferPointer(start: bytes, count: count))
            }
            if output.isEmpty { return true }
            switch output.withBytes({ channel.write($0) }) {
            case .bytes(let count): output.removeFirst(count)
            case .wait: return false
            case .ended:
                hasEnded = true
                return true
            }
        }
    }

    /// Receives what has come, at most `limit` bytes.
    func receive(atMost limit: Int = 1 << 20) throws {
        var total = 0
        try withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 1) { buffer in
            while total < limit {
                switch channel.read(into: buffer) {
                case .bytes(let count):
                    total += count
                    let taken = nghttp2_session_mem_recv(library, buffer.assumingMemoryBound(to: UInt8.self).baseAddress, count)
                    guard taken == count else { throw TestFault("libnghttp2 refuses what the server sent: \(taken)") }
                case .wait: return
                case .ended:
                    hasEnded = true
                    return
                }
            }
        }
    }

    /// Moves bytes both ways until the condition holds. - Returns: whether it came to hold; false too when the connection has ended.
    @discardableResult
    func run(within time: Duration = Deadline.usual, until condition: () throws -> Bool) throws -> Bool {
        let deadline = Deadline(in: time)
        while true {
            let isFlushed = flush()
            try receive()
            if try condition() { return true }
            if hasEnded { return false }
            if isFlushed, nghttp2_session_want_write(library) != 0 { continue }
            let events = Int16(POLLIN) | (isFlushed ? 0 : Int16(POLLOUT))
            if Poll.wait([(channel.descriptor, events)], until: deadline) == nil { return try condition() }
        }
    }

    var wantsWrite: Bool { !output.isEmpty || nghttp2_session_want_write(library) != 0 }

    /// One request with its whole answer.
    func exchange(
        _ method: String, _ path: String, authority: String, _ fields: [(String, String)] = [], body: [UInt8]? = nil,
        within time: Duration = Deadline.usual
    ) throws -> Response {
        let stream = try request(method, path, authority: authority, fields, body: body)
        defer { forget(stream) }
        var content: [UInt8] = []
        let isOver = try run(within: time) {
            content += take(stream)
            return stream.isOver
        }
        guard isOver, stream.hasEnded else {
            throw TestFault("the answer to \(method) \(path) is not complete: status \(stream.status), code \(stream.closedWith ?? 0)")
        }
        let response = Response(version: "HTTP/2", status: stream.status, fields: stream.fields, body: content)
        response.checkCommonRules(method: method)
        return response
    }
}
