// A block of memory with one owner object, shared by reference and never changed after it has been handed over.
//
// @unchecked Sendable: the memory is written only by whoever created the block, before the reference is given to anyone else
// (`TailBuffer` extends its newest block only past the end that any other holder may read); `count` is set before that too.

import Glibc

public final class OwnedBytes: @unchecked Sendable {
    public private(set) var base: UnsafeMutableRawPointer
    public private(set) var capacity: Int
    /// Bytes in use, from the start.
    public var count: Int

    public init(capacity: Int) {
        self.capacity = max(capacity, 1)
        base = malloc(self.capacity)!
        count = 0
    }

    public convenience init(copying bytes: UnsafeRawBufferPointer) {
        self.init(capacity: bytes.count)
        if let source = bytes.baseAddress { base.copyMemory(from: source, byteCount: bytes.count) }
        count = bytes.count
    }

    public convenience init(copying bytes: [UInt8]) {
        self.init(capacity: bytes.count)
        bytes.withUnsafeBytes { if let source = $0.baseAddress { base.copyMemory(from: source, byteCount: $0.count) } }
        count = bytes.count
    }

    /// Takes over memory that was allocated with malloc.
    public init(adopting base: UnsafeMutableRawPointer, count: Int, capacity: Int) {
        self.base = base
        self.count = count
        self.capacity = capacity
    }

    deinit { free(base) }

    /// Makes room for `capacity` bytes, keeping the content; for the creator, before anyone else has the block. Large blocks are moved by
    /// the kernel and not copied.
    public func grow(to capacity: Int) {
        if capacity <= self.capacity { return }
        base = realloc(base, capacity)!
        self.capacity = capacity
    }

    /// Gives back what is not in use, where that is much; for the creator, before anyone else has the block.
    public func shrink() {
        guard capacity > 4096, capacity - count > count / 4, let smaller = realloc(base, max(count, 1)) else { return }
        base = smaller
        capacity = max(count, 1)
    }

    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }
}
