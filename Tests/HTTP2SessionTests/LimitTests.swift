import HTTP2Session
import HTTP2SessionTesting
import HTTPWire
import Testing

@Suite("HTTP/2 limits")
struct LimitTests {
    private typealias R = RawFrames

    private func greeted(_ limits: HTTP2Limits = HTTP2Limits()) throws -> RecordingServer {
        let server = try RecordingServer(limits)
        server.receive(R.greeting)
        _ = server.output()
        return server
    }

    /// The code of the GOAWAY that a session ends with.
    private func endCode(_ server: RecordingServer) -> UInt32? {
        let last = RawFrames.parse(server.output()).last { $0.type == 7 }
        #expect(server.session.isOver)
        return last?.number(at: 4)
    }

    @Test("tells its settings first")
    func settings() throws {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 7
        let server = try RecordingServer(limits)
        #expect(server.session.wantsWrite && server.session.wantsRead)
        let frames = RawFrames.parse(server.output())
        #expect(frames.map(\.type) == [4, 8], "SETTINGS, then the connection's window")
        var values: [UInt32: UInt32] = [:]
        for start in stride(from: 0, to: frames[0].payload.count, by: 6) {
            values[frames[0].number(at: start) >> 16] = frames[0].number(at: start + 2)
        }
        #expect(values == [3: 7, 4: UInt32(limits.streamWindow), 6: UInt32(limits.headBytes), 9: 1])
        #expect(frames[1].number(at: 0) == UInt32(limits.connectionWindow - 65_535))
    }

    @Test("streams beyond the permitted number are refused, and one that ends makes room")
    func concurrentStreams() throws {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 3
        let server = try greeted(limits)
        for stream in 0..<3 { server.receive(R.headers(UInt32(2 * stream + 1), R.request("/wait"))) }
        #expect(server.requests.count == 3)
        server.requests[1].answer(status: 204, count: 0)
        _ = server.output()
        server.receive(R.headers(7, R.request("/wait")))
        #expect(server.requests.count == 4)
        // A fourth at once is a violation once the settings are acknowledged.
        server.receive(R.headers(9, R.request("/wait")))
        #expect(server.requests.count == 4)
        #expect(endCode(server) == HTTP2ErrorCode.protocolError)
    }

    @Test("streams beyond the permitted number before the settings are known are refused, no more")
    func concurrentStreamsEarly() throws {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 2
        let server = try RecordingServer(limits)
        server.receive(R.preface + R.frame(4, stream: 0))
        for stream in 0..<4 { server.receive(R.headers(UInt32(2 * stream + 1), R.request("/wait"))) }
        let resets = RawFrames.parse(server.output()).filter { $0.type == 3 }
        #expect(resets.map(\.stream) == [5, 7] && resets.allSatisfy { $0.number(at: 0) == HTTP2ErrorCode.refusedStream })
        #expect(server.requests.count == 2 && server.session.failure == nil)
    }

    @Test("a head is as long as HTTP/1.1 permits and not longer", arguments: [0, 1, 2, 100, 20_000])
    func headBytes(excess: Int) throws {
        let server = try greeted()
        let limit = server.session.limits.headBytes
        let others = "GET / HTTP/1.1\r\nhost: h\r\nx: \r\n\r\n".utf8.count
        let block = R.request() + R.field("x", String(repeating: "a", count: limit - others + excess))
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: block.count, by: 16_384) {
            let end = min(block.count, start + 16_384)
            bytes += R.frame(
                start == 0 ? 1 : 9, flags: (start == 0 ? 1 : 0) | (end == block.count ? 4 : 0), stream: 1, Array(block[start..<end]))
        }
        server.receive(bytes)
        #expect(server.requests.count == 1)
        #expect(server.requests.first?.refusal == (excess == 0 ? nil : HTTPRefusal.headTooLarge(limit: limit)))
        // The table is intact: the connection goes on.
        server.receive(R.headers(3, R.request("/next")))
        #expect(server.requests.last?.target == "/next" && server.session.failure == nil)
    }

    @Test("a head that unpacks to far more ends the connection")
    func headerBomb() throws {
        let server = try greeted()
        // One field of 3.9 KB into the table, then one octet for each use of it.
        let block = R.request() + R.indexedField("x", String(repeating: "a", count: 3900)) + [UInt8](repeating: 0x80 | 62, count: 10_000)
        server.receive(R.headers(1, block))
        #expect(server.session.failure == .headerBomb && server.requests.isEmpty)
        #expect(server.session.memoryInUse < 100_000)
        #expect(endCode(server) == HTTP2ErrorCode.enhanceYourCalm)
    }

    @Test("trailers that unpack to far more end the connection")
    func trailerBomb() throws {
        let server = try greeted()
        server.receive(R.headers(1, R.request("/wait"), ends: false))
        let block = R.indexedField("x", String(repeating: "a", count: 3900)) + [UInt8](repeating: 0x80 | 62, count: 10_000)
        server.receive(R.headers(1, block))
        #expect(server.session.failure == .headerBomb && server.requests[0].isComplete == false)
    }

    @Test("CONTINUATION without end ends the connection", arguments: [0, 1, 5])
    func continuations(count: Int) throws {
        let server = try greeted()
        server.receive(R.frame(1, flags: 1, stream: 1, R.request()))
        var sent = 0
        while server.session.failure == nil, sent < 100 {
            server.receive(R.frame(9, stream: 1, count == 0 ? [] : R.field("x", String(repeating: "a", count: count))))
            sent += 1
        }
        #expect(server.session.failure == .continuationFlood && sent == 9 * server.session.limits.continuations + 1)
        #expect(server.session.isOver)
    }

    @Test("streams that are reset at once end the connection, at a rate that is no page's")
    func rapidReset() throws {
        let server = try greeted()
        var stream: UInt32 = 1
        func resetOne(now: Int64) {
            _ = server.output()
            server.receive(R.headers(stream, R.request("/wait")) + R.reset(stream), now: now)
            stream += 2
        }
        // A page with 250 tails is closed twice a minute, for ten minutes.
        for minute in 0..<20 { for _ in 0..<250 { resetOne(now: Int64(minute) * 30_000) } }
        #expect(server.session.failure == nil)
        #expect(server.requests.allSatisfy { $0.closedWith == HTTP2ErrorCode.cancel })
        var count = 0
        while server.session.failure == nil, count < 10_000 {
            resetOne(now: 2_000_000 + Int64(count))
            count += 1
        }
        #expect(server.session.failure == .resetFlood)
        #expect(count > 500 && count < 530, "\(count): the burst, and 20 a second")
        #expect(endCode(server) == HTTP2ErrorCode.enhanceYourCalm)
        #expect(server.session.streamCount == 0)
    }

    @Test("streams that we have to reset for the peer's faults count as well", arguments: [0, 1, 2])
    func madeResets(kind: Int) throws {
        let server = try greeted()
        var stream: UInt32 = 1
        while server.session.failure == nil, stream < 10_000 {
            let fault =
                switch kind {
                case 0: R.headers(stream, R.request("/wait")) + R.windowUpdate(stream, 0)
                case 1: R.headers(stream, R.request("no-slash"))
                default: R.headers(stream, R.request("/wait", scheme: "ftp"))
                }
            server.receive(fault)
            _ = server.output()
            stream += 2
        }
        #expect(server.session.failure == .resetFlood || kind == 0 && server.session.failure == .protocolError(code: 1))
        #expect(stream < 1100)
    }

    @Test("PING, SETTINGS, PRIORITY, WINDOW_UPDATE and empty frames without end", arguments: 0..<6)
    func idleFrames(kind: Int) throws {
        let server = try greeted()
        server.receive(R.headers(1, R.request("/wait"), ends: false))
        let frame =
            switch kind {
            case 0: R.frame(6, stream: 0, [UInt8](repeating: 0, count: 8))
            case 1: R.frame(4, stream: 0)
            case 2: R.frame(2, stream: 1, [0, 0, 0, 0, 9])
            case 3: R.data(1, [])
            case 4: R.frame(0, flags: 8, stream: 1, [3, 0, 0, 0])
            default: R.windowUpdate(1, 1)
            }
        var count = 0
        while server.session.failure == nil, count < 10_000 {
            server.receive(frame, now: Int64(count))
            _ = server.output()
            count += 1
        }
        #expect(server.session.failure == .idleFrameFlood)
        #expect(count > 1000 && count < 1100, "\(count)")
        #expect(server.session.isOver)
        // At a rate that keeps a connection alive it goes on.
        let patient = try greeted()
        patient.receive(R.headers(1, R.request("/wait"), ends: false))
        for index in 0..<5000 {
            patient.receive(frame, now: Int64(index) * 20)
            _ = patient.output()
        }
        #expect(patient.session.failure == nil)
    }

    @Test("acknowledgements that the peer does not take", arguments: [0, 1])
    func acknowledgements(kind: Int) throws {
        let server = try greeted()
        let frame = kind == 0 ? R.frame(6, stream: 0, [UInt8](repeating: 0, count: 8)) : R.frame(4, stream: 0)
        var count = 0
        while server.session.failure == nil, count < 10_000 {
            server.receive(frame)
            count += 1
        }
        #expect(server.session.failure == .acknowledgementFlood && count == server.session.limits.waitingAcknowledgements + 1)
        #expect(server.session.isOver)
    }

    @Test("a peer that opens its window octet by octet is served for a while, and no longer")
    func tinyWindow() throws {
        let server = try RecordingServer()
        // The initial window is 0.
        server.receive(R.preface + R.frame(4, stream: 0, [0, 4, 0, 0, 0, 0]) + R.frame(4, flags: 1, stream: 0))
        _ = server.output()
        server.receive(R.headers(1, R.request("/bytes/100000")))
        _ = server.output()
        #expect(server.requests[0].productions == 0, "no window, no work")
        var count = 0
        while server.session.failure == nil, count < 10_000 {
            server.receive(R.windowUpdate(1, 1))
            _ = server.output()
            count += 1
        }
        #expect(server.session.failure == .idleFrameFlood && count < 1010)
        #expect(server.requests[0].productions < 1010)
    }

    @Test("a peer that acknowledges every frame is no flood")
    func eagerAcknowledgement() throws {
        let server = try greeted()
        server.receive(R.headers(1, R.request("/bytes/8000000")))
        var received = 0
        while server.session.failure == nil {
            let data = RawFrames.parse(server.output(limit: 1 << 30)).filter { $0.type == 0 }
            if data.isEmpty { break }
            for frame in data {
                received += frame.payload.count
                server.receive(R.windowUpdate(0, UInt32(frame.payload.count)) + R.windowUpdate(1, UInt32(frame.payload.count)))
            }
        }
        #expect(received == 8_000_000 && server.session.failure == nil)
    }

    @Test("windows that overflow end the stream, or the connection")
    func windowOverflow() throws {
        let server = try greeted()
        server.receive(R.headers(1, R.request("/wait")) + R.windowUpdate(1, 0x7FFF_FFFF))
        #expect(server.session.failure == nil)
        let frames = RawFrames.parse(server.output())
        #expect(frames.contains { $0.type == 3 && $0.stream == 1 && $0.number(at: 0) == 3 })
        #expect(server.requests[0].closedWith == 3)
        // SETTINGS that push an open stream's window beyond 31 bits.
        let other = try greeted()
        other.receive(
            R.headers(1, R.request("/wait")) + R.windowUpdate(1, 0x7FFE_0000) + R.frame(4, stream: 0, [0, 4, 0x7F, 0xFF, 0xFF, 0xFF]))
        _ = other.output()
        #expect(other.requests[0].closedWith == 3 || other.session.failure == .protocolError(code: 3))
    }

    @Test("a peer that sends more than its window is told so")
    func beyondTheWindow() throws {
        var limits = HTTP2Limits()
        limits.streamWindow = 70_000
        let server = try greeted(limits)
        server.receive(R.headers(1, R.request("/hold", method: "POST"), ends: false))
        let frame = R.data(1, [UInt8](repeating: 1, count: 10_000))
        for _ in 0..<7 { server.receive(frame) }
        #expect(server.requests[0].contentCount == 70_000)
        // The frame that goes beyond is handed over, as libnghttp2 does it; the one behind it is not.
        server.receive(frame)
        server.receive(frame)
        #expect(server.requests[0].contentCount <= 80_000)
        let frames = RawFrames.parse(server.output())
        #expect(frames.contains { $0.type == 3 && $0.number(at: 0) == 3 } || frames.contains { $0.type == 7 && $0.number(at: 4) == 3 })
    }

    @Test("the library's memory is bounded: answers that nobody reads do not pile up")
    func memory() throws {
        var limits = HTTP2Limits()
        limits.sessionBytes = 100_000
        let server = try greeted(limits)
        // Small answers wait to be sent; nobody sends.
        var stream: UInt32 = 1
        while server.session.failure == nil, stream < 20_000 {
            server.receive(R.headers(stream, R.request("/x")))
            stream += 2
        }
        #expect(server.session.failure != nil && server.session.memoryInUse <= limits.sessionBytes)
        #expect(server.session.isOver || endCode(server) != nil)
        var tiny = HTTP2Limits()
        tiny.sessionBytes = 1000
        #expect(throws: HTTP2Failure.memory) { _ = try RecordingServer(tiny) }
    }
}
