import Glibc
import Synchronization
import SystemCalls
import Systemd
import Testing

@testable import Server

@Suite struct StartWatchTests {
    private final class Numbers: Sendable {
        let used = Atomic<Int64>(100)
        let stops = Atomic<Int>(0)
    }

    /// A manager whose messages the test reads.
    private func listener() throws -> (Int32, ServiceManager) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let name = Array("durable-streams-test-\(getpid())-\(UInt64.random(in: 0 ... .max))".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: [0] + name) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count + 1)
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        let status = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        try #require(status == 0)
        return (descriptor, ServiceManager(socketName: "@" + String(decoding: name, as: UTF8.self)))
    }

    private func take(_ descriptor: Int32) -> String? {
        var block = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &block, block.count, 0)
        return count < 0 ? nil : String(decoding: block[..<count], as: UTF8.self)
    }

    /// More time is asked for only while the recovering thread works.
    @Test func timeIsAskedForWhileThereIsProgress() throws {
        let (descriptor, manager) = try listener()
        defer { close(descriptor) }
        let numbers = Numbers()
        let watch = StartWatch(
            manager: manager, processorTime: { numbers.used.load(ordering: .relaxed) }, stopIsWanted: { false }, stop: {})
        watch.progress(0.43)
        #expect(watch.look(since: 99) == 100)
        #expect(take(descriptor) == "EXTEND_TIMEOUT_USEC=\(StartWatch.extensionMicroseconds)\nSTATUS=recovering 43 %")
        #expect(watch.look(since: 100) == 100)
        #expect(take(descriptor) == "STATUS=recovering 43 %")
        numbers.used.store(101, ordering: .relaxed)
        watch.progress(0.5)
        #expect(watch.look(since: 100) == 101)
        #expect(take(descriptor) == "EXTEND_TIMEOUT_USEC=\(StartWatch.extensionMicroseconds)\nSTATUS=recovering 50 %")
    }

    /// The clock is that of the thread which makes it, wherever it is read.
    @Test func theClockIsThatOfTheRecoveringThread() throws {
        let clock = Processes.processorTimeOfThisThread()
        let before = clock()
        var sum: UInt64 = 1
        while clock() < before + 5000 { sum = sum &* 6_364_136_223_846_793_005 &+ 1 }
        #expect(sum != 0)
        let result = Mutex<(Int64, Int64)>((0, 0))
        let here = clock()
        Processes.startThread(named: "test") {
            let first = clock()
            let own = Processes.processorTimeOfThisThread()
            while own() < 5000 {}
            result.withLock { $0 = (first, clock()) }
        }.join()
        let (first, last) = result.withLock { $0 }
        // This thread waits meanwhile; the other one's work does not count.
        #expect(first >= here && last - first < 4000)
    }

    @Test func theBodyIsWatchedToItsEnd() throws {
        let (descriptor, manager) = try listener()
        defer { close(descriptor) }
        struct Fault: Error {}
        #expect(StartWatch.during(manager: manager) { _ in 7 } == 7)
        #expect(throws: Fault.self) { try StartWatch.during(manager: manager) { _ in throw Fault() } }
    }
}
