// The field names this server acts on, recognised once so that everything above compares a byte and never a string.
//
// Recognition switches on the length, then compares eight octets in one step, without case. A name in this table is letters and hyphens;
// letters have bit 0x40 set and hyphens do not, so `(word & 0x40…) >> 1` is exactly the bit 0x20 of each letter: or-ing
// it into both sides folds case and changes nothing else (RFC 9110 5.1: field names are case-insensitive).
//
//     name      C o n t e n t - L e n g t h      14 octets: the words at 0 and at 14 - 8 overlap
//               `-------------'
//                           `-------------'

/// A field name that means something to this server, or `.other`.
public enum FieldName: UInt8, Sendable, CaseIterable {
    /// Any other valid name; the text is at ``Field/nameRange``.
    case other
    // Framing and connection (RFC 9110, RFC 9112)
    case host, contentLength, transferEncoding, connection, expect
    // Representation and client (RFC 9110)
    case contentType, contentEncoding, ifMatch, ifNoneMatch, origin, authorization
    // Fetch and the event stream format: Service-Worker, Last-Event-ID
    case serviceWorker, lastEventID
    // Set by proxies: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host
    case forwardedFor, forwardedProto, forwardedHost
    // PROTOCOL.md sections 2, 3 and 7
    case streamTTL, streamExpiresAt, streamSeq, streamClosed, streamForkedFrom, streamForkOffset, streamForkSubOffset
    // PROTOCOL.md section 3, idempotent producers
    case producerID, producerEpoch, producerSeq

    /// The name as it is usually written; empty for `.other`.
    @inlinable
    public var canonical: StaticString {
        switch self {
        case .other: ""
        case .host: "Host"
        case .contentLength: "Content-Length"
        case .transferEncoding: "Transfer-Encoding"
        case .connection: "Connection"
        case .expect: "Expect"
        case .contentType: "Content-Type"
        case .contentEncoding: "Content-Encoding"
        case .ifMatch: "If-Match"
        case .ifNoneMatch: "If-None-Match"
        case .origin: "Origin"
        case .authorization: "Authorization"
        case .serviceWorker: "Service-Worker"
        case .lastEventID: "Last-Event-ID"
        case .forwardedFor: "X-Forwarded-For"
        case .forwardedProto: "X-Forwarded-Proto"
        case .forwardedHost: "X-Forwarded-Host"
        case .streamTTL: "Stream-TTL"
        case .streamExpiresAt: "Stream-Expires-At"
        case .streamSeq: "Stream-Seq"
        case .streamClosed: "Stream-Closed"
        case .streamForkedFrom: "Stream-Forked-From"
        case .streamForkOffset: "Stream-Fork-Offset"
        case .streamForkSubOffset: "Stream-Fork-Sub-Offset"
        case .producerID: "Producer-Id"
        case .producerEpoch: "Producer-Epoch"
        case .producerSeq: "Producer-Seq"
        }
    }

    /// The name spelled by `name`, compared without case; `.other` for everything else, valid token or not.
    public static func recognize(_ name: UnsafeRawBufferPointer) -> FieldName {
        switch name.count {
        case 4:
            if matches(name, .host) { return .host }
        case 6:
            if matches(name, .expect) { return .expect }
            if matches(name, .origin) { return .origin }
        case 8:
            if matches(name, .ifMatch) { return .ifMatch }
        case 10:
            if matches(name, .connection) { return .connection }
            if matches(name, .streamTTL) { return .streamTTL }
            if matches(name, .streamSeq) { return .streamSeq }
        case 11:
            if matches(name, .producerID) { return .producerID }
        case 12:
            if matches(name, .contentType) { return .contentType }
            if matches(name, .producerSeq) { return .producerSeq }
        case 13:
            if matches(name, .ifNoneMatch) { return .ifNoneMatch }
            if matches(name, .authorization) { return .authorization }
            if matches(name, .streamClosed) { return .streamClosed }
            if matches(name, .lastEventID) { return .lastEventID }
        case 14:
            if matches(name, .contentLength) { return .contentLength }
            if matches(name, .producerEpoch) { return .producerEpoch }
            if matches(name, .serviceWorker) { return .serviceWorker }
        case 15:
            if matches(name, .forwardedFor) { return .forwardedFor }
        case 16:
            if matches(name, .forwardedHost) { return .forwardedHost }
            if matches(name, .contentEncoding) { return .contentEncoding }
        case 17:
            if matches(name, .transferEncoding) { return .transferEncoding }
            if matches(name, .forwardedProto) { return .forwardedProto }
            if matches(name, .streamExpiresAt) { return .streamExpiresAt }
        case 18:
            if matches(name, .streamForkedFrom) { return .streamForkedFrom }
            if matches(name, .streamForkOffset) { return .streamForkOffset }
        case 22:
            if matches(name, .streamForkSubOffset) { return .streamForkSubOffset }
        default: break
        }
        return .other
    }

    /// Whether `name`, which has the same length, spells `candidate`.
    @inline(__always)
    private static func matches(_ name: UnsafeRawBufferPointer, _ candidate: FieldName) -> Bool {
        let text = candidate.canonical
        let expected = UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
        let count = expected.count
        if count < 8 {
            for index in 0..<count where !sameLetters(UInt64(name[index]), UInt64(expected[index])) { return false }
            return true
        }
        var index = 0
        while index < count - 8 {
            guard sameLetters(OctetWord.load(name, at: index), OctetWord.load(expected, at: index)) else { return false }
            index += 8
        }
        return sameLetters(OctetWord.load(name, at: count - 8), OctetWord.load(expected, at: count - 8))
    }

    /// Whether two words are equal when the letters of `expected` are compared without case.
    @inline(__always)
    private static func sameLetters(_ word: UInt64, _ expected: UInt64) -> Bool {
        let letterCase = (expected & 0x4040_4040_4040_4040) >> 1
        return word | letterCase == expected | letterCase
    }
}
