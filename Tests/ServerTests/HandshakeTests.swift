// TLS handshakes in progress are bounded: who comes beyond the bound waits to be accepted, and comes in when another has ended.

import Glibc
import Reactor
import ServerSettings
import SystemCalls
import Testing
import TransportSecurity

@testable import Server

@Suite struct HandshakeTests {
    private func connect(_ port: UInt16) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(status == 0, "errno \(errno)")
        return descriptor
    }

    @Test func bounded() throws {
        let bench = try ServerBench { $0.handshakes = 2 }
        func waitForTimers(until condition: () -> Bool) {
            for _ in 0..<100 where !condition() { bench.loop.runTurn(waiting: true) }
        }
        let now = Int64(time(nil))
        let made = try SelfSignedCertificate.make(validFrom: now - 60, validTo: now + 3600)
        let identity = try TLSIdentity(
            certificates: made.certificate, key: made.key, certificateFile: "c.pem", keyFile: "c.key", now: now)
        bench.core.tls = try TLSContext([identity], TLSSettings(), ticketKeys: SessionTicketKeys(now: 0))
        let listener = try Listener(.ipv4(0x7F00_0001, port: 0), .tls, server: bench.core)
        defer { listener.close() }
        let port = try #require(listener.port)
        var peers: [Int32] = []
        defer { for peer in peers { close(peer) } }
        for _ in 0..<5 { peers.append(try connect(port)) }
        bench.settle()
        #expect(bench.core.handshakes == 2 && bench.core.connectionCount == 2)
        // Two give up, so that the next two come in; the listener looks again with its next timer.
        for _ in 0..<2 { close(peers.removeFirst()) }
        bench.settle()
        #expect(bench.core.handshakes == 0)
        waitForTimers { bench.core.handshakes == 2 }
        #expect(bench.core.handshakes == 2 && bench.core.connectionCount == 2)
        // All that are in progress end when their time is over, and give their places back.
        bench.core.closeAll()
        #expect(bench.core.handshakes == 0 && bench.core.connectionCount == 0)
        waitForTimers { bench.core.handshakes == 1 }
        #expect(bench.core.handshakes == 1)
        bench.core.closeAll()
    }
}
