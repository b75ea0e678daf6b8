// LineBatch: bytes of standard input in any pieces → request bodies of whole lines.
//
//     buffer   [ line⏎ line⏎ line⏎ | beginning of a li ]
//               ▲ taken             ▲ complete
//
// Byte streams: lines back to back with their newlines, so that the bodies together are the input, byte for byte. JSON streams: each line is
// one message, and a body is the array of them (PROTOCOL.md section 8 flattens it again); blank lines are passed over.
// A body keeps to `limit` unless a single line is longer. A body stops before a line that is no JSON text, so everything before it is sent
// first and the failure names the line.

public struct LineBatch: Sendable {
    public enum Form: Sendable { case bytes, json }

    /// Body size that a batch does not go past: large enough that the request costs little per line, small enough to retry cheaply.
    public static let limit = 256 * 1024
    /// A line longer than this is refused: it must be held in memory whole.
    public static let longestLine = 64 * 1024 * 1024

    public let form: Form
    private let limit: Int
    private var buffer: [UInt8] = []
    private var taken = 0
    private var complete = 0
    private var lineNumber = 0

    public init(form: Form, limit: Int = LineBatch.limit) {
        self.form = form
        self.limit = limit
    }

    /// Whether a body could be taken with `next(all: true)`.
    public var hasCompleteLine: Bool { complete > taken }

    /// - Throws: `badInput` for a line over `longestLine`.
    public mutating func take(_ input: UnsafeRawBufferPointer) throws(ClientFailure) {
        if taken > 0 {
            buffer.removeFirst(taken)
            complete -= taken
            taken = 0
        }
        if let newline = input.lastIndex(of: UInt8(ascii: "\n")) { complete = buffer.count + newline + 1 }
        buffer.append(contentsOf: input)
        guard buffer.count - complete <= Self.longestLine else {
            throw .badInput("standard input has a line of more than \(Self.longestLine >> 20) MiB; use --raw to send it as it is")
        }
    }

    /// The input has ended: what follows the last newline is a line too.
    public mutating func finish() { complete = buffer.count }

    /// The next body, or nil.
    /// - Parameter all: false: only if the lines at hand fill a body. True: whatever complete lines there are.
    /// - Throws: `badInput` for a line that is no JSON text, when no line before it waits to be sent.
    public mutating func next(all: Bool) throws(ClientFailure) -> [UInt8]? {
        while taken < complete, all || complete - taken >= limit {
            if let body = form == .bytes ? nextBytes() : try nextArray() { return body }
        }
        return nil
    }

    private mutating func nextBytes() -> [UInt8]? {
        var end = complete
        if end - taken > limit {
            let newline = UInt8(ascii: "\n")
            if let last = buffer[taken..<taken + limit].lastIndex(of: newline) {
                end = last + 1
            } else if let first = buffer[taken..<complete].firstIndex(of: newline) {
                end = first + 1
            }
        }
        defer { taken = end }
        return Array(buffer[taken..<end])
    }

    /// Nil when there were only blank lines.
    private mutating func nextArray() throws(ClientFailure) -> [UInt8]? {
        var body = [UInt8(ascii: "[")]
        while taken < complete {
            let end = buffer[taken..<complete].firstIndex(of: UInt8(ascii: "\n")) ?? complete
            let line = buffer[taken..<end]
            if !line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }) {
                if body.count > 1, body.count + line.count + 2 > limit { break }
                guard JSONText.isValid(line) else {
                    if body.count > 1 { break }
                    throw .badInput("line \(lineNumber + 1) of standard input is not a JSON text; the lines before it were written")
                }
                if body.count > 1 { body.append(UInt8(ascii: ",")) }
                body.append(contentsOf: line)
            }
            lineNumber += 1
            taken = min(end + 1, complete)
        }
        guard body.count > 1 else { return nil }
        body.append(UInt8(ascii: "]"))
        return body
    }
}

extension LineBatch {
    /// The body of one append from command-line arguments: joined by spaces, or for JSON the array of them.
    /// - Throws: `badInput` for an argument that is no JSON text.
    public static func single(_ arguments: [String], form: Form) throws(ClientFailure) -> [UInt8] {
        switch form {
        case .bytes: return Array(arguments.joined(separator: " ").utf8)
        case .json:
            for argument in arguments where !JSONText.isValid(argument.utf8) { throw .badInput("not a JSON text: \(argument)") }
            return Array("[\(arguments.joined(separator: ","))]".utf8)
        }
    }
}
