// A file system in memory that knows what a power loss keeps: file contents as of their last `syncData`, names as of the last
// `syncDirectory` of their directory. Single-threaded.

import Glibc
import StreamStore
import SystemCalls
import SystemPackage

final class MemoryDisk: Disk, @unchecked Sendable {
    enum Call: String {
        case open, makeDirectory, syncDirectory, rename, unlink, removeDirectory, list, read, write, syncData, allocate, truncate
    }

    struct Done: Equatable, CustomStringConvertible {
        let call: Call
        let path: String
        var description: String { "\(call) \(path)" }
    }

    final class Inode {
        var bytes: [UInt8]
        var synced: [UInt8]
        init(_ bytes: [UInt8] = [], synced: [UInt8] = []) {
            self.bytes = bytes
            self.synced = synced
        }

        /// With zeros.
        func grow(to size: Int) {
            let old = bytes
            bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                old.withUnsafeBytes { if let base = $0.baseAddress { memcpy(buffer.baseAddress!, base, $0.count) } }
                memset(buffer.baseAddress! + old.count, 0, size - old.count)
                count = size
            }
        }
    }

    var names: [String: Inode] = [:]
    var syncedNames: [String: Inode] = [:]
    var directories: Set<String> = ["/data/journal", "/data/streams"]
    var log: [Done] = []
    /// What a call fails with, instead of doing anything.
    var fault: (Call, String) -> Errno? = { _, _ in nil }
    /// Called after every call that changed something.
    var changed: (Done) -> Void = { _ in }

    init(files: [String: [UInt8]] = [:]) {
        for (path, bytes) in files {
            names[path] = Inode(bytes, synced: bytes)
            syncedNames[path] = names[path]
        }
    }

    /// What is left after the process or the machine has ended.
    enum Crash: CaseIterable {
        /// The process was killed.
        case everythingKept
        /// The power failed.
        case onlySyncedKept
        /// The power failed after the kernel had written the data by itself, not the directories; and the other way round.
        case contentsKept
        case namesKept
    }

    func after(_ crash: Crash) -> MemoryDisk {
        let disk = MemoryDisk()
        disk.directories = directories
        let keptNames = crash == .everythingKept || crash == .namesKept ? names : syncedNames
        for (path, inode) in keptNames {
            let bytes = crash == .everythingKept || crash == .contentsKept ? inode.bytes : inode.synced
            // A process's end makes nothing durable that was not.
            disk.names[path] = Inode(bytes, synced: crash == .everythingKept ? inode.synced : bytes)
        }
        for path in crash == .everythingKept ? Array(syncedNames.keys) : Array(keptNames.keys) {
            disk.syncedNames[path] = disk.names[path] ?? syncedNames[path].map { Inode($0.bytes, synced: $0.synced) }
        }
        return disk
    }

    private func check(_ call: Call, _ path: String) throws(Errno) {
        if let error = fault(call, path) { throw error }
        log.append(Done(call: call, path: path))
    }

    func open(_ path: String, _ access: FileCalls.Access) throws(Errno) -> any DiskFile {
        try check(.open, path)
        if let inode = names[path] {
            if access == .createNew { throw .fileExists }
            return File(disk: self, path: path, inode: inode)
        }
        if access == .readOnly || access == .readWrite || !directories.contains(Self.parent(path)) { throw .noSuchFileOrDirectory }
        let inode = Inode()
        names[path] = inode
        changed(log.last!)
        return File(disk: self, path: path, inode: inode)
    }

    func makeDirectory(_ path: String) throws(Errno) {
        try check(.makeDirectory, path)
        guard directories.contains(Self.parent(path)) else { throw .noSuchFileOrDirectory }
        directories.insert(path)
        changed(log.last!)
    }

    func syncDirectory(_ path: String) throws(Errno) {
        try check(.syncDirectory, path)
        syncedNames = syncedNames.filter { Self.parent($0.key) != path }
        for (name, inode) in names where Self.parent(name) == path { syncedNames[name] = inode }
        changed(log.last!)
    }

    func rename(_ from: String, to: String) throws(Errno) {
        try check(.rename, from)
        guard let inode = names.removeValue(forKey: from) else { throw .noSuchFileOrDirectory }
        names[to] = inode
        changed(log.last!)
    }

    func unlink(_ path: String) throws(Errno) {
        try check(.unlink, path)
        guard names.removeValue(forKey: path) != nil else { throw .noSuchFileOrDirectory }
        changed(log.last!)
    }

    func removeDirectory(_ path: String) throws(Errno) {
        try check(.removeDirectory, path)
        if names.keys.contains(where: { $0.hasPrefix(path + "/") }) || directories.contains(where: { $0.hasPrefix(path + "/") }) {
            throw .directoryNotEmpty
        }
        guard directories.remove(path) != nil else { throw .noSuchFileOrDirectory }
        changed(log.last!)
    }

    func list(_ path: String) throws(Errno) -> [String] {
        try check(.list, path)
        return (Array(names.keys) + Array(directories)).filter { Self.parent($0) == path }.map { String($0.split(separator: "/").last!) }
            .sorted()
    }

    private static func parent(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
    }

    final class File: DiskFile, @unchecked Sendable {
        let disk: MemoryDisk
        let path: String
        let inode: Inode

        init(disk: MemoryDisk, path: String, inode: Inode) {
            self.disk = disk
            self.path = path
            self.inode = inode
        }

        var descriptor: Int32? { nil }

        func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
            try disk.check(.read, path)
            let count = max(0, min(buffer.count, inode.bytes.count - offset))
            inode.bytes.withUnsafeBytes { bytes in
                if count > 0 { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])) }
            }
            return count
        }

        func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
            try disk.check(.write, path)
            put(bytes, at: offset)
            disk.changed(disk.log.last!)
        }

        func write(vectors: inout [iovec], at offset: Int) throws(Errno) {
            try disk.check(.write, path)
            var position = offset
            for vector in vectors {
                put(UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len), at: position)
                position += vector.iov_len
            }
            disk.changed(disk.log.last!)
        }

        private func put(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
            if inode.bytes.count < offset + bytes.count {
                inode.grow(to: offset + bytes.count)
            }
            if bytes.count == 0 { return }
            inode.bytes.withUnsafeMutableBytes {
                $0.baseAddress!.advanced(by: offset).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
            }
        }

        func syncData() throws(Errno) {
            try disk.check(.syncData, path)
            inode.synced = inode.bytes
            disk.changed(disk.log.last!)
        }

        func allocate(size: Int) throws(Errno) {
            try disk.check(.allocate, path)
            if inode.bytes.count < size { inode.grow(to: size) }
            disk.changed(disk.log.last!)
        }

        func truncate(size: Int) throws(Errno) {
            try disk.check(.truncate, path)
            inode.bytes = Array(inode.bytes.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - inode.bytes.count))
            disk.changed(disk.log.last!)
        }

        func size() throws(Errno) -> Int { inode.bytes.count }
    }
}
