// One wrapper for every file system call the server makes: EINTR is retried, errno becomes a typed `Errno`, short transfers
// are completed. Nothing here decides anything.

import CLinux
import Glibc
import SystemPackage

public enum FileCalls {
    public enum Access: Sendable {
        case readOnly
        /// Read and write; created when missing.
        case createOrOpen
        /// The same without the page cache (O_DIRECT): memory, offsets and counts are multiples of `directBlock`.
        case createOrOpenDirect
        /// Read and write; an error when it exists.
        case createNew
        /// Read and write; an error when it is missing.
        case readWrite
    }

    /// A multiple of the logical block size of every disk there is.
    public static let directBlock = 4096

    public static func open(_ path: String, _ access: Access) throws(Errno) -> Descriptor {
        let flags: Int32
        switch access {
        case .readOnly: flags = O_RDONLY
        case .createOrOpen: flags = O_RDWR | O_CREAT
        case .createOrOpenDirect: flags = O_RDWR | O_CREAT | clinux_o_direct()
        case .createNew: flags = O_RDWR | O_CREAT | O_EXCL
        case .readWrite: flags = O_RDWR
        }
        return Descriptor(owning: try unlessInterrupted { clinux_open(path, flags | O_CLOEXEC, 0o640) })
    }

    public static func makeDirectory(_ path: String) throws(Errno) {
        do {
            try unlessInterrupted { Glibc.mkdir(path, 0o750) }
        } catch Errno.fileExists {}
    }

    /// Makes the entries of a directory durable (creations, renames, removals).
    public static func syncDirectory(_ path: String) throws(Errno) {
        let directory = Descriptor(owning: try unlessInterrupted { clinux_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) })
        try unlessInterrupted { Glibc.fsync(directory.number) }
    }

    public static func rename(_ from: String, to: String) throws(Errno) {
        try unlessInterrupted { Glibc.rename(from, to) }
    }

    public static func unlink(_ path: String) throws(Errno) {
        try unlessInterrupted { Glibc.unlink(path) }
    }

    public static func removeDirectory(_ path: String) throws(Errno) {
        try unlessInterrupted { Glibc.rmdir(path) }
    }

    /// The names in a directory, without `.` and `..`, in byte order.
    public static func list(_ path: String) throws(Errno) -> [String] {
        guard let directory = opendir(path) else { throw Errno(rawValue: errno) }
        defer { closedir(directory) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                if errno != 0 { throw Errno(rawValue: errno) }
                break
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Reads until `buffer` is full or the file ends; the number of bytes read.
    public static func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
        var done = 0
        while done < buffer.count {
            let got = try unlessInterrupted {
                Glibc.pread(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
            }
            if got == 0 { break }
            done += got
        }
        return done
    }

    /// As `read`, but never waits for the disk: nil when part of the range is not in the page cache.
    public static func readIfCached(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int? {
        var done = 0
        while done < buffer.count {
            let got = clinux_pread_nowait(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
            if got < 0 { return nil }
            if got == 0 { break }
            done += got
        }
        return done
    }

    /// Whether all of a range is in the page cache; nil where the kernel cannot tell (before Linux 6.5).
    public static func isCached(_ descriptor: Int32, offset: Int, count: Int) -> Bool? {
        if count == 0 { return true }
        let page = 4096
        var cached: UInt64 = 0
        guard clinux_cachestat(descriptor, UInt64(offset), UInt64(count), &cached) == 0 else { return nil }
        let pages = (offset + count - 1) / page - offset / page + 1
        return cached >= UInt64(pages)
    }

    /// Writes all of `buffer`.
    public static func write(_ descriptor: Int32, _ buffer: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
        var done = 0
        while done < buffer.count {
            done += try unlessInterrupted {
                Glibc.pwrite(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
            }
        }
    }

    /// Writes all the vectors, one after the other, in as few calls as the kernel allows.
    public static func write(_ descriptor: Int32, vectors: inout [iovec], at offset: Int) throws(Errno) {
        var position = offset
        var first = 0
        while first < vectors.count {
            let count = min(vectors.count - first, 1024)
            var written = try vectors.withUnsafeMutableBufferPointer { (buffer) throws(Errno) -> Int in
                try unlessInterrupted { pwritev(descriptor, buffer.baseAddress! + first, Int32(count), off_t(position)) }
            }
            position += written
            while first < vectors.count && written >= vectors[first].iov_len {
                written -= vectors[first].iov_len
                first += 1
            }
            if written > 0 {
                vectors[first].iov_base += written
                vectors[first].iov_len -= written
            }
        }
    }

    public static func syncData(_ descriptor: Int32) throws(Errno) {
        try unlessInterrupted { Glibc.fdatasync(descriptor) }
    }

    /// Reserves space so that later writes into the range cannot fail for lack of it (where the file system supports it).
    public static func allocate(_ descriptor: Int32, size: Int) throws(Errno) {
        let code = posix_fallocate(descriptor, 0, off_t(size))
        if code != 0 { throw Errno(rawValue: code) }
    }

    public static func truncate(_ descriptor: Int32, size: Int) throws(Errno) {
        try unlessInterrupted { Glibc.ftruncate(descriptor, off_t(size)) }
    }

    public static func size(_ descriptor: Int32) throws(Errno) -> Int {
        var information = stat()
        try unlessInterrupted { fstat(descriptor, &information) }
        return Int(information.st_size)
    }

    /// Whether every user of this machine can read or change a regular file.
    public static func isOpenToOthers(_ descriptor: Int32) throws(Errno) -> Bool {
        var information = stat()
        try unlessInterrupted { fstat(descriptor, &information) }
        return information.st_mode & S_IFMT == S_IFREG && information.st_mode & 0o007 != 0
    }

    /// Takes the exclusive lock of a file without waiting: false when another process holds it.
    public static func tryLock(_ descriptor: Int32) throws(Errno) -> Bool {
        do {
            try unlessInterrupted { flock(descriptor, LOCK_EX | LOCK_NB) }
            return true
        } catch Errno.wouldBlock {
            return false
        }
    }

    /// Whether a path lies on a file system that forgets at power loss.
    public static func isOnMemoryFileSystem(_ path: String) -> Bool {
        var type: Int64 = 0
        guard clinux_statfs_type(path, &type) == 0 else { return false }
        return type == 0x0102_1994 || type == 0x8584_58f6  // TMPFS_MAGIC, RAMFS_MAGIC (statfs(2))
    }

    /// Tells the kernel that the bytes of a range will soon be read or are not needed.
    public static func advise(_ descriptor: Int32, offset: Int, count: Int, willNeed: Bool) {
        _ = posix_fadvise(descriptor, off_t(offset), off_t(count), willNeed ? POSIX_FADV_WILLNEED : POSIX_FADV_DONTNEED)
    }

    /// Which file a path names, without following links (lstat(2)): another one under the same path has another identity.
    public struct Identity: Equatable, Sendable {
        let device: UInt64
        let number: UInt64
    }

    /// - Parameter ofSocket: nil unless it is a socket.
    public static func identity(_ path: String, ofSocket: Bool = false) -> Identity? {
        var information = stat()
        guard lstat(path, &information) == 0, !ofSocket || information.st_mode & S_IFMT == S_IFSOCK else { return nil }
        return Identity(device: UInt64(information.st_dev), number: UInt64(information.st_ino))
    }

    /// Bytes that this user may still write to the file system of `path`, and the size of that; nil: it does not say.
    public static func space(of path: String) -> (free: Int, total: Int)? {
        var information = statvfs()
        guard statvfs(path, &information) == 0 else { return nil }
        let unit = Int(information.f_frsize)
        return (Int(information.f_bavail) * unit, Int(information.f_blocks) * unit)
    }
}
