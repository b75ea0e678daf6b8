// Giving the catalog's free pages back to the file system.
//
//     data.mdb ──copy of what is needed──▶ data.mdb.new ─sync─▶ opened ───────────────────────▶ data.mdb ─▶ used ─▶ directory synced
//     lock.mdb                             data.mdb.new-lock ─────────▶ lock.mdb
//
// Part of a commit, on its disk worker, behind the commit itself; no other commit runs meanwhile. Readers go on: those that have begun
// stay in the old file, which is closed, and so given back, by the last of them; the others begin in the copy, which holds the same.
//
// A crash leaves the old file or the whole copy under the name data.mdb, for the copy is synced before it gets the name; what it leaves
// under the other names is removed at the next start. The next commit goes to the copy, so the commit that made it returns only when the
// name is durable; an error there is final, as that of every sync is. Any other error leaves all as it was.
//
// LMDB forbids opening one environment twice in a process, because the locks of its lock file belong to the process and the first close
// would drop them. Old and new are two environments: each has its own lock file, and both go on being that when they are renamed. The lock
// file comes first: another process that looks at the catalog opens the data file before the lock file, so it gets the two of the copy,
// or the old data file, in which nothing changes any more. A lock file that does not fit its data file, after a crash in between, is made
// anew by LMDB when nobody else has it open.
//
// Cost. A copy is made when at most a quarter of the file is needed; so it writes at most a third of the number of pages that were free,
// and leaves none free. Each of those had been written since the last copy or by it. So with c pages written by commits and x by
// copies: x ≤ (c + x) / 3, all copies together write at most half of what the commits have written.
// A failed copy is not tried again before a number of commits that doubles each time.

import CLMDB
import SystemCalls
import SystemPackage

/// What a compaction is about to do.
enum CompactionStep: CaseIterable, Sendable {
    case copy, sync, open, renameLock, rename, syncDirectory
}

/// Commits that pass before the next attempt.
struct CompactionPause {
    private var failures = 0
    private var commitsLeft = 0

    mutating func isOver() -> Bool {
        if commitsLeft == 0 { return true }
        commitsLeft -= 1
        return false
    }

    mutating func succeeded() { failures = 0 }

    mutating func failed() {
        commitsLeft = 1 << failures
        failures = min(failures + 1, 10)
    }
}

extension LMDBCatalog {
    private static let copyName = "data.mdb.new"

    static func removeUnfinishedCopy(in directory: String) {
        for name in [copyName, copyName + "-lock"] { try? FileCalls.unlink(directory + "/" + name) }
    }

    /// Replaces the file by a copy, if most of it is free.
    func compactIfSparse(_ pause: inout CompactionPause) throws(CatalogFault) {
        let old = environment
        let copy: CatalogEnvironment
        do throws(CatalogFault) {
            let (file, content) = try old.sizes()
            guard file > CatalogEnvironment.smallestFile, content <= file / 4, pause.isOver() else { return }
            copy = try makeCopy(of: old)
            try rename(.renameLock, Self.copyName + "-lock", to: "lock.mdb")
            try rename(.rename, Self.copyName, to: "data.mdb")
        } catch {
            Self.removeUnfinishedCopy(in: directory)
            pause.failed()
            onNote("the catalog could not be made smaller: \(error)")
            return
        }
        pause.succeeded()
        use(copy)
        try run(.syncDirectory) { () throws(Errno) in if syncs { try FileCalls.syncDirectory(directory) } }
    }

    private func makeCopy(of old: CatalogEnvironment) throws(CatalogFault) -> CatalogEnvironment {
        Self.removeUnfinishedCopy(in: directory)
        let path = directory + "/" + Self.copyName
        try write(old, to: path)
        try beforeCompactionStep(.open)
        let copy = try CatalogEnvironment(path, databases: Self.databases, flags: MDB_NOSUBDIR | (syncs ? 0 : MDB_NOSYNC))
        let (expected, found) = (try old.entryCounts(), try copy.entryCounts())
        guard found == expected else { throw CatalogFault("its copy has \(found) entries instead of \(expected)") }
        return copy
    }

    /// The file is closed when it returns; LMDB wants to be the only one in the process who has it open.
    private func write(_ old: CatalogEnvironment, to path: String) throws(CatalogFault) {
        var file: (any DiskFile)!
        try run(.copy) { () throws(Errno) in
            file = try SystemDisk().open(path, .createNew)
            let code = mdb_env_copyfd2(old.handle, file.descriptor!, UInt32(MDB_CP_COMPACT))
            // LMDB's own errors are negative.
            if code != 0 { throw Errno(rawValue: code) }
        }
        try run(.sync) { () throws(Errno) in if syncs { try file.syncData() } }
    }

    private func rename(_ step: CompactionStep, _ from: String, to: String) throws(CatalogFault) {
        try run(step) { () throws(Errno) in try FileCalls.rename(directory + "/" + from, to: directory + "/" + to) }
    }

    /// Takes one step; its error becomes a fault that says so.
    private func run(_ step: CompactionStep, _ body: () throws(Errno) -> Void) throws(CatalogFault) {
        try beforeCompactionStep(step)
        do throws(Errno) {
            try body()
        } catch {
            throw CatalogFault("compaction, step \"\(step)\": \(String(cString: mdb_strerror(error.rawValue)))")
        }
    }
}
