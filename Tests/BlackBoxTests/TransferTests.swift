// Large bodies up and down over every transport, byte by byte, and reads of what is in no page cache.

import Glibc
import Testing

@Suite(.onlyInClear("It chooses its transports itself")) struct TransferTests {
    /// The ports of a server that speaks in clear and TLS.
    private func port(_ server: ServerProcess, _ transport: Transport) throws -> UInt16 { try server.ports()[transport.hasTLS ? 1 : 0] }

    @Test("64 MB up and down, whole", .timeLimit(.minutes(5)), arguments: Transport.allCases)
    func large(transport: Transport) throws {
        let server = try ServerProcess(.serve, ["--listen", "127.0.0.1:0", "--body-limit", "64MiB", "--chunk-size", "64MiB"], tls: true)
        let port = try port(server, transport)
        let content = Payload.pattern(64 << 20, seed: 7)
        let client = try RawClient(port: port, by: transport)
        let created = try client.exchange("PUT", "/v1/stream/large", ["Content-Type: image/png"], content, within: .seconds(120))
        #expect(created.status == 201 && created.offset == Offset.at(64 << 20), "\(created.summary)")
        var found: [UInt8] = []
        var next = "-1"
        while true {
            let answer = try client.exchange("GET", "/v1/stream/large?offset=\(next)", within: .seconds(120))
            #expect(answer.status == 200, "\(answer.summary)")
            found += answer.body
            if answer.isUpToDate || answer.body.isEmpty { break }
            next = answer.offset ?? ""
        }
        // Not by #expect on the arrays themselves, which would describe them.
        #expect(found.count == content.bytes.count)
        let isSame = found == content.bytes
        #expect(isSame)
    }

    @Test(
        "What is in no page cache is read by a worker, over every transport: catch-up, event streams, many at once",
        .timeLimit(.minutes(5)),
        arguments: [false, true])
    func cold(inMemory: Bool) throws {
        // On a memory file system a read that must not wait is not to be had at all, so that every read goes that way.
        let folder = try Folder.make()
        let data = inMemory ? "/dev/shm/" + (folder.split(separator: "/").last ?? "") : folder + "/data"
        if inMemory { guard mkdir(data, 0o700) == 0 else { return } }
        defer { if inMemory { Folder.remove(data) } }
        let options = ["--listen", "127.0.0.1:0", "--durability", "none", "--chunk-size", "4MiB", "--tail-buffer-budget", "1MiB"]
        var server = try ServerProcess(.serve, options, dataDirectory: data, tls: true)
        let content = Payload.letters(12 << 20, seed: 3)
        let writer = try RawClient(port: port(server, .http1))
        #expect(try writer.exchange("PUT", "/v1/stream/cold", ["Content-Type: text/plain"], content).status == 201)
        server = try server.restarted(after: SIGTERM)
        for transport in Transport.allCases {
            try dropCache(data)
            let clients = try (0..<4).map { _ in try RawClient(port: port(server, transport), by: transport) }
            var found = [[UInt8]](repeating: [], count: clients.count)
            var next = [String](repeating: "-1", count: clients.count)
            for _ in 0..<4 {
                for (index, client) in clients.enumerated() where !next[index].isEmpty {
                    try client.send("GET", "/v1/stream/cold?offset=\(next[index])")
                }
                for (index, client) in clients.enumerated() where !next[index].isEmpty {
                    let answer = try client.response()
                    #expect(answer.status == 200, "\(transport): \(answer.summary)")
                    found[index] += answer.body
                    next[index] = answer.isUpToDate ? "" : answer.offset ?? ""
                }
            }
            for bytes in found {
                let isSame = bytes == content.bytes
                #expect(isSame, "\(transport): \(bytes.count) bytes")
            }
            try dropCache(data)
            let client = try RawClient(port: port(server, transport), by: transport)
            try client.send("GET", "/v1/stream/cold?offset=-1&live=sse")
            let reader = try EventStreamReader(client)
            var events: [UInt8] = []
            for batch in try reader.batches(until: \.upToDate) { events += batch.data?.data ?? [] }
            let isSame = events == content.bytes
            #expect(isSame, "\(transport): \(events.count) bytes of events")
        }
    }

    /// Takes all files out of the page cache; what is not on the disk yet stays.
    private func dropCache(_ path: String) throws {
        for name in try Folder.list(path) {
            let child = path + "/" + name
            var status = stat()
            guard lstat(child, &status) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFDIR {
                try dropCache(child)
            } else {
                let file = open(child, O_RDONLY | O_CLOEXEC)
                if file < 0 { continue }
                fsync(file)
                _ = posix_fadvise(file, 0, 0, Int32(POSIX_FADV_DONTNEED))
                close(file)
            }
        }
    }
}
