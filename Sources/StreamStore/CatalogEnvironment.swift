// One opening of the catalog's LMDB file, closed when the last who uses it lets go.
//
//     data.mdb      [ meta 0 | meta 1 | pages: live, free, never used … ]      at least `smallestFile` bytes, allocated ahead
//     lock.mdb      the writers' mutex, the table of readers
//
// LMDB never gives a page back to the file system; a page that nothing needs is free and waits for a later transaction. What is needed is
// the two meta pages and the pages of the databases; the list of the free pages does not count, because a copy has none.
//
// @unchecked Sendable: LMDB environments may be shared by threads, transactions are not tied to threads (MDB_NOTLS), and nothing here is
// changed after `init`. Whoever has a transaction holds the environment, so `deinit` runs after the last transaction's end.

import CLMDB
import Glibc
import SystemCalls
import SystemPackage

final class CatalogEnvironment: @unchecked Sendable {
    let handle: OpaquePointer
    /// Handles of the databases in the order of their names. LMDB numbers them as they are opened: the same in every environment.
    let databases: [MDB_dbi]
    /// A database that is not there; it reads as empty.
    static let absent = MDB_dbi.max
    private let file: mdb_filehandle_t
    private let pageSize: Int

    /// Address space, not memory or disk: the file grows with its content.
    private static let mapSize = 1 << 40

    /// A file is not made smaller than this. An empty catalog has it from the start, so the first commits, and with them the removal of
    /// streams on a full disk, find room.
    static let smallestFile = 256 << 10

    /// What LMDB makes of the file for its table of readers. It writes to it through memory, where a full disk is no error but a signal that
    /// ends the process; so the file gets its space before LMDB sees it.
    private static let lockFile = 8 << 10

    /// Opens `data.mdb` and `lock.mdb` of a directory or, with MDB_NOSUBDIR in `flags`, the file `path` and `path-lock`.
    init(_ path: String, databases names: [String], flags: Int32) throws(CatalogFault) {
        let readsOnly = flags & MDB_RDONLY != 0
        if !readsOnly { try Self.allocate(path + (flags & MDB_NOSUBDIR == 0 ? "/lock.mdb" : "-lock"), size: Self.lockFile) }
        var created: OpaquePointer?
        try LMDBCatalog.check(mdb_env_create(&created), "create an LMDB environment")
        let handle = created!
        do throws(CatalogFault) {
            try LMDBCatalog.check(mdb_env_set_maxdbs(handle, 16), "set up the catalog")
            try LMDBCatalog.check(mdb_env_set_mapsize(handle, Self.mapSize), "set up the catalog")
            try LMDBCatalog.check(
                mdb_env_open(handle, path, UInt32(MDB_NOTLS | MDB_NORDAHEAD | flags), 0o640), "open the catalog in \(path)")
            databases = try Self.open(names, handle, readsOnly: readsOnly)
            var statistics = MDB_stat()
            try LMDBCatalog.check(mdb_env_stat(handle, &statistics), "read the catalog's size")
            pageSize = Int(statistics.ms_psize)
            var opened: mdb_filehandle_t = -1
            try LMDBCatalog.check(mdb_env_get_fd(handle, &opened), "find the catalog's file")
            file = opened
        } catch {
            mdb_env_close(handle)
            throw error
        }
        self.handle = handle
        // Without the reserve the catalog works as well, so a disk that has no room for it hinders nothing.
        if !readsOnly, let size = try? FileCalls.size(file), size < Self.smallestFile {
            try? FileCalls.allocate(file, size: Self.smallestFile)
        }
    }

    deinit { mdb_env_close(handle) }

    private static func allocate(_ path: String, size: Int) throws(CatalogFault) {
        do throws(Errno) {
            try SystemDisk().open(path, .createOrOpen).allocate(size: size)
        } catch {
            throw CatalogFault(
                "cannot make room for \(path): \(error.text)", isNoSpace: error.isNoSpace)
        }
    }

    private static func open(_ names: [String], _ handle: OpaquePointer, readsOnly: Bool) throws(CatalogFault) -> [MDB_dbi] {
        var transaction: OpaquePointer?
        try LMDBCatalog.check(mdb_txn_begin(handle, nil, UInt32(readsOnly ? MDB_RDONLY : 0), &transaction), "open the catalog")
        var opened: [MDB_dbi] = []
        for name in names {
            var database: MDB_dbi = 0
            let code = mdb_dbi_open(transaction, name, UInt32(readsOnly ? 0 : MDB_CREATE), &database)
            if code == MDB_NOTFOUND, readsOnly {
                // Of a catalog of an older form, which nobody may change here.
                opened.append(absent)
                continue
            }
            if code != 0 { mdb_txn_abort(transaction) }
            try LMDBCatalog.check(code, "open the catalog's \(name)")
            opened.append(database)
        }
        try LMDBCatalog.check(mdb_txn_commit(transaction), "commit the catalog")
        return opened
    }

    // MARK: Size

    /// What the file takes, and what a copy of its content would take, in bytes.
    func sizes() throws(CatalogFault) -> (file: Int, content: Int) {
        var pages = 2
        for statistics in try statistics() {
            pages += Int(statistics.ms_branch_pages + statistics.ms_leaf_pages + statistics.ms_overflow_pages)
        }
        do throws(Errno) {
            return (try FileCalls.size(file), pages * pageSize)
        } catch { throw CatalogFault("cannot read the catalog's size: \(error.text)") }
    }

    /// Entries of each database, that of the databases' names first.
    func entryCounts() throws(CatalogFault) -> [Int] { try statistics().map { Int($0.ms_entries) } }

    private func statistics() throws(CatalogFault) -> [MDB_stat] {
        var transaction: OpaquePointer?
        try LMDBCatalog.check(mdb_txn_begin(handle, nil, UInt32(MDB_RDONLY), &transaction), "read the catalog")
        defer { mdb_txn_abort(transaction) }
        let main: MDB_dbi = 1
        var found: [MDB_stat] = []
        for database in [main] + databases where database != Self.absent {
            var statistics = MDB_stat()
            try LMDBCatalog.check(mdb_stat(transaction, database, &statistics), "read the catalog's size")
            found.append(statistics)
        }
        return found
    }
}
