// Finds the end of a request head while it arrives, and refuses what can be no head as soon as that can be seen.
//
//     [CRLF ...] GET SP /v1/stream/a?offset=-1 SP HTTP/1.1 CRLF  Host: a CRLF  Accept: b CRLF  CRLF
//     `--------' `-----------------------------------------------------------------------------'
//     empty      method  target                   version         fields                       ^ length returned
//
// `position` is the first octet not yet judged; octets before it are never looked at again, so a head that arrives byte by byte costs
// the same as one that arrives whole. A CR whose LF has not arrived stays unjudged. Every verdict depends only on the octets up to
// the one that caused it, never on how they were cut into arrivals.
//
// It looks for structure only (RFC 9112 2.2): CRLF line ends and no other controls, the two spaces of the request line, the sizes. The
// grammar within the lines is RequestHead's.

/// Measures a request head incrementally.
public struct HeadScanner: Sendable {
    private enum Phase: UInt8 { case beforeMethod, method, target, version, fields }

    private var phase = Phase.beforeMethod
    private var emptyLines = 0
    private var position = 0
    /// Where the target begins (phase target), or the current line (phase fields).
    private var mark = 0

    public init() {}

    /// Makes the scanner ready for the next request.
    public mutating func reset() { self = HeadScanner() }

    /// Looks at what has arrived since the last call.
    ///
    /// - Parameter bytes: everything from the first byte of the request on; what was there in an earlier call is there still.
    /// - Returns: the length in bytes of the head with its final empty line, or nil when more has to arrive. After a length, the same call
    ///   gives the same length until ``reset()``.
    /// - Throws: 400 for bare CR or LF, other controls, a first octet that can begin no method, a request line that ends early; 414;
    ///   431 (RFC 9112 2.2 and 3, RFC 6585 5).
    public mutating func scan(_ bytes: UnsafeRawBufferPointer, limits: WireLimits) throws(HTTPRefusal) -> Int? {
        let end = min(bytes.count, limits.headBytes)
        while position < end {
            switch phase {
            case .beforeMethod:
                guard bytes[position] == Octet.carriageReturn else {
                    try HeadScanner.checkStartsMethod(bytes[position])
                    phase = .method
                    continue
                }
                guard emptyLines < limits.emptyLines else { throw .tooManyEmptyLines }
                guard position + 1 < end else { return try unfinished(bytes, limits) }
                guard bytes[position + 1] == Octet.lineFeed else { throw .bareCarriageReturn }
                emptyLines += 1
                position += 2
            case .method:
                try skipRequestWord(bytes, end)
                guard position < end else { break }
                guard bytes[position] == Octet.space else { throw .requestLine }
                position += 1
                mark = position
                phase = .target
            case .target:
                // One octet further than a target may reach: standing there without a space is too long.
                let bound = min(end, mark + limits.targetBytes + 1)
                try skipRequestWord(bytes, bound)
                if position == bound, bound == mark + limits.targetBytes + 1 { throw .targetTooLong(limit: limits.targetBytes) }
                guard position < end else { break }
                guard bytes[position] == Octet.space else { throw .requestLine }
                position += 1
                phase = .version
            case .version:
                guard try finishLine(bytes, end) else { return try unfinished(bytes, limits) }
                position += 2
                mark = position
                phase = .fields
            case .fields:
                guard try finishLine(bytes, end) else { return try unfinished(bytes, limits) }
                if position == mark { return position + 2 }
                position += 2
                mark = position
            }
        }
        return try unfinished(bytes, limits)
    }

    /// The head has not ended within `bytes`: wait, or refuse when it has had all the room there is.
    private func unfinished(_ bytes: UnsafeRawBufferPointer, _ limits: WireLimits) throws(HTTPRefusal) -> Int? {
        guard bytes.count < limits.headBytes else { throw .headTooLarge(limit: limits.headBytes) }
        return nil
    }

    private static func checkStartsMethod(_ octet: UInt8) throws(HTTPRefusal) {
        if OctetSet.token.contains(octet) { return }
        switch octet {
        case Octet.lineFeed: throw .bareLineFeed
        case Octet.tlsHandshake: throw .spokenTLS
        default: throw .method
        }
    }

    /// Moves to the next space, CR or `bound`.
    @inline(__always)
    private mutating func skipRequestWord(_ bytes: UnsafeRawBufferPointer, _ bound: Int) throws(HTTPRefusal) {
        position = bytes.firstMarked(from: position, to: bound) { OctetWord.marks($0, below: 0x21) }
        guard position < bound, bytes[position] != Octet.space, bytes[position] != Octet.carriageReturn else { return }
        throw HeadScanner.refusal(of: bytes[position])
    }

    /// Moves to the CRLF that ends the current line; false when it has not arrived.
    @inline(__always)
    private mutating func finishLine(_ bytes: UnsafeRawBufferPointer, _ end: Int) throws(HTTPRefusal) -> Bool {
        while true {
            position = bytes.firstMarked(from: position, to: end) { OctetWord.marks($0, below: 0x20) }
            guard position < end else { return false }
            switch bytes[position] {
            case Octet.tab: position += 1
            case Octet.carriageReturn:
                guard position + 1 < end else { return false }
                guard bytes[position + 1] == Octet.lineFeed else { throw .bareCarriageReturn }
                return true
            case let octet: throw HeadScanner.refusal(of: octet)
            }
        }
    }

    private static func refusal(of octet: UInt8) -> HTTPRefusal { octet == Octet.lineFeed ? .bareLineFeed : .controlOctet }
}
