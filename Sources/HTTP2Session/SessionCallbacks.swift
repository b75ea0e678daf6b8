// What libnghttp2 calls. Each finds its session in the user data, and nothing is done any more once that is closed or has failed: libnghttp2 then
// still takes apart what it was given, and nobody hears of it.

import CNGHTTP2

/// The table of callbacks; every session copies it.
///
/// @unchecked Sendable: it is filled before it can be seen and never changed.
final class SessionCallbacks: @unchecked Sendable {
    static let shared = SessionCallbacks()

    let table: OpaquePointer

    private init() {
        var made: OpaquePointer?
        guard nghttp2_session_callbacks_new(&made) == 0, let made else { preconditionFailure("no memory for a table of callbacks") }
        table = made
        nghttp2_session_callbacks_set_on_begin_frame_callback(table, frameBegins)
        nghttp2_session_callbacks_set_on_begin_headers_callback(table, headersBegin)
        nghttp2_session_callbacks_set_on_header_callback(table, headerReceived)
        nghttp2_session_callbacks_set_on_frame_recv_callback(table, frameReceived)
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, dataReceived)
        nghttp2_session_callbacks_set_on_stream_close_callback(table, streamClosed)
        nghttp2_session_callbacks_set_on_frame_send_callback(table, frameSent)
    }
}

private func session(_ raw: UnsafeMutableRawPointer?) -> HTTP2Session { Unmanaged<HTTP2Session>.fromOpaque(raw!).takeUnretainedValue() }

private func hasFlag(_ header: nghttp2_frame_hd, _ flag: nghttp2_flag) -> Bool { header.flags & UInt8(flag.rawValue) != 0 }

private func isType(_ header: nghttp2_frame_hd, _ type: nghttp2_frame_type) -> Bool { UInt32(header.type) == type.rawValue }

/// Counts frames that carry nothing, before anything is done for them.
private func frameBegins(_: OpaquePointer?, _ header: UnsafePointer<nghttp2_frame_hd>?, _ user: UnsafeMutableRawPointer?) -> Int32 {
    let session = session(user)
    guard session.isOpen, let header = header?.pointee else { return 0 }
    if isType(header, NGHTTP2_DATA) {
        if header.length == 0, !hasFlag(header, NGHTTP2_FLAG_END_STREAM) { session.countIdleFrame() }
    } else if !isType(header, NGHTTP2_HEADERS), !isType(header, NGHTTP2_RST_STREAM) {
        session.countIdleFrame()
    }
    return 0
}

private func headersBegin(
    _ library: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let session = session(user)
    guard session.isOpen, let frame else { return 0 }
    session.head.begin()
    if frame.pointee.headers.cat != NGHTTP2_HCAT_REQUEST { return 0 }
    let identifier = frame.pointee.hd.stream_id
    let stream = HTTP2Stream(identifier, session)
    session.streams[identifier] = stream
    nghttp2_session_set_stream_user_data(library, identifier, Unmanaged.passUnretained(stream).toOpaque())
    // Every stream in turn, whatever the peer says of priorities (RFC 9218 10: a server may do so).
    var turn = nghttp2_extpri(urgency: UInt32(NGHTTP2_EXTPRI_DEFAULT_URGENCY), inc: 1)
    return nghttp2_session_change_extpri_stream_priority(library, identifier, &turn, 1) == 0
        ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
}

private func headerReceived(
    _: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ name: UnsafePointer<UInt8>?, _ nameCount: Int,
    _ value: UnsafePointer<UInt8>?, _ valueCount: Int, _: UInt8, _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let session = session(user)
    guard session.isOpen, let frame else { return 0 }
    let name = UnsafeRawBufferPointer(start: name, count: nameCount)
    let value = UnsafeRawBufferPointer(start: value, count: valueCount)
    session.countUnpacked(nameCount + valueCount + 32)
    guard session.isOpen else { return 0 }
    let isRequest = frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
    if (isRequest ? session.head.add(name, value) : session.head.drop(name, value)) == .bomb { session.end(.headerBomb) }
    return 0
}

private func frameReceived(
    _: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let session = session(user)
    guard session.isOpen, let frame else { return 0 }
    let header = frame.pointee.hd
    if isType(header, NGHTTP2_RST_STREAM) {
        session.countReset()
        return 0
    }
    if isType(header, NGHTTP2_WINDOW_UPDATE), session.windowWaits > 0 {
        if header.stream_id != 0 {
            session.streams[header.stream_id]?.windowHasGrown()
        } else {
            for stream in session.streams.values { stream.windowHasGrown() }
        }
    }
    let isData = isType(header, NGHTTP2_DATA)
    guard isData || isType(header, NGHTTP2_HEADERS) else { return 0 }
    let ends = hasFlag(header, NGHTTP2_FLAG_END_STREAM)
    if isData, !ends, header.length > 0, header.length - frame.pointee.data.padlen <= 0 { session.countIdleFrame() }
    guard let stream = session.streams[header.stream_id] else { return 0 }
    if !isData, frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST {
        stream.requestHasEnded = ends
        if session.head.isMalformed {
            session.countReset()
            stream.reset(HTTP2ErrorCode.protocolError)
            return 0
        }
        let head = session.head.take()
        head.withUnsafeBytes { session.delegate.requestHead($0, on: stream, hasContent: !ends) }
        session.head.reuse(head)
    } else if ends {
        stream.requestHasEnded = true
        stream.handler?.requestEnded(on: stream)
    }
    return 0
}

private func dataReceived(
    _: OpaquePointer?, _: UInt8, _ identifier: Int32, _ bytes: UnsafePointer<UInt8>?, _ count: Int, _ user: UnsafeMutableRawPointer?
) -> Int32 {
    let session = session(user)
    guard session.isOpen, let stream = session.streams[identifier] else { return 0 }
    stream.unconsumed += count
    if let handler = stream.handler, !stream.isReset {
        handler.received(UnsafeRawBufferPointer(start: bytes, count: count), on: stream)
    } else {
        stream.consume(count)
    }
    return 0
}

private func streamClosed(_ library: OpaquePointer?, _ identifier: Int32, _ code: UInt32, _ user: UnsafeMutableRawPointer?) -> Int32 {
    let session = session(user)
    guard let stream = session.streams.removeValue(forKey: identifier) else { return 0 }
    // What nobody has taken counts against the connection no longer.
    if stream.unconsumed > 0, session.isOpen { nghttp2_session_consume_connection(library, stream.unconsumed) }
    stream.awaitsWindow = false
    session.finish(stream, code: code)
    return 0
}

private func frameSent(_ library: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ user: UnsafeMutableRawPointer?) -> Int32 {
    let session = session(user)
    guard let frame else { return 0 }
    let header = frame.pointee.hd
    let stream = session.streams[header.stream_id]
    if isType(header, NGHTTP2_GOAWAY) {
        if frame.pointee.goaway.error_code != HTTP2ErrorCode.noError { session.noteProtocolError(frame.pointee.goaway.error_code) }
    } else if isType(header, NGHTTP2_RST_STREAM) {
        // For the peer's fault, unless it was our own wish.
        let isOurs = stream?.isReset ?? false
        if session.isOpen, !isOurs, frame.pointee.rst_stream.error_code != HTTP2ErrorCode.noError { session.countReset() }
    } else if isType(header, NGHTTP2_DATA) || isType(header, NGHTTP2_HEADERS) {
        guard session.isOpen, let stream else { return 0 }
        if isType(header, NGHTTP2_DATA) {
            let window = Int(nghttp2_session_get_stream_remote_window_size(library, header.stream_id))
            if header.length >= session.limits.usefulWindow || window >= session.limits.usefulWindow { session.allowAcknowledgements() }
        }
        if hasFlag(header, NGHTTP2_FLAG_END_STREAM), !stream.requestHasEnded { stream.reset(HTTP2ErrorCode.noError) }
    }
    return 0
}

/// libnghttp2 asks for the next bytes of an answer.
func produceData(
    _ library: OpaquePointer?, _: Int32, _ buffer: UnsafeMutablePointer<UInt8>?, _ count: Int, _ flags: UnsafeMutablePointer<UInt32>?,
    _ source: UnsafeMutablePointer<nghttp2_data_source>?, _ user: UnsafeMutableRawPointer?
) -> Int {
    let stream = Unmanaged<HTTP2Stream>.fromOpaque(source!.pointee.ptr).takeUnretainedValue()
    guard session(user).isOpen, !stream.isClosed, let handler = stream.handler else {
        return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
    }
    let room = UnsafeMutableRawBufferPointer(start: buffer, count: count)
    switch handler.produce(into: room, on: stream) {
    case .bytes(let produced):
        precondition(produced > 0 && produced <= count, "a handler that has nothing now defers")
        return produced
    case .deferred: return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    case .end(let produced):
        precondition(produced >= 0 && produced <= count)
        flags!.pointee |= UInt32(NGHTTP2_DATA_FLAG_EOF.rawValue)
        return produced
    case .failed:
        stream.isReset = true
        return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
    }
}
