// EventPrinter: one SSE connection → payloads, printed when their control event has come.
//
//     data  data … control   →   decode (base64), print, then report the control event
//
// What a broken connection leaves without its control event is dropped: the next connection brings it again, from the offset before it.

final class EventPrinter {
    /// Bytes of payload, or of an event under way, that are held at most.
    static let limit = 128 * 1024 * 1024

    private let isJSON: Bool
    private let isRaw: Bool
    private let output: (UnsafeRawBufferPointer) throws(ClientFailure) -> Void
    private var parser = EventStreamParser()
    private var held: [UInt8] = []

    init(isJSON: Bool, isRaw: Bool, output: @escaping (UnsafeRawBufferPointer) throws(ClientFailure) -> Void) {
        self.isJSON = isJSON
        self.isRaw = isRaw
        self.output = output
    }

    var reconnectionTime: Int? { parser.retryMilliseconds }

    func feed(
        _ bytes: UnsafeRawBufferPointer, of answer: HTTPAnswer, control: (ControlEvent) throws(ClientFailure) -> Void
    ) throws(ClientFailure) {
        guard answer["content-type"]?.lowercased().hasPrefix("text/event-stream") == true else {
            throw .badAnswer("the server did not answer with an event stream; try without --sse")
        }
        let isEncoded = answer["stream-sse-data-encoding"]?.lowercased() == "base64"
        try parser.feed(bytes) { event throws(ClientFailure) in
            switch event.name {
            case "data": try hold(event.data, isEncoded: isEncoded)
            case "control":
                guard let parsed = ControlEvent(event.data) else { throw .badAnswer("the event stream has a malformed control event") }
                if !held.isEmpty { try held.withUnsafeBytesTyped(output) }
                held.removeAll(keepingCapacity: true)
                try control(parsed)
            default: break
            }
        }
        guard parser.bufferedCount + held.count <= Self.limit else { throw .badAnswer("an event is larger than \(Self.limit >> 20) MiB") }
    }

    private func hold(_ data: [UInt8], isEncoded: Bool) throws(ClientFailure) {
        var payload = data
        if isEncoded {
            guard let decoded = Base64Decoder.decode(data) else { throw .badAnswer("the event stream has malformed base64") }
            payload = decoded
        }
        guard isJSON else {
            held.append(contentsOf: payload)
            return
        }
        if isRaw { return AnswerPrinter.printArray(payload) { held.append(contentsOf: $0) } }
        var splitter = JSONArraySplitter()
        let malformed = payload.withUnsafeBytes { bytes in splitter.feed(bytes) { held.append(contentsOf: $0) } }
        guard malformed == nil, splitter.isComplete else { throw AnswerPrinter.notAnArray }
    }
}
