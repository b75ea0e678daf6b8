// PROTOCOL.md section 4, SSE. What is read here went through a parser of the event stream format, as in a browser.

import Foundation
import Testing

@Suite struct ServerSentEventsTests {
    static let server = SuiteServer(.dev, "--sse-interval", "600s")
    static let brief = SuiteServer(.dev, "--sse-interval", "1s")

    private let text = ["Content-Type: text/plain"]

    @Test("text/event-stream, no-cache, no-transform, X-Accel-Buffering: no, no Content-Length; headers are flushed immediately")
    func headers() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let reader = try stream.follow()
        let head = reader.head
        #expect(
            head["Content-Type"]?.hasPrefix("text/event-stream") == true && head["Cache-Control"] == "no-cache, no-transform",
            "\(head.summary)")
        #expect(head["X-Accel-Buffering"] == "no" && head["Content-Length"] == nil && head["Stream-SSE-Data-Encoding"] == nil)
    }

    @Test("A control event comes first of all when there is nothing to send")
    func controlFirst() throws {
        for (body, offset) in [("", "-1"), ("", Offset.start), ("data", Offset.at(4)), ("data", "now")] {
            let stream = try Self.server.stream()
            try stream.create(Payload(stringLiteral: body))
            let batch = try #require(try stream.follow(from: offset).batch())
            #expect(batch.data == nil && batch.control.upToDate && !batch.control.streamClosed)
            #expect(batch.control.offset == Offset.at(body.utf8.count))
            #expect(batch.control.cursor.map { !$0.isEmpty && $0.allSatisfy(\.isNumber) } == true)
        }
    }

    @Test("What is there comes first, with a control event right after every data event; upToDate only when caught up")
    func catchUp() throws {
        let stream = try Self.server.stream()
        try stream.create()
        var content = ""
        for index in 0..<30 {
            let line = String(decoding: Payload.letters(90_000, seed: index).bytes, as: UTF8.self)
            content += line
            try stream.append(Payload(line.utf8))
        }
        let reader = try stream.follow(from: Offset.at(7))
        let batches = try reader.batches { $0.upToDate }
        #expect(batches.map { $0.text ?? "" }.joined() == String(content.dropFirst(7)))
        var position = 7
        for batch in batches {
            position += batch.data?.data.count ?? 0
            #expect(batch.control.offset == Offset.at(position))
            #expect(batch.control.upToDate == (position == content.count))
        }
        #expect(!reader.client.isReadable(within: .milliseconds(100)))
    }

    @Test("One stored append delivered live is exactly one data and one control event")
    func liveAppends() throws {
        let stream = try Self.server.stream()
        try stream.create("old")
        let readers = try (0..<10).map { _ in try stream.follow(from: Offset.at(3)) }
        for reader in readers { #expect(try #require(try reader.batch()).data == nil) }
        var position = 3
        for size in [1, 10, 5000, 200_000, 2_000_000, 1] {
            let body = Payload.letters(size, seed: size)
            position += size
            #expect(try stream.append(body) == Offset.at(position))
            for reader in readers {
                let batch = try #require(try reader.batch())
                #expect(batch.data?.data == body.bytes)
                #expect(batch.control.offset == Offset.at(position) && batch.control.upToDate && batch.control.cursor != nil)
            }
        }
        for reader in readers { #expect(!reader.client.isReadable(within: .milliseconds(20))) }
    }

    @Test("Pipelined appends come complete and in order")
    func fastAppends() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let reader = try stream.follow()
        _ = try reader.batch()
        let writer = try stream.server.connect()
        for index in 0..<500 { try writer.send("POST", stream.path, text, "(\(index))") }
        let expected = (0..<500).map { "(\($0))" }.joined()
        let batches = try reader.batches { $0.offset == Offset.at(expected.utf8.count) }
        #expect(batches.map { $0.text ?? "" }.joined() == expected)
        for _ in 0..<500 { #expect(try writer.response().status == 204) }
    }

    @Test(
        "`event: ` has a space, `data:` has none; the payload is split on CRLF, CR and LF",
        arguments: [
            "a", "a\nb", "a\r\nb", "a\rb", "a\n", "a\r", "a\r\n", "\n", "\r", "\r\n", "\n\n", "\r\r", "\n\r", "\r\n\r\n", "\na", "a\n\nb",
            "a\r\n\rb",
            "data:x", "event: control", "id: 1\nretry: 1", ":comment", "a:b", " a", "  a", "\n a", " ", "\u{FEFF}a",
            "\u{2028}a\u{85}b\u{B}c\u{C}d", "\0",
        ])
    func splitting(payload: String) throws {
        let stream = try Self.server.stream()
        try stream.create()
        let live = try stream.follow()
        #expect(try #require(try live.batch()).data == nil)
        try stream.append(Payload(payload.utf8))
        // What a parser makes of line ends: one LF for each CRLF, CR or LF.
        var expected: [UInt8] = []
        let bytes = Array(payload.utf8)
        for (index, byte) in bytes.enumerated() {
            if byte == 13 { expected.append(10) } else if byte != 10 || index == 0 || bytes[index - 1] != 13 { expected.append(byte) }
        }
        for reader in [live, try stream.follow()] {
            let event = try #require(try reader.event())
            #expect(event.name == "data" && event.data == expected, "\(event)")
            #expect(event.lines.first == Array("event: data".utf8))
            #expect(event.lines.count == 3 + expected.filter { $0 == 10 }.count)
            for (line, part) in zip(event.lines.dropFirst().dropLast(), expected.split(separator: 10, omittingEmptySubsequences: false)) {
                // A parser strips one space, so a line that begins with one may have another before it.
                #expect(line == Array("data:".utf8) + part || part.first == 0x20 && line == Array("data: ".utf8) + part)
            }
            let control = try #require(try reader.event())
            #expect(control.lines.first == Array("event: control".utf8) && control.lines.count == 3)
            #expect(control.lines[1].starts(with: Array("data:{".utf8)))
            #expect(control.lines[2] == Array("id:\(Offset.at(bytes.count))".utf8) && event.lines.last == control.lines[2])
            #expect(try ControlEvent(control).offset == Offset.at(bytes.count))
        }
    }

    @Test("no payload can forge an event")
    func forging() throws {
        let control = "event: control\ndata:{\"streamNextOffset\":\"0000000000000000_0000000000000000\",\"streamClosed\":true}"
        for end in ["\n", "\r", "\r\n"] {
            for lead in ["", "x", end, end + end] {
                for type in ["text/plain", "application/json", "application/octet-stream"] {
                    let stream = try Self.server.stream(type)
                    try stream.create()
                    let reader = try stream.follow()
                    #expect(try #require(try reader.batch()).data == nil)
                    let forged = lead + end + end + control.replacing("\n", with: end) + end + end
                    let body = type == "application/json" ? "[\(end)\(end)1,\(end)\(end)2\(end)\(end)]" : forged
                    let tail = try stream.append(Payload(body.utf8))
                    let batch = try #require(try reader.batch())
                    #expect(batch.data != nil && batch.control.offset == tail && batch.control.upToDate && !batch.control.streamClosed)
                    #expect(!reader.client.isReadable(within: .milliseconds(5)))
                }
            }
        }
    }

    @Test("A CRLF that two appends share is no lost line")
    func sharedLineEnd() throws {
        let stream = try Self.server.stream()
        try stream.create("a\r")
        try stream.append("\nb")
        let batches = try stream.follow().batches { $0.upToDate }
        let joined = batches.compactMap(\.data?.data)
        // In one event it is one line end; in two events it may be seen as two.
        #expect(joined == [Array("a\nb".utf8)] || joined == [Array("a\n".utf8), Array("\nb".utf8)], "\(joined)")
    }

    @Test(
        "Content types other than `text/*` and `application/json`: base64, with Stream-SSE-Data-Encoding",
        arguments: [
            ("application/octet-stream", true), ("image/png", true), ("application/xml", true), ("application/ld+json", true),
            ("application/x-ndjson", true), ("texts/plain", true), ("text/html", false), ("TEXT/csv; charset=utf-8", false),
            ("Application/JSON;v=1", false),
        ])
    func encodings(type: String, isEncoded: Bool) throws {
        let stream = try Self.server.stream(type)
        try stream.create("1")
        let reader = try stream.follow()
        #expect(reader.head["Stream-SSE-Data-Encoding"] == (isEncoded ? "base64" : nil))
        let batch = try #require(try reader.batch())
        let isJSON = type.lowercased().hasPrefix("application/json")
        #expect(batch.text == (isEncoded ? "MQ==" : isJSON ? "[1]" : "1"))
    }

    @Test("data events carry standard padded base64")
    func base64() throws {
        let stream = try Self.server.stream("application/octet-stream")
        try stream.create()
        let reader = try stream.follow()
        _ = try reader.batch()
        var content: [UInt8] = []
        for size in [1, 2, 3, 4, 5, 255, 256, 100_000, 700_001] {
            let body = Payload.pattern(size, seed: size)
            content += body.bytes
            try stream.append(body)
            let batch = try #require(try reader.batch())
            #expect(batch.data?.lines.count == 3 && decodeBase64(batch.data?.data ?? []) == body.bytes)
        }
        let again = try stream.follow().batches { $0.upToDate }
        var joined: [UInt8] = []
        for batch in again { joined += try #require(decodeBase64(batch.data?.data ?? [])) }
        #expect(joined == content)
    }

    @Test("JSON: the data event is a JSON array, as a GET would return")
    func json() throws {
        let stream = try Self.server.stream("application/json")
        try stream.create("[1,\"a\\nb\"]")
        let reader = try stream.follow()
        var batch = try #require(try reader.batch())
        #expect(batch.text?.filter { !$0.isWhitespace } == "[1,\"a\\nb\"]")
        try stream.append("{\"x\":[1,2]}")
        batch = try #require(try reader.batch())
        #expect(batch.text?.filter { !$0.isWhitespace } == "[{\"x\":[1,2]}]" && batch.control.upToDate)
        try stream.append("[[],[[]],\"\u{2028}\"]")
        batch = try #require(try reader.batch())
        #expect(batch.text?.filter { $0 != "\n" && $0 != " " } == "[[],[[]],\"\u{2028}\"]")
    }

    // MARK: UTF-8

    @Test(
        "Text is never cut inside a UTF-8 character: one whose end has not been appended yet is held back, and the offset stays before it")
    func heldBack() throws {
        for character in ["é", "€", "😀"] {
            let bytes = Array(character.utf8)
            for cut in 1..<bytes.count {
                let stream = try Self.server.stream()
                try stream.create("ab")
                let reader = try stream.follow(from: Offset.at(2))
                #expect(try #require(try reader.batch()).data == nil)
                // The stream's tail is behind the cut character, the reader's offset before it.
                #expect(try stream.append(Payload(Array("x".utf8) + bytes[..<cut])) == Offset.at(3 + cut))
                var batch = try #require(try reader.batch())
                #expect(batch.text == "x" && batch.control.offset == Offset.at(3))
                // A new reader sees the same.
                let second = try #require(try stream.follow(from: Offset.at(1)).batch())
                #expect(second.text == "bx" && second.control.offset == Offset.at(3))
                for byte in bytes[cut..<(bytes.count - 1)] { try stream.append(Payload([byte])) }
                try stream.append(Payload([bytes.last!] + Array("y".utf8)))
                var text = ""
                repeat {
                    batch = try #require(try reader.batch())
                    text += batch.text ?? ""
                    #expect(batch.control.offset == Offset.at(3) || batch.control.offset == Offset.at(4 + bytes.count))
                } while batch.control.offset == Offset.at(3)
                #expect(text == character + "y")
                // A catch-up read gives the bytes as they are.
                #expect(try stream.get().body == Array("abx\(character)y".utf8))
            }
        }
    }

    @Test("held back … until the stream closes")
    func heldUntilClose() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let reader = try stream.follow()
        _ = try reader.batch()
        try stream.append(Payload(Array("a".utf8) + [0xE2, 0x82]))
        #expect(try #require(try reader.batch()).control.offset == Offset.at(1))
        try stream.close()
        let batches = try reader.batches { $0.streamClosed }
        #expect(batches.flatMap { $0.data?.data ?? [] } == Array("\u{FFFD}".utf8))
        #expect(batches.last?.control.offset == Offset.at(3))
        #expect(try reader.batch() == nil)
    }

    @Test(
        "Bytes that can be no beginning of a character are not held back",
        arguments: [[0xFF], [0x80], [0xC0], [0xE2, 0x28], [0xF8, 0x88], [0xED, 0xA0]] as [[UInt8]])
    func invalid(bytes: [UInt8]) throws {
        let stream = try Self.server.stream()
        try stream.create()
        let reader = try stream.follow()
        _ = try reader.batch()
        try stream.append(Payload(bytes))
        let batch = try #require(try reader.batch())
        #expect(batch.data?.data == Array(String(decoding: bytes, as: UTF8.self).utf8) && batch.control.offset == Offset.at(bytes.count))
        // GET gives them back as they are.
        #expect(try stream.get().body == bytes)
    }

    @Test("`Last-Event-ID`: a reader goes on there, whatever `offset` says; at the end of a closed stream 204 ends its coming back")
    func resumption() throws {
        let stream = try Self.server.stream()
        try stream.create("abc")
        try stream.append("def")
        for offset in ["-1", "now", Offset.at(1)] {
            let batch = try #require(try stream.follow(from: offset, ["Last-Event-ID: \(Offset.at(3))"]).batch())
            #expect(batch.text == "def" && batch.control.offset == Offset.at(6))
        }
        // Any other value is as if it were not there.
        for value in ["", "3", "-1", "now", Offset.at(3) + "x"] {
            #expect(try #require(try stream.follow(from: Offset.at(1), ["Last-Event-ID: \(value)"]).batch()).text == "bcdef")
        }
        try stream.close()
        let last = try #require(try stream.follow(from: "-1", ["Last-Event-ID: \(Offset.at(3))"]).batch())
        #expect(last.text == "def" && last.control.streamClosed)
        let response = try stream.get("offset=-1&live=sse", ["Last-Event-ID: \(Offset.at(6))"])
        #expect(response.status == 204 && response["Stream-Closed"] == "true" && response.body.isEmpty, "\(response.summary)")
        // Without the header the same place has its control event.
        #expect(try #require(try stream.follow(from: Offset.at(6)).batch()).control.streamClosed)
    }

    @Test("After `sse-heartbeat` without an event a comment is sent, and none while events come")
    func heartbeats() throws {
        let server = try ServerProcess(.dev, ["--sse-heartbeat", "300ms"])
        let stream = server.stream()
        try stream.create("x")
        let client = try server.connect()
        try client.send("GET", "\(stream.path)?offset=-1&live=sse")
        #expect(try client.head().status == 200)
        var text = ""
        while text.components(separatedBy: "\n:\n\n").count < 4, let piece = try client.piece(within: .seconds(5)) {
            text += String(decoding: piece, as: UTF8.self)
        }
        #expect(text.components(separatedBy: "event: control").count == 2)
        // A parser passes over them.
        let reader = try stream.follow()
        #expect(try #require(try reader.batch()).text == "x")
        usleep(700_000)
        try stream.append("y")
        #expect(try #require(try reader.batch()).text == "y")
    }

    @Test("A reader that is behind keeps its stream's TTL alive")
    func behindOnALifetime() throws {
        let stream = try Self.server.stream()
        try stream.create("", ["Stream-TTL: 1"])
        for seed in 0..<12 { try stream.append(.letters(1_000_000, seed: seed)) }
        let client =
            Transport.current == .http1
            ? try RawClient(port: stream.server.port, receiveBuffer: 65_536) : try stream.server.connect(receiveBuffer: 65_536)
        try client.send("GET", "\(stream.path)?offset=-1&live=sse")
        let reader = try EventStreamReader(client)
        var received = 0
        // Far longer than the TTL for less than the kernel takes at once.
        while received < 12_000_000 {
            received += try #require(try reader.batch()).data?.data.count ?? 0
            usleep(15_000)
        }
        #expect(try stream.head().status == 200)
    }

    @Test("No event of a long text ends inside a character")
    func longText() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let text = Array(String(repeating: "aé€😀", count: 60_000).utf8)
        let writer = try stream.server.connect()
        var index = 0
        var size = 1
        while index < text.count {
            let end = min(index + size, text.count)
            try stream.append(Payload(text[index..<end]), over: writer)
            index = end
            size = size * 3 % 70_001 + 1
        }
        let batches = try stream.follow().batches { $0.upToDate }
        for batch in batches { #expect(batch.data.map { String(validating: $0.data, as: UTF8.self) != nil } ?? true) }
        #expect(batches.flatMap { $0.data?.data ?? [] } == text)
    }

    // MARK: Ends

    @Test("At the end of a closed stream the control event has streamClosed and no streamCursor, then the connection ends")
    func closed() throws {
        for (body, offset) in [("", "-1"), ("data", "-1"), ("data", Offset.at(2)), ("data", Offset.at(4)), ("data", "now")] {
            let stream = try Self.server.stream()
            try stream.create(Payload(stringLiteral: body))
            try stream.close()
            let reader = try stream.follow(from: offset)
            let batches = try reader.batches { $0.streamClosed }
            let start = offset == "now" ? body.utf8.count : offset == "-1" ? 0 : try Offset.position(offset)
            #expect(batches.map { $0.text ?? "" }.joined() == String(body.dropFirst(start)))
            #expect(batches.last?.control.cursor == nil && batches.last?.control.offset == Offset.at(body.utf8.count))
            #expect(try reader.batch() == nil)
        }
    }

    @Test("Close-only on a live reader sends that control event too")
    func closeOnly() throws {
        let stream = try Self.server.stream()
        let tail = try stream.create("data")
        let reader = try stream.follow()
        #expect(try #require(try reader.batch()).text == "data")
        try stream.close()
        let batch = try #require(try reader.batch())
        #expect(batch.data == nil && batch.control.streamClosed && batch.control.cursor == nil && batch.control.offset == tail)
        #expect(try reader.batch() == nil)
    }

    @Test("Deleted: live readers are ended, with no event that says closed")
    func deleted() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        let readers = try (0..<10).map { _ in try stream.follow() }
        for reader in readers { _ = try reader.batch() }
        #expect(try stream.delete().status == 204)
        // Nothing of the next stream of this name reaches them.
        try stream.create("other")
        for reader in readers {
            while let batch = try reader.batch() { #expect(batch.data == nil && !batch.control.streamClosed) }
        }
    }

    @Test("The server ends the connection after the configured interval, between events; nothing is lost between two connections")
    func interval() throws {
        let stream = try Self.brief.stream()
        try stream.create()
        let writer = try stream.server.connect()
        var sent = ""
        var read = ""
        var offset = "-1"
        for _ in 0..<2 {
            let reader = try stream.follow(from: offset)
            let time = try elapsed {
                while true {
                    if read == sent {
                        try stream.append("(\(sent.utf8.count))", over: writer)
                        sent += "(\(sent.utf8.count))"
                    }
                    guard let batch = try reader.batch(within: .seconds(5)) else { return }
                    read += batch.text ?? ""
                    offset = batch.control.offset
                }
            }
            #expect(time > .milliseconds(400) && time < .seconds(3), "\(time)")
        }
        #expect(try read + String(decoding: stream.contents(from: offset), as: UTF8.self) == sent)
        #expect(!read.isEmpty)
    }

    @Test("An idle connection ends after the interval as well, and the next request may follow on it or on a new one")
    func idleInterval() throws {
        let stream = try Self.brief.stream()
        try stream.create("x")
        let reader = try stream.follow()
        #expect(try #require(try reader.batch()).text == "x")
        #expect(try reader.batch(within: .seconds(5)) == nil)
    }

    @Test("HTTP/1.0: no chunks, the connection's end is the end", .onlyHTTP1("HTTP/1.0 is another version"))
    func http10() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        let client = try stream.server.connect()
        try client.send("GET \(stream.path)?offset=-1&live=sse HTTP/1.0\r\n\r\n")
        let reader = try EventStreamReader(client)
        #expect(reader.head["Transfer-Encoding"] == nil)
        #expect(try #require(try reader.batch()).text == "data")
        try stream.close()
        #expect(try #require(try reader.batch()).control.streamClosed)
        #expect(try reader.batch() == nil)
    }

    @Test("Many readers of one stream get the same")
    func manyReaders() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let readers = try (0..<100).map { _ in try stream.follow() }
        for reader in readers { _ = try reader.batch() }
        let writer = try stream.server.connect()
        for index in 0..<20 { try stream.append("<\(index)>", over: writer) }
        try stream.close()
        for reader in readers {
            let batches = try reader.batches { $0.streamClosed }
            #expect(batches.map { $0.text ?? "" }.joined() == (0..<20).map { "<\($0)>" }.joined())
            #expect(try reader.batch() == nil)
        }
    }

    @Test("A reader that does not read delays nobody, and can resume by its offset")
    func slowReader() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let lazy = try stream.server.connect(receiveBuffer: 65_536)
        try lazy.send("GET", "\(stream.path)?offset=-1&live=sse")
        let reader = try EventStreamReader(lazy)
        #expect(try #require(try reader.batch()).data == nil)
        let writer = try stream.server.connect()
        let size = 1 << 20
        let body = Payload.letters(size)
        for _ in 0..<24 { try stream.append(body, over: writer) }
        #expect(try stream.request("HEAD", over: writer).offset == Offset.at(24 * size))
        // It has been cut off, or it gets everything; in no case something else.
        var offset = Offset.start
        do {
            while offset != Offset.at(24 * size), let batch = try reader.batch() {
                let count = batch.data?.data.count ?? 0
                #expect(try Offset.position(batch.control.offset) == Offset.position(offset) + count)
                offset = batch.control.offset
            }
        } catch is TestFault {}
        let rest = try stream.follow(from: offset).batches { $0.upToDate }
        #expect(rest.last?.control.offset == Offset.at(24 * size))
        #expect(try rest.map { $0.data?.data.count ?? 0 }.reduce(0, +) == 24 * size - Offset.position(offset))
    }
}
