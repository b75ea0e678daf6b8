// LineWriter: standard input, line by line, into a stream.
//
// While a request is in flight the input gathers, so lines are batched when there are many and go out at once when there are few. A batch
// is cut when it is full, when the input has paused for `linger`, or `longestLinger` after its first line. Whether the input has ended is
// known before a batch is cut, so the last append of a pipe that has been closed can itself close the stream.

import Glibc

public struct LineWriter {
    /// Milliseconds without input after which the lines at hand are sent.
    static let linger = 5
    /// Milliseconds that a line waits at most for company.
    static let longestLinger = 50

    private let descriptor: Int32
    private let appender: StreamAppender
    private let time: Timekeeper
    private var batch: LineBatch

    public init(descriptor: Int32 = STDIN_FILENO, form: LineBatch.Form, appender: StreamAppender, time: Timekeeper = .system) {
        self.descriptor = descriptor
        self.appender = appender
        self.time = time
        batch = LineBatch(form: form)
    }

    /// Until the end of the input.
    /// - Parameter closing: the stream is closed at the end, with the last append where possible.
    public mutating func run(closing: Bool) throws(ClientFailure) {
        var piece = [UInt8](repeating: 0, count: LineBatch.limit)
        var firstLineAt: Int?
        while true {
            if batch.hasCompleteLine {
                let now = time.now()
                let since = firstLineAt ?? now
                firstLineAt = since
                if now - since >= Self.longestLinger || !isReady(within: Self.linger) {
                    while let body = try batch.next(all: true) { try appender.append(body) }
                    firstLineAt = nil
                    continue
                }
            }
            let count = try readInput(&piece)
            if count == 0 { return try finish(closing: closing) }
            let batch = try piece.withUnsafeBytesTyped { bytes throws(ClientFailure) in
                var batch = self.takeBatch()
                try batch.take(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
                return batch
            }
            self.batch = batch
            while let body = try self.batch.next(all: false) {
                try appender.append(body)
                firstLineAt = nil
            }
        }
    }

    /// Moved out, so that the buffer is not copied while it is changed.
    private mutating func takeBatch() -> LineBatch {
        let taken = batch
        batch = LineBatch(form: taken.form)
        return taken
    }

    /// The last body is known to be the last only when none follows it.
    private mutating func finish(closing: Bool) throws(ClientFailure) {
        batch.finish()
        guard var body = try batch.next(all: true) else {
            if closing { try appender.close() }
            return
        }
        while true {
            let following: [UInt8]?
            do {
                following = try batch.next(all: true)
            } catch {
                try appender.append(body)
                throw error
            }
            guard let following else { return try appender.append(body, closing: closing) }
            try appender.append(body)
            body = following
        }
    }

    /// True at the end of the input too.
    private func isReady(within milliseconds: Int) -> Bool {
        var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, Int32(milliseconds)) > 0
    }

    private func readInput(_ piece: inout [UInt8]) throws(ClientFailure) -> Int {
        while true {
            let count = read(descriptor, &piece, piece.count)
            if count >= 0 { return count }
            switch errno {
            case EINTR: continue
            case EAGAIN: _ = isReady(within: -1)
            default: throw .inputOutput("standard input: \(String(cString: strerror(errno)))")
            }
        }
    }
}

/// Everything up to the end of a descriptor.
/// - Throws: `inputOutput`; `badInput` past `limit` bytes.
public func readAll(_ descriptor: Int32, named name: String, limit: Int = 1 << 30) throws(ClientFailure) -> [UInt8] {
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 256 * 1024)
    while true {
        let count = read(descriptor, &piece, piece.count)
        if count == 0 { return all }
        if count < 0 {
            if errno == EINTR { continue }
            throw .inputOutput("\(name): \(String(cString: strerror(errno)))")
        }
        all.append(contentsOf: piece[..<count])
        guard all.count <= limit else { throw .badInput("\(name) is larger than \(limit >> 20) MiB, too large for one append") }
    }
}
