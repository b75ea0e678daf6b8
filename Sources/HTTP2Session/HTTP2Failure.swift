// Why a session has ended other than by agreement.

/// The reason, for the log; the peer is told the code of it.
public enum HTTP2Failure: Error, Sendable, Equatable, CustomStringConvertible {
    /// What came first is not the preface of HTTP/2 (RFC 9113 3.4).
    case preface
    /// A violation that ends the connection, with the code that was sent (RFC 9113 7).
    case protocolError(code: UInt32)
    case resetFlood
    case idleFrameFlood
    case acknowledgementFlood
    case continuationFlood
    case headerBomb
    /// The session's memory is used up.
    case memory
    /// Any other error of libnghttp2.
    case library(code: Int32)

    public var description: String {
        switch self {
        case .preface: "the peer's first bytes are not the preface of HTTP/2"
        case .protocolError(let code): "the peer has violated HTTP/2 (code \(code))"
        case .resetFlood: "too many streams end before their answer"
        case .idleFrameFlood: "too many frames without use"
        case .acknowledgementFlood: "too many acknowledgements are asked for and not taken"
        case .continuationFlood: "a request head in too many frames"
        case .headerBomb: "a request head that unpacks to too many bytes"
        case .memory: "the session has used all the memory that it may have"
        case .library(let code): "libnghttp2 error \(code)"
        }
    }
}

/// Error codes that a stream can be reset with (RFC 9113 7).
public enum HTTP2ErrorCode {
    public static let noError: UInt32 = 0
    public static let protocolError: UInt32 = 1
    public static let internalError: UInt32 = 2
    public static let refusedStream: UInt32 = 7
    public static let cancel: UInt32 = 8
    public static let enhanceYourCalm: UInt32 = 11
}
