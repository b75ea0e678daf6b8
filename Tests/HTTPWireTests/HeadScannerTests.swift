import HTTPWire
import HTTPWireTesting
import Testing

@Suite("Scanning for the end of a head")
struct HeadScannerTests {
    @Test("what has been looked at is not looked at again")
    func linear() throws {
        let head = latin1("\r\nGET /a?b HTTP/1.1\r\nHost: h\r\nA: b\tc\r\nLong: \(String(repeating: "x", count: 2000))\r\n\r\n")
        var buffer = head
        var scanner = HeadScanner()
        for count in 0...head.count {
            // Everything but the last two octets before the new one is spoilt: only a CR that waits for its LF may be looked at twice.
            if count > 2 { buffer[count - 3] = 0 }
            let length = try buffer[..<count].withUnsafeBytes { bytes in try scanner.scan(bytes, limits: WireLimits()) }
            #expect(length == (count == head.count ? head.count : nil))
        }
    }

    @Test("the same length again until reset")
    func again() throws {
        let bytes = latin1("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        var scanner = HeadScanner()
        try bytes.withUnsafeBytes { buffer in
            for _ in 0..<3 {
                let length = try scanner.scan(buffer, limits: WireLimits())
                #expect(length == 27)
            }
            scanner.reset()
            let length = try scanner.scan(UnsafeRawBufferPointer(rebasing: buffer[27...]), limits: WireLimits())
            #expect(length == 18)
        }
    }

    @Test("no bytes") func nothing() throws {
        var scanner = HeadScanner()
        #expect(try scanner.scan(UnsafeRawBufferPointer(start: nil, count: 0), limits: WireLimits()) == nil)
    }

    @Test("every prefix of a request is incomplete, and every one of a refused request is incomplete or refused alike")
    func prefixes() {
        let request = latin1("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n")
        #expect(Transcript(of: []).end == .clean)
        for count in 1..<request.count { #expect(Transcript(of: Array(request[..<count])).end == .incomplete, "\(count)") }
        #expect(Transcript(of: request).end == .clean)
        let refused = latin1("POST /a HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n")
        for count in 1...refused.count {
            let end = Transcript(of: Array(refused[..<count])).end
            #expect(end == (count < 33 ? .incomplete : .refused(.bareCarriageReturn)), "\(count)")
        }
    }

    @Test("head size: the last byte that fits, and the first that does not")
    func headLimit() {
        var limits = WireLimits()
        limits.headBytes = 64
        let fixed = "GET / HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n".utf8.count
        func head(_ count: Int) -> String { "GET / HTTP/1.1\r\nHost: h\r\nA: \(String(repeating: "x", count: count - fixed))\r\n\r\n" }
        #expect(reading(head(64), limits: limits).messages.count == 1)
        for count in 65...80 { expectRefusal(head(count), .headTooLarge(limit: 64), limits: limits) }
        // Refused as soon as the limit is reached, without an end in sight.
        let endless = "GET / HTTP/1.1\r\nHost: h\r\nA: " + String(repeating: "x", count: 100)
        let transcript = Transcript(of: latin1(endless), step: 1, limits: limits)
        #expect(transcript.end == .refused(.headTooLarge(limit: 64)) && transcript.arrived == 64)
        expectRefusal(String(repeating: "A", count: 100), .headTooLarge(limit: 64), limits: limits)
    }

    @Test("target size: the last byte that fits, and the first that does not")
    func targetLimit() {
        var limits = WireLimits()
        limits.targetBytes = 20
        func head(_ count: Int) -> String { "GET /\(String(repeating: "x", count: count - 1)) HTTP/1.1\r\nHost: h\r\n\r\n" }
        for count in [1, 19, 20] { #expect(reading(head(count), limits: limits).messages.count == 1) }
        for count in [21, 22, 40] { expectRefusal(head(count), .targetTooLong(limit: 20), limits: limits) }
        let transcript = Transcript(of: latin1("GET /" + String(repeating: "x", count: 100)), step: 1, limits: limits)
        #expect(transcript.end == .refused(.targetTooLong(limit: 20)) && transcript.arrived == 4 + 21)
        #expect(reading("GET /" + String(repeating: "x", count: 19), limits: limits).end == .incomplete)
        let standard = WireLimits()
        expectRefusal("GET /" + String(repeating: "x", count: 8192), .targetTooLong(limit: standard.targetBytes))
    }

    @Test("statuses") func statuses() {
        #expect(HTTPRefusal.headTooLarge(limit: 1).status == 431)
        #expect(HTTPRefusal.tooManyFields(limit: 1).status == 431)
        #expect(HTTPRefusal.trailerTooLarge(limit: 1).status == 431)
        #expect(HTTPRefusal.targetTooLong(limit: 1).status == 414)
        #expect(HTTPRefusal.versionUnsupported.status == 505)
        #expect(HTTPRefusal.expectation.status == 417)
        let bad: [HTTPRefusal] = [
            .bareLineFeed, .bareCarriageReturn, .controlOctet, .tooManyEmptyLines, .spokenTLS, .requestLine, .method, .targetOctet,
            .targetFragment, .targetForm, .targetAuthority, .version, .foldedLine, .fieldWithoutColon, .fieldNameEmpty, .fieldNameSpace,
            .fieldNameOctet, .fieldValueOctet, .hostMissing, .hostRepeated, .hostMalformed, .contentLengthMalformed, .contentLengthOverflow,
            .contentLengthConflict, .lengthAndCoding, .transferCoding, .transferCodingVersion, .chunkSize, .chunkExtension, .chunkLineEnd,
            .chunkDataEnd, .chunkOverhead, .trailerLineEnd, .chunkLineTooLong(limit: 1),
        ]
        for refusal in bad { #expect(refusal.status == 400, "\(refusal.reason)") }
        #expect(Set(bad.map(\.reason)).count == bad.count)
        for refusal in bad { #expect(refusal.reason.utf8.allSatisfy { (0x20...0x7E).contains($0) }) }
    }
}
