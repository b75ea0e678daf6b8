import Glibc
import SystemCalls
import SystemPackage
import Testing

@testable import StreamStore

@Suite struct DataDirectoryTests {
    private let temporary = TemporaryDirectory()
    private var path: String { temporary.path + "/parent/data" }

    private func write(_ text: String, to path: String) throws {
        let file = try SystemDisk().open(path, .createOrOpen)
        try file.truncate(size: 0)
        try Array(text.utf8).withUnsafeBytes { try file.write($0, at: 0) }
    }

    private func text(of path: String) throws -> String {
        let file = try SystemDisk().open(path, .readOnly)
        var bytes = [UInt8](repeating: 0, count: try file.size())
        _ = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func fault(_ path: String) -> String? {
        do {
            _ = try DataDirectory(path)
            return nil
        } catch { return error.description }
    }

    @Test func isMadeWithItsParents() throws {
        let directory = try DataDirectory(path)
        #expect(try FileCalls.list(path) == ["FORMAT", "LOCK", "catalog", "journal", "streams"])
        #expect(try text(of: path + "/FORMAT") == "durable-streams data directory\nformat 2\n")
        #expect(directory.journal == path + "/journal" && directory.catalog == path + "/catalog" && directory.streams == path + "/streams")
    }

    @Test func isOpenedAgain() throws {
        for _ in 0..<3 { _ = try DataDirectory(path) }
        #expect(try text(of: path + "/FORMAT") == "durable-streams data directory\nformat 2\n")
    }

    @Test func belongsToOneServer() throws {
        let first = try DataDirectory(path)
        #expect(fault(path)?.contains("in use by another server") == true)
        extendLifetime(first)
    }

    @Test(arguments: ["durable-streams data directory\nformat 3\n", "durable-streams data directory\nformat 10\nmore\n"])
    func aNewerFormatIsRefused(content: String) throws {
        _ = try DataDirectory(path)
        try write(content, to: path + "/FORMAT")
        #expect(fault(path)?.contains("start the newer server") == true)
        #expect(try text(of: path + "/FORMAT") == content)
    }

    @Test(arguments: [
        "", "\n", "format 1\n", "durable-streams data directory\n", "durable-streams data directory\nformat x\n",
        "something else\nformat 1\n",
    ])
    func aFormatThatSaysNothing(content: String) throws {
        _ = try DataDirectory(path)
        try write(content, to: path + "/FORMAT")
        #expect(fault(path)?.contains("does not say which format") == true)
    }

    @Test func aJournalWithoutFormat() throws {
        _ = try DataDirectory(path)
        try FileCalls.unlink(path + "/FORMAT")
        try write("x", to: path + "/journal/0000000000000001.journal")
        #expect(fault(path)?.contains("no FORMAT file") == true)
        #expect(access(path + "/FORMAT", F_OK) != 0)
    }

    @Test func anInterruptedFirstStart() throws {
        // Killed at any place before FORMAT had its name.
        try FileCalls.makeDirectory(temporary.path + "/parent")
        try FileCalls.makeDirectory(path)
        try FileCalls.makeDirectory(path + "/journal")
        try write("durable-str", to: path + "/FORMAT.new")
        _ = try DataDirectory(path)
        #expect(try text(of: path + "/FORMAT") == "durable-streams data directory\nformat 2\n")
        #expect(access(path + "/FORMAT.new", F_OK) != 0)
    }

    @Test func aFileInItsPlace() throws {
        try FileCalls.makeDirectory(temporary.path + "/parent")
        try write("content", to: path)
        #expect(fault(path)?.contains("is not a directory") == true)
        #expect(fault(path + "/below")?.contains("is not a directory") == true)
        #expect(try text(of: path) == "content")
    }

    @Test(.enabled(if: geteuid() != 0)) func notWritable() throws {
        _ = try DataDirectory(path)
        chmod(path, 0o500)
        #expect(fault(path)?.contains("not writable") == true)
        chmod(path, 0o700)
    }
}
