// AnswerPrinter: the body of one GET, in any pieces → what is printed of it.
//
//     any content type       the bytes, as they come
//     application/json       one message per line, each when it is complete
//     the same, --raw        the array, when it is complete, with a newline behind it; an empty one is not printed

final class AnswerPrinter {
    /// Bytes of one message, or of one array with --raw, that are held at most.
    static let limit = 256 * 1024 * 1024

    private enum Form { case unknown, bytes, messages, array }

    private let isRaw: Bool
    private let output: (UnsafeRawBufferPointer) throws(ClientFailure) -> Void
    private var form = Form.unknown
    private var splitter = JSONArraySplitter()
    private var array: [UInt8] = []

    init(isRaw: Bool, output: @escaping (UnsafeRawBufferPointer) throws(ClientFailure) -> Void) {
        self.isRaw = isRaw
        self.output = output
    }

    func print(_ bytes: UnsafeRawBufferPointer, of answer: HTTPAnswer, progress: inout ReadProgress) throws(ClientFailure) {
        if form == .unknown { form = !answer.isJSON ? .bytes : isRaw ? .array : .messages }
        switch form {
        case .unknown: preconditionFailure("the form is settled above")
        case .bytes:
            let known = progress.receive(bytes.count)
            if known < bytes.count { try output(UnsafeRawBufferPointer(rebasing: bytes[known...])) }
        case .messages:
            var lines: [UInt8] = []
            let malformed = splitter.feed(bytes) { message in
                if progress.receive(1) == 0 { lines.append(contentsOf: message) }
            }
            if !lines.isEmpty { try lines.withUnsafeBytesTyped(output) }
            guard malformed == nil else { throw Self.notAnArray }
            guard splitter.bufferedCount <= Self.limit else { throw .badAnswer("a message is larger than \(Self.limit >> 20) MiB") }
        case .array:
            array.append(contentsOf: bytes)
            guard array.count <= Self.limit else { throw .badAnswer("an answer is larger than \(Self.limit >> 20) MiB") }
        }
    }

    /// The answer has come whole.
    func finish() throws(ClientFailure) {
        guard splitter.isComplete else { throw Self.notAnArray }
        try Self.printArray(array, output)
    }

    static let notAnArray = ClientFailure.badAnswer("the answer says application/json but is not a JSON array")

    static func printArray<E: Error>(_ array: [UInt8], _ output: (UnsafeRawBufferPointer) throws(E) -> Void) throws(E) {
        guard array.contains(where: { !" \t\r\n[]".utf8.contains($0) }) || array.count(where: { $0 == UInt8(ascii: "[") }) > 1 else {
            return
        }
        try (array + [UInt8(ascii: "\n")]).withUnsafeBytesTyped(output)
    }
}
