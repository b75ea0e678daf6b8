// Collects the content of one request, up to the limit, in memory that becomes the stream's own: a body is never held twice. The memory grows
// with what has arrived, whatever length was announced.

import HTTPWire
import StreamStore

struct BodyReceiver {
    enum State {
        case length(remaining: Int)
        case chunked(ChunkedDecoder)
        /// Up to the end that the transport tells.
        case untilEnd
    }
    enum Progress {
        case more
        case complete
        case tooLarge
    }

    private var state: State
    private(set) var block: OwnedBytes?
    private(set) var received = 0
    private let limit: Int
    /// The content is read and thrown away, because the answer is an error already.
    let discards: Bool

    init(_ framing: BodyFraming, limit: Int, wire: WireLimits, discards: Bool, endsWithStream: Bool = false) {
        self.limit = limit
        self.discards = discards
        switch framing {
        case .none: state = .length(remaining: 0)
        case .length(let count):
            state = .length(remaining: count)
            if !discards, count > 0 { block = OwnedBytes(capacity: min(count, Self.firstBytes)) }
        case .chunked: state = endsWithStream ? .untilEnd : .chunked(ChunkedDecoder(limits: wire))
        }
    }

    /// Of a request without content.
    static var nothing: BodyReceiver { BodyReceiver(.none, limit: 0, wire: WireLimits(), discards: true) }

    /// Takes from the front of `bytes`; `consumed` is how much.
    mutating func take(_ bytes: UnsafeRawBufferPointer, consumed: inout Int) throws(HTTPRefusal) -> Progress {
        consumed = 0
        switch state {
        case .length(let remaining):
            let count = min(remaining, bytes.count)
            keep(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            consumed = count
            state = .length(remaining: remaining - count)
            return remaining == count ? .complete : .more
        case .untilEnd:
            if received + bytes.count > limit { return .tooLarge }
            if !discards, block == nil { block = OwnedBytes(capacity: max(4096, bytes.count)) }
            keep(bytes)
            consumed = bytes.count
            return .more
        case .chunked(var decoder):
            while true {
                var step = 0
                let rest = UnsafeRawBufferPointer(rebasing: bytes[consumed...])
                let event = try decoder.next(rest, consumed: &step)
                switch event {
                case .needMore:
                    consumed += step
                    state = .chunked(decoder)
                    return .more
                case .content(let range):
                    if received + range.count > limit { return .tooLarge }
                    if !discards, block == nil { block = OwnedBytes(capacity: max(4096, range.count)) }
                    keep(UnsafeRawBufferPointer(rebasing: rest[range]))
                    consumed += step
                case .finished:
                    consumed += step
                    state = .chunked(decoder)
                    return .complete
                }
            }
        }
    }

    private static let firstBytes = 4096
    /// A body is read directly while there is more of it than this to come.
    static let directBytes = 64 * 1024

    private mutating func keep(_ bytes: UnsafeRawBufferPointer) {
        received += bytes.count
        guard !discards, let block, let source = bytes.baseAddress, bytes.count > 0 else { return }
        if block.count + bytes.count > block.capacity {
            var wanted = max(block.capacity * 2, block.count + bytes.count)
            if case .length(let remaining) = state { wanted = max(block.count + bytes.count, min(wanted, block.count + remaining)) }
            block.grow(to: wanted)
        }
        (block.base + block.count).copyMemory(from: source, byteCount: bytes.count)
        block.count += bytes.count
    }

    /// Where the socket may be read into directly: room for a part of a body of known length, of which much is still to come.
    mutating func directTarget() -> UnsafeMutableRawBufferPointer? {
        guard case .length(let remaining) = state, remaining > Self.directBytes, let block else { return nil }
        if block.capacity - block.count < Self.directBytes {
            block.grow(to: min(block.count + remaining, max(2 * block.capacity, block.count + 2 * Self.directBytes)))
        }
        return UnsafeMutableRawBufferPointer(start: block.base + block.count, count: min(remaining, block.capacity - block.count))
    }

    /// Little is still to come.
    var isNearlyComplete: Bool {
        if case .length(let remaining) = state { return remaining <= Self.directBytes / 4 }
        return false
    }

    /// `count` bytes have been read into `directTarget`.
    mutating func tookDirectly(_ count: Int) -> Progress {
        guard case .length(let remaining) = state, let block else { return .more }
        block.count += count
        received += count
        state = .length(remaining: remaining - count)
        return remaining == count ? .complete : .more
    }
}
