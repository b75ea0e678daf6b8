// The catalog in LMDB (one file, memory-mapped, copy-on-write B+ tree: a commit is atomic, readers never wait).
//
//     names      name → stream entry (StreamEntry.swift)                 ordered by name; long names: LMDBCatalog+Names.swift
//     long       what of a long name is behind its first part → stream entry
//     ids        u64 id, big-endian → name
//     segments   u64 id, u64 base, big-endian → segment (SegmentMeta.swift), u32 CRC32C
//     producers  u64 id, big-endian, producer's id → u64 epoch, u64 sequence, i64 last seen
//     deadlines  u64 deadline with its sign bit turned, u64 id, big-endian → name                  ordered by deadline
//     meta       "mark" → u64 checkpoint LSN, u64 next stream id, u64 number of streams
//                         [i64 expiry time, i64 wall clock, i64 monotonic clock, string boot (ExpiryClock.Reading)]
//                "form" → u64 2         "next table" → u64
//
// What a checkpoint writes for a stream is in proportion to what has changed: its entry, its changed segments, its changed producers.
//
// LMDB keeps the pages that a commit frees. When most of the file is such pages, it is replaced by a copy without them
// (LMDBCatalog+Compaction.swift); readers do not notice.
//
// @unchecked Sendable: the environment in use and the writer's state stand behind their mutexes, the rest does not change after `init`;
// `close` comes last.

import CLMDB
import Glibc
import StreamRules
import Synchronization
import SystemCalls
import SystemPackage

public final class LMDBCatalog: Catalog, @unchecked Sendable {
    /// In the order in which they are opened.
    static let databases = ["names", "ids", "segments", "deadlines", "meta", "long", "producers"]

    let directory: String
    let syncs: Bool
    let onNote: @Sendable (String) -> Void
    /// Called before each step of a compaction; what it throws takes the step's place. For tests, set before anything is committed.
    var beforeCompactionStep: (CompactionStep) throws(CatalogFault) -> Void = { (_: CompactionStep) in }
    /// Whoever reads or writes holds the environment that stands here when the transaction begins; nil: closed.
    private let current: Mutex<CatalogEnvironment?>
    private let writing = Mutex(CompactionPause())
    let names: MDB_dbi
    let ids: MDB_dbi
    let segments: MDB_dbi
    let deadlines: MDB_dbi
    let meta: MDB_dbi
    let long: MDB_dbi
    let producers: MDB_dbi

    /// `onNote` is told what an operator may want to know.
    public init(directory: String, syncs: Bool, onNote: @escaping @Sendable (String) -> Void = { _ in }) throws(CatalogFault) {
        self.directory = directory
        self.syncs = syncs
        self.onNote = onNote
        Self.removeUnfinishedCopy(in: directory)
        let opened = try CatalogEnvironment(directory, databases: Self.databases, flags: syncs ? 0 : MDB_NOSYNC)
        if syncs {
            // LMDB syncs its file and not the file's name. The first checkpoint lets the journal go, and then the name has to be there.
            do throws(Errno) {
                try FileCalls.syncDirectory(directory)
            } catch { throw CatalogFault("cannot make the catalog's name durable in \(directory): \(error.text)") }
        }
        names = opened.databases[0]
        ids = opened.databases[1]
        segments = opened.databases[2]
        deadlines = opened.databases[3]
        meta = opened.databases[4]
        long = opened.databases[5]
        producers = opened.databases[6]
        current = Mutex(opened)
        try migrate()
    }

    /// For looking only, also beside the server that the catalog belongs to.
    public init(reading directory: String) throws(CatalogFault) {
        self.directory = directory
        syncs = false
        onNote = { _ in }
        let opened = try CatalogEnvironment(directory, databases: Self.databases, flags: MDB_RDONLY)
        names = opened.databases[0]
        ids = opened.databases[1]
        segments = opened.databases[2]
        deadlines = opened.databases[3]
        meta = opened.databases[4]
        long = opened.databases[5]
        producers = opened.databases[6]
        current = Mutex(opened)
    }

    public func close() {
        current.withLock {
            precondition($0 != nil, "closed twice")
            $0 = nil
        }
    }

    var environment: CatalogEnvironment {
        guard let environment = current.withLock({ $0 }) else { preconditionFailure("the catalog is used after it was closed") }
        return environment
    }

    /// From now on transactions begin in `next`; those under way go on in the environment they began in.
    func use(_ next: CatalogEnvironment) {
        precondition(next.databases == environment.databases, "LMDB has numbered the databases in another way")
        current.withLock { $0 = next }
    }

    // MARK: Reading

    public func mark() throws(CatalogFault) -> CatalogMark {
        try read { (transaction) throws(CatalogFault) in try self.mark(transaction) }
    }

    public func image(named name: [UInt8]) throws(CatalogFault) -> StreamImage? {
        try read { (transaction) throws(CatalogFault) in
            try self.image(named: name, transaction)
        }
    }

    public func image(id: UInt64) throws(CatalogFault) -> StreamImage? {
        try read { (transaction) throws(CatalogFault) in
            guard let name = try Self.get(transaction, self.ids, Self.bigEndian(id), { Array($0) }) else { return nil }
            guard let image = try self.image(named: name, transaction) else { return nil }
            guard image.id == id else { throw CatalogFault("id \(id) leads to the entry of stream \(image.id)") }
            return image
        }
    }

    public func segment(stream: UInt64, base: UInt64) throws(CatalogFault) -> SegmentMeta? {
        try read { (transaction) throws(CatalogFault) in
            guard let bytes = try Self.get(transaction, self.segments, Self.bigEndian(stream, base), { Array($0) }) else { return nil }
            do throws(CodingFault) {
                let block = OwnedBytes(copying: bytes)
                defer { withExtendedLifetime(block) {} }
                return try Self.decodeSegment(block.bytes)
            } catch { throw CatalogFault("segment \(base) of stream \(stream): \(error)") }
        }
    }

    public func nextSegment(after stream: UInt64, _ base: UInt64?) throws(CatalogFault) -> (stream: UInt64, meta: SegmentMeta)? {
        try read { (transaction) throws(CatalogFault) in
            var found: (stream: UInt64, meta: SegmentMeta)?
            var fault: CatalogFault?
            try Self.scan(transaction, self.segments, from: Self.bigEndian(stream, base ?? 0)) { key, value in
                guard key.count == 16 else { return true }
                let id = UInt64(bigEndian: key.loadUnaligned(as: UInt64.self))
                if id == stream, let base, UInt64(bigEndian: key.loadUnaligned(fromByteOffset: 8, as: UInt64.self)) <= base { return true }
                do throws(CodingFault) {
                    found = (id, try Self.decodeSegment(value))
                } catch {
                    fault = CatalogFault("a segment of stream \(id): \(error)")
                }
                return false
            }
            if let fault { throw fault }
            return found
        }
    }

    public func due(before moment: Int64, after: DueStream?, limit: Int) throws(CatalogFault) -> [DueStream] {
        try read { (transaction) throws(CatalogFault) in
            var found: [DueStream] = []
            let start = after.map { Self.deadlineKey($0.deadline, $0.id &+ 1) } ?? []
            try Self.scan(transaction, self.deadlines, from: start) { key, value in
                guard key.count == 16 else { return true }
                let deadline = Int64(bitPattern: UInt64(bigEndian: key.loadUnaligned(as: UInt64.self)) ^ Self.signBit)
                guard deadline < moment, found.count < limit else { return false }
                let id = UInt64(bigEndian: key.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                found.append(DueStream(deadline: deadline, id: id, name: Array(value)))
                return true
            }
            return found
        }
    }

    /// All entries in the order of their names; `visit` returns false to stop. For inspection and tests.
    public func forEach(_ visit: (StreamImage) -> Bool) throws(CatalogFault) {
        try read { (transaction) throws(CatalogFault) in
            var names: [[UInt8]] = []
            try self.scanEntries(transaction, after: nil) { name, _ in
                names.append(name)
                return true
            }
            for name in names {
                if let image = try self.image(named: name, transaction), !visit(image) { return }
            }
        }
    }

    func mark(_ transaction: OpaquePointer) throws(CatalogFault) -> CatalogMark {
        let mark = try Self.get(transaction, meta, Array("mark".utf8)) { bytes -> CatalogMark? in
            var reader = ByteReader(bytes)
            guard let lsn = try? reader.read(UInt64.self), let next = try? reader.read(UInt64.self),
                let count = try? reader.read(UInt64.self)
            else { return nil }
            guard let count = Int(exactly: count), next > 0, lsn < UInt64.max else { return nil }
            var mark = CatalogMark(checkpointLSN: lsn, nextStreamID: next, streamCount: count)
            if let expiry = try? reader.read(Int64.self), let wall = try? reader.read(Int64.self),
                let monotonic = try? reader.read(Int64.self), let boot = try? reader.readString()
            {
                mark.clock = ExpiryClock.Reading(expiry: expiry, wall: wall, monotonic: monotonic, boot: boot)
            }
            return mark
        }
        guard let mark else { return CatalogMark() }
        guard let mark else { throw CatalogFault("the catalog's mark is damaged") }
        return mark
    }

    func image(named name: [UInt8], _ transaction: OpaquePointer) throws(CatalogFault) -> StreamImage? {
        guard let entry = try entry(named: name, transaction) else { return nil }
        guard let id = Self.id(ofEntry: entry) else { throw CatalogFault("the entry of \(StreamLabel.text(name)) is damaged") }
        let metas = try segments(of: id, transaction)
        let known = try producers(of: id, transaction)
        do throws(CodingFault) {
            let block = OwnedBytes(copying: entry)
            defer { withExtendedLifetime(block) {} }
            let image = try StreamEntry.decode(block.bytes, segments: metas, producers: known)
            guard image.name == name else { throw .invalid("it is the entry of \(StreamLabel.text(image.name))") }
            return image
        } catch {
            throw CatalogFault("the entry of stream \(StreamLabel.text(name)): \(error)")
        }
    }

    /// The producers of a stream.
    private func producers(of id: UInt64, _ transaction: OpaquePointer) throws(CatalogFault) -> [[UInt8]: ProducerState] {
        var found: [[UInt8]: ProducerState] = [:]
        let prefix = Self.bigEndian(id)
        try Self.scan(transaction, producers, from: prefix) { key, value in
            guard key.starts(with: prefix) else { return false }
            var reader = ByteReader(value)
            if let epoch = try? reader.read(UInt64.self), let sequence = try? reader.read(UInt64.self),
                let seen = try? reader.read(Int64.self)
            {
                found[Array(key[8...])] = ProducerState(epoch: epoch, sequence: sequence, seen: seen)
            }
            return true
        }
        return found
    }

    /// The segments of a stream, ascending.
    func segments(of id: UInt64, _ transaction: OpaquePointer) throws(CatalogFault) -> [SegmentMeta] {
        var metas: [SegmentMeta] = []
        var fault: CodingFault?
        try Self.scan(transaction, segments, from: Self.bigEndian(id)) { key, value in
            guard key.count == 16, UInt64(bigEndian: key.loadUnaligned(as: UInt64.self)) == id else { return false }
            do throws(CodingFault) {
                metas.append(try Self.decodeSegment(value))
                return true
            } catch {
                fault = error
                return false
            }
        }
        if let fault { throw CatalogFault("a segment of stream \(id): \(fault)") }
        return metas
    }

    static func decodeSegment(_ bytes: UnsafeRawBufferPointer) throws(CodingFault) -> SegmentMeta {
        guard bytes.count > 4 else { throw .truncated }
        let body = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 4)])
        guard Checksum.of(body) == UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: bytes.count - 4, as: UInt32.self)) else {
            throw .invalid("the segment's checksum does not match")
        }
        return try SegmentMeta(decoding: body)
    }

    // MARK: Writing

    public func commit(_ changes: [CatalogChange], mark newMark: CatalogMark?) throws(CatalogFault) {
        try write { (transaction) throws(CatalogFault) in
            var mark = try self.mark(transaction)
            for change in changes {
                switch change {
                case .put(let image, let inline, let sealed):
                    mark.streamCount += try self.put(image, inline: inline, sealed: sealed, transaction) ? 1 : 0
                case .remove(let id):
                    mark.streamCount -= try self.remove(id, transaction) ? 1 : 0
                }
            }
            if let newMark {
                mark.checkpointLSN = newMark.checkpointLSN
                mark.nextStreamID = newMark.nextStreamID
                mark.clock = newMark.clock ?? mark.clock
            }
            var writer = ByteWriter()
            writer.put(mark.checkpointLSN)
            writer.put(mark.nextStreamID)
            writer.put(UInt64(max(0, mark.streamCount)))
            if let clock = mark.clock {
                writer.put(clock.expiry)
                writer.put(clock.wall)
                writer.put(clock.monotonic)
                writer.put(clock.boot)
            }
            try Self.put(transaction, self.meta, Array("mark".utf8), writer.bytes)
        }
    }

    /// true when the entry is new.
    private func put(
        _ image: StreamImage, inline: [ByteSlice], sealed: [SegmentMeta], _ transaction: OpaquePointer
    ) throws(CatalogFault) -> Bool {
        let id = Self.bigEndian(image.id)
        let before = try entry(named: image.name, transaction)
        if let before, let old = before.withUnsafeBytes({ try? StreamEntry.decode($0, segments: [], ignoringSegments: true) }) {
            if old.id != image.id {
                // An older stream of this name whose removal comes in the same checkpoint or has been overtaken.
                _ = try remove(old.id, transaction)
            } else if let deadline = old.deadline, deadline != image.deadline {
                try Self.delete(transaction, deadlines, Self.deadlineKey(deadline, image.id))
            }
        }
        let place = try makePlace(for: image.name, transaction)
        try Self.put(transaction, place.database, place.key, StreamEntry.encode(image, inline: inline))
        try Self.put(transaction, ids, id, image.name)
        for (producer, state) in image.unsavedProducers {
            guard let state else {
                try Self.delete(transaction, producers, id + producer)
                continue
            }
            var writer = ByteWriter()
            writer.put(state.epoch)
            writer.put(state.sequence)
            writer.put(state.seen)
            try Self.put(transaction, producers, id + producer, writer.bytes)
        }
        for segment in sealed + (image.active.end > image.active.base ? [image.active] : []) {
            var value = segment.encode()
            withUnsafeBytes(of: value.withUnsafeBytes { Checksum.of($0) }.littleEndian) { value.append(contentsOf: $0) }
            try Self.put(transaction, segments, Self.bigEndian(image.id, segment.base), value)
        }
        if let deadline = image.deadline {
            try Self.put(transaction, deadlines, Self.deadlineKey(deadline, image.id), image.name)
        }
        return before == nil
    }

    /// true when there was an entry.
    private func remove(_ id: UInt64, _ transaction: OpaquePointer) throws(CatalogFault) -> Bool {
        guard let name = try Self.get(transaction, ids, Self.bigEndian(id), { Array($0) }) else { return false }
        var existed = false
        if let entry = try entry(named: name, transaction), Self.id(ofEntry: entry) == id {
            if let old = entry.withUnsafeBytes({ try? StreamEntry.decode($0, segments: [], ignoringSegments: true) }),
                let deadline = old.deadline
            {
                try Self.delete(transaction, deadlines, Self.deadlineKey(deadline, id))
            }
            try removeEntry(named: name, transaction)
            existed = true
        }
        try Self.delete(transaction, ids, Self.bigEndian(id))
        var bases: [UInt64] = []
        try Self.scan(transaction, segments, from: Self.bigEndian(id)) { key, _ in
            guard key.count == 16, UInt64(bigEndian: key.loadUnaligned(as: UInt64.self)) == id else { return false }
            bases.append(UInt64(bigEndian: key.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
            return true
        }
        for base in bases { try Self.delete(transaction, segments, Self.bigEndian(id, base)) }
        var known: [[UInt8]] = []
        try Self.scan(transaction, producers, from: Self.bigEndian(id)) { key, _ in
            guard key.count >= 8, UInt64(bigEndian: key.loadUnaligned(as: UInt64.self)) == id else { return false }
            known.append(Array(key))
            return true
        }
        for key in known { try Self.delete(transaction, producers, key) }
        return existed
    }

    // MARK: Keys

    static func id(ofEntry entry: [UInt8]) -> UInt64? {
        entry.count >= 9 ? entry.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 1, as: UInt64.self)) } : nil
    }

    static func name(ofEntry entry: [UInt8]) -> [UInt8]? {
        entry.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            guard (try? reader.read(UInt8.self)) != nil, (try? reader.read(UInt64.self)) != nil else { return nil }
            return try? reader.readString()
        }
    }

    private static let signBit: UInt64 = 1 << 63

    /// The sign bit is turned, so that moments before 1970 come first.
    static func deadlineKey(_ deadline: Int64, _ id: UInt64) -> [UInt8] { bigEndian(UInt64(bitPattern: deadline) ^ signBit, id) }

    static func bigEndian(_ numbers: UInt64...) -> [UInt8] {
        numbers.flatMap { number in withUnsafeBytes(of: number.bigEndian) { Array($0) } }
    }

    // MARK: LMDB

    static func check(_ code: Int32, _ action: String) throws(CatalogFault) {
        if code != 0 {
            throw CatalogFault(
                "cannot \(action): \(String(cString: mdb_strerror(code)))",
                isNoSpace: Errno(rawValue: code).isNoSpace || code == MDB_MAP_FULL)
        }
    }

    func read<Value>(_ body: (OpaquePointer) throws(CatalogFault) -> Value) throws(CatalogFault) -> Value {
        let environment = environment
        defer { withExtendedLifetime(environment) {} }
        var transaction: OpaquePointer?
        try Self.check(mdb_txn_begin(environment.handle, nil, UInt32(MDB_RDONLY), &transaction), "read the catalog")
        defer { mdb_txn_abort(transaction) }
        return try body(transaction!)
    }

    func write(_ body: (OpaquePointer) throws(CatalogFault) -> Void) throws(CatalogFault) {
        try writing.withLock { (pause) throws(CatalogFault) in
            var transaction: OpaquePointer?
            try Self.check(mdb_txn_begin(environment.handle, nil, 0, &transaction), "write the catalog")
            do throws(CatalogFault) {
                try body(transaction!)
            } catch {
                mdb_txn_abort(transaction)
                throw error
            }
            try Self.check(mdb_txn_commit(transaction), "commit the catalog")
            try compactIfSparse(&pause)
        }
    }

    private static func withValue<Value>(_ bytes: [UInt8], _ body: (inout MDB_val) -> Value) -> Value {
        bytes.withUnsafeBytes { raw in
            var value = MDB_val(mv_size: raw.count, mv_data: UnsafeMutableRawPointer(mutating: raw.baseAddress))
            return body(&value)
        }
    }

    static func get<Value>(
        _ transaction: OpaquePointer, _ database: MDB_dbi, _ key: [UInt8], _ body: (UnsafeRawBufferPointer) -> Value
    ) throws(CatalogFault) -> Value? {
        if database == CatalogEnvironment.absent { return nil }
        var found = MDB_val()
        let code = withValue(key) { mdb_get(transaction, database, &$0, &found) }
        if code == MDB_NOTFOUND { return nil }
        try check(code, "read the catalog")
        return body(UnsafeRawBufferPointer(start: found.mv_data, count: found.mv_size))
    }

    static func put(_ transaction: OpaquePointer, _ database: MDB_dbi, _ key: [UInt8], _ bytes: [UInt8]) throws(CatalogFault) {
        let code = withValue(key) { key in withValue(bytes) { mdb_put(transaction, database, &key, &$0, 0) } }
        try check(code, "write the catalog")
    }

    static func delete(_ transaction: OpaquePointer, _ database: MDB_dbi, _ key: [UInt8]) throws(CatalogFault) {
        let code = withValue(key) { mdb_del(transaction, database, &$0, nil) }
        if code != MDB_NOTFOUND { try check(code, "write the catalog") }
    }

    /// Visits the pairs from the first key that is not below `start` on, until `visit` returns false.
    static func scan(
        _ transaction: OpaquePointer, _ database: MDB_dbi, from start: [UInt8],
        _ visit: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool
    ) throws(CatalogFault) {
        if database == CatalogEnvironment.absent { return }
        var cursor: OpaquePointer?
        try check(mdb_cursor_open(transaction, database, &cursor), "read the catalog")
        defer { mdb_cursor_close(cursor) }
        var key = MDB_val()
        var value = MDB_val()
        var code =
            start.isEmpty
            ? mdb_cursor_get(cursor, &key, &value, MDB_FIRST)
            : withValue(start) { wanted in
                key = wanted
                return mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
            }
        while code == 0 {
            let keyBytes = UnsafeRawBufferPointer(start: key.mv_data, count: key.mv_size)
            if !visit(keyBytes, UnsafeRawBufferPointer(start: value.mv_data, count: value.mv_size)) { return }
            code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
        }
        if code != MDB_NOTFOUND { try check(code, "read the catalog") }
    }
}

/// A stream's name for people.
public enum StreamLabel {
    public static func text(_ name: [UInt8]) -> String { String(decoding: name.map { $0 == 1 ? UInt8(ascii: "/") : $0 }, as: UTF8.self) }
}
