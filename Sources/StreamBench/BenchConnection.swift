// One connection of the load generator: what has still to be sent, and how much of the response has come.
//
//     connecting ──▶ idle ──request──▶ waiting ──end of the response──▶ idle
//                     └────────────────────┴── closed by either side ──▶ closed ──▶ connecting
//
// It sends one request at a time and decides nothing: `LoadGenerator` says what comes next. Nothing is allocated for a request: the receive
// buffer and the request buffer belong to the generator; `kept` and `unsent` are only used when a head comes, or a request goes, in pieces.

import HTTPWire
import Reactor
import SystemCalls
import SystemPackage

final class BenchConnection: ReadinessHandler {
    enum State { case closed, connecting, idle, waiting }
    private enum Content {
        case head
        case length(Int)
        case chunked(ChunkedDecoder)
        case untilClose
    }

    /// What the request that waits is for.
    enum Operation { case create, preload, append, read, catchUp, get, delete, longPoll, sse }

    unowned let owner: LoadGenerator
    let index: Int
    let isReader: Bool
    private(set) var socket: Int32 = -1
    var state = State.closed

    // The request.
    var operation = Operation.get
    /// The stream it is about; a reader's is always the same.
    var stream = 0
    /// When it should have been sent, and when it is given up (nanoseconds).
    var intended: Int64 = 0
    var deadline = Int64.max
    /// Of an idempotent producer: the epoch, and the next number for each stream that this connection writes to.
    var epoch = 0
    var sequences: [Int] = []
    /// Which of its streams is next.
    var turn = 0
    private var unsent: [UInt8] = []
    private var unsentContent = 0..<0
    private var wantsWritable = false

    // The response.
    private var scanner = ResponseScanner()
    private var content = Content.head
    private var kept: [UInt8] = []
    /// Bytes of content of this response.
    private(set) var contentBytes = 0
    /// From the last head that had it.
    var offset: [UInt8] = []
    private(set) var cursor: [UInt8] = []
    var events = EventCounter()
    /// Bytes of earlier responses that belong to the same operation: parts of a catch-up, or all that a long-poll reader has received.
    var earlierBytes = 0
    /// Appends that a reader has received.
    var received = 0
    var hasBeenOpen = false

    var status: Int { scanner.status }
    var isUpToDate: Bool { scanner.isUpToDate }

    init(_ owner: LoadGenerator, index: Int, isReader: Bool) {
        self.owner = owner
        self.index = index
        self.isReader = isReader
    }

    // MARK: The socket

    /// Begins to connect; tells the owner how that ends.
    func open(_ target: SocketAddress, from source: SocketAddress?) {
        precondition(state == .closed, "the connection is open")
        do throws(Errno) {
            socket = try SocketCalls.connect(to: target, from: source).release()
            state = .connecting
            deadline = owner.deadline()
            try owner.loop.register(socket, self, for: .writable)
        } catch {
            owner.failed(self, .connect, Self.explain(error))
        }
    }

    private static func explain(_ error: Errno) -> String {
        switch error {
        case .addressNotAvailable: "no local port is left for another connection to this address"
        case .tooManyOpenFiles: "the limit of open files is reached"
        default: "\(error)"
        }
    }

    func close() {
        guard socket >= 0 else {
            state = .closed
            return
        }
        owner.loop.unregister(socket)
        _ = Descriptor(owning: socket)
        socket = -1
        state = .closed
        wantsWritable = false
        unsent.removeAll(keepingCapacity: true)
        unsentContent = 0..<0
        resetResponse()
        events.restart()
    }

    private func resetResponse() {
        scanner.reset()
        content = .head
        kept.removeAll(keepingCapacity: true)
        contentBytes = 0
    }

    func ready(_ readiness: Readiness) {
        if state == .connecting {
            if let error = SocketCalls.connectionError(socket) { return owner.failed(self, .connect, Self.explain(error)) }
            owner.loop.change(socket, to: .readable)
            state = .idle
            return owner.opened(self)
        }
        if readiness.contains(.writable) { flush() }
        if socket >= 0, !readiness.isDisjoint(with: [.readable, .hangUp, .failed, .peerEnded]) { receive() }
    }

    // MARK: Sending

    /// Sends the request in `head`, and behind it this part of the owner's content.
    func send(_ head: UnsafeRawBufferPointer, content range: Range<Int>) {
        resetResponse()
        state = .waiting
        unsentContent = range
        switch SocketCalls.send(socket, head, more: !range.isEmpty) {
        case .bytes(let count):
            if count == head.count, range.isEmpty { return }
            unsent.append(contentsOf: head[count...])
        case .wouldBlock: unsent.append(contentsOf: head)
        case .failed(let code): return owner.failed(self, .closed, "send: \(Errno(rawValue: code))")
        case .end: return
        }
        flush()
    }

    private func flush() {
        var isBlocked = false
        while !isBlocked, !unsent.isEmpty || !unsentContent.isEmpty {
            let transfer =
                unsent.isEmpty
                ? SocketCalls.send(socket, UnsafeRawBufferPointer(rebasing: owner.content[unsentContent]))
                : unsent.withUnsafeBytes { SocketCalls.send(socket, $0, more: !unsentContent.isEmpty) }
            switch transfer {
            case .bytes(let count):
                if unsent.isEmpty {
                    unsentContent = unsentContent.lowerBound + count..<unsentContent.upperBound
                } else {
                    unsent.removeFirst(count)
                }
            case .wouldBlock: isBlocked = true
            case .failed(let code): return owner.failed(self, .closed, "send: \(Errno(rawValue: code))")
            case .end: return
            }
        }
        if isBlocked != wantsWritable {
            wantsWritable = isBlocked
            owner.loop.change(socket, to: isBlocked ? [.readable, .writable] : .readable)
        }
    }

    // MARK: Receiving

    private func receive() {
        // The loop is level-triggered: what is left is taken in the next turn.
        for _ in 0..<8 where socket >= 0 {
            let input = owner.input
            if case .length(let left) = content, left >= input.count, operation != .sse {
                switch SocketCalls.discard(socket, count: left) {
                case .bytes(let count):
                    contentBytes += count
                    content = .length(left - count)
                    if left == count { finish() }
                    continue
                case .wouldBlock: return
                case .end: return ended()
                case .failed(let code): return broken(code)
                }
            }
            switch SocketCalls.receive(socket, into: input) {
            case .bytes(let count):
                take(UnsafeRawBufferPointer(rebasing: input[..<count]))
                if count < input.count { return }
            case .wouldBlock: return
            case .end: return ended()
            case .failed(let code): return broken(code)
            }
        }
    }

    private func broken(_ code: Int32) {
        if state == .idle { owner.closedByServer(self) } else { owner.failed(self, .closed, "receive: \(Errno(rawValue: code))") }
    }

    /// The server has ended the connection.
    private func ended() {
        if state == .idle { return owner.closedByServer(self) }
        if case .untilClose = content { return finish() }
        owner.failed(self, .closed, contentBytes == 0 ? "the server closed the connection without an answer" : "an answer ended too early")
    }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while !rest.isEmpty {
            guard state == .waiting else { return owner.failed(self, .malformed, "bytes that belong to no answer") }
            switch content {
            case .head:
                guard let length = takeHead(rest) else { return }
                rest = UnsafeRawBufferPointer(rebasing: rest[length...])
            case .length(let left):
                let count = min(left, rest.count)
                content = .length(left - count)
                receive(UnsafeRawBufferPointer(rebasing: rest[..<count]))
                if left == count { finish() }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            case .chunked(var decoder):
                guard let count = takeChunks(rest, &decoder) else { return }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            case .untilClose:
                receive(rest)
                return
            }
        }
    }

    /// The number of bytes of `rest` that belong to the head; nil: all of them, or it is none.
    private func takeHead(_ rest: UnsafeRawBufferPointer) -> Int? {
        let before = kept.count
        do throws(ResponseFault) {
            if before == 0 {
                guard let length = try scanner.scan(rest) else {
                    kept.append(contentsOf: rest)
                    return nil
                }
                takeFields(rest)
                return beginContent() ? length : nil
            }
            kept.append(contentsOf: rest)
            // Moved out, because the scanner must not be changed while its input is borrowed from the same object.
            let whole = kept
            var scanner = scanner
            let outcome: Result<Int?, ResponseFault> = whole.withUnsafeBytes { bytes in
                do throws(ResponseFault) { return .success(try scanner.scan(bytes)) } catch { return .failure(error) }
            }
            self.scanner = scanner
            guard let length = try outcome.get() else { return nil }
            whole.withUnsafeBytes { takeFields($0) }
            kept.removeAll(keepingCapacity: true)
            return beginContent() ? length - before : nil
        } catch {
            owner.failed(self, .malformed, "the head of an answer is malformed (\(error))")
            return nil
        }
    }

    private func takeFields(_ head: UnsafeRawBufferPointer) {
        if operation != .read, operation != .get, !scanner.nextOffset.isEmpty {
            offset.replaceSubrange(0..., with: UnsafeRawBufferPointer(rebasing: head[scanner.nextOffset]))
        }
        if isReader { cursor.replaceSubrange(0..., with: UnsafeRawBufferPointer(rebasing: head[scanner.cursor])) }
    }

    /// - Returns: false when the connection is not there any more.
    private func beginContent() -> Bool {
        switch scanner.framing {
        case .length(0):
            finish()
            return socket >= 0
        case .length(let count): content = .length(count)
        case .chunked: content = .chunked(ChunkedDecoder(limits: WireLimits()))
        case .untilClose: content = .untilClose
        }
        return true
    }

    /// The number of bytes taken; nil when the connection is not there any more.
    private func takeChunks(_ rest: UnsafeRawBufferPointer, _ decoder: inout ChunkedDecoder) -> Int? {
        var position = 0
        do throws(HTTPRefusal) {
            while true {
                let input = UnsafeRawBufferPointer(rebasing: rest[position...])
                var consumed = 0
                let event = try decoder.next(input, consumed: &consumed)
                position += consumed
                switch event {
                case .content(let range): receive(UnsafeRawBufferPointer(rebasing: input[range]))
                case .needMore:
                    content = .chunked(decoder)
                    return position
                case .finished:
                    finish()
                    return socket >= 0 ? position : nil
                }
            }
        } catch {
            owner.failed(self, .malformed, "chunked content: \(error.reason)")
            return nil
        }
    }

    private func receive(_ piece: UnsafeRawBufferPointer) {
        contentBytes += piece.count
        guard operation == .sse, status == 200 else { return }
        events.take(piece)
        owner.eventsCame(self)
    }

    private func finish() {
        let keepsAlive = scanner.keepsAlive
        state = .idle
        content = .head
        owner.finished(self, keepsAlive: keepsAlive)
    }
}
