// The memory in which the records of the next batch are gathered.
//
//     [ batch header ][ record ][ record head ]    [ padding ][ record ] …
//                                  ↘ payload of its own ↗
//
// Small payloads are copied in; a large one stays where it is and is written from there. The reactor fills an arena; then the journal
// thread has it alone, until its completion hands it back to be filled again.
//
// @unchecked Sendable: owned by one thread at a time, handed over through the journal's mailbox and the loop's.

import Glibc
import SystemCalls

final class JournalArena: @unchecked Sendable {
    private struct External {
        /// Where in the arena's own bytes the block belongs.
        let offset: Int
        let block: OwnedBytes
        /// The payload in the block, which may go on growing behind it.
        let payload: UnsafeRawBufferPointer
    }

    @exclusivity(unchecked) private var memory: UnsafeMutableRawPointer
    @exclusivity(unchecked) private var capacity: Int
    @exclusivity(unchecked) private var used: Int
    private var externals: [External] = []
    @exclusivity(unchecked) private(set) var firstLSN: UInt64 = 0
    @exclusivity(unchecked) private(set) var lastLSN: UInt64 = 0
    /// Bytes that the batch takes in the file, its header included.
    @exclusivity(unchecked) private(set) var byteCount: Int

    static let smallestCapacity = 256 * 1024
    /// From this size on a payload is written from its own memory.
    static let externalThreshold = 64 * 1024

    init() {
        capacity = Self.smallestCapacity
        memory = Self.allocate(capacity)
        used = JournalFile.batchHeaderLength
        byteCount = used
    }

    deinit { free(memory) }

    var isEmpty: Bool { lastLSN == 0 }

    func add(_ body: RecordBody, lsn: UInt64, stream: UInt64, payload: UnsafeRawBufferPointer, block: OwnedBytes?) {
        let metadata = JournalRecord.metadataLength(body)
        let head = JournalRecord.headerLength + metadata
        let padded = (head + payload.count + 7) & ~7
        let external = block != nil && payload.count >= Self.externalThreshold
        reserve(external ? padded - payload.count : padded)
        let start = memory + used
        JournalRecord.encodeHead(
            body, lsn: lsn, stream: stream, payloadLength: payload.count, payloadChecksum: Checksum.of(payload), to: start)
        used += head
        if external, let block {
            externals.append(External(offset: used, block: block, payload: payload))
        } else if let base = payload.baseAddress {
            (memory + used).copyMemory(from: base, byteCount: payload.count)
            used += payload.count
        }
        let padding = padded - head - payload.count
        for index in 0..<padding { memory.storeBytes(of: 0, toByteOffset: used + index, as: UInt8.self) }
        used += padding
        byteCount += padded
        if isEmpty { firstLSN = lsn }
        lastLSN = lsn
    }

    private func reserve(_ count: Int) {
        if used + count <= capacity { return }
        capacity = JournalFile.align(max(capacity * 2, used + count), to: FileCalls.directBlock)
        let larger = Self.allocate(capacity)
        larger.copyMemory(from: memory, byteCount: used)
        free(memory)
        memory = larger
    }

    /// Memory that can be written past the page cache.
    private static func allocate(_ count: Int) -> UnsafeMutableRawPointer { aligned_alloc(FileCalls.directBlock, count)! }

    /// Whether all of the batch is in the arena's own memory, which is aligned; else the vectors of `seal` are not.
    var isContiguous: Bool { externals.isEmpty }

    /// Writes the batch header and returns what is to be written, in order, without padding if it is more than one vector.
    func seal(file: UInt64, salt: UInt64, batch: UInt64, alignment: Int) -> [iovec] {
        JournalFile.BatchHeader(
            file: file, number: batch, firstLSN: firstLSN, lastLSN: lastLSN, byteCount: byteCount - JournalFile.batchHeaderLength,
            salt: salt
        ).encode(to: memory)
        var vectors: [iovec] = []
        vectors.reserveCapacity(1 + 2 * externals.count)
        var position = 0
        for external in externals {
            vectors.append(iovec(iov_base: memory + position, iov_len: external.offset - position))
            vectors.append(
                iovec(iov_base: UnsafeMutableRawPointer(mutating: external.payload.baseAddress), iov_len: external.payload.count))
            position = external.offset
        }
        if externals.isEmpty {
            // `capacity` is a multiple of every alignment.
            let padded = JournalFile.align(used, to: alignment)
            (memory + used).initializeMemory(as: UInt8.self, repeating: 0, count: padded - used)
            return [iovec(iov_base: memory, iov_len: padded)]
        }
        if used > position { vectors.append(iovec(iov_base: memory + position, iov_len: used - position)) }
        return vectors
    }

    /// Empties the arena for the next batch; memory that a large batch needed is given back.
    func reset() {
        externals = []
        used = JournalFile.batchHeaderLength
        byteCount = used
        firstLSN = 0
        lastLSN = 0
        if capacity > 4 * Self.smallestCapacity {
            free(memory)
            capacity = Self.smallestCapacity
            memory = Self.allocate(capacity)
        }
    }
}
