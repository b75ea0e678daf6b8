import Glibc
import SystemCalls
import SystemPackage
import Testing

@Suite struct FileCallsTests {
    /// A file without a name.
    private func file() throws -> Descriptor {
        var template = Array("/tmp/system-calls-test-XXXXXX".utf8CString)
        let descriptor = Descriptor(owning: mkstemp(&template))
        try template.withUnsafeBufferPointer { try FileCalls.unlink(String(cString: $0.baseAddress!)) }
        return descriptor
    }

    /// More vectors than one call takes, empty ones among them.
    @Test(arguments: [0, 1, 3, 1023, 1024, 1025, 2500])
    func manyVectors(count: Int) throws {
        let file = try file()
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count * 3 + 1, alignment: 1)
        defer { memory.deallocate() }
        for index in memory.indices { memory[index] = UInt8(truncatingIfNeeded: index &* 13) }
        var vectors: [iovec] = []
        var used = 0
        for index in 0..<count {
            vectors.append(iovec(iov_base: memory.baseAddress! + used, iov_len: index % 4))
            used += index % 4
        }
        try FileCalls.write(file.number, vectors: &vectors, at: 5)
        #expect(try FileCalls.size(file.number) == (used == 0 ? 0 : used + 5))
        var bytes = [UInt8](repeating: 0, count: used)
        let read = try bytes.withUnsafeMutableBytes { try FileCalls.read(file.number, into: $0, at: 5) }
        #expect(read == used && bytes.elementsEqual(memory.prefix(used)))
    }

    @Test func readsEndWithTheFile() throws {
        let file = try file()
        try [UInt8](repeating: 1, count: 10).withUnsafeBytes { try FileCalls.write(file.number, $0, at: 0) }
        var bytes = [UInt8](repeating: 0, count: 20)
        for (offset, expected) in [(0, 10), (4, 6), (10, 0), (50, 0)] {
            #expect(try bytes.withUnsafeMutableBytes { try FileCalls.read(file.number, into: $0, at: offset) } == expected)
            #expect(bytes.withUnsafeMutableBytes { FileCalls.readIfCached(file.number, into: $0, at: offset) ?? expected } == expected)
        }
    }

    @Test func sizes() throws {
        let file = try file()
        try FileCalls.allocate(file.number, size: 5000)
        #expect(try FileCalls.size(file.number) == 5000)
        try FileCalls.truncate(file.number, size: 100)
        #expect(try FileCalls.size(file.number) == 100)
        try FileCalls.syncData(file.number)
    }

    @Test func openings() throws {
        var template = Array("/tmp/system-calls-test-XXXXXX".utf8CString)
        let directory = String(cString: mkdtemp(&template)!)
        defer { rmdir(directory) }
        let path = directory + "/b"
        #expect(throws: Errno.noSuchFileOrDirectory) { _ = try FileCalls.open(path, .readOnly) }
        #expect(throws: Errno.noSuchFileOrDirectory) { _ = try FileCalls.open(path, .readWrite) }
        _ = try FileCalls.open(path, .createNew)
        #expect(throws: Errno.fileExists) { _ = try FileCalls.open(path, .createNew) }
        _ = try FileCalls.open(path, .createOrOpen)
        _ = try FileCalls.open(directory + "/a", .createOrOpen)
        try FileCalls.makeDirectory(directory + "/B")
        try FileCalls.makeDirectory(directory + "/B")
        try FileCalls.syncDirectory(directory)
        #expect(try FileCalls.list(directory) == ["B", "a", "b"])
        try FileCalls.rename(path, to: directory + "/a")
        #expect(try FileCalls.list(directory) == ["B", "a"])
        #expect(throws: Errno.directoryNotEmpty) { try FileCalls.removeDirectory(directory) }
        try FileCalls.unlink(directory + "/a")
        try FileCalls.removeDirectory(directory + "/B")
    }

    @Test func locks() throws {
        var template = Array("/tmp/system-calls-test-XXXXXX".utf8CString)
        let first = Descriptor(owning: mkstemp(&template))
        let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        defer { unlink(path) }
        let second = try FileCalls.open(path, .readWrite)
        #expect(try FileCalls.tryLock(first.number))
        #expect(try !FileCalls.tryLock(second.number))
        flock(first.number, LOCK_UN)
        #expect(try FileCalls.tryLock(second.number))
    }
}

@Suite struct MailboxTests {
    @Test func everythingArrivesOnceAndInOrder() {
        let mailbox = Mailbox<Int>()
        let threads = (0..<4).map { index in
            Processes.startThread(named: "put") { for number in 0..<5000 { mailbox.put(index * 5000 + number) } }
        }
        var taken: [Int] = []
        while taken.count < 20_000 {
            if let item = mailbox.take() { taken.append(item) }
        }
        for thread in threads { thread.join() }
        #expect(taken.sorted() == Array(0..<20_000))
        for index in 0..<4 { #expect(taken.filter { $0 / 5000 == index } == Array(index * 5000..<index * 5000 + 5000)) }
    }

    @Test func closedAfterWhatWasPut() {
        let mailbox = Mailbox<Int>()
        mailbox.put(1)
        mailbox.put(2)
        mailbox.close()
        #expect(mailbox.take() == 1 && mailbox.take() == 2 && mailbox.take() == nil && mailbox.take() == nil)
    }
}
