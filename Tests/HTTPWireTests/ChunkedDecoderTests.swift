import HTTPWire
import HTTPWireTesting
import Testing

private let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

@Suite("Chunked content")
struct ChunkedDecoderTests {
    @Test(
        "accepted",
        arguments: [
            ("0\r\n\r\n", ""),
            ("000\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", "abcdef"),
            ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
            ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
            ("1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n", "abcdefghijklmnopqrstuvwxyz"),
            ("00000000000000a\r\n0123456789\r\n000000000000000\r\n\r\n", "0123456789"),
            ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
            ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
            ("2\r\n\0\u{FF}\r\n0\r\n\r\n", "\0\u{FF}"),
            // Extensions.
            ("1;a\r\nx\r\n0\r\n\r\n", "x"),
            ("1;a=b\r\nx\r\n0;c=d\r\n\r\n", "x"),
            ("1; a = \"b;c\\\"\" ;\td\r\nx\r\n0\r\n\r\n", "x"),
            ("1;\u{80}\u{FF}\r\nx\r\n0\r\n\r\n", "x"),
            // Trailers.
            ("1\r\nx\r\n0\r\nA: b\r\n\r\n", "x"),
            ("1\r\nx\r\n0\r\nA:\r\nB:c:d\t\u{FF}\r\n\r\n", "x"),
            ("1\r\nx\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: gzip\r\nHost: z\r\n\r\n", "x"),
        ])
    func accepted(body: String, content: String) {
        let transcript = reading(head + body)
        #expect(transcript.messages.map { text($0.content) } == [content])
        #expect(transcript.messages.first?.fields.count == 2)
        #expect(transcript.end == .clean)
    }

    @Test("the coding's name has no case", arguments: ["CHUNKED", "Chunked", "\t chunked \t"])
    func name(coding: String) {
        let transcript = reading("POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding:\(coding)\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        #expect(transcript.messages.map(\.framing) == [.chunked] && transcript.end == .clean)
    }

    @Test(
        "refused",
        arguments: [
            // Sizes.
            ("\r\n\r\n", HTTPRefusal.chunkSize),
            ("x\r\n", .chunkSize),
            ("g\r\n", .chunkSize),
            ("+1\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("-1\r\nx\r\n0\r\n\r\n", .chunkSize),
            (" 1\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("\t1\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("1 \r\nx\r\n0\r\n\r\n", .chunkSize),
            ("1\t\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("1 ;a\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("0x1\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("1_0\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("1,\r\nx\r\n0\r\n\r\n", .chunkSize),
            (";a\r\n", .chunkSize),
            ("1\0\r\nx", .chunkSize),
            ("\u{FF}", .chunkSize),
            ("0000000000000001\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("fffffffffffffffff\r\n", .chunkSize),
            ("10000000000000000\r\n", .chunkSize),
            // Line ends.
            ("1\nx\r\n0\r\n\r\n", .chunkSize),
            ("1\rx\r\n0\r\n\r\n", .chunkLineEnd),
            ("1\r\rx\r\n0\r\n\r\n", .chunkLineEnd),
            ("1;a\nx\r\n0\r\n\r\n", .chunkLineEnd),
            ("1;a\rb\r\nx\r\n0\r\n\r\n", .chunkLineEnd),
            ("1;a=\"\r\n\"\r\nx\r\n0\r\n\r\n", .chunkSize),
            ("1;a=\"\n\"\r\nx\r\n0\r\n\r\n", .chunkLineEnd),
            ("1;\0\r\nx\r\n0\r\n\r\n", .chunkExtension),
            ("1;\u{7F}\r\nx\r\n0\r\n\r\n", .chunkExtension),
            ("1;\u{1B}\r\nx\r\n0\r\n\r\n", .chunkExtension),
            // Data.
            ("1\r\nxy\r\n0\r\n\r\n", .chunkDataEnd),
            ("1\r\nx\n0\r\n\r\n", .chunkDataEnd),
            ("1\r\nx\r0\r\n\r\n", .chunkDataEnd),
            ("1\r\nx0\r\n\r\n", .chunkDataEnd),
            ("2\r\nx\r\n0\r\n\r\n", .chunkDataEnd),
            ("1\r\nx\r\n\r\n0\r\n\r\n", .chunkSize),
            // Trailers.
            ("0\r\n\n", .trailerLineEnd),
            ("0\r\n\rx", .trailerLineEnd),
            ("0\r\nA: b\n\r\n", .trailerLineEnd),
            ("0\r\nA: b\rc\r\n\r\n", .trailerLineEnd),
            ("0\r\nA: b\0\r\n\r\n", .fieldValueOctet),
            ("0\r\nA: b\u{7F}\r\n\r\n", .fieldValueOctet),
            ("0\r\nA b\r\n\r\n", .fieldNameSpace),
            ("0\r\nA : b\r\n\r\n", .fieldNameSpace),
            ("0\r\nA\t: b\r\n\r\n", .fieldNameSpace),
            ("0\r\nA\r\n\r\n", .fieldWithoutColon),
            ("0\r\nA\n\r\n", .fieldWithoutColon),
            ("0\r\n: b\r\n\r\n", .fieldNameEmpty),
            ("0\r\n b\r\n\r\n", .foldedLine),
            ("0\r\nA: b\r\n c\r\n\r\n", .foldedLine),
            ("0\r\n\tA: b\r\n\r\n", .foldedLine),
            ("0\r\n(: b\r\n\r\n", .fieldNameOctet),
            ("0\r\nA(: b\r\n\r\n", .fieldNameOctet),
            ("0\r\nA\u{E9}: b\r\n\r\n", .fieldNameOctet),
            ("0\r\nA\0: b\r\n\r\n", .fieldNameOctet),
            // The next request in place of the final empty line.
            ("0\r\nGET / HTTP/1.1\r\n\r\n", .fieldNameSpace),
        ])
    func refused(body: String, refusal: HTTPRefusal) {
        expectRefusal(head + body, refusal)
    }

    @Test("octets in each place where one is free", arguments: UInt8.min...UInt8.max)
    func octets(octet: UInt8) {
        let scalar = String(Unicode.Scalar(octet))
        let isText = octet == 0x09 || octet >= 0x20 && octet != 0x7F
        #expect(reading("\(head)1;a\(scalar)b\r\nx\r\n0\r\n\r\n").messages.count == (isText ? 1 : 0))
        #expect(reading("\(head)0\r\nA: b\(scalar)c\r\n\r\n").messages.count == (isText ? 1 : 0))
        let isToken = octet < 0x80 && "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:".contains(scalar)
        #expect(reading("\(head)0\r\nA\(scalar)B: c\r\n\r\n").messages.count == (isToken ? 1 : 0))
        let value = Int(scalar, radix: 16)
        let sized = reading("\(head)0\(scalar)\r\n\(String(repeating: "x", count: value ?? 0))\(value ?? 0 > 0 ? "\r\n0\r\n" : "")\r\n")
        #expect(sized.messages.map(\.content.count) == ((value ?? (octet == 0x3B ? 0 : nil)).map { [$0] } ?? []))
    }

    @Test("size line: the last byte that fits, and the first that does not")
    func lineLimit() {
        var limits = WireLimits()
        limits.chunkLineBytes = 10
        #expect(reading("\(head)1;89abcdef\r\nx\r\n0\r\n\r\n", limits: limits).messages.count == 1)
        expectRefusal("\(head)1;89abcdefg\r\nx\r\n0\r\n\r\n", .chunkLineTooLong(limit: 10), limits: limits)
        // Without a line end in sight.
        expectRefusal("\(head)1;89abcdefg", .chunkLineTooLong(limit: 10), limits: limits)
    }

    @Test("trailers: the last byte that fits, and the first that does not")
    func trailerLimit() {
        var limits = WireLimits()
        limits.trailerBytes = 13
        #expect(reading("\(head)0\r\nA: b\r\nCD: e\r\n\r\n", limits: limits).messages.count == 1)
        expectRefusal("\(head)0\r\nA: b\r\nCD: ef\r\n\r\n", .trailerTooLarge(limit: 13), limits: limits)
        // Without a line end in sight.
        #expect(reading("\(head)0\r\nA: 0123456789", limits: limits).end == .incomplete)
        expectRefusal("\(head)0\r\nA: 0123456789a", .trailerTooLarge(limit: 13), limits: limits)
    }

    @Test("small chunks may be many; long extensions on small chunks may not")
    func overhead() {
        let many = String(repeating: "1\r\nx\r\n", count: 2000)
        #expect(reading("\(head)\(many)0\r\n\r\n").messages.map(\.content.count) == [2000])
        let annotated = String(repeating: "1;\(String(repeating: "e", count: 200))\r\nx\r\n", count: 100)
        expectRefusal("\(head)\(annotated)0\r\n\r\n", .chunkOverhead)
        // The same extensions on chunks that carry something.
        let filled = String(repeating: "80;\(String(repeating: "e", count: 200))\r\n\(String(repeating: "x", count: 128))\r\n", count: 100)
        #expect(reading("\(head)\(filled)0\r\n\r\n").messages.map(\.content.count) == [12800])
    }

    @Test("ranges, consumption and the end")
    func events() throws {
        var decoder = ChunkedDecoder(limits: WireLimits())
        var consumed = 0
        let input = latin1("3\r\nabcd")
        try input.withUnsafeBytes { bytes in
            let event = try decoder.next(UnsafeRawBufferPointer(rebasing: bytes[..<5]), consumed: &consumed)
            #expect(event == .content(3..<5) && consumed == 5)
            let rest = try decoder.next(UnsafeRawBufferPointer(rebasing: bytes[5...5]), consumed: &consumed)
            #expect(rest == .content(0..<1) && consumed == 1)
        }
        let none = try decoder.next(UnsafeRawBufferPointer(start: nil, count: 0), consumed: &consumed)
        #expect(none == .needMore && consumed == 0)
        try latin1("\r\n0\r\n\r\nGET").withUnsafeBytes { bytes in
            let end = try decoder.next(bytes, consumed: &consumed)
            #expect(end == .finished && consumed == 7)
            let again = try decoder.next(bytes, consumed: &consumed)
            #expect(again == .finished && consumed == 0)
        }
    }

    @Test("the largest size is announced, not added up")
    func largest() {
        let transcript = Transcript(of: latin1("\(head)fffffffffffffff\r\nabc"))
        #expect(transcript.end == .incomplete)
    }
}
