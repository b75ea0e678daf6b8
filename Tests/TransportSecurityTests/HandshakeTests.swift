import COpenSSL
import Glibc
import Testing

@testable import TransportSecurity

@Suite("TLS handshake")
struct HandshakeTests {
    @Test("with both versions, and content both ways", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func versions(version: Int32) throws {
        let ends = try Ends(Fixture.context(), .init(lowest: version, highest: version))
        try ends.connect()
        #expect(ends.server.version == (version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3"))
        #expect(ends.server.serverName == "localhost" && ends.server.clientSubject == nil && !ends.server.isResumed)
        #expect(ends.server.cipher.contains("AES") || ends.server.cipher.contains("CHACHA20"))
        #expect(ends.client.write(Array("question".utf8)) == 8)
        let (question, end) = ends.received()
        #expect(question == Array("question".utf8) && end == .wantRead)
        #expect(Array("answer".utf8).withUnsafeBytes { ends.server.write($0) } == .bytes(6))
        #expect(ends.client.read() == Array("answer".utf8))
    }

    @Test("refuses TLS 1.1, and TLS 1.2 if so configured")
    func oldVersions() throws {
        let ends = try Ends(Fixture.context(), .init(lowest: TLS1_1_VERSION, highest: TLS1_1_VERSION))
        guard case (.failed(let failure), _) = ends.shakeHands() else {
            Issue.record("TLS 1.1 was accepted")
            return
        }
        #expect(failure == TLSFailure(kind: .handshake, reason: "unsupported protocol"))
        var settings = TLSSettings()
        settings.onlyVersion13 = true
        let strict = try Ends(Fixture.context(nil, settings), .init(highest: TLS1_2_VERSION))
        guard case (.failed(let second), .failed) = strict.shakeHands() else {
            Issue.record("TLS 1.2 was accepted")
            return
        }
        #expect(second.kind == .handshake)
    }

    @Test(
        "refuses ciphers without forward secrecy or authentication of the content",
        arguments: ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
    func weakCiphers(cipher: String) throws {
        let ends = try Ends(Fixture.context(), .init(highest: TLS1_2_VERSION, ciphers: cipher))
        guard case (.failed(let failure), .failed) = ends.shakeHands() else {
            Issue.record("\(cipher) was accepted")
            return
        }
        #expect(failure == TLSFailure(kind: .handshake, reason: "no shared cipher"))
    }

    @Test(
        "chooses the application protocol by the server's order",
        arguments: [
            (["http/1.1", "h2"], [.http2, .http11], ApplicationProtocol.http2), (["http/1.1"], [.http2, .http11], .http11),
            (["h2", "http/1.1"], [.http11], .http11), (["spdy/1", "h2"], [.http2], .http2), ([], [.http2, .http11], nil),
        ] as [([String], [ApplicationProtocol], ApplicationProtocol?)])
    func applicationProtocols(offered: [String], wanted: [ApplicationProtocol], chosen: ApplicationProtocol?) throws {
        var settings = TLSSettings()
        settings.applicationProtocols = wanted
        let ends = try Ends(Fixture.context(nil, settings), .init(offered: offered))
        try ends.connect()
        #expect(ends.server.applicationProtocol == chosen)
        #expect(ends.client.applicationProtocol == chosen.map { "\($0.name)" } ?? "")
    }

    @Test("refuses a client whose application protocols are all unknown", arguments: [["spdy/1"], ["h"], ["h2c", "http/1.0"]])
    func noApplicationProtocol(offered: [String]) throws {
        let ends = try Ends(Fixture.context(), .init(offered: offered))
        guard case (.failed(let failure), .failed) = ends.shakeHands() else {
            Issue.record("\(offered) was accepted")
            return
        }
        #expect(failure == TLSFailure(kind: .handshake, reason: "no application protocol"))
    }

    @Test(
        "chooses the certificate by the name",
        arguments: [
            ("a.example", "a.example"), ("A.Example", "a.example"), ("b.example", "b.example"), ("x.b.example", "*.b.example"),
            ("www.b.example", "www.b.example"), ("x.y.b.example", "a.example"), ("other", "a.example"), (".b.example", "a.example"),
            ("b.example.", "a.example"), (nil, "a.example"),
        ] as [(String?, String)])
    func names(name: String?, subject: String) throws {
        let identities = try [["a.example"], ["b.example"], ["*.b.example", "b.example"], ["www.b.example"]].map(Fixture.identity)
        #expect(identities[2].names == ["*.b.example", "b.example"])
        for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
            let ends = try Ends(Fixture.context(identities), .init(lowest: version, highest: version, serverName: name))
            try ends.connect()
            #expect(ends.client.serverSubject == subject)
            #expect(ends.server.serverName == name)
            #expect(ends.server.applicationProtocol == .http2, "ALPN after the move to another certificate")
        }
    }

    @Test(
        "sees plain HTTP and leaves it in the socket",
        arguments: ["GET / HTTP/1.1\r\n", "DELETE /a HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "p"])
    func plainHTTP(request: String) throws {
        let sockets = try SocketPair()
        let session = try TLSSession(Fixture.context(), descriptor: sockets.server)
        #expect(session.handshake() == .wantRead)
        #expect(send(sockets.client, request, request.utf8.count, 0) == request.utf8.count)
        #expect(session.handshake() == .plainHTTP)
        #expect(session.handshake() == .plainHTTP, "asked again")
        var bytes = [UInt8](repeating: 0, count: 100)
        let count = recv(sockets.server, &bytes, 100, 0)
        #expect(Array(bytes.prefix(max(0, count))) == Array(request.utf8))
    }

    @Test("ends quietly when the peer goes before or during it", arguments: [0, 1, 5, 40])
    func peerGoes(after count: Int) throws {
        let ends = try Ends(Fixture.context())
        let greeting = try Self.greeting()
        #expect(greeting.withUnsafeBytes { send(ends.sockets.client, $0.baseAddress, count, 0) } == count)
        ends.sockets.closeClient()
        #expect(ends.server.handshake() == .ended)
        #expect(ends.server.handshake() == .ended)
        #expect(ends.server.sendClose() == .bytes(0))
    }

    /// What a client sends first.
    static func greeting() throws -> [UInt8] {
        let sockets = try SocketPair()
        let client = try TLSClient(sockets.client)
        #expect(client.handshake() == .waiting)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = recv(sockets.server, &bytes, bytes.count, 0)
        return Array(bytes.prefix(max(0, count)))
    }
}
