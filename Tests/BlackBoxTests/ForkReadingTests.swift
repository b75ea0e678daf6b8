// PROTOCOL.md sections 4, 7 and 9: reading forks, across the points where they begin, at once and live.

import Glibc
import Testing

@Suite struct ForkReadingTests {
    static let server = SuiteServer(.dev, "--chunk-size", "4KiB", "--long-poll-timeout", "60s", "--sse-interval", "600s")

    private let text = ["Content-Type: text/plain"]

    // MARK: Across fork points

    @Test("A read across the boundary is one response, and one JSON array", arguments: ["text/plain", "application/json"])
    func oneResponse(type: String) throws {
        var stream = try Self.server.stream(type)
        try stream.create()
        var expected = ""
        var offsets: [String] = []
        for level in 0..<30 {
            offsets.append(try stream.append("\(level)"))
            expected += "\(level)" + (type == "application/json" ? "," : "")
            stream = try stream.fork()
        }
        let tail = try stream.append("99")
        expected += "99"
        for start in ["-1", Offset.start] + offsets {
            let response = try stream.get("offset=\(start)")
            let skipped = offsets.firstIndex(of: start).map { level in
                (0...level).reduce(0) { $0 + "\($1)".count + (type == "application/json" ? 1 : 0) }
            }
            let wanted = String(expected.dropFirst(skipped ?? 0))
            #expect(response.status == 200 && response.isUpToDate && response.offset == tail)
            #expect(response.text.filter { !$0.isWhitespace } == (type == "application/json" ? "[\(wanted)]" : wanted))
        }
        let live = try stream.longPoll(from: "-1").response()
        #expect(try live.body == stream.get().body && live.isUpToDate)
    }

    /// The offsets at which the answers end, from the start to the tail, and whether each begins where the one before ended.
    private func ends(_ stream: TestStream, from offset: String = "-1") throws -> [String] {
        var ends: [String] = []
        var next = offset
        let client = try stream.server.connect()
        repeat {
            let response = try stream.get("offset=\(next)", over: client)
            try #require(response.status == 200 && !response.body.isEmpty, "\(response.summary)")
            next = try #require(response.offset)
            ends.append(next)
            if response.isUpToDate { return ends }
        } while true
    }

    @Test("Chunk ends fall on the same positions for every reader, wherever it begins, across fork points", arguments: 1...6)
    func chunkEnds(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var stream = try Self.server.stream("application/octet-stream")
        try stream.create()
        var content: [UInt8] = []
        var offsets: [String] = [Offset.start]
        for level in 0..<8 {
            for _ in 0..<Int.random(in: 0...5, using: &random) {
                let body = Payload.pattern(Int.random(in: 1...3000, using: &random), seed: Int(seed) * 100 + content.count)
                offsets.append(try stream.append(body))
                content += body.bytes
            }
            if level < 7 {
                // At the tail or before it; what lies behind belongs to the source alone.
                let point = Int.random(in: 0...3, using: &random) == 0 ? content.count : Int.random(in: 0...content.count, using: &random)
                stream = try stream.fork(at: Offset.start, sub: "\(point)")
                content.removeSubrange(point...)
                offsets.removeAll { $0 > Offset.at(point) }
            }
        }
        let all = try ends(stream)
        #expect(try stream.contents() == content, "seed \(seed)")
        for offset in offsets where try Offset.position(offset) < content.count {
            let own = try ends(stream, from: offset)
            // A reader that begins within a chunk is in step from its first answer on.
            #expect(own == all.filter { $0 > offset }, "seed \(seed), from \(offset)")
        }
        // No answer is longer than a chunk, here that no atom is.
        var before = 0
        for end in try all.map(Offset.position) {
            #expect(end - before <= 4096, "seed \(seed)")
            before = end
        }
    }

    @Test("What the source gets after the fork does not move the fork's chunk ends, nor change its ETags")
    func sourceGoesOn() throws {
        let source = try Self.server.stream()
        try source.create(.letters(3000))
        let fork = try source.fork()
        try fork.append(.letters(500, seed: 1))
        let before = try fork.get()
        #expect(before.body.count == 3500 && before.isUpToDate)
        // Makes a cut in the source exactly where the fork begins.
        try source.append(.letters(2000, seed: 2))
        let after = try fork.get()
        #expect(after.body == before.body && after.isUpToDate && after["ETag"] == before["ETag"], "\(after.body.count) bytes")
        #expect(try fork.get("", ["If-None-Match: \(before["ETag"] ?? "")"]).status == 304)
        // A fork that is made there now begins with that cut, for all its readers.
        let later = try source.fork(at: Offset.at(3000))
        try later.append("x")
        #expect(try ends(later) == ends(later, from: Offset.at(10)))
    }

    @Test("ETags of forks: their own, changing with range and closed status, 304 across the boundary")
    func tags() throws {
        let source = try Self.server.stream()
        try source.create("abc")
        let fork = try source.fork()
        let twin = try source.fork()
        let tags = try [source, fork, twin].map { try #require(try $0.get()["ETag"]) }
        #expect(Set(tags).count == 3)
        #expect(try fork.get("", ["If-None-Match: \(tags[1])"]).status == 304)
        #expect(try fork.get("", ["If-None-Match: \(tags[0]), \(tags[2])"]).status == 200)
        try fork.append("def")
        #expect(try fork.get("", ["If-None-Match: \(tags[1])"]).status == 200)
        let tag = try #require(try fork.get()["ETag"])
        let response = try fork.get("", ["If-None-Match: \"x\", \(tag)"])
        #expect(response.status == 304 && response.offset == Offset.at(6) && response.isUpToDate && response["ETag"] == tag)
        try fork.close()
        #expect(try fork.get()["ETag"] != tag)
        #expect(try source.get("", ["If-None-Match: \(tags[0])"]).status == 304)
        #expect(try fork.get()["Cache-Control"] == source.get()["Cache-Control"])
        #expect(try fork.get("offset=now")["ETag"] == nil)
    }

    @Test("Sources of no byte, of one and of several MiB", arguments: [0, 1, 5_000_000])
    func sizes(count: Int) throws {
        let source = try Self.server.stream("application/octet-stream")
        let body = Payload.pattern(count)
        try source.create(body)
        for point in Set([0, count / 2, count]) {
            let fork = try source.fork(at: Offset.start, sub: "\(point)", [], "end")
            #expect(try fork.contents() == Array(body.bytes.prefix(point)) + Array("end".utf8))
            #expect(
                try fork.contents(from: Offset.at(point / 2)) == Array(body.bytes.prefix(point).dropFirst(point / 2)) + Array("end".utf8))
            #expect(try fork.fork().tail() == Offset.at(point + 3))
        }
        #expect(try source.contents() == body.bytes)
    }

    @Test("Forks of forks work to any depth: a hundred levels, each with its own content")
    func depth() throws {
        var streams = [try Self.server.stream("application/json")]
        try streams[0].create("0")
        for level in 1...100 {
            streams.append(try streams[level - 1].fork(named: level % 3 == 0 ? nil : "deep-\(level)", [], Payload("\(level)".utf8)))
        }
        for level in [0, 1, 50, 99, 100] {
            #expect(try streams[level].messages() == "[" + (0...level).map { "\($0)" }.joined(separator: ",") + "]")
        }
        let middle = try streams[50].tail()
        #expect(try streams[100].messages("offset=\(middle)") == "[" + (51...100).map { "\($0)" }.joined(separator: ",") + "]")
        // A level that goes on is no one else's.
        try streams[40].append("\"x\"")
        #expect(try streams[100].messages() == "[" + (0...100).map { "\($0)" }.joined(separator: ",") + "]")
        let fork = try streams[100].fork(at: Offset.start, sub: "43")
        #expect(try fork.messages() == "[" + (0...42).map { "\($0)" }.joined(separator: ",") + "]")
    }

    // MARK: Live

    @Test("Long-poll: behind the fork point at once, at the tail it waits; appends to the source do not wake it")
    func longPoll() throws {
        let source = try Self.server.stream()
        try source.create("abc")
        let fork = try source.fork()
        let behind = try fork.longPoll(from: Offset.at(1)).response()
        #expect(behind.status == 200 && behind.text == "bc" && behind.isUpToDate && behind["Stream-Cursor"] != nil)
        let clients = try [Offset.at(3), "now"].map { try fork.longPoll(from: $0) }
        let other = try source.longPoll(from: Offset.at(3))
        try source.append("source")
        #expect(try other.response().text == "source")
        for client in clients { #expect(!client.isReadable(within: .milliseconds(100))) }
        let sourceReader = try source.longPoll(from: Offset.at(9))
        try fork.append("fork")
        for client in clients {
            let response = try client.response()
            #expect(response.status == 200 && response.text == "fork" && response.offset == Offset.at(7))
        }
        #expect(!sourceReader.isReadable(within: .milliseconds(100)))
        let last = try fork.longPoll(from: Offset.at(7))
        try source.close()
        #expect(!last.isReadable(within: .milliseconds(100)))
        try fork.close()
        let end = try last.response()
        #expect(end.status == 204 && end.isClosed)
    }

    @Test("SSE: from before the fork point on, then live; appends and the close of the source are not seen")
    func events() throws {
        let source = try Self.server.stream("application/json")
        try source.create("[1,2]")
        let middle = try Offset.at(Offset.position(source.tail()) / 2)
        let fork = try source.fork([], "3")
        let reader = try fork.follow(from: middle)
        let first = try #require(try reader.batch())
        #expect(first.text?.filter { !$0.isWhitespace } == "[2,3]" && first.control.upToDate)
        try source.append("\"no\"")
        try source.close()
        try fork.append("4")
        let second = try #require(try reader.batch())
        #expect(second.text?.filter { !$0.isWhitespace } == "[4]")
        #expect(try second.control.offset == fork.tail())
        try fork.close()
        #expect(try reader.batch()?.control.streamClosed == true && reader.batch() == nil)
    }

    @Test("SSE of text: a character that begins in the source and ends in the fork comes whole", arguments: [1, 2, 3])
    func splitCharacter(cut: Int) throws {
        let source = try Self.server.stream()
        let character = Array("😀".utf8)
        try source.create(Payload(Array("a".utf8) + character))
        let fork = try source.fork(at: Offset.start, sub: "\(1 + cut)")
        let early = try fork.follow()
        let begin = try #require(try early.batch())
        #expect(begin.text == "a" && begin.control.offset == Offset.at(1))
        try fork.append(Payload(character[cut...] + Array("b".utf8)))
        #expect(try early.batch()?.text == "😀b")
        let late = try #require(try fork.follow().batch())
        #expect(late.text == "a😀b" && late.control.offset == Offset.at(6))
    }

    @Test("SSE of many chunks, across many fork points, in base64")
    func manyChunks() throws {
        var stream = try Self.server.stream("application/octet-stream")
        try stream.create()
        var content: [UInt8] = []
        for level in 0..<12 {
            let body = Payload.pattern(level * 977 % 5000 + 1, seed: level)
            try stream.append(body)
            content += body.bytes
            if level % 2 == 1 { stream = try stream.fork() }
        }
        let reader = try stream.follow()
        #expect(reader.head["Stream-SSE-Data-Encoding"] == "base64")
        var found: [UInt8] = []
        for batch in try reader.batches(until: \.upToDate) { found += try #require(decodeBase64(batch.data?.data ?? [])) }
        #expect(found == content)
        #expect(try stream.contents() == content)
    }

    // MARK: Cost

    @Test("A fork of a large source takes no room and no time", .timeLimit(.minutes(3)))
    func cost() throws {
        var server = try ServerProcess(.serve)
        let block = Payload.pattern(8 << 20)
        try server.stream("large").of("image/png").create(block)
        for _ in 1..<8 { try server.stream("large").of("image/png").append(block) }
        try server.stream("small").create("x")
        // Measured while no server runs, when all is in segments and the catalog and there is no journal.
        #expect(server.process.stop(SIGTERM) == .exit(0))
        let size = try Folder.size(server.dataDirectory)
        #expect(size > 64 << 20)
        server = try server.successor()
        let (large, small) = (server.stream("large").of("image/png"), server.stream("small"))
        let client = try server.connect()
        func fork(_ source: TestStream, _ fields: [String]) throws -> Duration {
            try elapsed {
                let response = try client.exchange("PUT", server.stream().path, source.forkFields() + fields)
                #expect(response.status == 201, "\(response.summary)")
            }
        }
        var times: (large: [Duration], small: [Duration]) = ([], [])
        for round in 0..<20 {
            times.large.append(try fork(large, ["Stream-Fork-Offset: \(Offset.start)", "Stream-Fork-Sub-Offset: \(round << 20)"]))
            times.small.append(try fork(small, []))
        }
        let (median, usual) = (times.large.sorted()[10], times.small.sorted()[10])
        #expect(median < usual * 5 + .milliseconds(5), "\(median) for 64 MiB, \(usual) for one byte")
        #expect(try large.fork(named: "last").get("offset=\(Offset.at((64 << 20) - 3))").status == 200)
        #expect(server.process.stop(SIGTERM) == .exit(0))
        let grown = try Folder.size(server.dataDirectory) - size
        #expect(grown < 64 << 10, "\(grown) bytes for 41 forks")
    }
}

/// A small generator whose sequence is its seed's (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }
}
