// The file system as the store uses it: an interface, so that a simulated disk can stand in its place, and the real one.

import Glibc
import SystemCalls
import SystemPackage

/// An open file. Positions and counts are bytes.
public protocol DiskFile: AnyObject, Sendable {
    /// Reads until the buffer is full or the file ends.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno)
    /// Writes vectors one behind the other; may change the array.
    func write(vectors: inout [iovec], at offset: Int) throws(Errno)
    /// Makes data and size durable. After an error nothing about the file is certain; the call is never repeated.
    func syncData() throws(Errno)
    func allocate(size: Int) throws(Errno)
    func truncate(size: Int) throws(Errno)
    func size() throws(Errno) -> Int
    /// Writes begin and end at multiples of this, and so does their memory, if it is more than 8.
    var alignment: Int { get }
    /// The kernel's descriptor, where the file has one (for sendfile).
    var descriptor: Int32? { get }
    /// What is about to be read: the disk may begin now.
    func willRead(at offset: Int, count: Int)
}

extension DiskFile {
    public var alignment: Int { 8 }
    public func willRead(at offset: Int, count: Int) {}

    /// Writes an array.
    public func write(_ bytes: [UInt8], at offset: Int) throws(Errno) {
        let block = OwnedBytes(copying: bytes)
        // The block's memory is used through a pointer, which does not keep it alive.
        defer { withExtendedLifetime(block) {} }
        try write(block.bytes, at: offset)
    }
}

public protocol Disk: Sendable {
    func open(_ path: String, _ access: FileCalls.Access) throws(Errno) -> any DiskFile
    func makeDirectory(_ path: String) throws(Errno)
    /// Makes creations, renames and removals in a directory durable.
    func syncDirectory(_ path: String) throws(Errno)
    func rename(_ from: String, to: String) throws(Errno)
    func unlink(_ path: String) throws(Errno)
    func removeDirectory(_ path: String) throws(Errno)
    func list(_ path: String) throws(Errno) -> [String]
}

public struct SystemDisk: Disk {
    public init() {}
    /// A file system that cannot do without the page cache gives a file with it.
    public func open(_ path: String, _ access: FileCalls.Access) throws(Errno) -> any DiskFile {
        guard case .createOrOpenDirect = access else { return SystemFile(try FileCalls.open(path, access)) }
        let direct: Descriptor
        do {
            direct = try FileCalls.open(path, access)
        } catch Errno.invalidArgument {
            return SystemFile(try FileCalls.open(path, .createOrOpen))
        }
        return SystemFile(direct, alignment: FileCalls.directBlock)
    }
    public func makeDirectory(_ path: String) throws(Errno) { try FileCalls.makeDirectory(path) }
    public func syncDirectory(_ path: String) throws(Errno) { try FileCalls.syncDirectory(path) }
    public func rename(_ from: String, to: String) throws(Errno) { try FileCalls.rename(from, to: to) }
    public func unlink(_ path: String) throws(Errno) { try FileCalls.unlink(path) }
    public func removeDirectory(_ path: String) throws(Errno) { try FileCalls.removeDirectory(path) }
    public func list(_ path: String) throws(Errno) -> [String] { try FileCalls.list(path) }
}

/// Every call holds the file until it is done: an optimised caller may let go of it as soon as the number has been read, and the number would
/// be closed, or another file's, by the time the kernel sees it.
final class SystemFile: DiskFile {
    private let owned: Descriptor
    let alignment: Int
    init(_ descriptor: consuming Descriptor, alignment: Int = 8) {
        owned = descriptor
        self.alignment = alignment
    }
    var descriptor: Int32? { owned.number }
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
        defer { withExtendedLifetime(self) {} }
        return try FileCalls.read(owned.number, into: buffer, at: offset)
    }
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
        defer { withExtendedLifetime(self) {} }
        try FileCalls.write(owned.number, bytes, at: offset)
    }
    func write(vectors: inout [iovec], at offset: Int) throws(Errno) {
        defer { withExtendedLifetime(self) {} }
        try FileCalls.write(owned.number, vectors: &vectors, at: offset)
    }
    func syncData() throws(Errno) {
        defer { withExtendedLifetime(self) {} }
        try FileCalls.syncData(owned.number)
    }
    func willRead(at offset: Int, count: Int) {
        defer { withExtendedLifetime(self) {} }
        FileCalls.advise(owned.number, offset: offset, count: count, willNeed: true)
    }
    func allocate(size: Int) throws(Errno) {
        defer { withExtendedLifetime(self) {} }
        try FileCalls.allocate(owned.number, size: size)
    }
    func truncate(size: Int) throws(Errno) {
        defer { withExtendedLifetime(self) {} }
        try FileCalls.truncate(owned.number, size: size)
    }
    func size() throws(Errno) -> Int {
        defer { withExtendedLifetime(self) {} }
        return try FileCalls.size(owned.number)
    }
}
