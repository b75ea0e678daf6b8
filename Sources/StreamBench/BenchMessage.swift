// What is sent as data: the same bytes for every message of a run, of exactly the wanted size, without line ends (so that an event stream
// has one line for each message and its bytes can be counted) and without a space at the front (which event streams treat specially).
//
//     text      abcdefghijklmnopqrstuvwxyz0123456789abc…
//     JSON      {"id":4711,"type":"message","from":{"name":"Ada","admin":false},"score":0.75,"tags":["a","b"],"text":"abc…"}
//               or, where that does not fit, a string or a number

enum BenchMessage {
    private static let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
    private static let head = Array(
        #"{"id":4711,"type":"message","from":{"name":"Ada","admin":false},"score":0.75,"tags":["a","b"],"text":""#.utf8)
    private static let tail = Array(#""}"#.utf8)

    static func text(_ size: Int) -> [UInt8] { (0..<size).map { letters[$0 % letters.count] } }

    static func json(_ size: Int) -> [UInt8] {
        guard size >= head.count + tail.count else { return [0x22] + text(size - 2) + [0x22] }
        return head + text(size - head.count - tail.count) + tail
    }

    /// The content of one request: a message, or an array of several.
    static func content(size: Int, batch: Int, isJSON: Bool) -> [UInt8] {
        guard isJSON else { return text(size) }
        let message = json(size)
        guard batch > 1 else { return message }
        var result: [UInt8] = []
        result.reserveCapacity(batch * (size + 1) + 1)
        for index in 0..<batch {
            result.append(UInt8(ascii: index == 0 ? "[" : ","))
            result += message
        }
        return result + [UInt8(ascii: "]")]
    }
}

/// The bytes of one request, put together in memory that is used again for the next.
struct RequestBuffer: ~Copyable {
    private let memory: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(capacity: Int) { memory = .allocate(byteCount: capacity, alignment: 16) }

    deinit { memory.deallocate() }

    /// Valid until the next change.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<count]) }
    var room: Int { memory.count - count }

    mutating func clear() { count = 0 }

    @inline(__always)
    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count <= room, "the head of a request is larger than its buffer")
        if let source = bytes.baseAddress { (memory.baseAddress! + count).copyMemory(from: source, byteCount: bytes.count) }
        count += bytes.count
    }

    @inline(__always)
    mutating func append(_ bytes: [UInt8]) { bytes.withUnsafeBytes { append($0) } }

    @inline(__always)
    mutating func append(_ text: StaticString) { append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)) }

    /// In decimal.
    mutating func append(_ number: Int) {
        precondition(room >= 20, "the head of a request is larger than its buffer")
        var rest = number
        var length = 1
        while rest >= 10 {
            rest /= 10
            length += 1
        }
        rest = number
        for index in stride(from: count + length - 1, through: count, by: -1) {
            memory[index] = UInt8(truncatingIfNeeded: rest % 10) | 0x30
            rest /= 10
        }
        count += length
    }
}
