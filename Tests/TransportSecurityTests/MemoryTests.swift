import COpenSSL
import Glibc
import Testing

@testable import TransportSecurity

/// What OpenSSL has allocated and not freed; counted in a process of the test's own, which does nothing else and has one thread.
nonisolated(unsafe) private var allocated = 0

@Suite("Memory of idle TLS connections")
struct MemoryTests {
    /// Has OpenSSL's memory counted: each block stands behind its size.
    private static func count() -> Bool {
        CRYPTO_set_mem_functions(
            { count, _, _ in
                let block = malloc(count + 16)!
                block.storeBytes(of: count, as: Int.self)
                allocated += count
                return block + 16
            },
            { old, count, _, _ in
                let start = old.map { $0 - 16 }
                allocated += count - (start?.load(as: Int.self) ?? 0)
                let block = realloc(start, count + 16)!
                block.storeBytes(of: count, as: Int.self)
                return block + 16
            },
            { old, _, _ in
                guard let start = old.map({ $0 - 16 }) else { return }
                allocated -= start.load(as: Int.self)
                free(start)
            }) == 1
    }

    /// What an idle session takes: the server's side after a handshake, content both ways and a wait. The client's side has gone.
    private static func idleBytes(_ version: Int32) throws -> Int {
        let context = try Fixture.context()
        func idle() throws -> (TLSSession, SocketPair) {
            let ends = try Ends(context, .init(lowest: version, highest: version))
            try ends.connect()
            #expect(ends.client.write([UInt8](repeating: 1, count: 10_000)) == 10_000)
            // One read, and no other after it: the buffer goes without being asked for.
            var block = [UInt8](repeating: 0, count: 20_000)
            #expect(block.withUnsafeMutableBytes { ends.server.read(into: $0) } == .bytes(10_000))
            let sent = [UInt8](repeating: 2, count: 10_000).withUnsafeBytes { ends.server.write($0) }
            #expect(sent == .bytes(10_000) && ends.client.read()?.count == 10_000)
            return (ends.server, ends.sockets)
        }
        // What is fetched once and kept.
        for _ in 0..<3 { _ = try idle() }
        var kept: [(TLSSession, SocketPair)] = []
        let before = allocated
        for _ in 0..<100 { kept.append(try idle()) }
        let each = (allocated - before) / kept.count
        kept = []
        #expect(allocated - before < 1000, "all of it is given back")
        return each
    }

    /// OpenSSL 3.0's SSL alone is 7.6 KB; a buffer that is not given back would be 16 KB more.
    @Test("an idle session holds no buffers: at most 14 KB in all")
    func idleSessions() async {
        await #expect(processExitsWith: .success) {
            #expect(Self.count(), "something has been allocated already")
            for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
                let each = try Self.idleBytes(version)
                #expect(each > 8_000 && each <= 14_000, "\(each)")
            }
        }
    }
}
