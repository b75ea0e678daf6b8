import Glibc
import Testing

@testable import Systemd

@Suite struct ServiceManagerTests {
    @Test(arguments: [false, true]) func tellsInOrder(isAbstract: Bool) throws {
        let slot = try Mailslot(isAbstract: isAbstract)
        let manager = ServiceManager(socketName: slot.name)
        #expect(manager.isPresent)
        manager.extendTimeout(microseconds: 30_000_000, status: "recovering 43 %")
        manager.ready(status: "serving 1 stream")
        manager.status("serving 2 streams")
        manager.watchdog()
        manager.stopping(status: "draining")
        manager.failed("the disk\nhas failed", errno: 5)
        manager.failed("nobody knows why", errno: nil)
        #expect(
            slot.takeAll() == [
                "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=recovering 43 %", "READY=1\nSTATUS=serving 1 stream", "STATUS=serving 2 streams",
                "WATCHDOG=1", "STOPPING=1\nSTATUS=draining", "STATUS=the disk has failed\nERRNO=5", "STATUS=nobody knows why",
            ])
    }

    @Test func reloadingCarriesTheTime() throws {
        let slot = try Mailslot()
        func now() -> Int {
            var time = timespec()
            clock_gettime(CLOCK_MONOTONIC, &time)
            return Int(time.tv_sec) * 1_000_000 + time.tv_nsec / 1000
        }
        let before = now()
        ServiceManager(socketName: slot.name).reloading()
        let lines = try #require(slot.takeText()).split(separator: "\n")
        #expect(lines.first == "RELOADING=1")
        let line = try #require(lines.first { $0.hasPrefix("MONOTONIC_USEC=") })
        let time = try #require(Int(line.dropFirst(15)))
        #expect(before <= time && time <= now())
    }

    @Test(arguments: ["", "/", "@", "relative", "vsock:2:1234", String(repeating: "/x", count: 60)])
    func noAddress(_ name: String) {
        let manager = ServiceManager(socketName: name)
        #expect(!manager.isPresent)
        manager.ready(status: "nobody hears this")
        manager.failed("nor this", errno: 1)
        #expect(!ServiceManager(socketName: nil).isPresent)
    }

    @Test func aManagerThatIsGoneHoldsNothingUp() throws {
        var slot: Mailslot? = try Mailslot()
        let manager = ServiceManager(socketName: slot!.name)
        slot = nil
        for number in 0..<100 { manager.status("\(number)") }
        manager.failed("last words", errno: nil)
    }

    /// A manager that does not read: no call waits, states are kept in order, a status gives way to a later one, a heartbeat is dropped.
    @Test func aFullQueueIsNoWait() throws {
        let slot = try Mailslot()
        let socket = try #require(NotifySocket(slot.name))
        defer { socket.close() }
        var before = 0
        while socket.send("X\(before)") { before += 1 }
        #expect(before > 0)
        let manager = ServiceManager(socketName: slot.name)
        manager.status("first")
        manager.status("second")
        manager.ready(status: "third")
        manager.watchdog()
        manager.stopping(status: "fourth")
        manager.status("fifth")
        #expect(slot.takeAll() == (0..<before).map { "X\($0)" })
        manager.retry()
        #expect(slot.takeAll() == ["STATUS=second", "READY=1\nSTATUS=third", "STOPPING=1\nSTATUS=fourth", "STATUS=fifth"])
        manager.watchdog()
        #expect(slot.takeAll() == ["WATCHDOG=1"])
    }

    @Test func whatIsKeptIsBounded() throws {
        let slot = try Mailslot()
        let socket = try #require(NotifySocket(slot.name))
        defer { socket.close() }
        while socket.send("X") {}
        let manager = ServiceManager(socketName: slot.name)
        for number in 0..<100 { manager.ready(status: "\(number)") }
        _ = slot.takeAll()
        // A queue of datagrams may be as short as eleven.
        var received: [String] = []
        for _ in 0..<ServiceManager.queueLimit {
            manager.retry()
            received += slot.takeAll()
        }
        #expect(received == (100 - ServiceManager.queueLimit..<100).map { "READY=1\nSTATUS=\($0)" })
    }
}
