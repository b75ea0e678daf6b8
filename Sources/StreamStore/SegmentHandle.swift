// An open segment, shared by reference between the descriptor cache and the responses that read from it. The file is closed on a disk
// worker after the last of them has let go, so that the last close of a deleted file stalls nobody.

import SystemPackage

public final class SegmentHandle: Sendable {
    public let file: any DiskFile
    public let stream: UInt64
    /// For a sealed segment, all there is to know; for the open one, only its base counts (the actor knows the rest).
    public let meta: SegmentMeta
    private let dispatcher: any Dispatcher

    public init(file: any DiskFile, stream: UInt64, meta: SegmentMeta, dispatcher: any Dispatcher) {
        self.file = file
        self.stream = stream
        self.meta = meta
        self.dispatcher = dispatcher
    }

    deinit {
        let file = file
        dispatcher.work(.background) { _ = file }
    }
}

/// Open segments by (stream, base), the least recently used dropped beyond the capacity. Reactor only.
public struct DescriptorCache {
    private struct Key: Hashable {
        let stream: UInt64
        let base: UInt64
    }
    private struct Slot {
        var handle: SegmentHandle
        var used: UInt64
    }

    private var slots: [Key: Slot] = [:]
    private var clock: UInt64 = 0
    public let capacity: Int

    public init(capacity: Int) { self.capacity = max(1, capacity) }

    public var count: Int { slots.count }

    public mutating func find(stream: UInt64, base: UInt64) -> SegmentHandle? {
        let key = Key(stream: stream, base: base)
        guard let slot = slots[key] else { return nil }
        clock += 1
        slots[key]!.used = clock
        return slot.handle
    }

    public mutating func insert(_ handle: SegmentHandle, stream: UInt64, base: UInt64) {
        clock += 1
        slots[Key(stream: stream, base: base)] = Slot(handle: handle, used: clock)
        if slots.count <= capacity { return }
        // Drop an eighth at once, so that the search for the oldest is paid once per many insertions.
        let oldest = slots.sorted { $0.value.used < $1.value.used }.prefix(max(1, capacity / 8))
        for (key, _) in oldest { slots[key] = nil }
    }

    public mutating func remove(stream: UInt64, base: UInt64) { slots[Key(stream: stream, base: base)] = nil }
}
