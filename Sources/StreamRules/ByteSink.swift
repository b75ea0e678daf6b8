// Where an encoder writes: memory of a fixed size with two marks.
//
//     base                       limit            capacity
//      | written ……… count | room | reserve          |
//
// An encoder stops taking payload at `limit`; what it is in the middle of (the end of a line, a control event) goes into the reserve. So a
// piece has a bounded size whatever a payload expands to, and no length has to be measured first.

/// Memory that an encoder fills from the front.
public struct ByteSink {
    @usableFromInline let base: UnsafeMutableRawPointer
    /// The most bytes that may be written.
    public let capacity: Int
    /// From here on no more payload is taken.
    public let limit: Int
    /// Bytes written.
    public internal(set) var count = 0

    /// The most bytes that are ever written behind `limit` by one call of an encoder.
    public static let reserve = 512

    /// - Parameter memory: at least `reserve` bytes and one.
    public init(_ memory: UnsafeMutableRawBufferPointer, limit: Int? = nil) {
        guard let base = memory.baseAddress, memory.count > Self.reserve else { preconditionFailure("a sink has room for its reserve") }
        self.base = base
        capacity = memory.count
        self.limit = min(limit ?? Int.max, capacity - Self.reserve)
    }

    /// No more payload is taken.
    public var isFull: Bool { count >= limit }

    /// What has been written.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

    @inline(__always)
    mutating func put(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count <= capacity - count, "an encoder keeps to its sink")
        if let source = bytes.baseAddress { (base + count).copyMemory(from: source, byteCount: bytes.count) }
        count += bytes.count
    }

    @inline(__always)
    mutating func put(_ text: StaticString) {
        put(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Room for `count` bytes, which the caller writes.
    @inline(__always)
    mutating func take(_ count: Int) -> UnsafeMutableRawPointer {
        precondition(count <= capacity - self.count, "an encoder keeps to its sink")
        let place = base + self.count
        self.count += count
        return place
    }
}
