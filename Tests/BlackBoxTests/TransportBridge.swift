// Lets a test that writes and reads HTTP/1.1 travel by TLS or HTTP/2: it gets one end of a pair of sockets, and a thread sits at the other.
//
//     RawClient ══ pair ══▶ h1-tls    the bytes as they are ──────────────────────────▶ TLS ══▶ server
//                           h2        request head, content ─▶ HEADERS, DATA ─▶ (TLS) ══▶
//                ◀══ pair ══          status line, fields, body ◀─ HEADERS, DATA ◀───── ◀══
//
// Over HTTP/2 the requests of one test connection go one after another on one HTTP/2 connection, each when the answer before it is complete. An
// answer without Content-Length comes in chunks, so that one that breaks off can be told, and its end ends the test's connection, as in HTTP/1.1.
// What HTTP/1.1 says about its connection is not passed on. Little is held: nothing more is read from either side while the other does not take.
//
// What is no request that HTTP/2 could carry is answered with a line that no test takes for an answer, and that says why.

import COpenSSL
import Glibc

final class TransportBridge {
    private let pair: Int32
    private let transport: Transport
    private let port: UInt16
    private let receiveBuffer: Int32?
    private var toTest = ByteBuffer()
    private var fromTest = ByteBuffer()
    private var testHasEnded = false
    private var testHasGone = false
    private var isOver = false

    private static let bound = 256 * 1024

    private init(pair: Int32, port: UInt16, transport: Transport, receiveBuffer: Int32?) {
        self.pair = pair
        self.port = port
        self.transport = transport
        self.receiveBuffer = receiveBuffer
    }

    deinit { close(pair) }

    /// A socket that behaves like one connected to the server by HTTP/1.1 in clear.
    static func connect(port: UInt16, _ transport: Transport, receiveBuffer: Int32? = nil) throws -> Int32 {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw TestFault("no pair of sockets: \(String(cString: strerror(errno)))")
        }
        _ = fcntl(ends[1], F_SETFL, fcntl(ends[1], F_GETFL) | O_NONBLOCK)
        let bridge = TransportBridge(pair: ends[1], port: port, transport: transport, receiveBuffer: receiveBuffer)
        // Connected here, so that a server that is not there is a fault of the test's own connect.
        let channel: ClientChannel
        do {
            channel = try ClientChannel(
                port: port,
                tls: transport.hasTLS ? TLSClientOptions(protocols: [transport.isHTTP2 ? "h2" : "http/1.1"]) : nil,
                receiveBuffer: receiveBuffer)
        } catch {
            close(ends[0])
            throw error
        }
        let job = Job(bridge, channel)
        var thread = pthread_t()
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, 512 * 1024)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }
        let code = pthread_create(
            &thread, &attributes,
            { raw in
                Unmanaged<Job>.fromOpaque(raw!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(job).toOpaque())
        guard code == 0 else { throw TestFault("no thread: \(String(cString: strerror(code)))") }
        return ends[0]
    }

    private final class Job {
        let bridge: TransportBridge
        let channel: ClientChannel
        init(_ bridge: TransportBridge, _ channel: ClientChannel) { (self.bridge, self.channel) = (bridge, channel) }

        func run() {
            if bridge.transport.isHTTP2 { bridge.translate(channel) } else { bridge.pump(channel) }
        }
    }

    // MARK: The test's side

    private func readTest() {
        while !testHasEnded, fromTest.count < Self.bound {
            let outcome = withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 1) { buffer in
                let count = recv(pair, buffer.baseAddress!, buffer.count, Int32(MSG_DONTWAIT))
                if count > 0 { fromTest.append(buffer[..<count]) }
                return count
            }
            if outcome > 0 { continue }
            if outcome < 0, errno == EAGAIN || errno == EINTR { return }
            testHasEnded = true
        }
    }

    private func writeTest() {
        while !toTest.isEmpty {
            let count = toTest.withBytes { send(pair, $0.baseAddress!, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)) }
            if count > 0 {
                toTest.removeFirst(count)
            } else {
                if errno != EAGAIN, errno != EINTR { testHasGone = true }
                return
            }
        }
    }

    /// Waits until one side can go on. A test that has closed its end is noticed by the hang-up.
    private func wait(server: Int32, _ serverEvents: Int16) {
        var events: Int16 = toTest.isEmpty ? 0 : Int16(POLLOUT)
        if !testHasEnded, fromTest.count < Self.bound { events |= Int16(POLLIN) }
        guard let ready = Poll.wait([(pair, events), (server, serverEvents)], until: nil) else { return }
        if ready[0] & Int16(POLLHUP | POLLERR) != 0 {
            readTest()
            testHasGone = true
        }
    }

    // MARK: HTTP/1.1

    private func pump(_ channel: ClientChannel) {
        var hasFinished = false
        while true {
            readTest()
            var serverEvents: Int16 = 0
            while !fromTest.isEmpty {
                let outcome = fromTest.withBytes { channel.write($0) }
                if case .bytes(let count) = outcome {
                    fromTest.removeFirst(count)
                    continue
                }
                // What the server does not take any more is dropped; its answer may still be there.
                if outcome == .ended { fromTest = ByteBuffer() }
                if case .wait(let events) = outcome { serverEvents |= events }
                break
            }
            if testHasEnded, fromTest.isEmpty, !hasFinished {
                hasFinished = true
                channel.finishWriting()
            }
            writeTest()
            if testHasGone { return }
            if toTest.isEmpty {
                var hasCome = false
                let outcome = withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 1) { buffer in
                    let outcome = channel.read(into: buffer)
                    if case .bytes(let count) = outcome { toTest.append(buffer[..<count]) }
                    return outcome
                }
                switch outcome {
                case .bytes: hasCome = true
                case .wait(let events): serverEvents |= events
                case .ended: return
                }
                if hasCome { continue }
            }
            wait(server: channel.descriptor, serverEvents)
        }
    }

    // MARK: HTTP/2

    private enum Content {
        case none
        case length(Int)
        /// Bytes left of a chunk with its line end; nil: a chunk's size is next.
        case chunks(Int?)
        case trailers
    }

    private var content = Content.none
    private var current: HTTP2Peer.Stream?
    private var method = ""
    private var sentInterim = 0
    private var hasSentHead = false
    private var isChunked = false
    private var endsAfterAnswer = false

    private func translate(_ channel: ClientChannel) {
        let peer = HTTP2Peer(channel, scheme: transport.scheme)
        do {
            while true {
                readTest()
                if current == nil, toTest.count < Self.bound {
                    // What is left of a request that was answered before its end is dropped.
                    passContent(to: nil, peer)
                    if isComplete { try beginRequest(peer) }
                }
                if let current { passContent(to: current, peer) }
                let isFlushed = peer.flush()
                if toTest.count < Self.bound { try peer.receive(atMost: Self.bound) }
                passAnswer(peer)
                writeTest()
                if testHasGone || isOver && toTest.isEmpty { return }
                if current == nil, toTest.isEmpty, peer.hasEnded || testHasEnded && !hasRequest { return }
                if peer.hasEnded, current != nil {
                    // Broken off.
                    if toTest.isEmpty { return }
                    isOver = true
                }
                if peer.wantsWrite, isFlushed { continue }
                if current == nil, toTest.count < Self.bound, isComplete, hasRequest { continue }
                let reads = toTest.count < Self.bound && !peer.hasEnded ? Int16(POLLIN) : 0
                wait(server: channel.descriptor, reads | (isFlushed ? 0 : Int16(POLLOUT)))
            }
        } catch {
            toTest.append("the bridge to HTTP/2: \(error)\r\n".utf8)
            writeTest()
        }
    }

    private var isComplete: Bool { if case .none = content { true } else { false } }

    /// A whole head is here.
    private var hasRequest: Bool { headLength != nil }

    private var headLength: Int? { fromTest.firstIndex(of: "\r\n\r\n").map { $0 + 4 } }

    /// Names that belong to one connection of HTTP/1.1 (RFC 9113 8.2.2), and Host, which becomes `:authority`.
    private static let ofConnection: Set<String> = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"]

    private func beginRequest(_ peer: HTTP2Peer) throws {
        guard let length = headLength else { return }
        let head = fromTest.withBytes { String(decoding: $0[..<(length - 4)], as: UTF8.self) }
        fromTest.removeFirst(length)
        // CR LF is one Character.
        let lines = head.split(separator: "\r\n", omittingEmptySubsequences: false)
        let words = lines[0].split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[2] == "HTTP/1.1" else { throw TestFault("no request line of HTTP/1.1: \(lines[0])") }
        var authority = ""
        var fields: [(String, String)] = []
        content = .none
        endsAfterAnswer = false
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw TestFault("no field line: \(line)") }
            let (name, value) = (line[..<colon].lowercased(), line[line.index(after: colon)...].trimmed)
            switch name {
            case "host": authority = value
            case "transfer-encoding":
                guard value.lowercased() == "chunked" else { throw TestFault("Transfer-Encoding: \(value)") }
                content = .chunks(nil)
            case "content-length":
                guard let count = Int(value), count >= 0 else { throw TestFault("Content-Length: \(value)") }
                if count > 0 { content = .length(count) }
            case "connection": endsAfterAnswer = value.lowercased() == "close"
            default: break
            }
            if !Self.ofConnection.contains(name) { fields.append((name, value)) }
        }
        method = String(words[0])
        var target = words[1]
        if let scheme = target.firstRange(of: "://"), !target.hasPrefix("/") {
            // The absolute form is what :scheme, :authority and :path say together.
            let rest = target[scheme.upperBound...]
            let slash = rest.firstIndex(of: "/") ?? rest.endIndex
            authority = String(rest[..<slash])
            target = rest[slash...]
        }
        (sentInterim, hasSentHead, isChunked) = (0, false, false)
        current = try peer.request(
            method, String(target), authority: authority, fields, body: isComplete ? nil : [], ends: isComplete)
    }

    /// Passes on what is here of the request's content; to nobody: drops it.
    private func passContent(to stream: HTTP2Peer.Stream?, _ peer: HTTP2Peer) {
        func pass(_ count: Int, ends: Bool) {
            if let stream, !stream.isOver { fromTest.withBytes { peer.upload($0[..<count], ends: ends, on: stream) } }
            fromTest.removeFirst(count)
            if ends { content = .none }
        }
        while stream.map({ $0.waitingUpload < Self.bound || $0.isOver }) ?? true {
            switch content {
            case .none: return
            case .length(let left):
                let part = min(left, fromTest.count)
                if part == 0 { return }
                if part < left { content = .length(left - part) }
                pass(part, ends: part == left)
            case .chunks(nil):
                guard let line = takeLine() else { return }
                let size = Int(line.prefix { $0 != ";" }, radix: 16) ?? 0
                content = size == 0 ? .trailers : .chunks(size + 2)
            case .chunks(let left?):
                let part = min(left, fromTest.count)
                if part == 0 { return }
                // The last two are the line end.
                let payload = min(part, max(0, left - 2))
                if payload > 0 { pass(payload, ends: false) }
                fromTest.removeFirst(part - payload)
                content = part == left ? .chunks(nil) : .chunks(left - part)
            case .trailers:
                guard let line = takeLine() else { return }
                if line.isEmpty { pass(0, ends: true) }
            }
        }
    }

    private func takeLine() -> String? {
        guard let end = fromTest.firstIndex(of: "\r\n") else { return nil }
        let line = fromTest.withBytes { String(decoding: $0[..<end], as: UTF8.self) }
        fromTest.removeFirst(end + 2)
        return line
    }

    private func passAnswer(_ peer: HTTP2Peer) {
        guard let stream = current else { return }
        while sentInterim < stream.interim.count {
            toTest.append("HTTP/1.1 \(stream.interim[sentInterim]) Interim\r\n\r\n".utf8)
            sentInterim += 1
        }
        if !hasSentHead, stream.status > 0 {
            hasSentHead = true
            var head = "HTTP/1.1 \(stream.status) -\r\n"
            for field in stream.fields { head += "\(field.name): \(field.value)\r\n" }
            let hasBody = method != "HEAD" && stream.status != 204 && stream.status != 304
            isChunked = hasBody && stream["content-length"] == nil
            if isChunked { head += "Transfer-Encoding: chunked\r\n" }
            toTest.append((head + "\r\n").utf8)
        }
        if hasSentHead, toTest.count < Self.bound, !stream.body.isEmpty {
            let bytes = peer.take(stream)
            if isChunked { toTest.append((String(bytes.count, radix: 16) + "\r\n").utf8) }
            toTest.append(bytes)
            if isChunked { toTest.append([13, 10]) }
        }
        guard stream.isOver, stream.body.isEmpty else { return }
        peer.forget(stream)
        current = nil
        guard stream.hasEnded, hasSentHead else {
            // Reset: the test's connection breaks off.
            isOver = true
            return
        }
        if isChunked { toTest.append("0\r\n\r\n".utf8) }
        if isChunked || endsAfterAnswer { isOver = true }
    }
}
