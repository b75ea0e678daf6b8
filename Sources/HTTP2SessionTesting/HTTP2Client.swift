// libnghttp2's client in memory: what it gives to be sent goes to a session or a socket, and what comes from there is given to it.

import CNGHTTP2
import HTTP2Session

public final class HTTP2Client {
    public final class Answer {
        public fileprivate(set) var status = 0
        public fileprivate(set) var interim: [Int] = []
        public fileprivate(set) var fields: [(name: String, value: String, neverIndexed: Bool)] = []
        public fileprivate(set) var body: [UInt8] = []
        public fileprivate(set) var hasEnded = false
        public fileprivate(set) var closedWith: UInt32?
        fileprivate var current: [(name: String, value: String, neverIndexed: Bool)] = []
        fileprivate var upload: [UInt8] = []
        fileprivate var uploaded = 0

        public func value(_ name: String) -> String? { fields.first { $0.name == name }?.value }
    }

    private var library: OpaquePointer!
    public private(set) var answers: [Int32: Answer] = [:]
    public private(set) var goAways: [(last: Int32, code: UInt32)] = []
    /// Streams whose body is not read: their window stays shut.
    public var stalled: Set<Int32> = []

    public init(window: Int? = nil, connectionWindow: Int? = nil) {
        var callbacks: OpaquePointer?
        nghttp2_session_callbacks_new(&callbacks)
        defer { nghttp2_session_callbacks_del(callbacks) }
        nghttp2_session_callbacks_set_on_header_callback(callbacks) { _, frame, name, nameCount, value, valueCount, flags, user in
            let answer = HTTP2Client.of(user).answers[frame!.pointee.hd.stream_id]
            answer?.current.append(
                (
                    String(decoding: UnsafeBufferPointer(start: name, count: nameCount), as: UTF8.self),
                    String(decoding: UnsafeBufferPointer(start: value, count: valueCount), as: UTF8.self),
                    UInt32(flags) & NGHTTP2_NV_FLAG_NO_INDEX.rawValue != 0
                ))
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
            let client = HTTP2Client.of(user)
            let header = frame!.pointee.hd
            if UInt32(header.type) == NGHTTP2_GOAWAY.rawValue {
                client.goAways.append((frame!.pointee.goaway.last_stream_id, frame!.pointee.goaway.error_code))
            }
            guard let answer = client.answers[header.stream_id] else { return 0 }
            if UInt32(header.type) == NGHTTP2_HEADERS.rawValue {
                let status = Int(answer.current.first { $0.name == ":status" }!.value)!
                if status < 200 { answer.interim.append(status) } else { answer.status = status }
                answer.fields = answer.current
                answer.current = []
            }
            if header.flags & 1 != 0, UInt32(header.type) <= NGHTTP2_HEADERS.rawValue { answer.hasEnded = true }
            return 0
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { session, _, stream, bytes, count, user in
            let client = HTTP2Client.of(user)
            client.answers[stream]?.body += UnsafeBufferPointer(start: bytes, count: count)
            nghttp2_session_consume_connection(session, count)
            if !client.stalled.contains(stream) { nghttp2_session_consume_stream(session, stream, count) }
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, stream, code, user in
            HTTP2Client.of(user).answers[stream]?.closedWith = code
            return 0
        }
        var option: OpaquePointer?
        nghttp2_option_new(&option)
        defer { nghttp2_option_del(option) }
        nghttp2_option_set_no_auto_window_update(option, 1)
        var session: OpaquePointer?
        nghttp2_session_client_new2(&session, callbacks, Unmanaged.passUnretained(self).toOpaque(), option)
        library = session
        var settings: [nghttp2_settings_entry] = []
        if let window {
            settings.append(
                nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue), value: UInt32(window)))
        }
        nghttp2_submit_settings(library, 0, settings, settings.count)
        if let connectionWindow { nghttp2_session_set_local_window_size(library, 0, 0, Int32(connectionWindow)) }
    }

    deinit { nghttp2_session_del(library) }

    private static func of(_ user: UnsafeMutableRawPointer?) -> HTTP2Client {
        Unmanaged<HTTP2Client>.fromOpaque(user!).takeUnretainedValue()
    }

    /// Begins a request; `trailers` follow the body.
    @discardableResult
    public func request(
        _ path: String, method: String = "GET", _ fields: [(String, String)] = [], body: [UInt8]? = nil
    ) -> Int32 {
        let all = [(":method", method), (":scheme", "https"), (":authority", "example.org"), (":path", path)] + fields
        let answer = Answer()
        answer.upload = body ?? []
        let stream = HTTP2Client.withFields(all) { fields, count in
            guard body != nil else { return nghttp2_submit_request(library, nil, fields, count, nil, nil) }
            var provider = nghttp2_data_provider()
            provider.read_callback = { _, stream, buffer, count, flags, _, user in
                let answer = HTTP2Client.of(user).answers[stream]!
                let part = min(count, answer.upload.count - answer.uploaded)
                answer.upload.withUnsafeBufferPointer { buffer!.update(from: $0.baseAddress! + answer.uploaded, count: part) }
                answer.uploaded += part
                if answer.uploaded == answer.upload.count { flags!.pointee |= UInt32(NGHTTP2_DATA_FLAG_EOF.rawValue) }
                return part
            }
            return nghttp2_submit_request(library, nil, fields, count, &provider, nil)
        }
        answers[stream] = answer
        return stream
    }

    public func uploaded(_ stream: Int32) -> Int { answers[stream]!.uploaded }

    public func reset(_ stream: Int32, _ code: UInt32 = HTTP2ErrorCode.cancel) { nghttp2_submit_rst_stream(library, 0, stream, code) }

    /// Reads on where it had stalled.
    public func unstall(_ stream: Int32) {
        stalled.remove(stream)
        nghttp2_session_consume_stream(library, stream, answers[stream]!.body.count)
    }

    /// The fields as libnghttp2 takes them.
    public static func withFields(_ fields: [(String, String)], _ body: ([nghttp2_nv], Int) -> Int32) -> Int32 {
        var text: [UInt8] = []
        for (name, value) in fields { text += Array(name.utf8) + Array(value.utf8) }
        // So that there is an address where all are empty.
        text.append(0)
        return text.withUnsafeMutableBufferPointer { text in
            var position = 0
            var list: [nghttp2_nv] = []
            for (name, value) in fields {
                let start = text.baseAddress! + position
                list.append(
                    nghttp2_nv(
                        name: start, value: start + name.utf8.count, namelen: name.utf8.count, valuelen: value.utf8.count, flags: 0))
                position += name.utf8.count + value.utf8.count
            }
            return body(list, list.count)
        }
    }

    /// Everything that the client has to send.
    public func output() -> [UInt8] {
        var all: [UInt8] = []
        while true {
            var bytes: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(library, &bytes)
            if count <= 0 { return all }
            all += UnsafeBufferPointer(start: bytes, count: count)
        }
    }

    public func receive(_ bytes: [UInt8]) throws {
        let taken = bytes.withUnsafeBufferPointer { nghttp2_session_mem_recv(library, $0.baseAddress, $0.count) }
        if taken != bytes.count { throw Refusal(code: taken) }
    }

    /// The client refuses what it was sent, with a code of libnghttp2.
    public struct Refusal: Error { public let code: Int }

    /// Moves bytes both ways until nothing moves.
    public func exchange(with server: RecordingServer, now: Int64 = 0, step: Int = 16_384) throws {
        while true {
            let out = output()
            server.receive(out, now: now)
            let back = server.output(step: step)
            try receive(back)
            if out.isEmpty, back.isEmpty { return }
        }
    }
}
