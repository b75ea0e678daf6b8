import HTTPWire
import Testing

@Suite("Status lines")
struct ResponseLineTests {
    private static let used = [
        100, 200, 201, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410, 411, 413, 414, 417, 421, 426, 429, 431, 500, 501, 503, 505, 507,
    ]

    @Test("form (RFC 9112 4)", arguments: used)
    func form(status: Int) {
        let line = ResponseLine.statusLine(status).withUTF8Buffer { Array($0) }
        #expect(text(line).hasPrefix("HTTP/1.1 \(status) "))
        #expect(line.suffix(2) == [0x0D, 0x0A])
        let phrase = line[13..<line.count - 2]
        #expect(!phrase.isEmpty && phrase.allSatisfy { (0x20...0x7E).contains($0) })
    }

    @Test("phrases") func phrases() {
        #expect(text(ResponseLine.statusLine(200).withUTF8Buffer { Array($0) }) == "HTTP/1.1 200 OK\r\n")
        #expect(text(ResponseLine.statusLine(204).withUTF8Buffer { Array($0) }) == "HTTP/1.1 204 No Content\r\n")
        #expect(text(ResponseLine.statusLine(431).withUTF8Buffer { Array($0) }) == "HTTP/1.1 431 Request Header Fields Too Large\r\n")
    }
}
