// What a server would read from a connection, written down so that two readings can be compared: whole against byte by byte, this parser
// against another one, today against a table.
//
//     bytes    |-- request 1 --|-- request 2 --|-- req
//     arrivals |step|step|step|step|step|step|step|…     one buffer; the parser sees from the start of the current request
//                                                          to what has "arrived"
//
// It is the smallest honest user of HTTPWire: scanner, head, decoder, in the order in which a connection uses them. For tests, the fuzzer and
// the comparison with other parsers; the server has its own connection.

import HTTPWire

/// Every request read from a sequence of bytes, and how the reading ended.
public struct Transcript: Equatable, Sendable {
    public struct Message: Equatable, Sendable {
        public struct FieldText: Equatable, Sendable {
            public var name: [UInt8]
            public var value: [UInt8]
        }
        public var method: Method
        public var methodText: [UInt8]
        public var target: [UInt8]
        public var authority: [UInt8]?
        public var isAsteriskForm: Bool
        public var minorVersion: Int
        public var fields: [FieldText]
        public var names: [FieldName]
        public var framing: BodyFraming
        public var keepAlive: Bool
        public var expectsContinue: Bool
        public var content: [UInt8] = []
        /// Offset of the first byte after the message.
        public var end = 0
    }

    public enum End: Equatable, Sendable {
        /// Everything was read, and no request has begun.
        case clean
        /// A request has begun and not ended.
        case incomplete
        /// The last request ends the connection; what follows is not looked at.
        case closed
        case refused(HTTPRefusal)
    }

    public private(set) var messages: [Message] = []
    public private(set) var end = End.clean
    /// The bytes that had arrived when the end was known.
    public private(set) var arrived = 0

    /// Reads `bytes` as they arrive, `step` at a time.
    public init(of bytes: UnsafeRawBufferPointer, step: Int, limits: WireLimits = WireLimits()) {
        precondition(step > 0)
        do {
            end = try read(bytes, step, limits)
        } catch {
            end = .refused(error)
        }
    }

    public init(of bytes: [UInt8], step: Int? = nil, limits: WireLimits = WireLimits()) {
        self = bytes.withUnsafeBytes { Transcript(of: $0, step: step ?? max(1, bytes.count), limits: limits) }
    }

    private mutating func read(_ bytes: UnsafeRawBufferPointer, _ step: Int, _ limits: WireLimits) throws(HTTPRefusal) -> End {
        var scanner = HeadScanner()
        var head = RequestHead()
        var start = 0
        while true {
            var length = try scanner.scan(slice(bytes, start, arrived), limits: limits)
            while length == nil {
                guard arrived < bytes.count else { return start < arrived ? .incomplete : .clean }
                arrived = min(bytes.count, arrived + step)
                length = try scanner.scan(slice(bytes, start, arrived), limits: limits)
            }
            guard let length else { preconditionFailure("the loop ends with a length") }
            let headBytes = slice(bytes, start, start + length)
            try head.parse(headBytes, limits: limits)
            var message = Message(head, headBytes)
            start += length
            guard try readContent(bytes, step, limits, &start, &message) else { return .incomplete }
            message.end = start
            messages.append(message)
            guard message.keepAlive else { return .closed }
            scanner.reset()
        }
    }

    /// Reads the content at `start` into `message` and moves behind it; false when it has not all arrived at the end of `bytes`.
    private mutating func readContent(
        _ bytes: UnsafeRawBufferPointer, _ step: Int, _ limits: WireLimits, _ start: inout Int, _ message: inout Message
    ) throws(HTTPRefusal) -> Bool {
        switch message.framing {
        case .none: return true
        case .length(let length):
            guard length <= bytes.count - start else {
                arrived = bytes.count
                return false
            }
            while arrived < start + length { arrived = min(bytes.count, arrived + step) }
            message.content = Array(bytes[start..<start + length])
            start += length
            return true
        case .chunked:
            var decoder = ChunkedDecoder(limits: limits)
            while true {
                let input = slice(bytes, start, arrived)
                var consumed = -1
                let event = try decoder.next(input, consumed: &consumed)
                precondition((0...input.count).contains(consumed), "consumes no more than it was given")
                start += consumed
                switch event {
                case .finished: return true
                case .content(let range):
                    precondition(!range.isEmpty && range.upperBound == consumed, "content is the last that was consumed")
                    message.content.append(contentsOf: input[range])
                case .needMore:
                    precondition(consumed == input.count, "keeps nothing back")
                    guard arrived < bytes.count else { return false }
                    arrived = min(bytes.count, arrived + step)
                }
            }
        }
    }
}

extension Transcript.Message {
    fileprivate init(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        func text(_ range: Range<Int>) -> [UInt8] {
            precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "ranges lie in the head")
            return Array(bytes[range])
        }
        method = head.method
        methodText = text(head.methodRange)
        target = text(head.target)
        authority = head.authority.map(text)
        isAsteriskForm = head.isAsteriskForm
        minorVersion = head.minorVersion
        fields = head.fields.map { FieldText(name: text($0.nameRange), value: text($0.valueRange)) }
        names = head.fields.map(\.name)
        framing = head.framing
        keepAlive = head.keepAlive
        expectsContinue = head.expectsContinue
    }
}

private func slice(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[start..<end])
}
