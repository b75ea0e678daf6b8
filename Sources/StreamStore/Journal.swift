// The reactor's side of the journal: gathers records, hands over one batch at a time, decides in which file it goes, and knows how
// much room there is, so that a record is refused before it is accepted and never after.
//
//     gathering arena ──submit──▶ batch in flight ──completion──▶ committed LSN
//
//     files:  [old][old]  [current: offset …… size]  [next, prepared ahead]
//
// Invariants: at most one batch is in flight; LSNs have no gaps; a record is taken only when `reserve` found room for it; after a
// failure nothing is submitted or committed any more.
//
// A busy journal keeps a file to write anew and prepares the next one ahead. After some seconds without a record it goes back to what it
// started with: one small file (`trim`). Each file is four times as large as the one before, up to a quarter of the journal's size: so the
// start waits for little, and the larger ones are filled with zeros (JournalFile) while there is time.
//
// @unchecked Sendable: used on the reactor only (its completions come back through `Dispatcher.post`).

import Glibc
import SystemCalls
import SystemPackage

public final class Journal: @unchecked Sendable {
    public enum Room: Equatable, Sendable {
        case available
        /// Room is being made; ask again when `onRoom` has been called.
        case soon
        /// There is none: the disk is full, or the checkpoint is behind.
        case none
    }

    /// What a simulation makes small, so that files change often.
    public struct Sizes: Sendable {
        /// Of a busy journal. All sizes of files are multiples of FileCalls.directBlock.
        public var smallestFile = 1 << 20
        /// Of the first file, and of an idle journal's.
        public var firstFile = 4 << 20
        /// The last room of a file, which only urgent records may use.
        public var urgentRoom = 64 * 1024
        public init() {}
    }

    private struct Current {
        var number: UInt64
        var salt: UInt64
        var file: any DiskFile
        var offset: Int
        var size: Int

        init(_ prepared: Prepared) {
            number = prepared.number
            salt = prepared.salt
            file = prepared.file
            offset = JournalFile.firstBatch(alignment: file.alignment)
            size = prepared.size
        }
    }
    private struct Prepared: Sendable {
        let number: UInt64
        let salt: UInt64
        let file: any DiskFile
        let size: Int
    }
    struct LiveFile: Equatable {
        var number: UInt64
        var size: Int
        /// LSN of its last record.
        var lastLSN: UInt64
    }

    private let disk: any Disk
    private let directory: String
    private let lane: any JournalLane
    private let dispatcher: any Dispatcher
    private let syncs: Bool
    /// Of a busy journal's files.
    private let fileSize: Int
    /// Of the first file, and of an idle journal's.
    private let startSize: Int
    private let sizeLimit: Int
    private let sizes: Sizes
    /// Monotonic milliseconds.
    private let clock: @Sendable () -> Int64

    @exclusivity(unchecked) private var gathering = JournalArena()
    @exclusivity(unchecked) private var spare: JournalArena? = JournalArena()
    @exclusivity(unchecked) private var inFlight = false
    private var current: Current
    private var next: Prepared?
    @exclusivity(unchecked) private var preparing = false
    private var prepareFailure: Errno?
    @exclusivity(unchecked) private var retryPrepareAt: Int64 = 0
    @exclusivity(unchecked) private var nextNumber: UInt64
    @exclusivity(unchecked) private var nextBatch: UInt64
    private var old: [LiveFile]
    private var recyclable: [UInt64] = []
    /// Up to here a checkpoint covers the records.
    @exclusivity(unchecked) private var releasedLSN: UInt64
    @exclusivity(unchecked) private var bytesAtLastTrim = 0
    @exclusivity(unchecked) private var quietTrims = 0
    /// The gathered batch goes to the next file, because the current one has no room for it.
    @exclusivity(unchecked) private var rollBefore = false

    /// There will be no room until a checkpoint has released files.
    @exclusivity(unchecked) public private(set) var needsCheckpoint = false
    /// The last checkpoint did not succeed; set by whoever runs them.
    @exclusivity(unchecked) public var checkpointFails = false

    @exclusivity(unchecked) public private(set) var lastLSN: UInt64
    @exclusivity(unchecked) public private(set) var committedLSN: UInt64
    @exclusivity(unchecked) public private(set) var failure: Errno?
    /// Bytes written to journal files since the start, for the checkpoint's trigger.
    @exclusivity(unchecked) public private(set) var bytesSubmitted = 0

    /// Called with the LSN up to which everything is durable.
    public var onCommit: (UInt64) -> Void = { _ in }
    public var onFailure: (Errno) -> Void = { _ in }
    public var onRoom: () -> Void = {}

    /// Starts behind what recovery found, in a new file. Throws what hindered making that file (a full or read-only disk).
    public init(
        disk: any Disk, directory: String, lane: any JournalLane, dispatcher: any Dispatcher, syncs: Bool, sizeLimit: Int,
        recovered: JournalPosition, sizes: Sizes = Sizes(), clock: @escaping @Sendable () -> Int64 = Clocks.monotonicMilliseconds
    ) throws(Errno) {
        self.disk = disk
        self.directory = directory
        self.lane = lane
        self.dispatcher = dispatcher
        self.syncs = syncs
        self.sizeLimit = sizeLimit
        self.sizes = sizes
        self.clock = clock
        fileSize = JournalFile.align(max(sizes.smallestFile, sizeLimit / 4), to: FileCalls.directBlock)
        startSize = min(fileSize, sizes.firstFile)
        lastLSN = recovered.lastLSN
        committedLSN = recovered.lastLSN
        nextBatch = recovered.lastBatch + 1
        old = recovered.files
        releasedLSN = recovered.files.isEmpty ? recovered.lastLSN : 0
        if syncs {
            if let (file, range) = recovered.lastWrite {
                try Self.writeAgain(disk.open(directory + "/" + JournalFile.name(file), .readWrite), range)
            }
        }
        let number = (recovered.files.last?.number ?? recovered.highestNumber) + 1
        let first = max(number, recovered.highestNumber + 1)
        let prepared = try Self.prepare(
            disk: disk, directory: directory, number: first, recycling: nil, size: startSize, syncs: syncs)
        current = Current(prepared)
        nextNumber = first + 1
    }

    /// What recovery has read must stay. The server before this one may have ended between a write and its sync, or because a sync failed;
    /// after that the kernel takes pages for written that the disk does not have, so a sync alone would not bring them there. It can only be
    /// the last batch: one is written when the one before has been synced.
    private static func writeAgain(_ file: any DiskFile, _ range: Range<Int>) throws(Errno) {
        let window = UnsafeMutableRawBufferPointer.allocate(byteCount: min(range.count, 1 << 20), alignment: 8)
        defer { window.deallocate() }
        var position = range.lowerBound
        while position < range.upperBound {
            let part = UnsafeMutableRawBufferPointer(rebasing: window[..<min(window.count, range.upperBound - position)])
            guard try file.read(into: part, at: position) == part.count else { throw .ioError }
            try file.write(UnsafeRawBufferPointer(part), at: position)
            position += part.count
        }
        try file.syncData()
    }

    // MARK: Adding records

    /// Whether a record of `padded` bytes (JournalRecord.paddedLength) can be taken now. `urgent` records (deletes, closes) may use the
    /// last of the room, so that space can be given back on a full disk.
    public func reserve(_ padded: Int, urgent: Bool = false, now: Int64) -> Room {
        if failure != nil { return .none }
        let margin = urgent ? 0 : sizes.urgentRoom
        if gathering.isEmpty { rollBefore = false }
        let fits = gatheredEnd + padded + margin <= current.size
        if fits { return .available }
        if rollBefore {
            // The gathered batch already goes to the next file; its room is what counts.
            if let next, JournalFile.firstBatch(alignment: next.file.alignment) + gathering.byteCount + padded + margin <= next.size {
                return .available
            }
            return .soon
        }
        let needed = FileCalls.directBlock + JournalFile.batchHeaderLength + padded + margin
        if let next, gathering.isEmpty, next.size >= needed {
            rollBefore = true
            return .available
        }
        // What is gathered stays in this file; the record waits for the next batch.
        if next != nil, !gathering.isEmpty { return .soon }
        if preparing { return .soon }
        return prepareNext(size: max(nextSize, needed), now: now)
    }

    private var gatheredEnd: Int {
        rollBefore ? Int.max / 2 : current.offset + gathering.byteCount
    }

    /// Takes a record, for which there is room, into the next batch. `block` is the payload's own memory, if it has one.
    public func add(_ body: RecordBody, stream: UInt64, payload: UnsafeRawBufferPointer, block: OwnedBytes? = nil) -> UInt64 {
        precondition(failure == nil, "nothing is added to a failed journal")
        lastLSN += 1
        gathering.add(body, lsn: lastLSN, stream: stream, payload: payload, block: block)
        return lastLSN
    }

    /// Hands over what is gathered, if no batch is in flight. Called at the end of each turn of the loop.
    public func submit() {
        guard !inFlight, !gathering.isEmpty, failure == nil else { return }
        if rollBefore {
            guard let prepared = next else { return }
            old.append(LiveFile(number: current.number, size: current.size, lastLSN: gathering.firstLSN - 1))
            current = Current(prepared)
            next = nil
            rollBefore = false
        }
        let arena = gathering
        gathering = spare ?? JournalArena()
        spare = nil
        inFlight = true
        let submission = JournalSubmission(
            arena: arena, file: current.file, fileNumber: current.number, salt: current.salt, batchNumber: nextBatch,
            offset: current.offset, syncs: syncs)
        nextBatch += 1
        let written = JournalFile.align(arena.byteCount, to: current.file.alignment)
        current.offset += written
        precondition(current.offset <= current.size, "a batch was gathered that the file has no room for")
        bytesSubmitted += written
        let dispatcher = dispatcher
        lane.run { [self] in
            let failed = submission.commit()
            dispatcher.post { self.completed(submission, failed) }
        }
        if next == nil, !preparing, current.offset > current.size / 2 { prepareNext(size: nextSize, now: clock()) }
        onRoom()
    }

    private func completed(_ submission: JournalSubmission, _ error: Errno?) {
        inFlight = false
        if let error {
            fail(error)
            return
        }
        if failure != nil { return }
        let lsn = submission.arena.lastLSN
        submission.arena.reset()
        spare = submission.arena
        committedLSN = lsn
        submit()
        onCommit(lsn)
    }

    /// Nothing that is not durable by now will be.
    public func fail(_ error: Errno) {
        guard failure == nil else { return }
        failure = error
        onFailure(error)
    }

    public var isIdle: Bool { !inFlight && gathering.isEmpty }

    // MARK: Files

    private var nextSize: Int { min(fileSize, max(startSize, current.size * 4)) }

    /// Starts to prepare the file after the current one, if there may be one.
    @discardableResult
    private func prepareNext(size: Int, now: Int64) -> Room {
        if preparing { return .soon }
        if prepareFailure != nil, now < retryPrepareAt { return .none }
        let size = JournalFile.align(size, to: FileCalls.directBlock)
        let oversize = max(0, size - fileSize)
        let live = old.reduce(0) { $0 + $1.size } + current.size
        if !old.isEmpty, live + size > sizeLimit + oversize + fileSize {
            // Only a checkpoint can make room. While checkpoints succeed, waiting for one is better than refusing.
            needsCheckpoint = true
            return checkpointFails ? .none : .soon
        }
        preparing = true
        let discarded = next
        next = nil
        let number = nextNumber
        nextNumber += 1
        let recycling = size == fileSize && !recyclable.isEmpty ? recyclable.removeFirst() : nil
        let (disk, directory, syncs, dispatcher) = (disk, directory, syncs, dispatcher)
        dispatcher.work(.journal) { [self] in
            if let discarded { try? disk.unlink(directory + "/" + JournalFile.name(discarded.number)) }
            do throws(Errno) {
                let prepared = try Self.prepare(
                    disk: disk, directory: directory, number: number, recycling: recycling, size: size, syncs: syncs)
                dispatcher.post { self.prepared(prepared, nil) }
            } catch {
                dispatcher.post { self.prepared(nil, error) }
            }
        }
        return .soon
    }

    private func prepared(_ file: Prepared?, _ error: Errno?) {
        preparing = false
        next = file
        prepareFailure = error
        if error != nil { retryPrepareAt = clock() + 1000 }
        onRoom()
    }

    /// Why the last attempt to make room failed.
    public var roomFailure: Errno? { prepareFailure }

    private static func prepare(
        disk: any Disk, directory: String, number: UInt64, recycling: UInt64?, size: Int, syncs: Bool
    ) throws(Errno) -> Prepared {
        let path = directory + "/" + JournalFile.name(number)
        let salt = UInt64.random(in: .min ... .max)
        if let recycling { try disk.rename(directory + "/" + JournalFile.name(recycling), to: path) }
        // Without syncs the page cache is what makes it fast.
        var file = try disk.open(path, syncs ? .createOrOpenDirect : .createOrOpen)
        do throws(Errno) {
            if recycling == nil { try file.allocate(size: size) }
            do throws(Errno) {
                try writeHeader(file, number: number, size: size, salt: salt)
            } catch {
                guard error == .invalidArgument, file.alignment > 8 else { throw error }
                // A file system that opens files for direct writes, and then does not take them.
                file = try disk.open(path, .createOrOpen)
                try writeHeader(file, number: number, size: size, salt: salt)
            }
            if syncs {
                if recycling == nil, file.alignment > 8 { try fillWithZeros(file, to: size) }
                try file.syncData()
                try disk.syncDirectory(directory)
            }
        } catch {
            try? disk.unlink(path)
            throw error
        }
        return Prepared(number: number, salt: salt, file: file, size: size)
    }

    private static func writeHeader(_ file: any DiskFile, number: UInt64, size: Int, salt: UInt64) throws(Errno) {
        let header = JournalFile.encodeHeader(number: number, size: size, salt: salt, alignment: file.alignment)
        let first = JournalFile.firstBatch(alignment: file.alignment)
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: first, alignment: file.alignment)
        defer { block.deallocate() }
        block.initializeMemory(as: UInt8.self, repeating: 0)
        block.copyBytes(from: header)
        try file.write(UnsafeRawBufferPointer(block), at: 0)
    }

    private static func fillWithZeros(_ file: any DiskFile, to size: Int) throws(Errno) {
        let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: min(1 << 20, size), alignment: file.alignment)
        defer { zeros.deallocate() }
        zeros.initializeMemory(as: UInt8.self, repeating: 0)
        var position = JournalFile.firstBatch(alignment: file.alignment)
        while position < size {
            let count = min(zeros.count, size - position)
            try file.write(UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: position)
            position += count
        }
    }

    /// Drops the files whose records are all covered by a checkpoint. One is kept to be written anew.
    public func release(through lsn: UInt64) {
        needsCheckpoint = false
        releasedLSN = max(releasedLSN, lsn)
        defer { onRoom() }
        var removed: [UInt64] = []
        while let first = old.first, first.lastLSN <= lsn {
            old.removeFirst()
            if first.size == fileSize && recyclable.isEmpty { recyclable.append(first.number) } else { removed.append(first.number) }
        }
        remove(removed)
    }

    /// `file` is closed behind the removal: with the last close of a file its space is given back, which takes time.
    private func remove(_ numbers: [UInt64], _ file: (any DiskFile)? = nil) {
        if numbers.isEmpty { return }
        let (disk, directory) = (disk, directory)
        dispatcher.work(.journal) {
            for number in numbers { try? disk.unlink(directory + "/" + JournalFile.name(number)) }
            withExtendedLifetime(file) {}
        }
    }

    /// The fewest calls of `trim` without a record in between after which the journal counts as idle.
    public static let trimsUntilIdle = 4

    /// Gives back the files that an idle server does not need, one step at a time. Called about once a second. Idle is a journal that has
    /// had no record for so many calls: a server that gets one now and then is not, because growing again, with all the zeros that are
    /// written for it, costs more than keeping the files.
    ///
    ///     [old][old]  [current, half full]  [next]  [spare]
    ///                 ──checkpoint──▶  [current, half full]  [next]  [spare]  ──▶  [current: empty]
    public func trim(after calls: Int = Journal.trimsUntilIdle) {
        quietTrims = bytesSubmitted == bytesAtLastTrim ? quietTrims + 1 : 0
        bytesAtLastTrim = bytesSubmitted
        guard quietTrims >= max(calls, Self.trimsUntilIdle), isIdle, !preparing, failure == nil else { return }
        remove(recyclable)
        recyclable = []
        if old.isEmpty, next == nil, current.size == startSize { return }
        guard old.isEmpty, releasedLSN == lastLSN else {
            // Deletes that came while a checkpoint ran may be in the catalog and yet behind its mark; nothing else asks for another one.
            // If checkpoints fail, the next one in turn has to do.
            needsCheckpoint = !checkpointFails
            return
        }
        if let prepared = next {
            // A full file has no room for what the server records by itself, the ends of expired streams: the next one stays for that.
            if prepared.size != startSize, current.offset + FileCalls.directBlock > current.size { return }
            next = nil
            rollBefore = false
            if prepared.size == startSize {
                let (number, file) = (current.number, current.file)
                current = Current(prepared)
                remove([number], file)
            } else {
                // For more records, or a larger one, than have come.
                remove([prepared.number], prepared.file)
            }
            onRoom()
        } else {
            prepareNext(size: startSize, now: clock())
        }
    }

    /// Removes every file, after a checkpoint that covers all records; called when the server ends.
    public func removeAllFiles() throws(Errno) {
        precondition(isIdle, "the journal is in use")
        for name in try disk.list(directory) where JournalFile.number(of: name) != nil {
            do throws(Errno) {
                try disk.unlink(directory + "/" + name)
            } catch {
                // A disk worker may be removing it.
                if error != .noSuchFileOrDirectory { throw error }
            }
        }
        if syncs { try disk.syncDirectory(directory) }
    }
}

/// Where the journal stood when recovery had read it.
public struct JournalPosition: Sendable {
    public var lastLSN: UInt64
    public var lastBatch: UInt64
    /// The highest file number in use, also of files without records.
    public var highestNumber: UInt64
    var files: [Journal.LiveFile]
    /// The last batch: in which file, and where.
    var lastWrite: (file: UInt64, range: Range<Int>)?

    public init(lastLSN: UInt64 = 0, lastBatch: UInt64 = 0, highestNumber: UInt64 = 0) {
        self.lastLSN = lastLSN
        self.lastBatch = lastBatch
        self.highestNumber = highestNumber
        files = []
    }
}
