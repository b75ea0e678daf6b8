import HTTPWire
import Testing

@Suite("Head of a response")
struct ResponseScannerTests {
    private struct Reading: Equatable {
        var length: Int
        var status: Int
        var framing: ResponseScanner.Framing
        var keepsAlive: Bool
        var offset: String
        var cursor: String
        var flags: [Bool]
    }

    /// The same whatever the arrivals; nil: it is not complete.
    private func read(_ input: String, location: SourceLocation = #_sourceLocation) throws -> Reading? {
        let bytes = latin1(input)
        func attempt(_ step: Int) -> Result<Reading?, ResponseFault> {
            var scanner = ResponseScanner()
            do throws(ResponseFault) {
                var length: Int?
                for end in Array(stride(from: 0, to: bytes.count, by: step)) + [bytes.count] {
                    // Into new memory each time, as a buffer that grows may move.
                    length = try scan(&scanner, Array(bytes[..<end]))
                    if length != nil { break }
                }
                guard let length else { return .success(nil) }
                return .success(
                    Reading(
                        length: length, status: scanner.status, framing: scanner.framing, keepsAlive: scanner.keepsAlive,
                        offset: text(Array(bytes[scanner.nextOffset])), cursor: text(Array(bytes[scanner.cursor])),
                        flags: [scanner.isUpToDate, scanner.isClosed]))
            } catch {
                return .failure(error)
            }
        }
        let whole = attempt(bytes.count + 1)
        for step in [1, 2, 3, 7, 8, 9, 64] {
            #expect(attempt(step) == whole, "\(step) bytes at a time: \(input)", sourceLocation: location)
        }
        return try whole.get()
    }

    private func scan(_ scanner: inout ResponseScanner, _ bytes: [UInt8]) throws(ResponseFault) -> Int? {
        let outcome: Result<Int?, ResponseFault> = bytes.withUnsafeBytes { buffer in
            do throws(ResponseFault) { return .success(try scanner.scan(buffer)) } catch { return .failure(error) }
        }
        return try outcome.get()
    }

    @Test("an answer to an append")
    func append() throws {
        let head =
            "HTTP/1.1 204 No Content\r\nDate: Mon, 23 Nov 2026 14:43:08 GMT\r\nstream-NEXT-offset: \t00_14 \r\nStream-Closed: true\r\n\r\n"
        let reading = try #require(try read(head + "HTTP/1.1 200 OK\r\n"))
        #expect(reading.length == head.utf8.count && reading.status == 204 && reading.framing == .length(0) && reading.keepsAlive)
        #expect(reading.offset == "00_14" && reading.cursor.isEmpty && reading.flags == [false, true])
    }

    @Test("an answer to a long-poll")
    func longPoll() throws {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nStream-Cursor: 123\r\nStream-Next-Offset:00_19\r\nStream-Up-To-Date: TRUE\r\nETag: \"a\"\r\n\r\n"
        let reading = try #require(try read(head + "hello"))
        #expect(reading.length == head.utf8.count && reading.framing == .length(5) && reading.offset == "00_19" && reading.cursor == "123")
        #expect(reading.flags == [true, false])
    }

    @Test(
        "framing and connection (RFC 9112 6.3, 9.3)",
        arguments: [
            ("1.1 200", "", ResponseScanner.Framing.untilClose, false),
            ("1.1 200", "Content-Length: 0\r\n", .length(0), true),
            ("1.1 200", "Content-Length: 7\r\nContent-Length: 7\r\n", .length(7), true),
            ("1.1 200", "Transfer-Encoding: Chunked\r\n", .chunked, true),
            ("1.1 200", "Content-Length: 7\r\nConnection: upgrade, Close\r\n", .length(7), false),
            ("1.0 200", "Content-Length: 7\r\n", .length(7), false),
            ("1.0 200", "Content-Length: 7\r\nConnection: keep-alive\r\n", .length(7), true),
            ("1.1 304", "Content-Length: 7\r\n", .length(0), true),
            ("1.1 204", "", .length(0), true),
            ("1.1 500", "Content-Length: 999999999999999999\r\n", .length(999_999_999_999_999_999), true),
        ])
    func framing(line: String, fields: String, framing: ResponseScanner.Framing, keepsAlive: Bool) throws {
        let reading = try #require(try read("HTTP/\(line) x\r\n\(fields)\r\n"))
        #expect(reading.framing == framing && reading.keepsAlive == keepsAlive)
    }

    @Test("interim responses are passed over, fields and all")
    func interim() throws {
        let head = "HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\nHTTP/1.1 103\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
        let reading = try #require(try read(head))
        #expect(reading.length == head.utf8.count && reading.status == 201 && reading.framing == .length(0))
    }

    @Test(
        "incomplete", arguments: ["", "H", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP/1.1 100\r\n\r\n"])
    func incomplete(input: String) throws {
        #expect(try read(input) == nil)
    }

    @Test(
        "faults",
        arguments: [
            ("\r\n", ResponseFault.statusLine), ("\n", .statusLine), ("HTTP/1.1 200 OK\n", .statusLine), ("HTTP/2 200\r\n", .statusLine),
            ("HTTP/1.1 20\r\n", .statusLine), ("HTTP/1.1 2000\r\n", .statusLine), ("HTTP/1.1 099 x\r\n", .statusLine),
            ("HTTP/1.1  200 x\r\n", .statusLine), ("event: data\r\n", .statusLine),
            ("HTTP/1.1 200 OK\r\nA\r\n", .fieldLine), ("HTTP/1.1 200 OK\r\n: b\r\n", .fieldLine), ("HTTP/1.1 200 OK\r\nA: b\n", .fieldLine),
            ("HTTP/1.1 200 OK\r\n\n", .fieldLine),
            ("HTTP/1.1 200 OK\r\nContent-Length: \r\n", .framing), ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n", .framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n", .framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n", .framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n", .framing),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", .framing),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", .framing),
        ])
    func faults(input: String, fault: ResponseFault) {
        #expect(throws: fault) { try read(input) }
    }

    @Test("a head is bounded")
    func bound() {
        #expect(throws: ResponseFault.headTooLarge) {
            try read("HTTP/1.1 200 OK\r\n" + String(repeating: "A: b\r\n", count: ResponseScanner.headLimit / 6))
        }
    }
}
