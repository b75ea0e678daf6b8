// A blocking HTTP/1.1 client on a raw socket: it sends any bytes, so that malformed input is possible, and reads answers strictly (a
// fault in an answer's framing is a thrown fault). Every wait has a deadline.
//
//     send(bytes)   send(bytes)   …            requests, pipelined if one likes
//     response()    response()    …            answers in order: Content-Length, chunked, or until the connection ends
//     head(), then piece() until nil           an answer that comes in pieces

import Glibc
import Testing

final class RawClient {
    /// How the body of the answer being read ends.
    enum Framing: Equatable {
        case ended
        case length(Int)
        /// Bytes left of the current chunk; its line end has to follow. nil: a chunk size is next.
        case chunked(left: Int?)
        case untilEnd
    }

    private let socket: Int32
    private let authority: String
    private var input: [UInt8] = []
    private var position = 0
    private var isAtEnd = false
    private(set) var framing = Framing.ended
    private var pendingMethods: [String] = []

    /// Connects to a server by the transport of this run; what is sent and received here is HTTP/1.1 all the same.
    init(port: UInt16, by transport: Transport, receiveBuffer: Int32? = nil) throws {
        authority = "127.0.0.1:\(port)"
        socket = try TransportBridge.connect(port: port, transport, receiveBuffer: receiveBuffer)
    }

    /// Connects to a port of the loopback address, in clear.
    init(port: UInt16, receiveBuffer: Int32? = nil) throws {
        authority = "127.0.0.1:\(port)"
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        if var receiveBuffer { setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size)) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        try connect(address)
        var on: Int32 = 1
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    /// Connects to a port of the IPv6 loopback address.
    init(port6 port: UInt16) throws {
        authority = "[::1]:\(port)"
        socket = Glibc.socket(AF_INET6, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = port.bigEndian
        address.sin6_addr = in6addr_loopback
        try connect(address)
    }

    /// Connects to a Unix socket.
    init(unix path: String) throws {
        authority = "localhost"
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        precondition(path.utf8.count < 108, "a longer path than a Unix socket may have")
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        try connect(address)
    }

    deinit { close(socket) }

    private func connect(_ address: some Any) throws {
        let result = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket, $0, socklen_t(MemoryLayout.size(ofValue: address)))
            }
        }
        // The descriptor is closed by deinit.
        guard result == 0 else { throw TestFault("cannot connect to \(authority): \(String(cString: strerror(errno)))") }
    }

    // MARK: Sending

    func send(_ bytes: [UInt8], within time: Duration = Deadline.usual) throws {
        let deadline = Deadline(in: time)
        var sent = 0
        while sent < bytes.count {
            guard wait(for: Int16(POLLOUT), until: deadline) else { throw TestFault("the server takes no more bytes") }
            let count = bytes.withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count > 0 {
                sent += count
            } else if errno != EAGAIN && errno != EINTR {
                throw TestFault("sending: \(String(cString: strerror(errno)))")
            }
        }
    }

    /// The text of a request, with `Host` added if it is HTTP/1.1 and has none; nothing else is added.
    func send(_ text: String) throws { try send(Array(text.utf8)) }

    /// Sends a whole request; `Host` and, for content, `Content-Length` are added where no field says otherwise.
    func send(_ method: String, _ target: String, _ fields: [String] = [], _ body: Payload? = nil, chunked: Bool = false) throws {
        try send(request(method, target, fields, body, chunked: chunked))
        pendingMethods.append(method)
    }

    func request(_ method: String, _ target: String, _ fields: [String] = [], _ body: Payload? = nil, chunked: Bool = false) -> [UInt8] {
        var head = "\(method) \(target) HTTP/1.1\r\n"
        func has(_ name: String) -> Bool { fields.contains { $0.lowercased().hasPrefix(name + ":") } }
        if !has("host") { head += "Host: \(authority)\r\n" }
        for field in fields { head += field + "\r\n" }
        var content = body?.bytes ?? []
        if chunked {
            head += "Transfer-Encoding: chunked\r\n"
            content = body?.chunked() ?? Payload.none.chunked()
        } else if let body, !has("content-length"), !has("transfer-encoding") {
            head += "Content-Length: \(body.bytes.count)\r\n"
        }
        return Array(head.utf8) + [13, 10] + content
    }

    /// Tells the server that no more bytes come; answers can still be read.
    func finishSending() { shutdown(socket, Int32(SHUT_WR)) }

    /// Sends one request and reads its answer.
    func exchange(
        _ method: String, _ target: String, _ fields: [String] = [], _ body: Payload? = nil, chunked: Bool = false,
        within time: Duration = Deadline.usual
    ) throws -> Response {
        try send(method, target, fields, body, chunked: chunked)
        return try response(within: time)
    }

    // MARK: Receiving

    /// One final answer with its body; interim ones (1xx) are skipped. It is checked against the rules for all answers.
    /// - Parameter method: what it answers; by default that of the oldest request sent as such.
    func response(to method: String? = nil, within time: Duration = Deadline.usual) throws -> Response {
        let deadline = Deadline(in: time)
        let method = method ?? (pendingMethods.isEmpty ? "GET" : pendingMethods.removeFirst())
        var response = try head(to: method, until: deadline)
        while response.status < 200 { response = try head(to: method, until: deadline) }
        while let piece = try piece(until: deadline) { response.body += piece }
        response.checkCommonRules(method: method)
        return response
    }

    /// The head of the next answer, interim ones included; its body is read by `piece`.
    func head(to method: String = "GET", within time: Duration = Deadline.usual) throws -> Response {
        try head(to: method, until: Deadline(in: time))
    }

    private func head(to method: String, until deadline: Deadline) throws -> Response {
        precondition(framing == .ended, "the body of the answer before has not been read")
        let words = try line(until: deadline).split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard words.count >= 2, words[0] == "HTTP/1.1" || words[0] == "HTTP/1.0", words[1].utf8.count == 3, let status = Int(words[1])
        else {
            throw TestFault("no status line: \(words.joined(separator: " "))")
        }
        var response = Response(version: String(words[0]), status: status, fields: [])
        while true {
            let line = try line(until: deadline)
            if line.isEmpty { break }
            guard let colon = line.firstIndex(of: ":"), colon != line.startIndex, !line[..<colon].contains(" ") else {
                throw TestFault("no field line: \(line)")
            }
            response.fields.append((String(line[..<colon]), line[line.index(after: colon)...].trimmed))
        }
        framing = try Self.framing(of: response, to: method)
        return response
    }

    private static func framing(of response: Response, to method: String) throws -> Framing {
        if method == "HEAD" || response.status < 200 || response.status == 204 || response.status == 304 { return .ended }
        if let coding = response["Transfer-Encoding"] {
            guard coding.lowercased() == "chunked", response.version == "HTTP/1.1" else { throw TestFault("Transfer-Encoding: \(coding)") }
            return .chunked(left: nil)
        }
        guard let text = response["Content-Length"] else { return .untilEnd }
        guard let length = Int(text), length >= 0, !text.hasPrefix("+") else { throw TestFault("Content-Length: \(text)") }
        return length == 0 ? .ended : .length(length)
    }

    /// The next bytes of the body, as they come; nil: the answer is complete.
    func piece(within time: Duration = Deadline.usual) throws -> [UInt8]? { try piece(until: Deadline(in: time)) }

    private func piece(until deadline: Deadline) throws -> [UInt8]? {
        while true {
            switch framing {
            case .ended: return nil
            case .length(let left):
                let bytes = try some(atMost: left, until: deadline)
                framing = bytes.count == left ? .ended : .length(left - bytes.count)
                return bytes
            case .chunked(nil):
                let line = try line(until: deadline)
                guard let size = Int(line, radix: 16), size >= 0 else { throw TestFault("no chunk size: \(line)") }
                if size == 0 {
                    while try !self.line(until: deadline).isEmpty {}
                    framing = .ended
                } else {
                    framing = .chunked(left: size)
                }
            case .chunked(let left?):
                let bytes = try some(atMost: left, until: deadline)
                if bytes.count == left {
                    guard try self.line(until: deadline).isEmpty else { throw TestFault("no line end after a chunk") }
                    framing = .chunked(left: nil)
                } else {
                    framing = .chunked(left: left - bytes.count)
                }
                return bytes
            case .untilEnd:
                if position == input.count, try !receive(until: deadline) {
                    framing = .ended
                    return nil
                }
                return try some(atMost: Int.max, until: deadline)
            }
        }
    }

    /// Waits for the end of the connection. Bytes that come instead are a fault.
    func expectEnd(within time: Duration = Deadline.usual) throws {
        let deadline = Deadline(in: time)
        guard position == input.count, try !receive(until: deadline) else {
            throw TestFault("more bytes: " + String(decoding: input[position...].prefix(200), as: UTF8.self))
        }
    }

    /// Whether the end of the connection, or a reset, comes in time; whatever is received before is dropped.
    func ends(within time: Duration = Deadline.usual) -> Bool {
        let deadline = Deadline(in: time)
        do {
            while try receive(until: deadline) { position = input.count }
            return true
        } catch { return false }
    }

    /// Whether anything, be it the end, arrives within this time.
    func isReadable(within time: Duration) -> Bool {
        position < input.count || wait(for: Int16(POLLIN), until: Deadline(in: time))
    }

    private func line(until deadline: Deadline) throws -> String {
        var searched = 0
        while true {
            let from = position + searched
            let feed = input.withUnsafeBytes { buffer in
                buffer.count > from
                    ? memchr(buffer.baseAddress! + from, 10, buffer.count - from).map { UnsafeRawPointer($0) - buffer.baseAddress! } : nil
            }
            if let feed {
                guard feed > position, input[feed - 1] == 13 else { throw TestFault("a line without CR before its LF") }
                defer { position = feed + 1 }
                return String(decoding: input[position..<feed - 1], as: UTF8.self)
            }
            searched = input.count - position
            guard try receive(until: deadline) else { throw TestFault("the connection ended where a line was expected") }
        }
    }

    private func some(atMost limit: Int, until deadline: Deadline) throws -> [UInt8] {
        if position == input.count, try !receive(until: deadline) { throw TestFault("the connection ended within a body") }
        let end = position + min(limit, input.count - position)
        defer { position = end }
        return Array(input[position..<end])
    }

    /// Waits for bytes. - Returns: false at the end of the connection.
    private func receive(until deadline: Deadline) throws -> Bool {
        if isAtEnd { return false }
        if position > 0 {
            input.removeFirst(position)
            position = 0
        }
        guard wait(for: Int16(POLLIN), until: deadline) else { throw TestFault("nothing came from the server in time") }
        let count = withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 1) { buffer in
            let count = recv(socket, buffer.baseAddress!, buffer.count, 0)
            if count > 0 { input.append(contentsOf: buffer[..<count]) }
            return count
        }
        if count <= 0 { isAtEnd = true }
        return count > 0
    }

    private func wait(for events: Int16, until deadline: Deadline) -> Bool {
        var entry = pollfd(fd: socket, events: events, revents: 0)
        while true {
            let count = Glibc.poll(&entry, 1, deadline.milliseconds)
            if count > 0 { return true }
            if count == 0 || errno != EINTR { return false }
        }
    }
}
