// Damage on the disk: verify and the scrub find it, say where it is, and everything else goes on. inspect shows what is there.

import Glibc
import Testing

@Suite(.onlyInClear("Files on the disk, whoever asks")) struct DamageTests {
    private static let options = ["--chunk-size", "64KiB", "--segment-size", "1MiB", "--checkpoint-interval", "100ms", "--scrub-rate", "0"]

    /// A stopped server with a stream of several segments, a small one, and a fork of the large one.
    private func store() throws -> (server: ServerProcess, large: TestStream, content: [UInt8]) {
        let server = try ServerProcess(.serve, Self.options)
        let large = server.stream("large").of("application/octet-stream")
        let small = server.stream("small")
        var content: [UInt8] = []
        try large.create()
        for part in 0..<60 {
            let body = Payload.pattern(50_000, seed: part)
            try large.append(body)
            content += body.bytes
        }
        try small.create("small")
        #expect(try server.stream("fork").put(["Stream-Forked-From: \(large.path)"]).status == 201)
        #expect(server.process.stop(SIGTERM) == .exit(0))
        return (server, large, content)
    }

    private func run(_ arguments: String...) throws -> (end: ChildProcess.End?, output: String, error: String) {
        try ChildProcess.run(ServerProcess.binary, arguments, environment: [:], input: .none)
    }

    private func segments(_ server: ServerProcess) throws -> [String] {
        let root = server.dataDirectory + "/streams"
        var files: [String] = []
        for shard in try Folder.list(root) {
            for stream in try Folder.list(root + "/" + shard) {
                files += try Folder.list(root + "/\(shard)/\(stream)").map { root + "/\(shard)/\(stream)/" + $0 }
            }
        }
        return files
    }

    private func change(_ file: String, at offset: Int) throws {
        var bytes = try Folder.read(file)
        bytes[offset] ^= 0x40
        try Folder.write(bytes, to: file)
    }

    @Test("verify: a sound directory, and each kind of damage by name")
    func verify() throws {
        let (server, _, content) = try store()
        let data = server.dataDirectory
        let sound = try run("verify", "--data-dir", data)
        #expect(sound.end == .exit(0) && sound.output.hasSuffix("no damage\n"), "\(sound)")
        #expect(sound.output.hasPrefix("3 streams, ") && sound.output.contains("with \(content.count) bytes"), "\(sound)")
        let files = try segments(server)
        #expect(files.count > 1)

        let whole = try Folder.read(files[0])
        try change(files[0], at: 300_000)
        let flipped = try run("verify", "--data-dir", data)
        #expect(flipped.end == .exit(1) && flipped.output.contains("DAMAGE: stream large: segment 0: byte 262144"), "\(flipped)")
        let json = try run("verify", "--data-dir", data, "--json")
        #expect(json.end == .exit(1) && json.output.contains("\"stream\" : \"large\""), "\(json)")
        try Folder.write(Array(whole.dropLast(10)), to: files[0])
        let cut = try run("verify", "--data-dir", data)
        #expect(cut.end == .exit(1) && cut.output.contains("10 bytes early"), "\(cut)")
        #expect(unlink(files[0]) == 0)
        let missing = try run("verify", "--data-dir", data)
        #expect(missing.end == .exit(1) && missing.output.contains(files[0]), "\(missing)")
        try Folder.write(whole, to: files[0])
        #expect(try run("verify", "--data-dir", data).end == .exit(0))

        #expect(mkdir(data + "/streams/ff", 0o700) == 0 && mkdir(data + "/streams/ff/00000000000000ff", 0o700) == 0)
        let leftover = try run("verify", "--data-dir", data)
        #expect(leftover.end == .exit(0) && leftover.output.contains("note: 1 directories"), "\(leftover)")

        for (arguments, word) in [(["--data-dir", data + "/journal"], "FORMAT"), (["--data-dir", "/nowhere"], "/nowhere")] {
            let result = try ChildProcess.run(ServerProcess.binary, ["verify"] + arguments, environment: [:], input: .none)
            #expect(result.end == .exit(1) && result.error.contains(word), "\(result)")
        }
    }

    @Test("verify beside a server: refused without --online, and nothing found with it while it writes")
    func online() throws {
        let server = try ServerProcess(.serve, Self.options)
        let stream = server.stream("busy").of("application/octet-stream")
        try stream.create()
        let offline = try run("verify", "--data-dir", server.dataDirectory)
        #expect(offline.end == .exit(1) && offline.error.contains("--online"), "\(offline)")
        let client = try server.connect()
        for round in 0..<20 {
            for part in 0..<10 { try stream.append(Payload.pattern(40_000, seed: round * 10 + part), over: client) }
            let other = server.stream("other").of("application/octet-stream")
            try other.create(Payload.pattern(100_000))
            let result = try run("verify", "--data-dir", server.dataDirectory, "--online")
            #expect(result.end == .exit(0), "round \(round): \(result)")
            #expect(try other.delete().status == 204)
        }
    }

    @Test("the scrub: the damaged range is refused and named, on the stream and on its fork; the rest is served")
    func scrub() throws {
        var (server, large, content) = try store()
        try change(try segments(server)[0], at: 300_000)
        server = try server.successor(["--scrub-rate", "1GiB/s", "--scrub-pause", "1ms"])
        large = large.on(server)
        #expect(Deadline.poll { server.log.contains("stored data is damaged") }, "\(server.log)")
        #expect(server.log.contains("stream=large") && server.log.contains("bytes 262144 to 524288"))
        for stream in [large, server.stream("fork").of(large.type)] {
            var at = 0
            var refused = 0
            while at < content.count {
                let response = try stream.get("offset=\(Offset.at(at))")
                if response.status == 500 {
                    #expect(response.text.contains("large"), "\(response.summary)")
                    #expect(at + 65_536 > 262_144 && at < 524_288, "\(at)")
                    refused += 1
                    at += 50_000
                    continue
                }
                try #require(response.status == 200, "\(response.summary)")
                #expect(response.body == Array(content[at..<at + response.body.count]))
                at += response.body.count
            }
            #expect(refused > 0)
        }
        #expect(try server.stream("small").get().text == "small")
        #expect(try large.append("more") == Offset.at(content.count + 4))
        #expect(server.log.split(separator: "\n").count { $0.contains("stored data is damaged") } == 1)
        // With the stream its damage goes.
        #expect(try large.delete().status == 204 && server.stream("fork").delete().status == 204)
        #expect(try large.put(["Content-Type: \(large.type)"], Payload.pattern(10)).status == 201)
        #expect(try large.get().status == 200)
    }

    @Test("inspect shows the journal, a stream's segments and the catalog")
    func inspect() throws {
        let (server, _, content) = try store()
        let data = server.dataDirectory
        let catalog = try run("inspect", "catalog", "--data-dir", data)
        #expect(
            catalog.end == .exit(0) && catalog.output.contains("\nlarge: id 1, application/octet-stream, \(content.count) bytes, 1 forks\n")
        )
        #expect(catalog.output.contains("\nfork: id 3") && catalog.output.contains("fork of large"), "\(catalog)")
        let one = try run("inspect", "catalog", "--data-dir", data, "fork")
        #expect(one.end == .exit(0) && one.output.contains("origin        large (id 1), offset \(content.count)"), "\(one)")
        let segments = try run("inspect", "segment", "--data-dir", data, "large")
        #expect(
            segments.end == .exit(0) && segments.output.contains("all checksums match") && segments.output.contains("sealed"), "\(segments)"
        )
        let none = try run("inspect", "segment", "--data-dir", data, "nothing")
        #expect(none.end == .exit(1) && none.error.contains("nothing"), "\(none)")

        let next = try server.successor()
        try next.stream("small").append("!", ["Producer-Id: p", "Producer-Epoch: 3", "Producer-Seq: 0"])
        #expect(try next.stream("small").delete().status == 204)
        let journal = try run("inspect", "journal", "--data-dir", data)
        #expect(journal.end == .exit(0) && journal.output.contains("stream 2 append 1 bytes at 5, producer p 3/0"), "\(journal)")
        #expect(journal.output.contains("stream 2 delete\n"))
    }

    /// Such a file system does not say what is in the page cache: the byte that tells a boundary has to come another way. (The check went round
    /// and round there.)
    @Test("a data directory in memory: reads from within segments")
    func inMemory() throws {
        guard access("/dev/shm", W_OK) == 0 else { return }
        let folder = "/dev/shm/durable-streams-test-\(getpid())"
        defer { Folder.remove(folder) }
        var server = try ServerProcess(
            .serve, ["--chunk-size", "4KiB", "--segment-size", "8KiB", "--checkpoint-interval", "100ms"], dataDirectory: folder)
        var stream = server.stream("a").of("application/json")
        try stream.create()
        let client = try server.connect()
        let text = String(repeating: "abcdefgh", count: 40)
        for number in 0..<200 { _ = try stream.append(Payload("[\(number),\"\(text)\"]".utf8), over: client) }
        server = try server.restarted(after: SIGTERM)
        stream = stream.on(server)
        var offsets = ["-1"]
        while true {
            let response = try stream.get("offset=\(offsets.last!)")
            try #require(response.status == 200, "\(response.summary)")
            offsets.append(try #require(response.offset))
            if response.isUpToDate { break }
        }
        #expect(offsets.count > 10)
        // No message is shorter than three bytes.
        let middle = Offset.at(try #require(Int(offsets[3].suffix(16))) + 1)
        #expect(try stream.get("offset=\(middle)").status == 400)
        #expect(try server.stream("f").put(["Stream-Forked-From: /v1/stream/a", "Stream-Fork-Offset: \(middle)"]).status == 400)
        #expect(try server.stream("g").put(["Stream-Forked-From: /v1/stream/a", "Stream-Fork-Offset: \(offsets[4])"]).status == 201)
    }
}
