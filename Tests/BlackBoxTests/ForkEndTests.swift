// PROTOCOL.md sections 6 and 7: deleting and expiring streams that have forks, reclaiming, and names that are used again.

import Glibc
import Testing

@Suite struct ForkEndTests {
    static let server = SuiteServer(.dev, "--long-poll-timeout", "60s", "--sse-interval", "600s")

    private let text = ["Content-Type: text/plain"]

    /// Whether the stream is softly deleted: every method says so.
    private func expectRetained(_ stream: TestStream, at location: SourceLocation = #_sourceLocation) throws {
        let other = try Self.server.stream()
        let answers = [
            try stream.get(), try stream.get("offset=-1&live=long-poll"), try stream.get("offset=-1&live=sse"),
            try stream.get("offset=now"),
            try stream.get("", ["If-None-Match: *"]), try stream.head(), try stream.post(text, "x"),
            try stream.post(["Stream-Closed: true"]),
            try stream.delete(), try stream.put(text), try stream.put(other.forkFields()), try other.put(stream.forkFields()),
            try other.put(stream.forkFields(at: Offset.at(1), sub: "1")),
        ]
        let wanted = [410, 410, 410, 410, 410, 410, 410, 410, 410, 409, 409, 409, 409]
        #expect(answers.map(\.status) == wanted, sourceLocation: location)
        #expect(try other.head().status == 404, sourceLocation: location)
    }

    /// "404 within seconds".
    private func expectGone(_ stream: TestStream, at location: SourceLocation = #_sourceLocation) throws {
        let isGone = try Deadline.poll(within: .seconds(5), every: .milliseconds(20)) { try stream.head().status == 404 }
        #expect(isGone, "\(stream.path)", sourceLocation: location)
        #expect(try stream.get().status == 404 && stream.delete().status == 404, sourceLocation: location)
    }

    @Test("Deleting a stream that has forks soft-deletes it; forks go on; when the last fork goes, it is 404")
    func softDelete() throws {
        let source = try Self.server.stream()
        try source.create("abc")
        let first = try source.fork(at: Offset.at(1))
        let second = try source.fork([], "def")
        #expect(try source.delete().status == 204)
        try expectRetained(source)
        try second.append("g")
        #expect(try first.get().text == "a" && second.get().text == "abcdefg")
        // A fork can be forked, whatever has become of its source; that fork keeps the whole line.
        let third = try first.fork(at: Offset.start, sub: "1", [], "z")
        #expect(try first.delete().status == 204)
        try expectRetained(first)
        #expect(try second.delete().status == 204 && second.head().status == 404)
        try expectRetained(source)
        #expect(try third.get().text == "az")
        #expect(try third.delete().status == 204)
        for stream in [third, first, source] { try expectGone(stream) }
        try source.create("new")
        #expect(try source.get().text == "new" && source.delete().status == 204)
        try expectGone(source)
    }

    /// All orders of the first `count` numbers.
    private static func orders(_ count: Int) -> [[Int]] {
        if count == 0 { return [[]] }
        return orders(count - 1).flatMap { order in (0...order.count).map { Array(order[..<$0]) + [count - 1] + Array(order[$0...]) } }
    }

    /// The source of each of five streams: a line, a fan, and trees.
    static let shapes: [[Int?]] = [[nil, 0, 1, 2], [nil, 0, 0, 0], [nil, 0, 0, 1], [nil, 0, 1, 1, 0]]

    @Test("Deletes in every order: nobody's content changes, and what nobody needs is gone", arguments: shapes)
    func everyOrder(sources: [Int?]) throws {
        let server = try Self.server.get()
        let client = try server.connect()
        let count = sources.count
        for order in Self.orders(count) {
            var streams: [TestStream] = []
            var contents: [String] = []
            for (index, source) in sources.enumerated() {
                let stream = server.stream().of("text/plain")
                let fields = source.map { streams[$0].forkFields() } ?? text
                #expect(try stream.request("PUT", "", fields, "<\(index)>", over: client).status == 201)
                streams.append(stream)
                contents.append((source.map { contents[$0] } ?? "") + "<\(index)>")
            }
            var deleted: Set<Int> = []
            for index in order {
                #expect(try streams[index].request("DELETE", over: client).status == 204)
                deleted.insert(index)
                // A stream is kept while it, or a fork of it that is kept, is not deleted.
                var kept = [Bool](repeating: false, count: count)
                for index in (0..<count).reversed() {
                    if !deleted.contains(index) { kept[index] = true }
                    if kept[index], let source = sources[index] { kept[source] = true }
                }
                for other in 0..<count {
                    let response = try streams[other].get(over: client)
                    if !deleted.contains(other) {
                        #expect(response.text == contents[other], "\(order): \(other) after \(index)")
                    } else if kept[other] {
                        #expect(response.status == 410, "\(order): \(other) after \(index)")
                    } else if response.status != 404 {
                        try expectGone(streams[other])
                    }
                }
            }
        }
    }

    @Test("A hundred levels: all but the last deleted, in either direction, then the last", arguments: [false, true])
    func deepCascade(rootFirst: Bool) throws {
        var streams = [try Self.server.stream()]
        try streams[0].create("0")
        for level in 1...100 { streams.append(try streams[level - 1].fork([], "\(level)")) }
        for stream in rootFirst ? Array(streams.dropLast()) : streams.dropLast().reversed() { #expect(try stream.delete().status == 204) }
        #expect(try streams[100].get().text == (0...100).map { "\($0)" }.joined())
        for level in [0, 50, 99] { #expect(try streams[level].head().status == 410) }
        #expect(try streams[100].delete().status == 204)
        for stream in streams { try expectGone(stream) }
    }

    @Test("Live readers: those of a source that is deleted end, those of its forks go on", arguments: [false, true])
    func liveReaders(hasFork: Bool) throws {
        let source = try Self.server.stream()
        try source.create("abc")
        let fork = hasFork ? try source.fork() : try Self.server.stream()
        if !hasFork { try fork.create("abc") }
        let polls = try (0..<5).map { _ in try source.longPoll(from: Offset.at(3)) }
        let events = try (0..<5).map { _ in try source.follow(from: Offset.at(1)) }
        let forkPoll = try fork.longPoll(from: Offset.at(3))
        let forkEvents = try fork.follow()
        for reader in events + [forkEvents] { _ = try reader.batch() }
        // A reader that joins later comes behind those before it, so these wait by now.
        let last = try source.longPoll(from: "now")
        #expect(!last.isReadable(within: .milliseconds(100)))
        #expect(try source.delete().status == 204)
        // "Deleted while waiting: 404"; of a stream that is kept for forks, 410 says the same.
        for client in polls + [last] { #expect(try [404, hasFork ? 410 : 404].contains(client.response().status)) }
        for reader in events { #expect(try reader.batch() == nil) }
        #expect(!forkPoll.isReadable(within: .milliseconds(50)))
        try fork.append("d")
        #expect(try forkPoll.response().text == "d" && forkEvents.batch()?.text == "d")
        #expect(try fork.get().text == "abcd")
        let reader = try fork.longPoll(from: Offset.at(4))
        #expect(!reader.isReadable(within: .milliseconds(50)))
        #expect(try fork.delete().status == 204)
        #expect(try reader.response().status == 404 && forkEvents.batch() == nil)
        try expectGone(source)
    }

    @Test("Expiry of a source with forks behaves alike: 410, and gone with the last fork; a fork may outlive its source")
    func expiry() throws {
        let source = try Self.server.stream()
        try source.create("abc", ["Stream-TTL: 1"])
        let fork = try source.fork(["Stream-TTL: 600"])
        let brief = try source.fork()
        // Of those that are not asked for at all in between: the first answer comes after the time.
        usleep(2_200_000)
        #expect(try source.get().status == 410)
        // Waits until that is durable.
        #expect(try source.head().status == 410)
        try expectRetained(source)
        #expect(try brief.head().status == 404 && fork.get().text == "abc")
        try fork.append("d")
        #expect(try fork.get().text == "abcd" && fork.delete().status == 204)
        try expectGone(source)
    }

    // Fails: a read that comes between the expiry being noticed and being durable is answered 200 with the content. (StreamActor.execute,
    // `.deleting` and `.retiring`: readers see the stream as it was, which is right for a delete and wrong for an expiry.)
    @Test("Expired at access time: the second access of a turn finds it as expired as the first", arguments: [false, true])
    func expiredAtOnce(hasFork: Bool) throws {
        let server = try ServerProcess(.serve)
        let source = server.stream().of("text/plain")
        try source.create("abc", ["Stream-TTL: 1"])
        if hasFork { _ = try source.fork(["Stream-TTL: 600"]) }
        usleep(2_200_000)
        let client = try server.connect()
        // In one piece, so that all are executed before the journal has synced.
        var requests: [UInt8] = []
        for _ in 0..<4 { requests += client.request("GET", source.path) }
        try client.send(requests)
        var statuses: [Int] = []
        for _ in 0..<4 { statuses.append(try client.response(to: "GET").status) }
        #expect(statuses == [Int](repeating: hasFork ? 410 : 404, count: 4))
    }

    @Test("The last fork expires, and nobody asks: the source is reclaimed, up the chain")
    func expiryOfTheLastFork() throws {
        // Deadlines are found in the catalog, so the checkpoint says how soon.
        let server = try ServerProcess(.dev, ["--checkpoint-interval", "500ms"])
        let root = server.stream().of("text/plain")
        try root.create("a")
        let middle = try root.fork([], "b")
        let leaf = try middle.fork(["Stream-TTL: 1"])
        #expect(try root.delete().status == 204 && middle.delete().status == 204 && root.head().status == 410)
        let isGone = try Deadline.poll(within: .seconds(10), every: .milliseconds(50)) { try root.head().status == 404 }
        #expect(isGone)
        #expect(try middle.head().status == 404 && leaf.head().status == 404)
    }

    @Test("A name that is used again shares nothing with the fork, or the source, of before")
    func recreated() throws {
        let source = try Self.server.stream()
        try source.create("abc")
        let name = try Self.server.get().stream()
        var tags: Set<String> = []
        for _ in 0..<3 {
            for fields in [source.forkFields(), text, source.forkFields(at: Offset.at(1))] {
                let own = fields == text
                #expect(try name.put(fields, "own").status == 201)
                let start = own ? "" : fields.count == 1 ? "abc" : "a"
                let read = try name.get()
                #expect(read.text == start + "own" && tags.insert(read["ETag"] ?? "").inserted)
                #expect(try read.offset == Offset.at(start.count + 3) && name.head().offset == read.offset)
                for tag in tags where tag != read["ETag"] { #expect(try name.get("", ["If-None-Match: \(tag)"]).status == 200) }
                #expect(try name.post(text + TestStream.producer("p", 3, 0) + ["Stream-Seq: m"], "x").status == 200)
                #expect(try name.post(text + TestStream.producer("p", 3, 1) + ["Stream-Seq: n", "Stream-Closed: true"], "y").status == 200)
                let waiting = own ? nil : try name.longPoll(from: "now")
                _ = try waiting?.response()
                #expect(try name.delete().status == 204 && name.head().status == 404)
            }
        }
        #expect(try source.get().text == "abc" && source.delete().status == 204)
        try expectGone(source)
    }

    /// What one incarnation of a name is to be: read from one answer, it must fit every other.
    private struct Incarnation {
        var marker: String
        var longest: String
    }

    @Test("Delete, create, fork and append racing on 16 connections: no byte, offset or ETag crosses over", arguments: 1...3)
    func races(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let server = try Self.server.get()
        let source = server.stream().of("text/plain")
        try source.create("source|")
        let names = (0..<3).map { _ in server.stream().of("text/plain") }
        let clients = try (0..<16).map { _ in try server.connect() }
        var incarnations: [String: Incarnation] = [:]
        var acknowledged: Set<String> = []
        var created = 0
        for round in 0..<250 {
            var asked: [(client: Int, method: String, name: Int, word: String)] = []
            for client in clients.indices {
                let name = Int.random(in: names.indices, using: &random)
                let word = "\(round).\(client)"
                let stream = names[name]
                switch Int.random(in: 0..<10, using: &random) {
                case 0:
                    asked.append((client, "DELETE", name, word))
                    try clients[client].send("DELETE", stream.path)
                case 1, 2:
                    asked.append((client, "PUT", name, word))
                    try clients[client].send("PUT", stream.path, text, "new \(word)|")
                case 3:
                    asked.append((client, "PUT", name, word))
                    try clients[client].send("PUT", stream.path, source.forkFields(), "fork \(word)|")
                case 4:
                    // From another of the names, which may be of any kind, or not be there.
                    let other = names[(name + 1) % names.count]
                    asked.append((client, "PUT", name, word))
                    try clients[client].send("PUT", stream.path, other.forkFields(), "next \(word)|")
                case 5, 6, 7:
                    asked.append((client, "POST", name, word))
                    try clients[client].send("POST", stream.path, text + TestStream.producer("p\(word)", 0, 0), "\(word)|")
                default:
                    asked.append((client, "GET", name, word))
                    try clients[client].send("GET", stream.path)
                }
            }
            for (client, method, name, word) in asked {
                let response = try clients[client].response()
                switch method {
                case "DELETE": #expect([204, 404, 410].contains(response.status), "seed \(seed): \(response.summary)")
                case "PUT":
                    #expect([200, 201, 404, 409].contains(response.status), "seed \(seed): \(response.summary)")
                    if response.status == 201 { created += 1 }
                case "POST":
                    #expect([200, 404, 410].contains(response.status), "seed \(seed): \(response.summary)")
                    if response.status == 200 { #expect(acknowledged.insert(word).inserted) }
                default:
                    guard response.status == 200 else {
                        #expect([404, 410].contains(response.status), "seed \(seed): \(response.summary)")
                        continue
                    }
                    let body = response.text
                    #expect(try Offset.position(response.offset ?? "") == body.utf8.count, "seed \(seed): an offset of another stream")
                    let words = body.split(separator: "|").map(String.init)
                    #expect(Set(words).count == words.count, "seed \(seed): \(body)")
                    let tag = try #require(response["ETag"])
                    let id = "\(name) " + tag.split(separator: "-").prefix(2).joined(separator: "-")
                    // The last word that creates something is this incarnation's own; before it stands what it was forked from.
                    let marker = try #require(words.last { $0.contains(" ") }, "seed \(seed): \(body)")
                    var known = incarnations[id] ?? Incarnation(marker: marker, longest: body)
                    #expect(known.marker == marker, "seed \(seed): \(tag) is of two incarnations")
                    #expect(body.hasPrefix(known.longest) || known.longest.hasPrefix(body), "seed \(seed): \(tag) changed its bytes")
                    if body.count > known.longest.count { known.longest = body }
                    incarnations[id] = known
                }
            }
        }
        #expect(created > 20 && incarnations.count > 10, "seed \(seed): \(created) created, \(incarnations.count) seen")
        let markers = incarnations.values.map(\.marker)
        #expect(Set(markers).count == markers.count, "seed \(seed): one incarnation under two ETags")
        // What has been read was sent by someone who was told so.
        var seen: Set<String> = ["source"]
        for incarnation in incarnations.values { seen.formUnion(incarnation.longest.split(separator: "|").map(String.init)) }
        #expect(seen.filter { !$0.contains(" ") }.subtracting(acknowledged) == ["source"], "seed \(seed)")
        #expect(try source.get().text == "source|")
        for stream in names where try stream.delete().status != 404 {}
        for stream in names { try expectGone(stream) }
        #expect(try source.delete().status == 204)
        try expectGone(source)
    }
}
