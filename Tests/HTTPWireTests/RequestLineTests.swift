import HTTPWire
import HTTPWireTesting
import Testing

@Suite("Request lines")
struct RequestLineTests {
    @Test(
        "accepted",
        arguments: [
            ("GET / HTTP/1.1", "GET / 1.1"),
            ("GET /v1/stream/a/b?offset=-1&live=sse HTTP/1.1", "GET /v1/stream/a/b?offset=-1&live=sse 1.1"),
            ("HEAD /a HTTP/1.1", "HEAD /a 1.1"),
            ("PUT /a HTTP/1.1", "PUT /a 1.1"),
            ("POST /a HTTP/1.1", "POST /a 1.1"),
            ("DELETE /a HTTP/1.1", "DELETE /a 1.1"),
            ("OPTIONS /a HTTP/1.1", "OPTIONS /a 1.1"),
            ("OPTIONS * HTTP/1.1", "OPTIONS * 1.1"),
            ("PATCH /a HTTP/1.1", "PATCH /a 1.1"),
            ("get /a HTTP/1.1", "get /a 1.1"),
            ("!#$%&'*+-.^_`|~09azAZ /a HTTP/1.1", "!#$%&'*+-.^_`|~09azAZ /a 1.1"),
            ("GET //a HTTP/1.1", "GET //a 1.1"),
            ("GET /%00%20%ff HTTP/1.1", "GET /%00%20%ff 1.1"),
            ("GET /!\"$&'()*+,-.:;<=>?@[\\]^_`{|}~ HTTP/1.1", "GET /!\"$&'()*+,-.:;<=>?@[\\]^_`{|}~ 1.1"),
            ("GET http://a/ HTTP/1.1", "GET {a}/ 1.1"),
            ("GET http://a:4437/v1/stream/x?offset=now HTTP/1.1", "GET {a:4437}/v1/stream/x?offset=now 1.1"),
            ("GET HTTPS://A.example/x HTTP/1.1", "GET {A.example}/x 1.1"),
            ("GET http://a HTTP/1.1", "GET {a} 1.1"),
            ("GET http://a?x=/y HTTP/1.1", "GET {a}?x=/y 1.1"),
            ("GET http://[::1]:80/ HTTP/1.1", "GET {[::1]:80}/ 1.1"),
            ("\r\nGET / HTTP/1.1", "GET / 1.1"),
            ("\r\n\r\nGET / HTTP/1.1", "GET / 1.1"),
        ])
    func accepted(line: String, summary: String) {
        let transcript = reading(line + "\r\nHost: h\r\n\r\n")
        #expect(transcript.messages.map(\.summary) == [summary + " | Host=h | none | keep"])
        #expect(transcript.end == .clean)
        #expect(transcript.messages.first?.isAsteriskForm == line.contains(" * "))
    }

    @Test("accepted in HTTP/1.0, without Host")
    func oldVersion() {
        #expect(reading("GET / HTTP/1.0\r\n\r\n").messages.map(\.summary) == ["GET / 1.0 |  | none | close"])
    }

    @Test(
        "refused",
        arguments: [
            // Separators.
            (" GET / HTTP/1.1", HTTPRefusal.method),
            ("GET  / HTTP/1.1", .requestLine),
            ("GET /  HTTP/1.1", .version),
            ("GET / HTTP/1.1 ", .version),
            ("GET\t/ HTTP/1.1", .controlOctet),
            ("GET /\tHTTP/1.1", .controlOctet),
            ("GET / HTTP/1.1\t", .version),
            ("GET / \tHTTP/1.1", .version),
            ("GET /a b HTTP/1.1", .version),
            ("GET", .requestLine),
            ("GET ", .requestLine),
            ("GET /", .requestLine),
            ("GET / ", .version),
            ("\r\n\r\n\r\nGET / HTTP/1.1", .tooManyEmptyLines),
            ("\nGET / HTTP/1.1", .bareLineFeed),
            ("\r\n\nGET / HTTP/1.1", .bareLineFeed),
            ("\rGET / HTTP/1.1", .bareCarriageReturn),
            ("\u{0B}GET / HTTP/1.1", .method),
            // Methods.
            (":GET / HTTP/1.1", .method),
            ("G(T / HTTP/1.1", .method),
            ("G\u{E9}T / HTTP/1.1", .method),
            ("G\u{7F}T / HTTP/1.1", .method),
            ("G\0T / HTTP/1.1", .controlOctet),
            ("\u{16}\u{03}\u{01}\u{02}\0\u{01}\0", .spokenTLS),
            ("{\"a\":1}", .method),
            ("\u{80}", .method),
            ("\0", .method),
            // Targets.
            ("GET /a#b HTTP/1.1", .targetFragment),
            ("GET # HTTP/1.1", .targetFragment),
            ("GET /\u{E9} HTTP/1.1", .targetOctet),
            ("GET /\u{7F} HTTP/1.1", .targetOctet),
            ("GET /\u{1} HTTP/1.1", .controlOctet),
            ("GET /\0 HTTP/1.1", .controlOctet),
            ("GET /a\n HTTP/1.1", .bareLineFeed),
            ("GET /a\r HTTP/1.1", .requestLine),
            ("GET * HTTP/1.1", .targetForm),
            ("OPTIONS ** HTTP/1.1", .targetForm),
            ("OPTIONS */ HTTP/1.1", .targetForm),
            ("CONNECT a:443 HTTP/1.1", .targetForm),
            ("CONNECT a HTTP/1.1", .targetForm),
            ("GET a HTTP/1.1", .targetForm),
            ("GET ?a HTTP/1.1", .targetForm),
            ("GET ftp://a/ HTTP/1.1", .targetForm),
            ("GET http:/a HTTP/1.1", .targetForm),
            ("GET http:// HTTP/1.1", .targetAuthority),
            ("GET http:///a HTTP/1.1", .targetAuthority),
            ("GET http://?a HTTP/1.1", .targetAuthority),
            ("GET http://:80/ HTTP/1.1", .targetAuthority),
            ("GET http://u@a/ HTTP/1.1", .targetAuthority),
            ("GET http://u:p@a/ HTTP/1.1", .targetAuthority),
            ("GET http://a:8x/ HTTP/1.1", .targetAuthority),
            ("GET http://a\\b/ HTTP/1.1", .targetAuthority),
            ("GET http://[::1/ HTTP/1.1", .targetAuthority),
            // Versions.
            ("GET / HTTP/0.9", .versionUnsupported),
            ("GET / HTTP/2.0", .versionUnsupported),
            ("PRI * HTTP/2.0", .versionUnsupported),
            ("GET / HTTP/3.0", .versionUnsupported),
            ("GET / HTTP/1.10", .version),
            ("GET / HTTP/11.1", .version),
            ("GET / HTTP/1.", .version),
            ("GET / HTTP/1", .version),
            ("GET / HTTP/.1", .version),
            ("GET / HTTP/1,1", .version),
            ("GET / HTTP/1.x", .version),
            ("GET / HTTP/x.1", .version),
            ("GET / http/1.1", .version),
            ("GET / HTTPS/1.1", .version),
            ("GET / ICE/1.0", .version),
            ("GET / RTSP/1.0", .version),
            ("GET / XTTP/1.1", .version),
            ("GET / HTTP 1.1", .version),
            ("SSH-2.0-OpenSSH_9.6", .requestLine),
        ])
    func refused(line: String, refusal: HTTPRefusal) {
        expectRefusal(line + "\r\nHost: h\r\n\r\n", refusal)
    }

    @Test("octets of methods and targets", arguments: UInt8.min...UInt8.max)
    func octets(octet: UInt8) {
        let scalar = String(Unicode.Scalar(octet))
        let tokens = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        let isToken = octet < 0x80 && tokens.contains(scalar)
        for padding in ["", "0123456789"] {
            let method = reading("M\(padding)\(scalar)\(padding)N /a HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(method.messages.map(\.methodText) == (isToken ? [latin1("M\(padding)\(scalar)\(padding)N")] : []))
            let target = reading("GET /\(padding)\(scalar)\(padding) HTTP/1.1\r\nHost: h\r\n\r\n")
            let isTarget = (0x21...0x7E).contains(octet) && octet != 0x23
            #expect(target.messages.map(\.target) == (isTarget ? [latin1("/\(padding)\(scalar)\(padding)")] : []))
        }
    }

    @Test func methods() {
        let names: [(String, HTTPWire.Method)] = [
            ("GET", .get), ("HEAD", .head), ("PUT", .put), ("POST", .post), ("DELETE", .delete), ("OPTIONS", .options), ("PATCH", .other),
            ("get", .other), ("GETS", .other), ("GE", .other), ("TRACE", .other), ("PUTT", .other), ("OPTION", .other), ("DELETED", .other),
            ("", .other),
        ]
        for (name, method) in names {
            #expect(latin1(name).withUnsafeBytes { HTTPWire.Method.recognize($0) } == method, "\(name)")
        }
    }

    @Test("a request line that ends early is refused at its end, not at the end of the head")
    func earlyEnd() {
        #expect(Transcript(of: latin1("GET /\r")).end == .refused(.requestLine))
        #expect(Transcript(of: latin1("GET\r")).end == .refused(.requestLine))
    }
}
