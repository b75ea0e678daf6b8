// What a listener is told, its connections have: no Nagle, a time-out for what is not acknowledged, and probes for the silent.

import CLinux
import Glibc
import SystemCalls
import Testing

@Suite struct PeerTimeoutTests {
    private func option(_ socket: Int32, _ level: Int32, _ name: Int32) -> Int32 {
        var value: Int32 = -1
        _ = clinux_get_int_option(socket, level, name, &value)
        return value
    }

    @Test func connectionsInherit() throws {
        let listener = try SocketCalls.listenTCP(host: "127.0.0.1", port: 0, backlog: 8)
        SocketCalls.prepareConnections(of: listener.number, peerMilliseconds: 12_000)
        let port = try #require(SocketCalls.port(of: listener.number))
        let client = Descriptor(owning: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(client.number, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        try #require(status == 0)
        guard case .connection(let number, _) = SocketCalls.accept(listener.number) else {
            Issue.record("nothing to accept")
            return
        }
        let accepted = Descriptor(owning: number)
        let tcp = Int32(IPPROTO_TCP)
        #expect(option(accepted.number, tcp, TCP_NODELAY) == 1)
        #expect(option(accepted.number, tcp, TCP_USER_TIMEOUT) == 12_000)
        #expect(option(accepted.number, SOL_SOCKET, SO_KEEPALIVE) == 1)
        #expect(option(accepted.number, tcp, TCP_KEEPIDLE) == 12)
        #expect(option(accepted.number, tcp, TCP_KEEPINTVL) == 4)
        #expect(option(accepted.number, tcp, TCP_KEEPCNT) == 3)
    }
}
