// A journal file as it is read from front to back: a window of a few megabytes that moves, whatever the size of the file.
//
//     0 ……… base ─────── window ─────── base + count ……… size
//              └ what is behind it has been asked for, so that the disk reads while this is replayed
//
// Only a batch that is larger makes the window larger. Its memory is used for all files, because the kernel clears what is new.

import SystemPackage

struct JournalWindow: ~Copyable {
    private let file: any DiskFile
    let size: Int
    private let memory: OwnedBytes
    private var base = 0
    private var count = 0

    static let smallest = 4 << 20

    /// - Parameter memory: of the window; nobody else uses it meanwhile.
    init(_ file: any DiskFile, _ memory: OwnedBytes) throws(Errno) {
        self.file = file
        self.memory = memory
        size = try file.size()
        memory.grow(to: Self.smallest)
    }

    /// The bytes from `offset` on: so many at least, unless the file ends before. They are good until the next call.
    mutating func bytes(from offset: Int, atLeast wanted: Int) throws(Errno) -> UnsafeRawBufferPointer {
        let offset = min(offset, size)
        let needed = min(wanted, size - offset)
        if offset < base || offset + needed > base + count {
            let kept = offset >= base && offset <= base + count ? base + count - offset : 0
            memory.grow(to: max(Self.smallest, needed))
            if kept > 0 { memory.base.copyMemory(from: memory.base + (offset - base), byteCount: kept) }
            base = offset
            count = kept
            let target = min(memory.capacity, size - offset)
            while count < target {
                let room = UnsafeMutableRawBufferPointer(start: memory.base + count, count: target - count)
                let got = try file.read(into: room, at: base + count)
                if got == 0 { break }
                count += got
            }
            file.willRead(at: base + count, count: Self.smallest)
        }
        return UnsafeRawBufferPointer(start: memory.base + (offset - base), count: base + count - offset)
    }
}
