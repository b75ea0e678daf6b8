// What is still to be sent on one connection, in order: bytes of its own, shared memory, ranges of files.
//
// It exists only while something could not be sent at once. Its size is bounded by what is put in: one response, or one live frame.

import StreamStore
import SystemCalls

enum SendItem {
    case memory(ByteSlice)
    case file(SegmentHandle, offset: Int, count: Int)
}

final class SendQueue {
    private var items: [SendItem] = []
    private var first = 0
    /// A file range up to here has just been read by a disk worker and is sent without asking whether it is cached.
    private var warmedTo = -1

    var isEmpty: Bool { first == items.count }

    func append(_ item: SendItem) { items.append(item) }

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

    /// Sends until the socket blocks, the queue is empty or `budget` bytes have gone. `moved` counts them.
    func flush(_ socket: Int32, budget: Int, moved: inout Int) -> Progress {
        while first < items.count {
            if moved >= budget { return .budgetSpent }
            switch items[first] {
            case .memory(let slice):
                switch SocketCalls.send(socket, slice.bytes, more: first + 1 < items.count) {
                case .bytes(let count):
                    moved += count
                    if count == slice.count {
                        next()
                    } else {
                        items[first] = .memory(ByteSlice(block: slice.block, offset: slice.offset + count, count: slice.count - count))
                    }
                case .wouldBlock: return .blocked
                case .end, .failed: return .failed
                }
            case .file(let handle, let offset, let count):
                guard let descriptor = handle.file.descriptor else { return .failed }
                let part = min(count, Self.window)
                if offset + part > warmedTo, FileCalls.isCached(descriptor, offset: offset, count: part) != true {
                    return .cold(handle, offset: offset, count: part)
                }
                switch SocketCalls.sendFile(socket, from: descriptor, offset: offset, count: part) {
                case .bytes(let sent):
                    moved += sent
                    if sent == count { next() } else { items[first] = .file(handle, offset: offset + sent, count: count - sent) }
                case .wouldBlock: return .blocked
                case .end: return .truncated
                case .failed: return .failed
                }
            }
        }
        return .done
    }

    func warmed(to end: Int) { warmedTo = end }

    private func next() {
        first += 1
        warmedTo = -1
        if first == items.count {
            items.removeAll()
            first = 0
        }
    }
}
