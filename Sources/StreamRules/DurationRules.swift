// The numbers of two headers, which share one rule: `0`, or digits without a leading zero, sign, point or exponent
// (PROTOCOL.md sections 2, 3 and 7), at most 2^53 − 1, the largest integer that every JSON and JavaScript client holds exactly.
// Times are read by RFC3339.swift.

/// `Stream-TTL`; `Stream-Fork-Sub-Offset` follows the same rule.
public enum StreamTTL {
    /// The largest value: 2^53 − 1 seconds, 285 million years.
    public static let maximum: UInt64 = (1 << 53) - 1

    /// Reads a time to live in seconds; nil if malformed or over `maximum`.
    public static func parse(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
        DecimalText.parseCanonical(bytes, maximum: maximum)
    }
}

/// `Producer-Epoch` and `Producer-Seq`.
public enum ProducerNumber {
    /// The largest value, 2^53 − 1.
    public static let maximum: UInt64 = (1 << 53) - 1

    /// Reads an epoch or a sequence number; nil if malformed or over `maximum`.
    public static func parse(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
        DecimalText.parseCanonical(bytes, maximum: maximum)
    }
}
