// The bounds on everything an HTTP/2 peer can make a session hold or do, each with its reason. HTTP/1.1's are HTTPWire's `WireLimits`; the ones
// here are for what only HTTP/2 has: many requests at once, and frames that cost the sender nothing.
//
// Rates are token buckets: `burst` at once, then `perSecond`. Beyond them the connection ends with ENHANCE_YOUR_CALM (RFC 9113 10.5).

import HTTPWire

/// Bounds on one HTTP/2 connection. All in bytes unless said otherwise.
public struct HTTP2Limits: Sendable, Equatable {
    /// Streams that the peer may have open (SETTINGS_MAX_CONCURRENT_STREAMS): pages with hundreds of live tails are what HTTP/2 is for here.
    public var concurrentStreams = 250

    /// The request head, written in HTTP/1.1's form; the same as there, so that both refuse alike (431).
    public var headBytes = WireLimits().headBytes

    /// What a header block may unpack to before the connection ends, with 32 bytes for each field (RFC 9113 10.5.1). Up to there the block is
    /// unpacked and dropped and the request answered with 431, as the compression's state has to be kept.
    public var headerBombBytes = 8 * WireLimits().headBytes

    /// What all header blocks of a connection may unpack to, counted in the same way: so much at once, so much more each second, and so many bytes
    /// for each that the peer sends. An ordinary client's heads unpack to some thirty times their size.
    public var unpackedBurst = 2 << 20
    public var unpackedPerSecond = 256 << 10
    public var unpackedPerByte = 64

    /// Bytes that are unpacked before the connection is looked at again.
    public var receiveBytes = 2048

    /// CONTINUATION frames behind one HEADERS that are taken in any case: a head of the permitted size needs two of 16 KB. Nine times as many
    /// are refused in any case; between them it depends on the arrivals, as libnghttp2 counts those.
    public var continuations = 4

    /// How much content a stream may have on the way before it is taken (SETTINGS_INITIAL_WINDOW_SIZE): 256 KB is what fills 100 Mbit/s
    /// at 20 ms.
    public var streamWindow = 256 << 10

    /// The same for all streams of a connection.
    public var connectionWindow = 1 << 20

    /// Streams that ended badly: reset by the peer, or by us for the peer's faults (rapid reset, CVE-2023-44487; made resets, CVE-2025-8671).
    /// A page that is closed resets all its tails at once.
    public var resetBurst = 500
    public var resetsPerSecond = 20

    /// Frames that carry nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE beyond what was sent, DATA without data. Each DATA frame that is
    /// sent to a peer with a useful window allows two more, as that is what an eager client acknowledges with. Frames of unknown
    /// types are not among them: they are skipped where they stand, and cost no more than their bytes.
    public var idleFrameBurst = 1000
    public var idleFramesPerSecond = 50

    /// A window below this is of no use: DATA frames that it cuts smaller allow no acknowledgement.
    public var usefulWindow = 1024

    /// Acknowledgements of SETTINGS and PING that wait to be sent.
    public var waitingAcknowledgements = 100

    /// All memory of the library for one connection: streams, both header tables, frames that wait to be sent.
    public var sessionBytes = 1 << 20

    public init() {}
}

/// A bucket of tokens that fills with time; a take that finds none is refused.
struct TokenBucket {
    /// Thousandths of a token, so that milliseconds fill it without rounding.
    private var level: Int64
    private let size: Int64
    private let perSecond: Int64
    private var filled: Int64

    init(burst: Int, perSecond: Int, now: Int64) {
        size = Int64(burst) * 1000
        level = size
        self.perSecond = Int64(perSecond)
        filled = now
    }

    /// - Parameter now: milliseconds.
    mutating func take(now: Int64) -> Bool {
        if now > filled {
            let (gain, overflow) = (now - filled).multipliedReportingOverflow(by: perSecond)
            level = overflow ? size : min(size, level + min(gain, size))
            filled = now
        }
        if level < 1000 { return false }
        level -= 1000
        return true
    }

    /// Takes many at once, in bytes or another unit.
    mutating func take(_ count: Int, now: Int64) -> Bool {
        if !take(now: now) { return false }
        level -= Int64(count - 1) * 1000
        return level >= 0
    }

    mutating func give(_ tokens: Int) { level = min(size, level + Int64(tokens) * 1000) }
}
