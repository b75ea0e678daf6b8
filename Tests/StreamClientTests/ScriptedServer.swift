// ScriptedServer: an HTTP/1.1 server on a loopback port that the kernel chooses, whose every answer a test decides. One thread, one connection
// at a time; it understands just the requests that libcurl sends (Content-Length bodies).

import Glibc
import StreamClient
import Synchronization

final class ScriptedServer: Sendable {
    struct Received: Sendable {
        var line = ""
        var fields: [String: String] = [:]
        var body = ""

        var method: String { String(line.prefix { $0 != " " }) }
        var target: String { line.split(separator: " ").dropFirst().first.map(String.init) ?? "" }
    }

    enum Reaction: Sendable {
        /// Sends it; the connection stays.
        case send(String)
        /// Sends it, which may be half an answer, and closes.
        case sendAndCut(String)
        /// Closes without a byte.
        case cut
        /// Leaves the request unanswered until the client goes away.
        case silence
    }

    private final class State: Sendable {
        struct Shared {
            var received: [Received] = []
            var connection: Int32 = -1
            var isStopped = false
        }
        let shared = Mutex(Shared())
        let listener: Int32
        let react: @Sendable (Received) -> Reaction

        init(listener: Int32, react: @escaping @Sendable (Received) -> Reaction) {
            self.listener = listener
            self.react = react
        }
    }

    private let state: State
    let port: UInt16

    var received: [Received] { state.shared.withLock { $0.received } }
    var url: String { "http://127.0.0.1:\(port)/v1/stream" }

    /// Answers with the reactions in turn; 500 when there are none left.
    convenience init(_ script: [Reaction]) {
        let rest = RestOfScript(script)
        self.init { _ in rest.next() }
    }

    private final class RestOfScript: Sendable {
        private let reactions: Mutex<[Reaction]>
        init(_ reactions: [Reaction]) { self.reactions = Mutex(reactions) }
        func next() -> Reaction {
            reactions.withLock { $0.isEmpty ? .send(reply(500, body: "the script is over")) : $0.removeFirst() }
        }
    }

    init(react: @escaping @Sendable (Received) -> Reaction) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                precondition(bind(listener, generic, length) == 0 && listen(listener, 16) == 0)
                precondition(getsockname(listener, generic, &length) == 0)
            }
        }
        port = UInt16(bigEndian: address.sin_port)
        state = State(listener: listener, react: react)
        signal(SIGPIPE, SIG_IGN)
        var thread = pthread_t()
        let context = Unmanaged.passRetained(state).toOpaque()
        let started = pthread_create(
            &thread, nil,
            { context in
                ScriptedServer.serve(Unmanaged<State>.fromOpaque(context!).takeRetainedValue())
                return nil
            }, context)
        precondition(started == 0)
        pthread_detach(thread)
    }

    deinit {
        state.shared.withLock { shared in
            shared.isStopped = true
            if shared.connection >= 0 { shutdown(shared.connection, Int32(SHUT_RDWR)) }
        }
        shutdown(state.listener, Int32(SHUT_RDWR))
    }

    private static func serve(_ state: State) {
        defer { close(state.listener) }
        while true {
            let connection = accept(state.listener, nil, nil)
            guard connection >= 0 else { return }
            let isStopped = state.shared.withLock { shared in
                shared.connection = connection
                return shared.isStopped
            }
            if !isStopped { converse(connection, state) }
            state.shared.withLock { $0.connection = -1 }
            close(connection)
            if isStopped { return }
        }
    }

    private static func converse(_ connection: Int32, _ state: State) {
        var buffer: [UInt8] = []
        while let request = receive(connection, &buffer) {
            state.shared.withLock { $0.received.append(request) }
            switch state.react(request) {
            case .send(let text): send(connection, text)
            case .sendAndCut(let text):
                send(connection, text)
                return
            case .cut: return
            case .silence:
                var byte: UInt8 = 0
                _ = recv(connection, &byte, 1, 0)
                return
            }
        }
    }

    private static func send(_ connection: Int32, _ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }

    private static func receive(_ connection: Int32, _ buffer: inout [UInt8]) -> Received? {
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            if let request = parse(&buffer) { return request }
            let count = recv(connection, &piece, piece.count, 0)
            guard count > 0 else { return nil }
            buffer.append(contentsOf: piece[..<count])
        }
    }

    private static func parse(_ buffer: inout [UInt8]) -> Received? {
        let end = Array("\r\n\r\n".utf8)
        guard buffer.count >= 4, let headEnd = (0...buffer.count - 4).first(where: { Array(buffer[$0..<$0 + 4]) == end }) else {
            return nil
        }
        var request = Received()
        let lines = String(decoding: buffer[..<headEnd], as: UTF8.self).split(separator: "\r\n")
        request.line = String(lines[0])
        for line in lines.dropFirst() {
            let colon = line.firstIndex(of: ":")!
            request.fields[line[..<colon].lowercased()] = String(line[line.index(after: colon)...].drop { $0 == " " })
        }
        let bodyEnd = headEnd + 4 + (request.fields["content-length"].flatMap { Int($0) } ?? 0)
        guard buffer.count >= bodyEnd else { return nil }
        request.body = String(decoding: buffer[headEnd + 4..<bodyEnd], as: UTF8.self)
        buffer.removeFirst(bodyEnd)
        return request
    }
}

/// An answer with its length; 204 and answers to HEAD (`body` nil) have no body.
func reply(_ status: Int, _ fields: [String] = [], body: String? = "") -> String {
    let length = status == 204 || body == nil ? [] : ["Content-Length: \(body!.utf8.count)"]
    return (["HTTP/1.1 \(status) x"] + fields + length + ["", status == 204 ? "" : body ?? ""]).joined(separator: "\r\n")
}

/// Time that passes only by waiting.
final class VirtualTime: Sendable {
    private let state = Mutex((now: 0, waits: [Int]()))

    var waits: [Int] { state.withLock { $0.waits } }

    var timekeeper: Timekeeper {
        Timekeeper(
            now: { self.state.withLock { $0.now } },
            wait: { milliseconds, _ in
                self.state.withLock {
                    $0.now += milliseconds
                    $0.waits.append(milliseconds)
                }
                return false
            })
    }
}
