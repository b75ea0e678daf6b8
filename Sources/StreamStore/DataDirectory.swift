// The data directory: taken by one server at a time, of a known format.
//
//     LOCK       flock(2), held while the server runs
//     FORMAT     "durable-streams data directory\nformat 2\n"
//     journal/   catalog/   streams/
//
// Opening it answers every way in which it can be unusable with its own message, before anything in it is changed.

import Glibc
import SystemCalls
import SystemPackage

public struct DataDirectoryFault: Error, Sendable, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

public final class DataDirectory: Sendable {
    public static let format = 2
    private static let firstLine = "durable-streams data directory"

    public let path: String
    private let lock: any DiskFile

    public var journal: String { path + "/journal" }
    public var catalog: String { path + "/catalog" }
    public var streams: String { path + "/streams" }

    /// Creates what is missing and takes the lock.
    public init(_ path: String) throws(DataDirectoryFault) {
        self.path = path
        lock = try Self.takeLock(path)
        do {
            try Self.checkFormat(path)
            for name in ["journal", "catalog", "streams"] { try FileCalls.makeDirectory(path + "/" + name) }
            if access(path + "/FORMAT", F_OK) != 0 {
                try Self.syncParents(path)
                try Self.writeFormat(path)
            } else if try Self.format(of: path + "/FORMAT") < Self.format {
                // Before anything of the present form is written: an older server refuses the directory from now on. What is of an older form is
                // brought up to date where it is read.
                try Self.writeFormat(path)
            }
            try FileCalls.syncDirectory(path)
        } catch let error as Errno {
            throw Self.explain(error, "set up the layout", path)
        } catch let fault as DataDirectoryFault {
            throw fault
        } catch { throw DataDirectoryFault("\(error)") }
    }

    private static func explain(_ error: Errno, _ action: String, _ path: String) -> DataDirectoryFault {
        switch error {
        case .readOnlyFileSystem:
            DataDirectoryFault("the data directory \(path) is on a read-only file system; the server needs to write there")
        case let error where error.isNoSpace:
            DataDirectoryFault("the disk of the data directory \(path) is full; free some space and start again")
        case .permissionDenied, .notPermitted:
            DataDirectoryFault("the data directory \(path) is not writable by this user (\(action)): \(error.text)")
        case .notDirectory: DataDirectoryFault("the data directory \(path) is not a directory")
        default: DataDirectoryFault("cannot \(action) in the data directory \(path): \(error.text)")
        }
    }

    private static func takeLock(_ path: String) throws(DataDirectoryFault) -> any DiskFile {
        let file: SystemFile
        let taken: Bool
        do throws(Errno) {
            try makeDirectories(path)
        } catch { throw explain(error, "create the directory", path) }
        do throws(Errno) {
            file = SystemFile(try FileCalls.open(path + "/LOCK", .createOrOpen))
            taken = try FileCalls.tryLock(file.descriptor!)
        } catch { throw explain(error, "take the lock file", path) }
        guard taken else {
            throw DataDirectoryFault(
                "the data directory \(path) is in use by another server (its LOCK file is held); two servers cannot share one directory")
        }
        return file
    }

    private static func makeDirectories(_ path: String) throws(Errno) {
        var made = ""
        for part in path.split(separator: "/", omittingEmptySubsequences: false) {
            made += part
            if !made.isEmpty {
                do { try FileCalls.makeDirectory(made) } catch {
                    // Parents may be unreadable or read-only and yet be there.
                    if made == path { throw error }
                    var information = stat()
                    if stat(made, &information) != 0 { throw error }
                }
            }
            made += "/"
        }
        var information = stat()
        if stat(path, &information) == 0, information.st_mode & S_IFMT != S_IFDIR { throw .notDirectory }
        if access(path, W_OK | X_OK) != 0 { throw Errno(rawValue: errno) }
    }

    /// The directory's own name, and those of the parents that were made for it, are made durable before it counts as a data directory;
    /// so also when an earlier first start ended in between.
    private static func syncParents(_ path: String) throws(Errno) {
        var parents = path.utf8.first == UInt8(ascii: "/") ? ["/"] : ["."]
        var made = ""
        for part in path.split(separator: "/", omittingEmptySubsequences: false).dropLast() {
            made += part
            if !made.isEmpty { parents.append(made) }
            made += "/"
        }
        for parent in parents.reversed() {
            do throws(Errno) {
                try FileCalls.syncDirectory(parent)
            } catch {
                // One that this user may not open, or that knows no sync, is not one that was made here.
                if error == .ioError { throw error }
            }
        }
    }

    /// The format of a data directory that is there.
    static func existingFormat(_ path: String) throws -> Int {
        let file = path + "/FORMAT"
        if access(file, F_OK) != 0 {
            throw DataDirectoryFault(
                "\(path) is not a data directory of this server: it has no FORMAT file (\(Errno(rawValue: errno).text))")
        }
        return try format(of: file)
    }

    /// Takes the lock of a directory that nothing is written to.
    static func lockForReading(_ path: String) throws -> any DiskFile {
        let file = SystemFile(try FileCalls.open(path + "/LOCK", .readOnly))
        guard try FileCalls.tryLock(file.descriptor!) else {
            throw DataDirectoryFault("a server is running on the data directory \(path); stop it, or use --online")
        }
        return file
    }

    private static func checkFormat(_ path: String) throws {
        let file = path + "/FORMAT"
        guard access(file, F_OK) == 0 else {
            // An empty directory is a new one; a journal without FORMAT is not ours to touch.
            if let names = try? FileCalls.list(path + "/journal"), !names.isEmpty {
                throw DataDirectoryFault(
                    "the data directory \(path) has a journal but no FORMAT file; it is damaged or not a data directory of this server")
            }
            return
        }
        let found = try format(of: file)
        if found > format {
            throw DataDirectoryFault(
                "the data directory \(path) has format \(found), this server knows formats up to \(format); start the newer server that wrote it"
            )
        }
        try checkCatalog(path)
    }

    /// LMDB would make a new catalog where there is none, and then the files of all streams would count as left over. The first start makes
    /// the catalog before anything else gets in.
    private static func checkCatalog(_ path: String) throws {
        let file = path + "/catalog/data.mdb"
        var information = stat()
        if stat(file, &information) == 0, information.st_size > 0 { return }
        for directory in ["journal", "streams"] {
            if let names = try? FileCalls.list(path + "/" + directory), !names.isEmpty {
                throw DataDirectoryFault(
                    "the data directory \(path) has a journal or streams but no catalog (\(file) is missing or empty); bring the file back, or start with an empty directory"
                )
            }
        }
    }

    private static func format(of file: String) throws -> Int {
        let opened = try SystemDisk().open(file, .readOnly)
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = try buffer.withUnsafeMutableBytes { try opened.read(into: $0, at: 0) }
        let lines = String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n")
        guard lines.count >= 2, lines[0] == firstLine, lines[1].hasPrefix("format "), let found = Int(lines[1].dropFirst(7)) else {
            throw DataDirectoryFault(
                "\(file) does not say which format the data directory has; expected \"\(firstLine)\" and \"format \(format)\"")
        }
        return found
    }

    private static func writeFormat(_ path: String) throws(Errno) {
        let text = "\(firstLine)\nformat \(format)\n"
        // Written under another name and moved, so that a crash never leaves a FORMAT without its content.
        let file = try SystemDisk().open(path + "/FORMAT.new", .createOrOpen)
        try file.truncate(size: 0)
        try file.write(Array(text.utf8), at: 0)
        try file.syncData()
        try FileCalls.rename(path + "/FORMAT.new", to: path + "/FORMAT")
    }
}

extension Errno {
    /// The C library's words for the error.
    public var text: String { String(cString: strerror(rawValue)) }
    /// The disk is full, or this user's part of it.
    public var isNoSpace: Bool { self == .noSpace || rawValue == Glibc.EDQUOT }
}
