// PROTOCOL.md section 4, catch-up and HEAD, and section 5.

import Testing

@Suite struct ReadingTests {
    static let server = SuiteServer()
    static let chunked = SuiteServer(.dev, "--chunk-size", "4KiB")

    @Test("200 headers: Content-Type, Stream-Next-Offset, ETag, Cache-Control; up to date at the tail")
    func headers() throws {
        let stream = try Self.server.stream("text/plain; charset=utf-8")
        try stream.create("hello")
        for query in ["", "offset=-1", "offset=\(Offset.start)", "offset=%2D1"] {
            let response = try stream.get(query)
            #expect(response.status == 200 && response.text == "hello", "\(query): \(response.summary)")
            #expect(response["Content-Type"] == "text/plain; charset=utf-8" && response.offset == Offset.at(5))
            #expect(response["ETag"] != nil && response["Cache-Control"] != nil)
            #expect(response.isUpToDate && !response.isClosed)
        }
    }

    @Test("Every offset that was answered reads on from there")
    func resume() throws {
        let stream = try Self.server.stream("application/octet-stream")
        var offsets = [try stream.create()]
        var content: [UInt8] = []
        for seed in 1...40 {
            let body = Payload.pattern(seed * 37 % 301 + 1, seed: seed)
            offsets.append(try stream.append(body))
            content += body.bytes
        }
        #expect(offsets == offsets.sorted() && Set(offsets).count == offsets.count)
        for offset in offsets {
            let response = try stream.get("offset=\(offset)")
            #expect(try response.body == content[Offset.position(offset)...].map { $0 })
            #expect(response.offset == offsets.last && response.isUpToDate)
        }
    }

    @Test("the second number is the byte position: every position of a byte stream can be read from")
    func everyPosition() throws {
        let stream = try Self.server.stream("application/octet-stream")
        let content = Payload((0...255).map { UInt8($0) })
        try stream.create(Payload(content.bytes[..<100]))
        try stream.append(Payload(content.bytes[100...]))
        let client = try stream.server.connect()
        for position in 0...256 {
            #expect(try stream.get("offset=\(Offset.at(position))", over: client).body == Array(content.bytes[position...]))
        }
    }

    @Test(
        "`offset=` empty, `offset` given twice, or a token that is not of the server's form: 400",
        arguments: [
            "offset=", "offset", "offset=-1&offset=-1", "offset=\(Offset.start)&offset=\(Offset.start)", "offset=-1&offset=",
            "offset=now&offset=-1",
            "offset=0", "offset=-2", "offset=-01", "offset=abc", "offset=Now", "offset=NOW", "offset=0_0", "offset=_",
            "offset=0000000000000000", "offset=0000000000000000_", "offset=_0000000000000000", "offset=0000000000000000_000000000000000",
            "offset=0000000000000000_00000000000000000", "offset=00000000000000000_0000000000000000",
            "offset=0000000000000000-0000000000000000", "offset=0000000000000000_000000000000000a",
            "offset=0000000000000000__000000000000000",
            "offset=%2B000000000000000_0000000000000000", "offset=+000000000000000_0000000000000000",
            "offset=0000000000000000_-000000000000001", "offset=0000000000000000_0000000000000000_0000000000000000",
        ])
    func malformed(query: String) throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        for live in ["", "&live=long-poll", "&live=sse"] {
            let response = try stream.get(query + live)
            #expect(response.status == 400, "\(query + live): \(response.summary)")
        }
    }

    @Test(
        "Offsets holding space, `,` `/` `&` `=` `?`, `..`, NUL, newline: 400",
        arguments: [
            "%20", "a%20b", "+", ",", "%2C", "/", "%2F", "%26", "=", "%3D", "?", "%3F", "..", "%2E%2E", "%00", "%0A", "%0D%0A", "%C3%A9",
            "%FF", "%",
            "%zz", "%2",
        ])
    func badBytes(text: String) throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        for offset in [
            text, Offset.start + text, text + Offset.start, "-1" + text, "now" + text, "0000000000000000" + text + "0000000000000000",
        ] {
            let response = try stream.get("offset=\(offset)")
            #expect(response.status == 400, "\(offset): \(response.summary)")
        }
    }

    @Test("A token beyond the tail: 400 for catch-up")
    func beyond() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        for offset in [
            Offset.at(5), Offset.at(6), Offset.at(1_000_000), "9999999999999999_9999999999999999", "0000000000000001_0000000000000000",
        ] {
            let response = try stream.get("offset=\(offset)")
            #expect(response.status == 400, "\(offset): \(response.summary)")
        }
    }

    @Test("`live` without `offset`: 400; anything but long-poll and sse: 400")
    func live() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        for query in [
            "live=long-poll", "live=sse", "live", "live=", "offset=-1&live=", "offset=-1&live", "offset=-1&live=true", "offset=-1&live=SSE",
            "offset=-1&live=longpoll", "offset=-1&live=long_poll", "offset=-1&live=sse,long-poll", "offset=-1&live=websocket",
        ] {
            let response = try stream.get(query)
            #expect(response.status == 400, "\(query): \(response.summary)")
        }
    }

    @Test("At the tail: 200, empty body, Stream-Next-Offset = the requested offset, up to date, plus closed")
    func atTail() throws {
        for (type, body, empty) in [
            ("text/plain", "data", ""), ("application/json", "{\"a\":1}", "[]"), ("text/plain", "", ""), ("application/json", "", "[]"),
        ] {
            let stream = try Self.server.stream(type)
            let tail = try stream.create(Payload(stringLiteral: body))
            for isClosed in [false, true] {
                if isClosed { try stream.close() }
                let response = try stream.get("offset=\(tail)")
                #expect(response.status == 200 && response.text == empty, "\(response.summary)")
                #expect(response.offset == tail && response.isUpToDate && response.isClosed == isClosed)
                #expect(response["Content-Type"] == type)
            }
        }
    }

    @Test("`offset=now`, catch-up: 200, empty body or `[]`, tail offset, up to date, closed flag, no-store, no ETag")
    func now() throws {
        for (type, body, empty) in [("text/plain", "data", ""), ("application/json", "[1,2]", "[]")] {
            let stream = try Self.server.stream(type)
            let tail = try stream.create(Payload(stringLiteral: body))
            for isClosed in [false, true] {
                if isClosed { try stream.close() }
                let response = try stream.get("offset=now")
                #expect(response.status == 200 && response.text == empty, "\(response.summary)")
                #expect(response.offset == tail && response.isUpToDate && response.isClosed == isClosed)
                #expect(response["Cache-Control"] == "no-store" && response["ETag"] == nil)
            }
        }
    }

    @Test("HEAD: 200 with Content-Type, Stream-Next-Offset, no-store, Stream-TTL or Stream-Expires-At as given, Stream-Closed if closed")
    func head() throws {
        let plain = try Self.server.stream("Text/X-Odd; a=\"b c\"")
        try plain.create("data")
        var head = try plain.head()
        #expect(head.status == 200 && head["Content-Type"] == "Text/X-Odd; a=\"b c\"" && head.offset == Offset.at(4))
        #expect(head["Cache-Control"] == "no-store" && head["Stream-TTL"] == nil && head["Stream-Expires-At"] == nil && !head.isClosed)
        let sliding = try Self.server.stream()
        try sliding.create(nil, ["Stream-TTL: 3600"])
        #expect(try sliding.head()["Stream-TTL"] == "3600")
        let fixed = try Self.server.stream()
        try fixed.create(nil, ["Stream-Expires-At: 2099-01-02T03:04:05+06:07"])
        head = try fixed.head()
        #expect(head["Stream-Expires-At"] == "2099-01-02T03:04:05+06:07" && head["Stream-TTL"] == nil)
        try fixed.close()
        #expect(try fixed.head().isClosed)
    }

    @Test(
        "Every byte value comes back as it was sent, whatever the content type",
        arguments: ["application/octet-stream", "text/plain", "image/png"])
    func bytes(type: String) throws {
        let stream = try Self.server.stream(type)
        let body = Payload((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) })
        try stream.create(body)
        #expect(try stream.get().body == body.bytes)
    }

    @Test("One response carries at most the configured chunk, by default 1 MiB, one whole append at least")
    func defaultChunk() throws {
        let stream = try Self.server.stream("application/octet-stream")
        try stream.create()
        let client = try stream.server.connect()
        let sizes = [3 << 20, 600_000, 600_000, 1 << 20, 1]
        for (seed, size) in sizes.enumerated() { try stream.append(.pattern(size, seed: seed), over: client) }
        var offset = "-1"
        var ends: [Int] = []
        var content: [UInt8] = []
        while ends.last != sizes.reduce(0, +) {
            let response = try stream.get("offset=\(offset)", over: client)
            offset = try #require(response.offset)
            content += response.body
            #expect(try Offset.position(offset) == content.count)
            #expect(response.isUpToDate == (content.count == sizes.reduce(0, +)))
            try #require(ends.last != content.count)
            ends.append(content.count)
        }
        #expect(ends.first == 3 << 20)
        #expect(content == sizes.enumerated().flatMap { Payload.pattern($1, seed: $0).bytes })
        for (start, end) in zip(ends, ends.dropFirst()) { #expect(end - start <= 1 << 20) }
    }

    // MARK: Chunks of 4 KiB

    /// The ends of the answers that are met when reading from a position, and what they carried.
    private func ends(_ stream: TestStream, from position: Int, over client: RawClient) throws -> (partial: [Int], content: [UInt8]) {
        var partial: [Int] = []
        var content: [UInt8] = []
        var offset = Offset.at(position)
        while true {
            let response = try stream.get("offset=\(offset)", over: client)
            try #require(response.status == 200, "\(response.summary)")
            content += response.body
            offset = try #require(response.offset)
            #expect(try Offset.position(offset) == position + content.count)
            if response.isUpToDate { return (partial, content) }
            // "a partial response has neither Stream-Up-To-Date nor Stream-Closed"
            #expect(response["Stream-Closed"] == nil)
            try #require(!response.body.isEmpty)
            partial.append(position + content.count)
        }
    }

    @Test(
        "Chunk ends fall on the same positions for every reader",
        arguments: [
            [100], [1], [4096], [4095, 1, 1], [4097, 4097], [2000, 3000, 1000], [1, 10_000, 1], [5000],
            [17, 400, 1999, 4096, 3, 8192, 12_288, 1500],
        ])
    func sameEnds(sizes: [Int]) throws {
        let stream = try Self.chunked.stream("application/octet-stream")
        try stream.create()
        let client = try stream.server.connect()
        var boundaries = [0]
        var content: [UInt8] = []
        var seen: Set<Int> = []
        // Readers come while the stream grows, …
        for seed in 0..<(40_000 / (sizes.reduce(0, +) / sizes.count + 400) + 10) {
            let body = Payload.pattern(sizes[seed % sizes.count], seed: seed)
            try stream.append(body, over: client)
            content += body.bytes
            boundaries.append(content.count)
            let start = boundaries[seed * 7 % boundaries.count]
            let (partial, read) = try ends(stream, from: start, over: client)
            #expect(read == Array(content[start...]))
            seen.formUnion(partial)
        }
        // … and when it is complete, from everywhere.
        let (cuts, all) = try ends(stream, from: 0, over: client)
        #expect(all == content)
        #expect(seen.isSubset(of: cuts), "\(seen.subtracting(cuts).sorted()) are not among \(cuts)")
        #expect(Set(cuts).isSubset(of: boundaries), "appends are not divided")
        for start in Set(boundaries + stride(from: 1, to: content.count, by: 1777)) {
            let (partial, read) = try ends(stream, from: start, over: client)
            #expect(partial == cuts.filter { $0 > start }, "from \(start)")
            #expect(read == Array(content[start...]))
        }
        for (start, end) in zip([0] + cuts, cuts) where end - start > 4096 {
            #expect(boundaries.filter { start..<end ~= $0 } == [start], "a chunk over the limit holds one append")
        }
    }

    @Test("The end of a closed stream is told by the response that reaches it, and by no other")
    func closedEnd() throws {
        let stream = try Self.chunked.stream("application/octet-stream")
        try stream.create()
        for seed in 0..<5 { try stream.append(.pattern(3000, seed: seed)) }
        try stream.close()
        var offset = Offset.start
        for index in 1...5 {
            let response = try stream.get("offset=\(offset)")
            #expect(
                response.body.count == 3000 && response.isUpToDate == (index == 5) && response.isClosed == (index == 5),
                "\(response.fields)")
            offset = try #require(response.offset)
        }
    }

    @Test("JSON streams: a response holds whole messages, one at least")
    func jsonChunks() throws {
        let stream = try Self.chunked.stream("application/json")
        try stream.create()
        var messages: [String] = []
        for index in 0..<120 {
            let message = "{\"n\":\(index),\"s\":\"\(String(repeating: "v", count: index % 10 == 9 ? 6000 : index * 13 % 400))\"}"
            messages.append(message)
        }
        for start in stride(from: 0, to: 120, by: 8) {
            try stream.append(Payload("[\(messages[start..<start + 8].joined(separator: ","))]".utf8))
        }
        var found = ""
        var offset = "-1"
        var cuts: [String] = []
        while true {
            let response = try stream.get("offset=\(offset)")
            let text = response.text.filter { !$0.isWhitespace }
            try #require(text.first == "[" && text.last == "]" && text.count > 2, "\(response.summary)")
            found += (found.isEmpty ? "" : ",") + text.dropFirst().dropLast()
            offset = try #require(response.offset)
            if response.isUpToDate { break }
            cuts.append(offset)
            #expect(text.utf8.count <= 4096 || text.hasSuffix("v\"}]") && !text.dropFirst(2).contains("{"))
        }
        #expect(found == messages.joined(separator: ","))
        // From any of the ends, the others are met again.
        for (index, cut) in cuts.enumerated() where index + 1 < cuts.count {
            #expect(try stream.get("offset=\(cut)").offset == cuts[index + 1])
        }
    }

    @Test("A reader on the way of a writer misses nothing and meets nothing twice")
    func concurrentReader() throws {
        let stream = try Self.chunked.stream("application/octet-stream")
        try stream.create()
        let writer = try stream.server.connect()
        let reader = try stream.server.connect()
        var content: [UInt8] = []
        var read: [UInt8] = []
        var offset = "-1"
        for seed in 0..<300 {
            let body = Payload.pattern(seed * 31 % 900 + 1, seed: seed)
            try writer.send("POST", stream.path, ["Content-Type: application/octet-stream"], body)
            content += body.bytes
            let response = try stream.get("offset=\(offset)", over: reader)
            read += response.body
            offset = try #require(response.offset)
            #expect(try writer.response().status == 204)
        }
        read += try stream.contents(from: offset)
        #expect(read == content)
    }
}
