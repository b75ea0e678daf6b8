import HTTPWire
import HTTPWireTesting
import Testing

private let start = "GET / HTTP/1.1\r\n"

@Suite("Field lines and what they mean")
struct RequestHeadTests {
    @Test(
        "accepted",
        arguments: [
            // White space around values, empty values, obs-text, colons in values.
            (start + "Host: h\r\nA:b\r\n", "GET / 1.1 | Host=h; A=b | none | keep"),
            (start + "Host: \t h \t\r\nA: \t\r\nB:\r\n", "GET / 1.1 | Host=h; A=; B= | none | keep"),
            (start + "Host:h\r\nA: b c\td  e \r\n", "GET / 1.1 | Host=h; A=b c\td  e | none | keep"),
            (start + "Host: h\r\nA: \u{80}\u{FF}\r\n", "GET / 1.1 | Host=h; A=\u{80}\u{FF} | none | keep"),
            (start + "Host: h\r\nA: b:c: d\r\n", "GET / 1.1 | Host=h; A=b:c: d | none | keep"),
            (start + "hOsT: h\r\nx-!#$%&'*+.^_`|~: 1\r\n", "GET / 1.1 | hOsT=h; x-!#$%&'*+.^_`|~=1 | none | keep"),
            (start + "A: b\r\nA: c\r\nHost: h\r\n", "GET / 1.1 | A=b; A=c; Host=h | none | keep"),
            // Host.
            (start + "Host:\r\n", "GET / 1.1 | Host= | none | keep"),
            (start + "Host: :80\r\n", "GET / 1.1 | Host=:80 | none | keep"),
            (start + "Host: a.example:4437\r\n", "GET / 1.1 | Host=a.example:4437 | none | keep"),
            (start + "Host: [fe80::1]\r\n", "GET / 1.1 | Host=[fe80::1] | none | keep"),
            ("GET / HTTP/1.0\r\nHost: h\r\n", "GET / 1.0 | Host=h | none | close"),
            ("GET / HTTP/1.0\r\nA: b\r\n", "GET / 1.0 | A=b | none | close"),
            ("GET http://a/x HTTP/1.1\r\nHost: b\r\n", "GET {a}/x 1.1 | Host=b | none | keep"),
            // Connection.
            (start + "Host: h\r\nConnection: close\r\n", "GET / 1.1 | Host=h; Connection=close | none | close"),
            (start + "Host: h\r\nConnection: CLOSE\r\n", "GET / 1.1 | Host=h; Connection=CLOSE | none | close"),
            (start + "Host: h\r\nConnection: x, ,close ,y\r\n", "GET / 1.1 | Host=h; Connection=x, ,close ,y | none | close"),
            (
                start + "Host: h\r\nConnection: x\r\nConnection: close\r\n",
                "GET / 1.1 | Host=h; Connection=x; Connection=close | none | close"
            ),
            (start + "Host: h\r\nConnection: closed\r\n", "GET / 1.1 | Host=h; Connection=closed | none | keep"),
            (start + "Host: h\r\nConnection: not close\r\n", "GET / 1.1 | Host=h; Connection=not close | none | keep"),
            (start + "Host: h\r\nConnection:\r\n", "GET / 1.1 | Host=h; Connection= | none | keep"),
            (start + "Host: h\r\nConnection: keep-alive, close\r\n", "GET / 1.1 | Host=h; Connection=keep-alive, close | none | close"),
            (start + "Host: h\r\nConnection: close, keep-alive\r\n", "GET / 1.1 | Host=h; Connection=close, keep-alive | none | close"),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", "GET / 1.0 | Connection=Keep-Alive | none | keep"),
            ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n", "GET / 1.0 | Connection=keep-alive, close | none | close"),
            ("GET / HTTP/1.0\r\nConnection: keepalive\r\n", "GET / 1.0 | Connection=keepalive | none | close"),
            // Content-Length.
            (start + "Host: h\r\nContent-Length: 0\r\n", "GET / 1.1 | Host=h; Content-Length=0 | length 0 | keep"),
            (start + "Host: h\r\nContent-Length: 0, 0\r\n", "GET / 1.1 | Host=h; Content-Length=0, 0 | length 0 | keep"),
            (start + "Host: h\r\nContent-Length: 00\r\n", "GET / 1.1 | Host=h; Content-Length=00 | length 0 | keep"),
            (
                start + "Host: h\r\nContent-Length: 0\r\ncontent-length:0 ,0\r\n",
                "GET / 1.1 | Host=h; Content-Length=0; content-length=0 ,0 | length 0 | keep"
            ),
            // Expect.
            (start + "Host: h\r\nExpect: 100-continue\r\n", "GET / 1.1 | Host=h; Expect=100-continue | none | keep 100"),
            (start + "Host: h\r\nExpect: 100-Continue\r\n", "GET / 1.1 | Host=h; Expect=100-Continue | none | keep 100"),
            ("GET / HTTP/1.0\r\nExpect: 100-continue\r\n", "GET / 1.0 | Expect=100-continue | none | close"),
        ])
    func accepted(lines: String, summary: String) {
        let transcript = reading(lines + "\r\n")
        #expect(transcript.messages.map(\.summary) == [summary])
        #expect(transcript.end == (summary.hasSuffix("close") ? .closed : .clean))
    }

    @Test("content of a given length", arguments: ["", "a", "hello", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\0\u{FF}\n"])
    func content(content: String) {
        let transcript = reading("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: \(content.unicodeScalars.count)\r\n\r\n\(content)")
        #expect(transcript.messages.map(\.content) == [latin1(content)])
        #expect(transcript.end == .clean)
    }

    @Test(
        "refused",
        arguments: [
            // Lines.
            (start + " Host: h\r\n", HTTPRefusal.foldedLine),
            (start + "\tHost: h\r\n", .foldedLine),
            (start + "Host: h\r\nA: b\r\n c\r\n", .foldedLine),
            (start + "Host: h\r\nA: b\r\n\tc\r\n", .foldedLine),
            (start + "Host: h\r\nA: b\r\n \r\n", .foldedLine),
            (start + "Host: h\r\n: b\r\n", .fieldNameEmpty),
            (start + "Host: h\r\nA\r\n", .fieldWithoutColon),
            (start + "Host: h\r\nA : b\r\n", .fieldNameSpace),
            (start + "Host: h\r\nA\t: b\r\n", .fieldNameSpace),
            (start + "Host : h\r\n", .fieldNameSpace),
            (start + "Host: h\r\nContent-Length : 5\r\n", .fieldNameSpace),
            (start + "Host: h\r\nTransfer-Encoding\t: chunked\r\n", .fieldNameSpace),
            (start + "Host: h\r\nA B: c\r\n", .fieldNameSpace),
            (start + "Host: h\r\nA(: b\r\n", .fieldNameOctet),
            (start + "Host: h\r\n\u{E9}: b\r\n", .fieldNameOctet),
            (start + "Host: h\r\nA\u{7F}: b\r\n", .fieldNameOctet),
            (start + "Host: h\r\n\"A\": b\r\n", .fieldNameOctet),
            (start + "Host: h\r\n{\"a\":1}\r\n", .fieldNameOctet),
            (start + "Host: h\r\nA\0: b\r\n", .controlOctet),
            (start + "Host: h\r\nA: \0\r\n", .controlOctet),
            (start + "Host: h\r\nA: b\u{1}c\r\n", .controlOctet),
            (start + "Host: h\r\nA: b\u{B}c\r\n", .controlOctet),
            (start + "Host: h\r\nA: b\u{1F}c\r\n", .controlOctet),
            (start + "Host: h\r\nA: b\u{7F}c\r\n", .fieldValueOctet),
            (start + "Host: h\r\nA: b\n", .bareLineFeed),
            (start + "Host: h\nA: b\r\n", .bareLineFeed),
            (start + "Host: h\r\n\nA: b\r\n", .bareLineFeed),
            (start + "Host: h\r\nA: b\rc\r\n", .bareCarriageReturn),
            (start + "Host: h\r\nA: b\r\r\n", .bareCarriageReturn),
            (start + "Host: h\r\n\rA: b\r\n", .bareCarriageReturn),
            ("GET / HTTP/1.1\nHost: h\r\n", .bareLineFeed),
            ("GET / HTTP/1.1\rHost: h\r\n", .bareCarriageReturn),
            // Host.
            (start, .hostMissing),
            (start + "Hos: h\r\n", .hostMissing),
            (start + "Host: a\r\nHost: b\r\n", .hostRepeated),
            (start + "Host: a\r\nhOST: a\r\n", .hostRepeated),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n", .hostRepeated),
            ("GET http://a/ HTTP/1.1\r\n", .hostMissing),
            ("GET http://a/ HTTP/1.1\r\nHost: a/\r\n", .hostMalformed),
            (start + "Host: a b\r\n", .hostMalformed),
            (start + "Host: a, b\r\n", .hostMalformed),
            (start + "Host: a/b\r\n", .hostMalformed),
            (start + "Host: http://a\r\n", .hostMalformed),
            (start + "Host: u@a\r\n", .hostMalformed),
            (start + "Host: a:b\r\n", .hostMalformed),
            (start + "Host: a\\b\r\n", .hostMalformed),
            (start + "Host: \u{E9}\r\n", .hostMalformed),
            // Content-Length.
            (start + "Host: h\r\nContent-Length:\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: +5\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: -5\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 5 5\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 0x5\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 5.0\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 5e1\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 1_000\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: \"5\"\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: \u{B2}\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 5,\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: ,5\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 5,,5\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 5;5\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 5, x\r\n", .contentLengthMalformed),
            (start + "Host: h\r\nContent-Length: 9223372036854775808\r\n", .contentLengthOverflow),
            (start + "Host: h\r\nContent-Length: 18446744073709551621\r\n", .contentLengthOverflow),
            (start + "Host: h\r\nContent-Length: 99999999999999999999999999\r\n", .contentLengthOverflow),
            (start + "Host: h\r\nContent-Length: 5, 6\r\n", .contentLengthConflict),
            (start + "Host: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n", .contentLengthConflict),
            (start + "Host: h\r\nContent-Length: 5\r\ncontent-length: 05\r\n", .contentLengthConflict),
            (start + "Host: h\r\nContent-Length: 5, 5, 55\r\n", .contentLengthConflict),
            // Transfer-Encoding.
            (start + "Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", .lengthAndCoding),
            (start + "Host: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", .lengthAndCoding),
            (start + "Host: h\r\nContent-Length: x\r\nTransfer-Encoding: y\r\n", .lengthAndCoding),
            (start + "Host: h\r\nTransfer-Encoding:\r\nContent-Length: 5\r\n", .lengthAndCoding),
            (start + "Host: h\r\nTransfer-Encoding:\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: gzip\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: gzip, chunked\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: chunked, gzip\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: chunked, chunked\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: chunked,\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: ,chunked\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: identity\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: xchunked\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: chunkedx\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: chunked;q=1\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: \"chunked\"\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", .transferCoding),
            (start + "Host: h\r\nTransfer-Encoding: chunked\u{80}\r\n", .transferCoding),
            ("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n", .transferCodingVersion),
            // Expect.
            (start + "Host: h\r\nExpect: 200-ok\r\n", .expectation),
            (start + "Host: h\r\nExpect:\r\n", .expectation),
            (start + "Host: h\r\nExpect: 100-continue, x\r\n", .expectation),
            (start + "Host: h\r\nExpect: 100-continue\r\nExpect: x\r\n", .expectation),
            ("GET / HTTP/1.0\r\nExpect: x\r\n", .expectation),
        ])
    func refused(lines: String, refusal: HTTPRefusal) {
        expectRefusal(lines + "\r\n", refusal)
    }

    @Test("octets of field names and values", arguments: UInt8.min...UInt8.max)
    func octets(octet: UInt8) {
        let scalar = String(Unicode.Scalar(octet))
        let tokens = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for padding in ["", "0123456789"] {
            let name = reading("\(start)Host: h\r\nN\(padding)\(scalar)\(padding)M: v\r\n\r\n")
            // A colon is the end of the name.
            let isName = octet < 0x80 && tokens.contains(scalar) || octet == 0x3A
            #expect(name.messages.count == (isName ? 1 : 0))
            let value = reading("\(start)Host: h\r\nA: v\(padding)\(scalar)\(padding)w\r\n\r\n")
            let isValue = octet == 0x09 || octet >= 0x20 && octet != 0x7F
            #expect(value.messages.map { $0.fields[1].value } == (isValue ? [latin1("v\(padding)\(scalar)\(padding)w")] : []))
        }
    }

    @Test("lookups") func lookups() throws {
        let bytes = latin1("GET / HTTP/1.1\r\nA: 1\r\nHost: h\r\nOrigin: x\r\nA: 2\r\norigin:y\r\n\r\n")
        var head = RequestHead()
        try bytes.withUnsafeBytes { buffer in try head.parse(buffer, limits: WireLimits()) }
        #expect(head.first(.origin).map { Array(bytes[$0]) } == latin1("x"))
        #expect(head.count(of: .origin) == 2 && head.count(of: .host) == 1 && head.count(of: .other) == 2)
        #expect(head.first(.contentType) == nil && head.count(of: .contentType) == 0 && !head.has(.contentType))
        #expect(head.fields.map(\.name) == [.other, .host, .origin, .other, .origin])
    }

    @Test("a head is reused: nothing of the last request stays")
    func reuse() throws {
        let first = latin1(
            "POST http://a/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\nExpect: 100-continue\r\nAccept: a\r\n\r\n")
        let asterisk = latin1("OPTIONS * HTTP/1.0\r\n\r\n")
        let second = latin1("GET / HTTP/1.1\r\nHost: i\r\n\r\n")
        var reused = RequestHead()
        var fresh = RequestHead()
        let limits = WireLimits()
        try first.withUnsafeBytes { buffer in try reused.parse(buffer, limits: limits) }
        try asterisk.withUnsafeBytes { buffer in try reused.parse(buffer, limits: limits) }
        try second.withUnsafeBytes { buffer in try reused.parse(buffer, limits: limits) }
        try second.withUnsafeBytes { buffer in try fresh.parse(buffer, limits: limits) }
        #expect(String(describing: reused) == String(describing: fresh))
        #expect(reused.fields.capacity >= 5)
    }

    @Test("number of fields")
    func fieldCount() {
        var limits = WireLimits()
        limits.fieldCount = 3
        #expect(reading("\(start)Host: h\r\nA: 1\r\nB: 2\r\n\r\n", limits: limits).messages.count == 1)
        expectRefusal("\(start)Host: h\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", .tooManyFields(limit: 3), limits: limits)
        let hundred = String(repeating: "A: b\r\n", count: 99)
        #expect(reading("\(start)Host: h\r\n\(hundred)\r\n").messages.count == 1)
        expectRefusal("\(start)Host: h\r\n\(hundred)A: b\r\n\r\n", .tooManyFields(limit: 100))
    }

    @Test("several requests in one arrival")
    func pipelined() {
        let transcript = reading(
            "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n"
                + "POST /4 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nDELETE /5 HTTP/1.0\r\n\r\n")
        #expect(transcript.messages.map { text($0.target) } == ["/1", "/2", "/3", "/4", "/5"])
        #expect(transcript.messages.map { text($0.content) } == ["", "abc", "", "x", ""])
        #expect(transcript.end == .closed)
    }
}
