// The fuzzer's way in to the HTTP/2 session: libFuzzer calls this with bytes that it varies to reach new branches. Built by
// Tests/Fuzz/run-http2-fuzz only, with -sanitize=fuzzer,address; no part of the package.
//
//     first octet    arrivals: 1 to 64 bytes at a time, with time passing between them; bit 6: the preface and an empty SETTINGS come before;
//                    bit 7: answers are fetched only at the end
//     the rest       what comes from a connection
//
// Checked: nothing crashes; what is handed over as a request's head is one head, whole, or refused by HTTP/1.1's rules (RecordedRequest); content
// comes between head and end only; every stream is closed exactly once; what is sent consists of whole frames; the memory's bound holds.

import HTTP2Session
import HTTP2SessionTesting

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    guard let data, count > 0 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: data + 1, count: count - 1))
    let step = 1 + Int(data[0] & 63)
    for limits in [HTTP2Limits(), tightLimits()] {
        guard let server = try? RecordingServer(limits) else { preconditionFailure("no session within its own bound") }
        if data[0] & 64 != 0 { server.receive(RawFrames.greeting) }
        var position = 0
        var sent: [UInt8] = []
        while position < bytes.count, server.session.wantsRead {
            let end = min(bytes.count, position + step)
            server.receive(Array(bytes[position..<end]), now: Int64(position))
            position = end
            precondition(server.session.memoryInUse <= limits.sessionBytes)
            if data[0] & 128 == 0 {
                sent += server.output(step: step)
                server.resumeAll()
            }
        }
        server.resumeAll()
        sent += server.output()
        precondition(RawFrames.isWhole(sent), "half a frame was sent")
        server.session.close()
        for request in server.requests { precondition(request.closedWith != nil, "a stream was not closed") }
        precondition(server.session.isOver && server.session.streamCount == 0)
    }
    return 0
}

/// Bounds so small that short inputs meet them.
private func tightLimits() -> HTTP2Limits {
    var limits = HTTP2Limits()
    limits.concurrentStreams = 2
    limits.headBytes = 96
    limits.headerBombBytes = 600
    limits.continuations = 1
    limits.streamWindow = 20
    limits.resetBurst = 2
    limits.idleFrameBurst = 4
    limits.waitingAcknowledgements = 2
    limits.sessionBytes = 64 << 10
    return limits
}
