// A stream's content type: the bytes exactly as given at creation, and what the rules need to know of them (PROTOCOL.md 2, 4, 8).

public final class ContentType: Sendable {
    /// As given; responses repeat it byte for byte.
    public let bytes: [UInt8]
    public let isJSON: Bool
    public let isText: Bool

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
        (isJSON, isText) = bytes.withUnsafeBytes { (MediaType.isJSON($0), MediaType.isText($0)) }
    }

    public convenience init(_ text: String) { self.init(Array(text.utf8)) }

    /// `application/octet-stream`, the type of a stream created without one.
    public static let octetStream = ContentType("application/octet-stream")

    /// Same media type, compared without case and without parameters.
    public func matches(_ other: ContentType) -> Bool {
        if self === other { return true }
        return bytes.withUnsafeBytes { mine in other.bytes.withUnsafeBytes { MediaType.matches(mine, $0) } }
    }

    public var text: String { String(decoding: bytes, as: UTF8.self) }
}

/// Remembers the content types seen last, so that a request does not make a new object for each.
public struct ContentTypeCache: Sendable {
    private var recent: [ContentType] = []
    private var next = 0
    private static let capacity = 16

    public init() {}

    public mutating func intern(_ bytes: UnsafeRawBufferPointer) -> ContentType {
        for type in recent where type.bytes.count == bytes.count && type.bytes.elementsEqual(bytes) { return type }
        let type = ContentType(Array(bytes))
        if recent.count < Self.capacity {
            recent.append(type)
        } else {
            recent[next] = type
            next = (next + 1) % Self.capacity
        }
        return type
    }
}
