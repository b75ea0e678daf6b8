// TLS handshakes in progress are bounded: for one that comes beyond the bound the oldest gives way, so that silent connections keep nobody out.

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
        for _ in 0..<5 {
            peers.append(try connect(port))
            bench.settle()
        }
        #expect(bench.core.handshakes.count == 2 && bench.core.connectionCount == 2)
        var byte: UInt8 = 0
        for (index, peer) in peers.enumerated() {
            let got = recv(peer, &byte, 1, Int32(MSG_DONTWAIT))
            #expect(index < 3 ? got == 0 : got < 0, "the oldest three have given way")
        }
        // They end in any order, and each is counted once.
        close(peers.remove(at: 3))
        bench.settle()
        #expect(bench.core.handshakes.count == 1 && bench.core.connectionCount == 1)
        bench.core.closeAll()
        #expect(bench.core.handshakes.count == 0 && bench.core.handshakes.oldest == nil && bench.core.connectionCount == 0)
    }

    /// A connection that epoll refuses was never counted.
    @Test func refusedByEpoll() throws {
        let bench = try ServerBench()
        // A regular file cannot be waited for.
        let file = open("/proc/self/exe", O_RDONLY)
        bench.core.accept(file, from: .unix, .tls)
        #expect(bench.core.handshakes.count == 0 && bench.core.connectionCount == 0)
    }
}
