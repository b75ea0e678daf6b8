import COpenSSL
import Glibc
import SystemCalls
import Testing

@testable import TransportSecurity

@Suite("TLS content")
struct TransferTests {
    private static func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

    @Test(
        "goes through small sockets, in parts, from moving addresses", arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [nil, 4608] as [Int32?])
    func partialWrites(version: Int32, bufferBytes: Int32?) throws {
        let ends = try Ends(Fixture.context(), .init(lowest: version, highest: version), bufferBytes: bufferBytes)
        try ends.connect()
        let content = Self.pattern(1_000_000)
        var (sent, received, blocked) = (0, [UInt8](), 0)
        while received.count < content.count {
            if sent < content.count {
                // A new array each time: the address is another one.
                let rest = Array(content[sent..<min(content.count, sent + 50_000)])
                switch rest.withUnsafeBytes({ ends.server.write($0) }) {
                case .bytes(let count):
                    #expect(count > 0)
                    sent += count
                case .wantWrite: blocked += 1
                case let other:
                    Issue.record("\(other)")
                    return
                }
            }
            received += try #require(ends.client.read(7000))
        }
        #expect(received == content && blocked > 0)
    }

    @Test("is received whole by buffers of any size", arguments: [1, 100, 16_384, 65_536])
    func reads(limit: Int) throws {
        let ends = try Ends(Fixture.context())
        try ends.connect()
        let content = Self.pattern(limit == 1 ? 20_000 : 300_000)
        var sent = 0
        var received: [UInt8] = []
        while received.count < content.count {
            while sent < content.count {
                let count = try #require(ends.client.write(Array(content[sent..<min(content.count, sent + 16_384)])))
                if count == 0 { break }
                sent += count
            }
            let (bytes, end) = ends.received(limit)
            #expect(end == .wantRead && !ends.server.hasBufferedInput)
            received += bytes
        }
        #expect(received == content)
    }

    @Test("what is decrypted or read ahead is told of")
    func bufferedInput() throws {
        let ends = try Ends(Fixture.context())
        try ends.connect()
        for text in ["one", "two", "three"] { #expect(ends.client.write(Array(text.utf8)) == text.utf8.count) }
        var block = [UInt8](repeating: 0, count: 2)
        #expect(block.withUnsafeMutableBytes { ends.server.read(into: $0) } == .bytes(2))
        #expect(ends.server.hasBufferedInput)
        var byte: UInt8 = 0
        #expect(recv(ends.sockets.server, &byte, 1, Int32(MSG_PEEK)) == -1, "the socket itself is empty: no event will come")
        #expect(ends.received().bytes == Array("etwothree".utf8) && !ends.server.hasBufferedInput)
    }

    @Test("a part of a record is not told of again and again", arguments: [3, 10, 30])
    func partialRecord(count: Int) throws {
        let ends = try Ends(Fixture.context())
        try ends.connect()
        #expect(ends.client.write(Array("whole".utf8)) == 5 && ends.client.write(Array("cut in two".utf8)) == 10)
        var records = [UInt8](repeating: 0, count: 200)
        let length = recv(ends.sockets.server, &records, 200, 0)
        let first = 5 + 5 + 1 + 16
        try #require(length == first + 5 + 10 + 1 + 16)
        func pass(_ range: Range<Int>) {
            records[range].withUnsafeBytes { #expect(send(ends.sockets.client, $0.baseAddress, $0.count, 0) == $0.count) }
        }
        pass(0..<first + count)
        var block = [UInt8](repeating: 0, count: 100)
        #expect(block.withUnsafeMutableBytes { ends.server.read(into: $0) } == .bytes(5))
        #expect(!ends.server.hasBufferedInput)
        #expect(block.withUnsafeMutableBytes { ends.server.read(into: $0) } == .wantRead)
        #expect(!ends.server.hasBufferedInput)
        pass(first + count..<length)
        #expect(ends.received().bytes == Array("cut in two".utf8) && !ends.server.hasBufferedInput)
    }

    @Test("a handshake within the connection is refused in TLS 1.2, new keys are taken in 1.3")
    func rekeying() throws {
        let old = try Ends(Fixture.context(), .init(highest: TLS1_2_VERSION))
        try old.connect()
        #expect(SSL_renegotiate(old.client.session) == 1)
        // The client's greeting is answered with a warning, by which OpenSSL's client ends.
        for _ in 0..<5 {
            _ = old.client.handshake()
            _ = old.received()
        }
        #expect(old.client.handshake() == .failed)
        let new = try Ends(Fixture.context())
        try new.connect()
        for round in 0..<20 {
            #expect(SSL_key_update(new.client.session, SSL_KEY_UPDATE_REQUESTED) == 1)
            #expect(new.client.write([UInt8(round)]) == 1 && new.received().bytes == [UInt8(round)])
            #expect([UInt8(round)].withUnsafeBytes { new.server.write($0) } == .bytes(1) && new.client.read() == [UInt8(round)])
        }
    }

    @Test("ends in order both ways", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func orderlyEnd(version: Int32) throws {
        let ends = try Ends(Fixture.context(), .init(lowest: version, highest: version))
        try ends.connect()
        #expect(ends.client.write([1]) == 1)
        SSL_shutdown(ends.client.session)
        let (bytes, end) = ends.received()
        #expect(bytes == [1] && end == .closed)
        #expect(ends.received().end == .closed, "asked again")
        // The other direction is open still.
        #expect([UInt8(2)].withUnsafeBytes { ends.server.write($0) } == .bytes(1))
        #expect(ends.client.read() == [2])
        #expect(ends.server.sendClose() == .bytes(0) && ends.server.sendClose() == .bytes(0))
        #expect(ends.client.read() == nil && SSL_get_shutdown(ends.client.session) & SSL_RECEIVED_SHUTDOWN != 0)
    }

    @Test("an end without close_notify is told apart, by reads and by writes")
    func cut() throws {
        let ends = try Ends(Fixture.context())
        try ends.connect()
        #expect(ends.client.write([1, 2]) == 2)
        ends.sockets.closeClient()
        let (bytes, end) = ends.received()
        #expect(bytes == [1, 2] && end == .cut)
        #expect([UInt8(1)].withUnsafeBytes { ends.server.write($0) } == .cut && ends.server.sendClose() == .bytes(0))
        // SIGPIPE is ignored, and a write to a peer that is gone is an end.
        let other = try Ends(Fixture.context())
        try other.connect()
        other.sockets.closeClient()
        #expect([UInt8(1)].withUnsafeBytes { other.server.write($0) } == .cut)
    }

    @Test("a close that the socket does not take is sent later, and not behind half a record")
    func blockedClose() throws {
        let ends = try Ends(Fixture.context(), bufferBytes: 4608)
        try ends.connect()
        let content = Self.pattern(200_000)
        var sent = 0
        loop: while true {
            switch content[sent...].withUnsafeBytes({ ends.server.write($0) }) {
            case .bytes(let count): sent += count
            case .wantWrite: break loop
            case let other:
                Issue.record("\(other)")
                return
            }
        }
        #expect(ends.server.sendClose() == .bytes(0), "not possible")
        #expect(SSL_get_shutdown(ends.client.session) == 0)
        while ends.client.read()?.isEmpty == false {}
        guard case .bytes(let more) = content[sent...].withUnsafeBytes({ ends.server.write($0) }) else {
            Issue.record("the record that was begun does not go on")
            return
        }
        #expect(more > 0)
    }

    @Test("damaged records end the connection", arguments: 0..<40)
    func damage(place: Int) throws {
        let ends = try Ends(Fixture.context())
        try ends.connect()
        _ = ends.received()
        #expect(ends.client.write(Array("damaged content".utf8)) == 15)
        var record = [UInt8](repeating: 0, count: 200)
        let count = recv(ends.sockets.server, &record, 200, 0)
        #expect(count == 5 + 15 + 1 + 16)
        if place < count {
            record[place] ^= 0x41
            // A length that waits for more is completed.
            let sent = Array(record[..<count]) + [UInt8](repeating: 0, count: 20_000)
            #expect(sent.withUnsafeBytes { send(ends.sockets.client, $0.baseAddress, $0.count, 0) } == sent.count)
        } else {
            // A record of TLS that is none: too long, unknown, empty ones without end.
            let garbage: [UInt8] =
                switch place {
                case 37: [23, 3, 3, 0x7F, 0xFF]
                case 38: [99, 3, 3, 0, 1, 1]
                default: [UInt8](repeating: 0xAA, count: 100)
                }
            #expect(garbage.withUnsafeBytes { send(ends.sockets.client, $0.baseAddress, $0.count, 0) } == garbage.count)
        }
        let (bytes, end) = ends.received()
        guard case .failed(let failure) = end else {
            Issue.record("\(place): \(end) after \(bytes)")
            return
        }
        #expect(failure.kind == .protocolViolation && !failure.reason.isEmpty && bytes.isEmpty)
        #expect(ends.received().end == end && [UInt8(1)].withUnsafeBytes { ends.server.write($0) } == end, "asked again")
        #expect(ERR_peek_error() == 0)
    }

    @Test("greetings cut or damaged at every place end or wait, and never pass", arguments: 0..<8)
    func damagedGreeting(part: Int) throws {
        let context = try Fixture.context()
        let greeting = try HandshakeTests.greeting()
        for place in stride(from: part, to: greeting.count, by: 8) {
            for change in [UInt8(0x01), 0x80, 0xFF] {
                let sockets = try SocketPair()
                let session = try TLSSession(context, descriptor: sockets.server)
                var bytes = greeting
                bytes[place] ^= change
                #expect(bytes.withUnsafeBytes { send(sockets.client, $0.baseAddress, $0.count, 0) } == bytes.count)
                let result = session.handshake()
                #expect(result != .complete, "\(place)")
            }
            let sockets = try SocketPair()
            let session = try TLSSession(context, descriptor: sockets.server)
            if place > 0 { #expect(greeting.withUnsafeBytes { send(sockets.client, $0.baseAddress, place, 0) } == place) }
            #expect(session.handshake() == .wantRead)
            sockets.closeClient()
            #expect(session.handshake() == .ended)
        }
    }

    @Test("random bytes are no handshake", arguments: 1...20)
    func randomGreeting(seed: UInt64) throws {
        var state = seed &* 0x9E37_79B9_7F4A_7C15
        func next() -> UInt8 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return UInt8(truncatingIfNeeded: state >> 24)
        }
        let context = try Fixture.context()
        for _ in 0..<50 {
            let sockets = try SocketPair()
            let session = try TLSSession(context, descriptor: sockets.server)
            var bytes = (0..<300).map { _ in next() }
            if next() < 128 { bytes.replaceSubrange(0..<6, with: [22, 3, 1, 0, 200, 1]) }
            #expect(bytes.withUnsafeBytes { send(sockets.client, $0.baseAddress, $0.count, 0) } == bytes.count)
            let result = session.handshake()
            #expect(result != .complete, "seed \(seed)")
        }
    }

    @Test("the kernel does not encrypt on these sockets, and the same calls work without it")
    func kernel() throws {
        for wanted in [true, false] {
            var settings = TLSSettings()
            settings.kernelTLS = wanted
            let ends = try Ends(Fixture.context(nil, settings))
            try ends.connect()
            #expect(!ends.server.kernelSends, "kTLS is for TCP")
            #expect([UInt8(7)].withUnsafeBytes { ends.server.write($0) } == .bytes(1))
        }
    }
}
