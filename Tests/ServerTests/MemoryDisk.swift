// Files in memory with real descriptors: what a server reads from them goes by the same calls as from a disk, and there is none.

import Glibc
import StreamStore
import SystemCalls
import SystemPackage

/// @unchecked Sendable: used by one test on one thread.
final class MemoryDisk: Disk, @unchecked Sendable {
    private var files: [String: MemoryFile] = [:]
    /// Why no file can be made.
    var refusal: Errno?

    func open(_ path: String, _ access: FileCalls.Access) throws(Errno) -> any DiskFile {
        if let file = files[path] {
            if case .createNew = access { throw .fileExists }
            return file
        }
        switch access {
        case .readOnly, .readWrite: throw .noSuchFileOrDirectory
        case .createOrOpen, .createOrOpenDirect, .createNew: break
        }
        if let refusal { throw refusal }
        let file = try MemoryFile()
        files[path] = file
        return file
    }
    func makeDirectory(_ path: String) throws(Errno) {}
    func syncDirectory(_ path: String) throws(Errno) {}
    func rename(_ from: String, to: String) throws(Errno) {
        guard let file = files.removeValue(forKey: from) else { throw .noSuchFileOrDirectory }
        files[to] = file
    }
    func unlink(_ path: String) throws(Errno) { if files.removeValue(forKey: path) == nil { throw .noSuchFileOrDirectory } }
    func removeDirectory(_ path: String) throws(Errno) {}
    func list(_ path: String) throws(Errno) -> [String] {
        let prefix = path + "/"
        return Array(Set(files.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count).prefix { $0 != "/" }) }))
    }
}

final class MemoryFile: DiskFile {
    private let owned: Descriptor
    var descriptor: Int32? { owned.number }

    init() throws(Errno) {
        var template = Array("/dev/shm/ds-test-XXXXXX".utf8CString)
        let number = mkstemp(&template)
        if number < 0 { throw Errno(rawValue: errno) }
        Glibc.unlink(template)
        owned = Descriptor(owning: number)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
        try FileCalls.read(owned.number, into: buffer, at: offset)
    }
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) { try FileCalls.write(owned.number, bytes, at: offset) }
    func write(vectors: inout [iovec], at offset: Int) throws(Errno) { try FileCalls.write(owned.number, vectors: &vectors, at: offset) }
    func syncData() throws(Errno) {}
    func allocate(size: Int) throws(Errno) { if try self.size() < size { try FileCalls.truncate(owned.number, size: size) } }
    func truncate(size: Int) throws(Errno) { try FileCalls.truncate(owned.number, size: size) }
    func size() throws(Errno) -> Int { try FileCalls.size(owned.number) }
}
