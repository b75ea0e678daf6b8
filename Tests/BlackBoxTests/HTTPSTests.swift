// TLS from outside: what is negotiated and what is refused, certificates by name and loaded anew, clients' certificates, peers that are slow,
// broken or lost on the wrong port (RFC 8446, RFC 7301, RFC 6066; README, HTTPS).

import COpenSSL
import Glibc
import Testing

@Suite(.onlyInClear("It chooses its transports itself")) struct HTTPSTests {
    static let server = SuiteServer(tls: true, .serve, "--strict-transport", "30d")

    private func channel(_ options: TLSClientOptions = TLSClientOptions(), to server: ServerProcess? = nil) throws -> ClientChannel {
        try ClientChannel(port: (server ?? Self.server.get()).port, tls: options)
    }

    /// A server with these certificates, the first of which counts for names that none has.
    private func server(_ certificates: [TestCertificate], _ options: [String] = []) throws -> ServerProcess {
        let folder = try Folder.make()
        let text =
            "tls-certificate: [\(certificates.map(\.chain).joined(separator: ", "))]\n"
            + "tls-key: [\(certificates.map(\.key).joined(separator: ", "))]\nlisten-tls: [\"127.0.0.1:0\"]\n"
        try Folder.write(text, to: folder + "/c.yaml")
        return try ServerProcess(.serve, ["--config", folder + "/c.yaml"] + options, listen: [], tls: false)
    }

    // MARK: Negotiation

    @Test("ALPN: HTTP/2 before HTTP/1.1; nothing said is HTTP/1.1; nothing in common ends the handshake")
    func applicationProtocol() throws {
        #expect(try channel(TLSClientOptions(protocols: ["http/1.1", "h2"])).applicationProtocol == "h2")
        #expect(try channel(TLSClientOptions(protocols: ["http/1.1"])).applicationProtocol == "http/1.1")
        let silent = try channel()
        #expect(silent.applicationProtocol == "")
        #expect(try silent.ask()?.hasPrefix("HTTP/1.1 404") == true)
        #expect(throws: TestFault.self) { try channel(TLSClientOptions(protocols: ["h3", "spdy/3"])) }
    }

    @Test("TLS 1.3 and 1.2; 1.1 and 1.0 are refused; tls-minimum leaves 1.3 alone")
    func versions() throws {
        #expect(try channel().version == "TLSv1.3")
        #expect(try channel(TLSClientOptions(highest: TLS1_2_VERSION)).version == "TLSv1.2")
        for version in [TLS1_1_VERSION, TLS1_VERSION] {
            #expect(throws: TestFault.self) {
                try channel(TLSClientOptions(lowest: version, highest: version, ciphers: "ALL:@SECLEVEL=0"))
            }
        }
        let strict = try ServerProcess(.serve, ["--tls-minimum", "1.3"], tls: true)
        #expect(try channel(to: strict).version == "TLSv1.3")
        #expect(throws: TestFault.self) { try channel(TLSClientOptions(highest: TLS1_2_VERSION), to: strict) }
    }

    @Test(
        "Ciphers without forward secrecy, authentication or encryption are refused",
        arguments: [
            "AES128-SHA:AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA",
            "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384", "aNULL", "eNULL", "PSK", "CAMELLIA", "ARIA",
        ])
    func weakCiphers(list: String) throws {
        #expect(throws: TestFault.self) {
            try channel(TLSClientOptions(highest: TLS1_2_VERSION, ciphers: list + ":@SECLEVEL=0"))
        }
    }

    @Test(
        "openssl s_client refuses to come with TLS 1.1, and comes again with a ticket of the session before",
        arguments: ["-tls1_2", "-tls1_3"])
    func resumption(version: String) throws {
        let port = try Self.server.get().port
        let folder = try Folder.make()
        let request: Payload = "GET /v1/stream/none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        func client(_ options: [String]) throws -> String {
            let all = ["s_client", "-connect", "127.0.0.1:\(port)", "-servername", "localhost", "-ign_eof"]
            let result = try ChildProcess.run("/usr/bin/openssl", all + options, input: request)
            return result.output + result.error
        }
        let first = try client([version, "-sess_out", folder + "/session"])
        #expect(first.contains("HTTP/1.1 404") && first.contains("New, TLSv1"), "\(first)")
        let second = try client([version, "-sess_in", folder + "/session"])
        #expect(second.contains("HTTP/1.1 404") && second.contains("Reused, TLSv1"), "\(second)")
        #expect(try client(["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).contains("HTTP/1.1") == false)
    }

    // MARK: Certificates

    @Test("Several certificates: the name that the client asks for decides, and without one that fits the first")
    func names() throws {
        let folder = try Folder.make()
        let server = try server([
            TestCertificate(["a.example"], in: folder, as: "a"), TestCertificate(["b.example", "*.c.example"], in: folder, as: "b"),
        ])
        let expected = [
            ("a.example", "a.example"), ("b.example", "b.example"), ("x.c.example", "b.example"), ("B.Example", "b.example"),
            ("c.example", "a.example"), ("x.y.c.example", "a.example"), ("other.example", "a.example"),
        ]
        for (asked, shown) in expected {
            #expect(try channel(TLSClientOptions(serverName: asked), to: server).serverSubject == shown, "\(asked)")
        }
        #expect(try channel(TLSClientOptions(serverName: nil), to: server).serverSubject == "a.example")
    }

    @Test("Clients' certificates: required, optional, of another authority")
    func clientCertificates() throws {
        let folder = try Folder.make()
        let authority = try TestCertificate(["authority"], use: .authority, in: folder, as: "ca")
        let known = try TestCertificate(["someone"], use: .client, issuer: authority, in: folder, as: "known")
        let old = try TestCertificate(["someone"], use: .client, from: -7200, to: -3600, issuer: authority, in: folder, as: "old")
        let stranger = try TestCertificate(["someone"], use: .client, in: folder, as: "stranger")
        for (policy, anonymous) in [("required", false), ("optional", true)] {
            let server = try ServerProcess(
                .serve, ["--tls-client-ca", authority.chain, "--tls-client-auth", policy], tls: true)
            /// In TLS 1.3 the client's handshake is over before the server has judged its certificate.
            func answer(_ certificate: TestCertificate?, _ highest: Int32) -> String? {
                try? channel(TLSClientOptions(highest: highest, certificate: certificate), to: server).ask() ?? nil
            }
            for highest in [TLS1_2_VERSION, TLS1_3_VERSION] {
                #expect(answer(known, highest)?.hasPrefix("HTTP/1.1 404") == true, "\(policy)")
                #expect((answer(nil, highest) != nil) == anonymous, "\(policy)")
                #expect(answer(stranger, highest) == nil, "\(policy)")
                #expect(answer(old, highest) == nil, "\(policy)")
            }
        }
    }

    @Test(
        "SIGHUP: new certificates for new connections; ones that do not fit or have expired are refused, said so, and the former ones stay")
    func reload() throws {
        let folder = try Folder.make()
        let first = try TestCertificate(["first.example"], in: folder)
        let server = try server([first])
        let lasting = try channel(to: server)
        #expect(lasting.serverSubject == "first.example")
        func after(_ change: () throws -> Void, says text: String) throws -> String {
            let before = server.log.count
            try change()
            server.process.send(SIGHUP)
            #expect(Deadline.poll { server.log.dropFirst(before).contains(text) }, "\(server.log)")
            return try channel(to: server).serverSubject
        }
        #expect(
            try after({ _ = try TestCertificate(["second.example"], in: folder) }, says: "certificates loaded again") == "second.example")
        let other = try TestCertificate(["other.example"], in: folder, as: "other")
        let refused = "the former ones stay in force"
        #expect(try after({ try Folder.write(Folder.read(other.key), to: first.key) }, says: refused) == "second.example")
        // Said again to whoever asks again.
        #expect(try after({}, says: refused) == "second.example")
        #expect(
            try after({ _ = try TestCertificate(["third.example"], from: -7200, to: -60, in: folder) }, says: refused) == "second.example")
        #expect(try after({ try Folder.write("no certificate", to: first.chain) }, says: refused) == "second.example")
        #expect(try after({ Folder.remove(first.chain) }, says: refused) == "second.example")
        #expect(
            try after({ _ = try TestCertificate(["fourth.example"], in: folder) }, says: "certificates loaded again") == "fourth.example")
        // A connection that was there before all this goes on.
        #expect(try lasting.ask()?.hasPrefix("HTTP/1.1 404") == true)
    }

    @Test("Files that change are noticed without a signal")
    func watch() throws {
        let folder = try Folder.make()
        _ = try TestCertificate(["first.example"], in: folder)
        let server = try server([TestCertificate(["first.example"], in: folder)])
        _ = try TestCertificate(["second.example"], in: folder, as: "new")
        // Moved into their place, as those do who renew certificates; between the two they do not fit.
        #expect(rename(folder + "/new.key", folder + "/server.key") == 0 && rename(folder + "/new.pem", folder + "/server.pem") == 0)
        let isNoticed = try Deadline.poll(within: .seconds(40), every: .milliseconds(200)) {
            try channel(to: server).serverSubject == "second.example"
        }
        #expect(isNoticed, "\(server.log)")
    }

    @Test("Handshakes go on through one reload after another")
    func reloadUnderLoad() throws {
        let folder = try Folder.make()
        let server = try server([TestCertificate(["a.example"], in: folder)])
        var half: [ClientChannel] = []
        for round in 0..<40 {
            if round % 4 == 0 { _ = try TestCertificate([round % 8 == 0 ? "b.example" : "a.example"], in: folder) }
            server.process.send(SIGHUP)
            let begun = try ClientChannel(port: server.port)
            _ = try begun.sendAll([22, 3, 1])
            half.append(begun)
            let answer = try channel(to: server).ask()
            #expect(answer?.hasPrefix("HTTP/1.1 404") == true)
        }
        half = []
        #expect(server.process.stop(SIGTERM) == .exit(0), "\(server.log)")
    }

    // MARK: Peers that do not do what they should

    @Test("HTTP in clear to the port of TLS: a clear 400, in clear")
    func plainHTTP() throws {
        let port = try Self.server.get().port
        for method in ["GET", "POST", "PRI", "options"] {
            let client = try RawClient(port: port)
            try client.send(method, "/v1/stream/a", ["Content-Type: text/plain"], .letters(100_000))
            let answer = try client.response(to: "GET")
            #expect(answer.status == 400 && answer.text.contains("https"), "\(answer.summary)")
            #expect(client.ends())
        }
    }

    @Test("A handshake that takes too long is ended, whatever part of it has come; so is a connection that says nothing after it")
    func slowHandshake() throws {
        let server = try ServerProcess(.serve, ["--header-timeout", "1s"], tls: true)
        let hello: [UInt8] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]
        let channels = try [[], [22], Array(hello[..<5]), hello].map { start in
            let channel = try ClientChannel(port: server.port)
            _ = try channel.sendAll(start)
            return channel
        }
        let ends = try channels + ["http/1.1", "h2"].map { try channel(TLSClientOptions(protocols: [$0]), to: server) }
        var haveEnded = false
        let time = elapsed { haveEnded = ends.allSatisfy { $0.readToEnd() != nil } }
        #expect(haveEnded && time > .milliseconds(300), "\(time)")
        #expect(try channel(to: server).ask()?.hasPrefix("HTTP/1.1 404") == true)
    }

    @Test("Whoever stops in the middle costs no processor time: of a record, of a preface, of a frame, of reading")
    func halfWay() throws {
        let server = try ServerProcess(.serve, ["--listen", "127.0.0.1:0", "--peer-timeout", "60s"], tls: true)
        let ports = try server.ports()
        let (clear, secure) = (ports[0], ports[1])
        var kept: [ClientChannel] = []
        for start in [[22], [22, 3, 1, 2, 0, 1]] as [[UInt8]] {
            kept.append(try ClientChannel(port: secure))
            _ = try kept.last!.sendAll(start)
        }
        for name in ["http/1.1", "h2"] {
            let channel = try ClientChannel(port: secure, tls: TLSClientOptions(protocols: [name]))
            // A record of 256 bytes of which three come, past OpenSSL.
            let part: [UInt8] = [23, 3, 3, 1, 0, 1, 2, 3]
            #expect(send(channel.descriptor, part, part.count, Int32(MSG_NOSIGNAL)) == part.count)
            kept.append(channel)
        }
        for start in ["P", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"] {
            kept.append(try ClientChannel(port: clear))
            _ = try kept.last!.sendAll(Array(start.utf8))
        }
        // A reader that does not read, with more to come than all buffers take, by each transport.
        let writer = try RawClient(port: clear)
        #expect(try writer.exchange("PUT", "/v1/stream/big", ["Content-Type: text/plain"], .letters(32 << 20)).status == 201)
        for (port, tls) in [(clear, false), (secure, true)] {
            let peer = try HTTP2Peer(port: port, tls: tls, window: 1 << 30, connectionWindow: 1 << 30, receiveBuffer: 65_536)
            let stream = try peer.request("GET", "/v1/stream/big", authority: "h")
            try peer.run { stream.status == 200 }
            kept.append(peer.channel)
            let channel = try ClientChannel(
                port: port, tls: tls ? TLSClientOptions(protocols: ["http/1.1"]) : nil, receiveBuffer: 65_536)
            _ = try channel.sendAll(Array("GET /v1/stream/big HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
            kept.append(channel)
        }
        // Until everything has come to rest.
        let rests = try Deadline.poll(within: .seconds(20), every: .milliseconds(100)) {
            let before = try server.processorMilliseconds()
            usleep(500_000)
            return try server.processorMilliseconds() - before <= 20
        }
        #expect(rests)
        let before = try server.processorMilliseconds()
        usleep(2_000_000)
        #expect(try server.processorMilliseconds() - before <= 100)
        #expect(kept.count == 11)
        #expect(try writer.exchange("HEAD", "/v1/stream/big").status == 200)
    }

    @Test("Garbage, and records that were cut or changed: the connection ends, nobody else notices")
    func garbage() throws {
        let server = try Self.server.get()
        var random = SystemRandomNumberGenerator()
        let seed = UInt64.random(in: 0 ..< .max, using: &random)
        var state = seed
        func next(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let witness = try channel(to: server)
        for round in 0..<120 {
            let bytes = (0..<(1 + next(400))).map { _ in UInt8(next(256)) }
            let channel: ClientChannel
            if round % 2 == 0 {
                channel = try ClientChannel(port: server.port)
                // So that it is taken for TLS.
                _ = try channel.sendAll([round % 4 == 0 ? 22 : UInt8(128 + next(128))] + bytes)
                channel.finishWriting()
            } else {
                channel = try self.channel(TLSClientOptions(protocols: [round % 3 == 0 ? "h2" : "http/1.1"]), to: server)
                let record: [UInt8] = [23, 3, 3, UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes
                let cut = round % 5 == 0 ? 1 + next(record.count) : record.count
                #expect(send(channel.descriptor, record, cut, Int32(MSG_NOSIGNAL)) == cut)
                shutdown(channel.descriptor, Int32(SHUT_WR))
            }
            #expect(channel.readToEnd() != nil, "seed \(seed), round \(round)")
        }
        #expect(try witness.ask()?.hasPrefix("HTTP/1.1 404") == true, "seed \(seed)")
    }

    // MARK: HTTP over it

    @Test("curl: HTTP/1.1 and HTTP/2 by ALPN, HTTP/2 with prior knowledge with and without TLS; the certificate is verified")
    func curl() throws {
        let server = try ServerProcess(.serve, ["--listen", "127.0.0.1:0"], tls: true)
        let ports = try server.ports()
        let authority = try TestCertificate.localhost.get().chain
        let ways: [(String, String, String)] = [
            ("--http1.1", "https://localhost:\(ports[1])", "1.1"), ("--http2", "https://127.0.0.1:\(ports[1])", "2"),
            ("--http2-prior-knowledge", "https://localhost:\(ports[1])", "2"),
            ("--http2-prior-knowledge", "http://127.0.0.1:\(ports[0])", "2"), ("--http1.1", "http://127.0.0.1:\(ports[0])", "1.1"),
            // Curl asks for an upgrade to h2c, which RFC 9113 has done away with: the answer is one of HTTP/1.1.
            ("--http2", "http://127.0.0.1:\(ports[0])", "1.1"),
        ]
        let folder = try Folder.make()
        let large = Payload.pattern(3 << 20)
        try Folder.write(large.bytes, to: folder + "/large")
        for (index, way) in ways.enumerated() {
            let url = "\(way.1)/v1/stream/curl-\(index)"
            func curl(_ options: [String], _ target: String = "") throws -> (ChildProcess.End?, String) {
                let all = ["-sS", way.0, "--cacert", authority, "-w", "|%{http_version} %{http_code}"] + options + [url + target]
                let result = try ChildProcess.run("/usr/bin/curl", all)
                #expect(result.end == .exit(0), "\(way) \(options): \(result.error)")
                return (result.end, result.output)
            }
            #expect(try curl(["-X", "PUT", "-H", "Content-Type: text/plain", "-d", "one,"]).1 == "|\(way.2) 201")
            #expect(try curl(["-H", "Content-Type: text/plain", "-d", "two"]).1 == "|\(way.2) 204")
            #expect(try curl(["-H", "Content-Type: text/plain", "-H", "Stream-Closed: true", "-d", "!"]).1 == "|\(way.2) 204")
            #expect(try curl([], "?offset=-1").1 == "one,two!|\(way.2) 200")
            #expect(try curl(["-I"]).1.hasSuffix("|\(way.2) 200"))
            let events = try curl(["-N"], "?offset=-1&live=sse").1
            #expect(events.contains("data:one,two!\n") && events.contains("\"streamClosed\":true") && events.hasSuffix("|\(way.2) 200"))
            #expect(try curl(["-X", "DELETE"]).1 == "|\(way.2) 204")
            // With Expect: 100-continue, which curl sends for a body of this size over HTTP/1.1.
            #expect(try curl(["-T", folder + "/large", "-H", "Content-Type: image/png"]).1 == "|\(way.2) 201")
            #expect(try curl(["-o", folder + "/back"], "?offset=-1").1 == "|\(way.2) 200")
            #expect(try Folder.read(folder + "/back").count == large.bytes.count && Folder.read(folder + "/back") == large.bytes)
        }
        // Nobody who does not trust the certificate gets further.
        let result = try ChildProcess.run("/usr/bin/curl", ["-sS", "https://localhost:\(ports[1])/v1/stream/none"])
        #expect(result.end == .exit(60), "\(result.error)")
    }

    /// Another implementation's frames and windows, many requests at a time.
    @Test(
        "h2load: thousands of appends and reads on few connections, with and without TLS; all succeed, and all that was appended is there",
        .enabled(if: access("/usr/bin/h2load", X_OK) == 0, "nghttp2-client is not installed"))
    func h2load() throws {
        let server = try ServerProcess(.serve, ["--listen", "127.0.0.1:0"], tls: true)
        let ports = try server.ports()
        let client = try RawClient(port: ports[0])
        let folder = try Folder.make()
        try Folder.write(Array("0123456789".utf8), to: folder + "/message")
        for (name, base) in [("clear", "http://127.0.0.1:\(ports[0])"), ("tls", "https://127.0.0.1:\(ports[1])")] {
            #expect(try client.exchange("PUT", "/v1/stream/\(name)", ["Content-Type: text/plain"]).status == 201)
            for options in [
                ["-d", folder + "/message", "-H", "Content-Type: text/plain"], ["-w", "14", "-W", "16"], ["-H", "If-None-Match: \"x\""],
            ] {
                let result = try ChildProcess.run(
                    "/usr/bin/h2load", ["-n", "3000", "-c", "5", "-m", "40"] + options + ["\(base)/v1/stream/\(name)"])
                #expect(result.end == .exit(0), "\(result.error)")
                #expect(
                    result.output.contains("3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout"),
                    "\(name) \(options): \(result.output)")
            }
            let answer = try client.exchange("GET", "/v1/stream/\(name)?offset=-1")
            #expect(answer.body == Array(String(repeating: "0123456789", count: 3000).utf8))
        }
    }

    @Test("Location, CORS and HSTS under https: HSTS on every answer there, and never in clear")
    func strictTransport() throws {
        let server = try ServerProcess(.serve, ["--listen", "127.0.0.1:0", "--strict-transport", "30d"], tls: true)
        let ports = try server.ports()
        for transport in Transport.allCases {
            let client = try RawClient(port: ports[transport.hasTLS ? 1 : 0], by: transport)
            let path = "/v1/stream/hsts-\(transport.rawValue)"
            let created = try client.exchange("PUT", path, ["Host: s.example", "Origin: https://app.example"])
            #expect(created["Location"] == "\(transport.scheme)://s.example\(path)")
            let answers = try [
                created, client.exchange("GET", path, ["Origin: https://app.example"]), client.exchange("GET", "/v1/stream/none"),
                client.exchange("OPTIONS", path, ["Origin: https://app.example", "Access-Control-Request-Method: PUT"]),
                client.exchange("GET", "/elsewhere"), client.exchange("DELETE", path),
            ]
            for answer in answers {
                #expect(answer["Strict-Transport-Security"] == (transport.hasTLS ? "max-age=2592000" : nil), "\(answer.summary)")
                #expect(answer["Access-Control-Allow-Origin"] == "*", "\(answer.summary)")
            }
        }
    }

    @Test("The redirecting listener: 308 to the same over https, without HSTS; 400 when the request names no host")
    func redirect() throws {
        let server = try ServerProcess(.serve, ["--listen-redirect", "127.0.0.1:0", "--strict-transport", "30d"], tls: true)
        let ports = try server.ports()
        for (host, location) in [
            ("s.example", "s.example:\(ports[0])"), ("s.example:80", "s.example:\(ports[0])"), ("[::1]:81", "[::1]:\(ports[0])"),
        ] {
            for (method, body) in [("GET", nil), ("POST", "content" as Payload?), ("PUT", nil)] {
                let client = try RawClient(port: ports[1])
                try client.send(method, "/v1/stream/a%20b?offset=-1&x=y", ["Host: \(host)"], body)
                let answer = try client.response()
                #expect(
                    answer.status == 308 && answer["Location"] == "https://\(location)/v1/stream/a%20b?offset=-1&x=y", "\(answer.summary)")
                // RFC 6797 7.2
                #expect(answer["Strict-Transport-Security"] == nil)
            }
        }
        let nameless = try RawClient(port: ports[1])
        try nameless.send("GET /v1/stream/a HTTP/1.0\r\n\r\n")
        #expect(try nameless.response().status == 400)
        // The redirect itself is followed by curl, content and all.
        let authority = try TestCertificate.localhost.get().chain
        let result = try ChildProcess.run(
            "/usr/bin/curl",
            [
                "-sS", "-L", "--cacert", authority, "-X", "PUT", "-H", "Content-Type: text/plain", "-d", "kept", "-w", "%{http_code}",
                "http://localhost:\(ports[1])/v1/stream/redirected",
            ])
        #expect(result.output == "201", "\(result.error)")
        #expect(try channel(to: server).ask("/v1/stream/redirected") == "HTTP/1.1 200 OK")
    }
}
