// The content that a call brings, wherever its bytes are.

import StreamStore

/// The body of a request.
///
/// @unchecked Sendable: a borrowed body is used only within the synchronous call it is given to, on the reactor's thread; whoever keeps it
/// longer calls `kept` first.
public enum Content: @unchecked Sendable {
    case none
    /// Bytes in the receive buffer; may be changed in place.
    case borrowed(UnsafeMutableRawBufferPointer)
    case owned(OwnedBytes)
    /// JSON that has been looked at.
    case prepared(PreparedJSON)

    /// For a prepared body: not 0, however few messages it has.
    public var count: Int {
        switch self {
        case .none: 0
        case .borrowed(let bytes): bytes.count
        case .owned(let block): block.count
        case .prepared(let prepared): max(1, prepared.stored?.count ?? 0)
        }
    }

    /// It is `threshold` bytes or more, and nobody has looked at it.
    func isLarge(_ threshold: Int) -> Bool {
        if case .prepared = self { return false }
        return count >= threshold
    }

    var bytes: UnsafeMutableRawBufferPointer {
        switch self {
        case .none, .prepared: UnsafeMutableRawBufferPointer(start: nil, count: 0)
        case .borrowed(let bytes): bytes
        case .owned(let block): UnsafeMutableRawBufferPointer(start: block.base, count: block.count)
        }
    }

    /// The same content in memory of its own.
    public var kept: Content {
        if case .borrowed(let bytes) = self { return .owned(OwnedBytes(copying: UnsafeRawBufferPointer(bytes))) }
        return self
    }
}
