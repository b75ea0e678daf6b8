// A file system in memory that knows what a power loss may leave.
//
//     a file    medium ── change, change, … ──▶ bytes (what a read gets)      syncData: the changes reach the medium
//     names     synced ── change, change, … ──▶ names                         syncDirectory: those of one directory do
//
// After the end of the process everything is there, and what was not durable still is not. After a power failure each change since the
// last sync is there or not, a write whole, in part or not at all, whatever became of the changes before and behind it.
// After a failed sync the kernel counts the pages as clean: the medium has got any part of them, and no later sync brings the rest.
//
// @unchecked Sendable: confined to the simulation's thread.

import Glibc
import StreamStore
import SystemCalls
import SystemPackage

public final class SimulatedDisk: Disk, @unchecked Sendable {
    public enum Call: String, Sendable {
        case open, makeDirectory, syncDirectory, rename, unlink, removeDirectory, list, read, write, syncData, allocate, truncate
    }

    public struct Done: Equatable, CustomStringConvertible, Sendable {
        public let call: Call
        public let path: String
        public var description: String { "\(call) \(path)" }
    }

    /// What is left after the process or the machine has ended.
    public enum Crash: CaseIterable, Sendable {
        /// The process was killed.
        case everythingKept
        /// The power failed.
        case onlySyncedKept
        /// The power failed after the kernel had written the data by itself, not the directories; and the other way round.
        case contentsKept
        case namesKept
        /// The power failed, and of each change anything may be left; the dice say what.
        case anythingKept
    }

    enum Change {
        case write(offset: Int, [UInt8])
        /// Cut, or grown with zeros.
        case size(Int)
    }

    public final class Inode {
        /// What a read gets.
        public internal(set) var bytes: [UInt8]
        /// What a power loss keeps for certain.
        public internal(set) var medium: [UInt8]
        /// What has been changed since.
        var changes: [Change] = []
        /// A sync has failed: memory may show what is nowhere else, and forget it.
        var isDoubtful = false

        public init(_ bytes: [UInt8] = []) {
            self.bytes = bytes
            medium = []
            if !bytes.isEmpty { changes = [.write(offset: 0, bytes)] }
        }

        init(bytes: [UInt8], medium: [UInt8], changes: [Change], isDoubtful: Bool) {
            self.bytes = bytes
            self.medium = medium
            self.changes = changes
            self.isDoubtful = isDoubtful
        }

        func make(_ change: Change) {
            SimulatedDisk.apply(change, to: &bytes)
            changes.append(change)
        }

        func sync() {
            for change in changes { SimulatedDisk.apply(change, to: &medium) }
            changes = []
        }

        /// The medium with any part of the changes.
        func leftover(_ dice: Dice) -> [UInt8] {
            var left = medium
            for change in changes {
                switch change {
                case .size: if dice.chance(60) { SimulatedDisk.apply(change, to: &left) }
                case .write(let offset, let data):
                    for part in dice.parts(offset, data.count) {
                        SimulatedDisk.apply(.write(offset: offset + part.lowerBound, Array(data[part])), to: &left)
                    }
                }
            }
            return left
        }
    }

    enum NameChange {
        case link(String, Inode)
        case move(String, String)
        case unlink(String)
        case makeDirectory(String)
        case removeDirectory(String)
    }

    public var names: [String: Inode] = [:]
    private var syncedNames: [String: Inode] = [:]
    public var directories: Set<String>
    private var syncedDirectories: Set<String>
    private var nameChanges: [(directory: String, change: NameChange)] = []

    /// The calls that were made, while `keepsLog`.
    public var log: [Done] = []
    public var keepsLog = true
    /// What a call fails with, instead of doing anything; of a failing write a part may have been done.
    public var fault: (Call, String) -> Errno? = { _, _ in nil }
    /// Called after every call that changed something.
    public var changed: (Done) -> Void = { _ in }
    /// Of files that are opened for direct writes.
    public var directAlignment = 8
    /// For failing syncs and writes.
    public var dice: Dice?

    /// The process is at its end: calls fail and do nothing.
    public private(set) var isDead = false
    /// The process ends at this call, counted down by the calls that change something.
    public var callsLeft: Int?

    /// A disk on which everything given is there for good.
    public init(files: [String: [UInt8]] = [:], directories: Set<String> = ["/data", "/data/journal", "/data/streams"]) {
        self.directories = directories
        syncedDirectories = directories
        for (path, bytes) in files {
            names[path] = Inode(bytes: bytes, medium: bytes, changes: [], isDoubtful: false)
            syncedNames[path] = names[path]
        }
    }

    public func kill() { isDead = true }

    // MARK: Ends

    public func after(_ crash: Crash) -> SimulatedDisk {
        let disk = SimulatedDisk(directories: [])
        let chance = dice ?? Dice(seed: 0)
        var copies: [ObjectIdentifier: Inode] = [:]
        /// Each file once, however many names it has had.
        func copy(_ inode: Inode) -> Inode {
            if let copy = copies[ObjectIdentifier(inode)] { return copy }
            let copy: Inode
            switch crash {
            case .everythingKept:
                copy = Inode(bytes: inode.bytes, medium: inode.medium, changes: inode.changes, isDoubtful: inode.isDoubtful)
                if inode.isDoubtful, let dice, dice.chance(50) {
                    // Memory has forgotten what the medium never got.
                    copy.bytes = inode.medium
                    for change in inode.changes { Self.apply(change, to: &copy.bytes) }
                }
            case .onlySyncedKept, .namesKept: copy = Inode(bytes: inode.medium, medium: inode.medium, changes: [], isDoubtful: false)
            case .contentsKept: copy = Inode(bytes: inode.bytes, medium: inode.bytes, changes: [], isDoubtful: false)
            case .anythingKept:
                let left = inode.leftover(chance)
                copy = Inode(bytes: left, medium: left, changes: [], isDoubtful: false)
            }
            copies[ObjectIdentifier(inode)] = copy
            return copy
        }
        disk.dice = dice
        disk.keepsLog = keepsLog
        disk.directAlignment = directAlignment
        disk.syncedNames = sorted(syncedNames).reduce(into: [:]) { $0[$1.key] = copy($1.value) }
        disk.syncedDirectories = syncedDirectories
        switch crash {
        case .everythingKept:
            disk.names = sorted(names).reduce(into: [:]) { $0[$1.key] = copy($1.value) }
            disk.directories = directories
            disk.nameChanges = nameChanges.map { directory, change in
                if case .link(let path, let inode) = change { return (directory, .link(path, copy(inode))) }
                return (directory, change)
            }
            return disk
        case .onlySyncedKept, .contentsKept: break
        case .namesKept: for (_, change) in nameChanges { disk.applySynced(change, copy) }
        case .anythingKept:
            // A journalling file system keeps the order of changes; others promise nothing.
            let keepsOrder = chance.chance(50)
            let kept = keepsOrder ? chance.below(nameChanges.count + 1) : nameChanges.count
            for (_, change) in nameChanges.prefix(kept) where keepsOrder || chance.chance(50) { disk.applySynced(change, copy) }
        }
        // What was made in a directory that is gone is gone with it.
        for path in disk.syncedDirectories.sorted() where !Self.isRoot(path) && !disk.syncedDirectories.contains(Self.parent(path)) {
            disk.syncedDirectories.remove(path)
        }
        disk.syncedNames = disk.syncedNames.filter { disk.syncedDirectories.contains(Self.parent($0.key)) }
        disk.names = disk.syncedNames
        disk.directories = disk.syncedDirectories
        return disk
    }

    private func sorted(_ names: [String: Inode]) -> [(key: String, value: Inode)] { names.sorted { $0.key < $1.key } }

    private func applySynced(_ change: NameChange, _ copy: (Inode) -> Inode = { $0 }) {
        switch change {
        case .link(let path, let inode): syncedNames[path] = copy(inode)
        case .move(let from, let to): if let inode = syncedNames.removeValue(forKey: from) { syncedNames[to] = inode }
        case .unlink(let path): syncedNames[path] = nil
        case .makeDirectory(let path): syncedDirectories.insert(path)
        case .removeDirectory(let path): syncedDirectories.remove(path)
        }
    }

    static func apply(_ change: Change, to bytes: inout [UInt8]) {
        switch change {
        case .size(let size):
            if size < bytes.count { bytes = Array(bytes[..<size]) } else { grow(&bytes, to: size) }
        case .write(let offset, let data):
            if data.isEmpty { return }
            grow(&bytes, to: offset + data.count)
            bytes.withUnsafeMutableBytes { target in
                data.withUnsafeBytes { target.baseAddress!.advanced(by: offset).copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            }
        }
    }

    /// With zeros. Whole blocks of memory at once, because tests are built without optimization.
    private static func grow(_ bytes: inout [UInt8], to size: Int) {
        if size <= bytes.count { return }
        let old = bytes
        bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            old.withUnsafeBytes { if let base = $0.baseAddress { memcpy(buffer.baseAddress!, base, $0.count) } }
            memset(buffer.baseAddress! + old.count, 0, size - old.count)
            count = size
        }
    }

    private static func joined(_ parts: [UnsafeRawBufferPointer]) -> [UInt8] {
        let total = parts.reduce(0) { $0 + $1.count }
        return [UInt8](unsafeUninitializedCapacity: total) { buffer, count in
            for part in parts where part.count > 0 {
                memcpy(buffer.baseAddress! + count, part.baseAddress!, part.count)
                count += part.count
            }
        }
    }

    // MARK: Calls

    private func check(_ call: Call, _ path: String) throws(Errno) {
        if isDead { throw .ioError }
        if let error = fault(call, path) { throw error }
        if keepsLog { log.append(Done(call: call, path: path)) }
    }

    /// Counts a call that changes something. True when the process ends at it.
    func isLastCall() -> Bool {
        guard let left = callsLeft else { return false }
        callsLeft = left - 1
        if left > 1 { return false }
        isDead = true
        return true
    }

    /// Ends the process before the call or behind it, if it is the last.
    private func finish(_ call: Call, _ path: String, _ body: () throws(Errno) -> Void) throws(Errno) {
        if isLastCall() {
            if dice?.chance(50) ?? false { try body() }
            throw .ioError
        }
        try body()
        changed(Done(call: call, path: path))
    }

    private func note(_ path: String, _ change: NameChange) { nameChanges.append((Self.parent(path), change)) }

    public func open(_ path: String, _ access: FileCalls.Access) throws(Errno) -> any DiskFile {
        try check(.open, path)
        let alignment = access == .createOrOpenDirect ? directAlignment : 8
        if let inode = names[path] {
            if access == .createNew { throw .fileExists }
            return File(disk: self, path: path, inode: inode, alignment: alignment)
        }
        if access == .readOnly || access == .readWrite || !directories.contains(Self.parent(path)) { throw .noSuchFileOrDirectory }
        let inode = Inode()
        try finish(.open, path) { () throws(Errno) in
            names[path] = inode
            note(path, .link(path, inode))
        }
        return File(disk: self, path: path, inode: inode, alignment: alignment)
    }

    public func makeDirectory(_ path: String) throws(Errno) {
        try check(.makeDirectory, path)
        if directories.contains(path) { return }
        if !Self.isRoot(path), !directories.contains(Self.parent(path)) { throw .noSuchFileOrDirectory }
        try finish(.makeDirectory, path) { () throws(Errno) in
            directories.insert(path)
            note(path, .makeDirectory(path))
        }
    }

    public func syncDirectory(_ path: String) throws(Errno) {
        try check(.syncDirectory, path)
        try finish(.syncDirectory, path) { () throws(Errno) in
            for (directory, change) in nameChanges where directory == path { applySynced(change) }
            nameChanges.removeAll { $0.directory == path }
            // Names that a test has put there without a call.
            for (name, inode) in names where syncedNames[name] == nil && Self.parent(name) == path { syncedNames[name] = inode }
        }
    }

    public func rename(_ from: String, to: String) throws(Errno) {
        try check(.rename, from)
        guard let inode = names[from] else { throw .noSuchFileOrDirectory }
        try finish(.rename, from) { () throws(Errno) in
            names[from] = nil
            names[to] = inode
            note(to, .move(from, to))
        }
    }

    public func unlink(_ path: String) throws(Errno) {
        try check(.unlink, path)
        guard names[path] != nil else { throw .noSuchFileOrDirectory }
        try finish(.unlink, path) { () throws(Errno) in
            names[path] = nil
            note(path, .unlink(path))
        }
    }

    public func removeDirectory(_ path: String) throws(Errno) {
        try check(.removeDirectory, path)
        if names.keys.contains(where: { Self.parent($0) == path }) || directories.contains(where: { Self.parent($0) == path }) {
            throw .directoryNotEmpty
        }
        guard directories.contains(path) else { throw .noSuchFileOrDirectory }
        try finish(.removeDirectory, path) { () throws(Errno) in
            directories.remove(path)
            note(path, .removeDirectory(path))
        }
    }

    public func list(_ path: String) throws(Errno) -> [String] {
        try check(.list, path)
        return (Array(names.keys) + Array(directories)).filter { Self.parent($0) == path }.map { String($0.split(separator: "/").last!) }
            .sorted()
    }

    /// Whether a path lies at the top, in a directory that is always there.
    private static func isRoot(_ path: String) -> Bool { path.utf8.lastIndex(of: UInt8(ascii: "/")) == path.utf8.startIndex }

    static func parent(_ path: String) -> String {
        path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[..<$0]) } ?? ""
    }

    final class File: DiskFile, @unchecked Sendable {
        let disk: SimulatedDisk
        let path: String
        let inode: Inode
        let alignment: Int

        init(disk: SimulatedDisk, path: String, inode: Inode, alignment: Int) {
            self.alignment = alignment
            self.disk = disk
            self.path = path
            self.inode = inode
        }

        var descriptor: Int32? { nil }

        func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
            try disk.check(.read, path)
            if offset < 0 { throw .invalidArgument }
            let count = max(0, min(buffer.count, inode.bytes.count - offset))
            inode.bytes.withUnsafeBytes { bytes in
                if count > 0 { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])) }
            }
            return count
        }

        func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
            try put(SimulatedDisk.joined([bytes]), at: offset)
        }

        func write(vectors: inout [iovec], at offset: Int) throws(Errno) {
            try put(SimulatedDisk.joined(vectors.map { UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len) }), at: offset)
        }

        private func put(_ bytes: [UInt8], at offset: Int) throws(Errno) {
            if alignment > 8, offset % alignment != 0 || bytes.count % alignment != 0 { throw .invalidArgument }
            do throws(Errno) {
                try disk.check(.write, path)
            } catch {
                if !disk.isDead, let dice = disk.dice { inode.make(.write(offset: offset, Array(bytes.prefix(dice.below(bytes.count))))) }
                throw error
            }
            if disk.isLastCall() {
                if let dice = disk.dice { inode.make(.write(offset: offset, Array(bytes.prefix(dice.below(bytes.count + 1))))) }
                throw .ioError
            }
            inode.make(.write(offset: offset, bytes))
            disk.changed(Done(call: .write, path: path))
        }

        func syncData() throws(Errno) {
            do throws(Errno) {
                try disk.check(.syncData, path)
            } catch {
                if !disk.isDead {
                    if let dice = disk.dice { inode.medium = inode.leftover(dice) }
                    inode.changes = []
                    inode.isDoubtful = true
                }
                throw error
            }
            try disk.finish(.syncData, path) { () throws(Errno) in inode.sync() }
        }

        func allocate(size: Int) throws(Errno) {
            try disk.check(.allocate, path)
            try disk.finish(.allocate, path) { () throws(Errno) in
                if inode.bytes.count < size { inode.make(.size(size)) }
            }
        }

        func truncate(size: Int) throws(Errno) {
            try disk.check(.truncate, path)
            try disk.finish(.truncate, path) { () throws(Errno) in inode.make(.size(size)) }
        }

        func size() throws(Errno) -> Int { inode.bytes.count }
    }
}

extension Dice {
    /// Which parts of a write of `count` bytes at `offset` have reached the medium.
    func parts(_ offset: Int, _ count: Int) -> [Range<Int>] {
        switch below(6) {
        case 0, 1: return [0..<count]
        case 2: return []
        case 3: return [0..<below(count + 1)]
        default:
            // Each sector by itself.
            let sector = pick([16, 64, 512])
            var parts: [Range<Int>] = []
            var start = 0
            while start < count {
                let end = min(count, start + sector - (offset + start) % sector)
                if chance(50) { parts.append(start..<end) }
                start = end
            }
            return parts
        }
    }
}
