// What is still to be sent on one connection, in order: bytes of its own, shared memory, ranges of files.
//
// It exists only while something could not be sent at once. Its size is bounded by what is put in: one response, or one live frame. Blocks of memory
// that a queue holds cannot be given back meanwhile; `PinnedBlocks` counts each of them once, however many queues hold it.

import StreamStore
import SystemCalls

enum SendItem {
    case memory(ByteSlice)
    case file(SegmentHandle, offset: Int, count: Int)
}

/// Bytes that are held for several owners together.
final class ByteAccount {
    var held = 0
}

/// Blocks of memory that wait for peers, all together or those of one address.
final class PinnedBlocks {
    private var counts: [ObjectIdentifier: Int] = [:]
    private(set) var bytes = 0
    /// Blocks.
    var count: Int { counts.count }

    fileprivate func pin(_ block: OwnedBytes) {
        let count = counts[ObjectIdentifier(block), default: 0]
        if count == 0 { bytes += block.capacity }
        counts[ObjectIdentifier(block)] = count + 1
    }

    fileprivate func unpin(_ block: OwnedBytes) {
        guard let count = counts[ObjectIdentifier(block)] else { return }
        if count == 1 {
            counts[ObjectIdentifier(block)] = nil
            bytes -= block.capacity
        } else {
            counts[ObjectIdentifier(block)] = count - 1
        }
    }
}

final class SendQueue {
    private let pinned: PinnedBlocks
    private let share: PeerShare
    private var items: [SendItem] = []
    private var first = 0
    /// A file range up to here has just been read by a disk worker and is sent without asking whether it is cached.
    private var warmedTo = -1

    init(_ pinned: PinnedBlocks, _ share: PeerShare) {
        self.pinned = pinned
        self.share = share
        share.enter()
    }

    deinit {
        for item in items[first...] { if case .memory(let slice) = item { unpin(slice.block) } }
        share.leave()
    }

    func append(_ item: SendItem) {
        if case .memory(let slice) = item {
            pin(slice.block)
        }
        items.append(item)
    }

    private func pin(_ block: OwnedBytes) {
        pinned.pin(block)
        share.waiting.pin(block)
    }

    private func unpin(_ block: OwnedBytes) {
        pinned.unpin(block)
        share.waiting.unpin(block)
    }

    enum Progress {
        case done
        /// The socket takes no more now.
        case blocked
        /// This turn's share is used up.
        case budgetSpent
        /// A disk worker has to read this range first.
        case cold(SegmentHandle, offset: Int, count: Int)
        case failed
        /// The file ended before the range did.
        case truncated
    }

    private static let window = 256 * 1024

    /// Sends until the socket blocks, the queue is empty or `budget` bytes have gone. `moved` counts them. `scratch` is for bytes of files on
    /// channels that do not send files.
    func flush(_ channel: ByteChannel, budget: Int, moved: inout Int, scratch: UnsafeMutableRawBufferPointer) -> Progress {
        while first < items.count {
            if moved >= budget { return .budgetSpent }
            switch items[first] {
            case .memory(let slice):
                let part = min(slice.count, max(budget - moved, channel.pendingBytes))
                let bytes = UnsafeRawBufferPointer(rebasing: slice.bytes[..<part])
                switch channel.send(bytes, more: first + 1 < items.count || part < slice.count) {
                case .bytes(let count):
                    moved += count
                    advance(count)
                case .wouldBlock: return .blocked
                case .end, .failed: return .failed
                }
            case .file(let handle, let offset, let count):
                guard let descriptor = handle.file.descriptor else { return .failed }
                if !channel.sendsFiles {
                    let part = min(count, scratch.count, max(budget - moved, channel.pendingBytes))
                    let bytes = UnsafeMutableRawBufferPointer(rebasing: scratch[..<part])
                    guard FileCalls.readIfCached(descriptor, into: bytes, at: offset) == part else {
                        return .cold(handle, offset: offset, count: part)
                    }
                    switch channel.send(UnsafeRawBufferPointer(bytes)) {
                    case .bytes(let sent):
                        moved += sent
                        advance(sent)
                    case .wouldBlock: return .blocked
                    case .end, .failed: return .failed
                    }
                    continue
                }
                let part = min(count, Self.window, budget - moved)
                if offset + part > warmedTo, FileCalls.isCached(descriptor, offset: offset, count: part) != true {
                    return .cold(handle, offset: offset, count: part)
                }
                switch channel.sendFile(descriptor, offset: offset, count: part) {
                case .bytes(let sent):
                    moved += sent
                    advance(sent)
                case .wouldBlock: return .blocked
                case .end: return .truncated
                case .failed: return .failed
                }
            }
        }
        return .done
    }

    /// Whether all of it is no more than `count` bytes.
    func fits(_ count: Int) -> Bool {
        var left = count
        for item in items[first...] {
            switch item {
            case .memory(let slice): left -= slice.count
            case .file(_, _, let count): left -= count
            }
            if left < 0 { return false }
        }
        return true
    }

    /// Copies to `buffer` as much as there is, for a transport that frames its bytes. `.done` and `.blocked`: the queue is empty, or the
    /// buffer is full.
    func fill(_ buffer: UnsafeMutableRawBufferPointer, filled: inout Int) -> Progress {
        while first < items.count {
            if filled == buffer.count { return .blocked }
            let room = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            switch items[first] {
            case .memory(let slice):
                let part = min(slice.count, room.count)
                room.copyMemory(from: UnsafeRawBufferPointer(rebasing: slice.bytes[..<part]))
                filled += part
                advance(part)
            case .file(let handle, let offset, let count):
                guard let descriptor = handle.file.descriptor else { return .failed }
                let part = min(count, room.count)
                let bytes = UnsafeMutableRawBufferPointer(rebasing: room[..<part])
                guard FileCalls.readIfCached(descriptor, into: bytes, at: offset) == part else {
                    return .cold(handle, offset: offset, count: min(count, Self.window / 4))
                }
                filled += part
                advance(part)
            }
        }
        return .done
    }

    /// What was cold has been read: it stands in front of the rest of its file.
    func supply(_ block: OwnedBytes) {
        guard first < items.count, case .file(let handle, let offset, let count) = items[first] else { return }
        guard block.count <= count else { return }
        pin(block)
        if block.count == count { next() } else { items[first] = .file(handle, offset: offset + block.count, count: count - block.count) }
        items.insert(.memory(ByteSlice(block: block, offset: 0, count: block.count)), at: first)
    }

    /// So many bytes of the first item have gone.
    private func advance(_ sent: Int) {
        switch items[first] {
        case .memory(let slice):
            if sent == slice.count {
                next()
            } else {
                items[first] = .memory(ByteSlice(block: slice.block, offset: slice.offset + sent, count: slice.count - sent))
            }
        case .file(let handle, let offset, let count):
            if sent == count { next() } else { items[first] = .file(handle, offset: offset + sent, count: count - sent) }
        }
    }

    func warmed(to end: Int) { warmedTo = end }

    private func next() {
        if case .memory(let slice) = items[first] {
            unpin(slice.block)
        }
        first += 1
        warmedTo = -1
        if first == items.count {
            items.removeAll()
            first = 0
        }
    }
}
