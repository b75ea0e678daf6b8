// Decodes chunked content (RFC 9112 7.1) where it lies: it hands out ranges of the input and copies nothing.
//
//     1a ;ext=1 CRLF <26 octets> CRLF   5 CRLF <5 octets> CRLF   0 CRLF   Name: value CRLF   CRLF
//     `-------------' `--------' `--'                            `----'   `--------------'   `--'
//     size line        content   exact                           last     trailers           end
//
// A state machine over single octets (content aside): it consumes everything it is given, whatever the cut, so nobody keeps bytes back.
//
//     start ─digit─> size ─;─> extension ─┐
//                     └─CR─> sizeEnd <─CR─┘ ─LF─> data ─> dataCR ─> dataLF ─> start
//                                            └ size 0 ─> trailerStart ─CR─> end ─LF─> finished
//                                                           └> trailerName ─:─> trailerValue ─CR─> trailerEnd ─LF─┘ (back)
//
// Digits only, no sign, no space, no bare CR or LF anywhere: sizes that others may read differently are refused. Extensions and trailers are
// checked, bounded and dropped (RFC 9110 6.5.1: a trailer is never merged into the head).

/// The decoder of one request's chunked content. After a refusal it must not be used again.
public struct ChunkedDecoder: Sendable {
    public enum Event: Equatable, Sendable {
        /// All input is consumed and the content has not ended.
        case needMore
        /// These offsets of the input are content; never empty.
        case content(Range<Int>)
        /// The content has ended; what follows `consumed` belongs to the next request.
        case finished
    }

    private enum State: UInt8 {
        case start, size, extensions, sizeEnd, data, dataCR, dataLF
        case trailerStart, trailerName, trailerValue, trailerEnd, end, finished
    }

    private let limits: WireLimits
    private var state = State.start
    /// Digits of the current size.
    private var digits = 0
    /// The size read so far; then the octets of content still to come.
    private var remaining = 0
    /// Octets of the current size line.
    private var line = 0
    /// What size lines have cost beyond their due: see ``WireLimits/chunkExcessBytes``.
    private var excess = 0
    private var trailer = 0

    public init(limits: WireLimits) { self.limits = limits }

    /// Decodes from the front of `input` up to the next piece of content, the end, or the end of `input`.
    ///
    /// - Parameter consumed: set to the number of bytes to drop, content included; never fewer than were looked at. The next call gets
    ///   what follows them.
    /// - Throws: 400, or 431 for a trailer section beyond its bound.
    public mutating func next(_ input: UnsafeRawBufferPointer, consumed: inout Int) throws(HTTPRefusal) -> Event {
        var position = 0
        defer { consumed = position }
        while state != .finished {
            guard position < input.count else { return .needMore }
            if state == .data {
                let piece = position..<position + min(remaining, input.count - position)
                position = piece.upperBound
                remaining -= piece.count
                if remaining == 0 { state = .dataCR }
                return .content(piece)
            }
            try step(input[position])
            position += 1
        }
        return .finished
    }

    @inline(__always)
    private mutating func step(_ octet: UInt8) throws(HTTPRefusal) {
        switch state {
        case .start, .size, .extensions, .sizeEnd: try stepSizeLine(octet)
        case .dataCR:
            guard octet == Octet.carriageReturn else { throw .chunkDataEnd }
            state = .dataLF
        case .dataLF:
            guard octet == Octet.lineFeed else { throw .chunkDataEnd }
            state = .start
        case .trailerStart, .trailerName, .trailerValue, .trailerEnd, .end: try stepTrailer(octet)
        case .data, .finished: preconditionFailure("content and end are not stepped through")
        }
    }

    private mutating func stepSizeLine(_ octet: UInt8) throws(HTTPRefusal) {
        switch state {
        case .start, .size:
            if let digit = Octet.hexValue(octet) {
                digits += 1
                guard digits <= 15 else { throw .chunkSize }
                remaining = remaining << 4 | digit
                state = .size
                return try countLineOctet()
            }
            guard state == .size else { throw .chunkSize }
            switch octet {
            case Octet.semicolon:
                state = .extensions
                try countLineOctet()
            case Octet.carriageReturn: state = .sizeEnd
            default: throw .chunkSize
            }
        case .extensions:
            if octet == Octet.carriageReturn {
                state = .sizeEnd
            } else {
                guard Octet.isFieldText(octet) else { throw octet == Octet.lineFeed ? .chunkLineEnd : .chunkExtension }
                try countLineOctet()
            }
        default:
            guard octet == Octet.lineFeed else { throw .chunkLineEnd }
            try finishSizeLine()
        }
    }

    private mutating func countLineOctet() throws(HTTPRefusal) {
        line += 1
        guard line <= limits.chunkLineBytes else { throw .chunkLineTooLong(limit: limits.chunkLineBytes) }
    }

    private mutating func finishSizeLine() throws(HTTPRefusal) {
        // At most the line limit: a large chunk must not overflow, nor pay for more than itself.
        excess = max(0, excess + line - 16 - 2 * min(remaining, limits.chunkLineBytes))
        guard excess <= limits.chunkExcessBytes else { throw .chunkOverhead }
        state = remaining == 0 ? .trailerStart : .data
        line = 0
        digits = 0
    }

    private mutating func stepTrailer(_ octet: UInt8) throws(HTTPRefusal) {
        switch state {
        case .end:
            guard octet == Octet.lineFeed else { throw .trailerLineEnd }
            state = .finished
            return
        case .trailerStart:
            switch octet {
            case Octet.carriageReturn:
                state = .end
                return
            case Octet.lineFeed: throw .trailerLineEnd
            case Octet.colon: throw .fieldNameEmpty
            case Octet.space, Octet.tab: throw .foldedLine
            default:
                guard OctetSet.token.contains(octet) else { throw .fieldNameOctet }
                state = .trailerName
            }
        case .trailerName:
            switch octet {
            case Octet.colon: state = .trailerValue
            case Octet.space, Octet.tab: throw .fieldNameSpace
            case Octet.carriageReturn, Octet.lineFeed: throw .fieldWithoutColon
            default: guard OctetSet.token.contains(octet) else { throw .fieldNameOctet }
            }
        case .trailerValue:
            if octet == Octet.carriageReturn {
                state = .trailerEnd
            } else {
                guard Octet.isFieldText(octet) else { throw octet == Octet.lineFeed ? .trailerLineEnd : .fieldValueOctet }
            }
        default:
            guard octet == Octet.lineFeed else { throw .trailerLineEnd }
            state = .trailerStart
        }
        trailer += 1
        guard trailer <= limits.trailerBytes else { throw .trailerTooLarge(limit: limits.trailerBytes) }
    }
}
