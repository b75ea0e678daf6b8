// Temporary folders of the tests, and whole files.

import Glibc

enum Folder {
    /// A new empty folder; the reaper removes it at the latest.
    static func make() throws -> String {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(base)/durable-streams-test.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestFault("cannot make a folder in \(base): \(String(cString: strerror(errno)))") }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        Reaper.shared.watch(process: 0, folder: path)
        return path
    }

    /// Removes a file or a folder with all that is in it.
    static func remove(_ path: String) {
        if unlink(path) == 0 || (errno != EISDIR && errno != EPERM) { return }
        for name in (try? list(path)) ?? [] { remove(path + "/" + name) }
        rmdir(path)
    }

    static func read(_ path: String) throws -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw TestFault("\(path): \(String(cString: strerror(errno)))") }
        defer { close(file) }
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(file, &buffer, buffer.count)
            guard count > 0 else { return result }
            result += buffer[..<count]
        }
    }

    static func write(_ bytes: [UInt8], to path: String) throws {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw TestFault("\(path): \(String(cString: strerror(errno)))") }
        defer { close(file) }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            guard count > 0 else { throw TestFault("\(path): \(String(cString: strerror(errno)))") }
            rest = rest.dropFirst(count)
        }
    }

    static func write(_ text: String, to path: String) throws { try write(Array(text.utf8), to: path) }

    /// Bytes that a file, or a folder with all that is in it, takes on the disk.
    static func size(_ path: String) throws -> Int {
        var status = stat()
        guard lstat(path, &status) == 0 else { return 0 }
        var sum = Int(status.st_blocks) * 512
        if status.st_mode & S_IFMT == S_IFDIR { for name in try list(path) { sum += try size(path + "/" + name) } }
        return sum
    }

    /// The names in a folder, sorted.
    static func list(_ path: String) throws -> [String] {
        guard let folder = opendir(path) else { throw TestFault("\(path): \(String(cString: strerror(errno)))") }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
