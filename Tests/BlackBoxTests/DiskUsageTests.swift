// Disk usage after deleting everything returns to the empty server's: files, directories, catalog and journal, in allocated blocks, while
// the server runs. Everything small, so that segments, catalog and journal have grown and turned over before the deletes come.

import Glibc
import Testing

@Suite(.onlyInClear("Files on the disk, whoever asks")) struct DiskUsageTests {
    static let options = [
        "--chunk-size", "4KiB", "--journal-size", "4MiB", "--segment-size", "64KiB", "--checkpoint-interval", "200ms",
    ]

    /// What a directory and all in it take.
    struct Usage: Equatable, CustomStringConvertible {
        /// Without the journal files' numbers, which go up.
        var paths: [String] = []
        /// Of 512 bytes, as stat(2) counts them.
        var blocks = 0

        /// nil when something went away meanwhile.
        init?(_ path: String) {
            var queue = [path]
            while let next = queue.popLast() {
                var information = stat()
                guard lstat(next, &information) == 0 else { return nil }
                blocks += Int(information.st_blocks)
                let name = next.dropFirst(path.count)
                paths.append(name.hasSuffix(".journal") ? "/journal/*.journal" : String(name))
                if information.st_mode & S_IFMT == S_IFDIR {
                    guard let names = try? Folder.list(next) else { return nil }
                    queue += names.map { next + "/" + $0 }
                }
            }
            paths.sort()
        }

        var streamFiles: Int { paths.count { $0.hasSuffix(".segment") } }
        var description: String { "\(blocks) blocks in \(paths.count > 40 ? "\(paths.count) files" : "\(paths)")" }

        /// The same files and no more blocks, but for one that a file system may need for where a file of many pieces lies.
        func isBack(to empty: Usage) -> Bool { paths == empty.paths && blocks <= empty.blocks + 8 * paths.count }
    }

    private func usage(_ server: ServerProcess) throws -> Usage {
        var found: Usage?
        _ = Deadline.poll {
            found = Usage(server.dataDirectory)
            return found != nil
        }
        return try #require(found)
    }

    private static let count = 300

    /// Some in several segments, some in one, most in the catalog.
    private func fill(_ server: ServerProcess) throws {
        let client = try server.connect()
        for index in 0..<Self.count {
            let size = index % 20 == 0 ? 70_000 : index % 3 == 0 ? 9_000 : 3_500
            let expiry = index % 7 == 0 ? ["Stream-TTL: 1000"] : []
            for part in 0..<(index % 20 == 0 ? 5 : 1) {
                let response = try client.exchange(
                    part == 0 ? "PUT" : "POST", path(index), ["Content-Type: text/plain"] + (part == 0 ? expiry : []),
                    .letters(size, seed: index))
                try #require(response.status == (part == 0 ? 201 : 204), "\(response.summary)")
            }
        }
    }

    private func path(_ index: Int) -> String {
        "/v1/stream/usage/\(index)" + (index % 11 == 0 ? String(repeating: "x", count: 600) : "")
    }

    private func deleteAll(_ server: ServerProcess) throws {
        let client = try server.connect()
        for index in 0..<Self.count {
            let response = try client.exchange("DELETE", path(index))
            try #require(response.status == 204, "\(response.summary)")
        }
    }

    /// Until the server has written what it was given to where it belongs.
    private func expectGrowth(_ server: ServerProcess, from empty: Usage) throws {
        var now = empty
        let hasGrown = try Deadline.poll(every: .milliseconds(20)) {
            now = try usage(server)
            var catalog = stat()
            _ = stat(server.dataDirectory + "/catalog/data.mdb", &catalog)
            return now.streamFiles >= 15 * 5 + 95 && catalog.st_size > 600_000
        }
        #expect(hasGrown, "\(now)")
    }

    private func expectReturn(_ server: ServerProcess, to empty: Usage) throws {
        var now = empty
        let isBack = try Deadline.poll(within: .seconds(60), every: .milliseconds(50)) {
            now = try usage(server)
            return now.isBack(to: empty)
        }
        #expect(isBack, "\(now); empty: \(empty); \(server.log)")
    }

    @Test("After deleting everything a running server takes what an empty one takes", arguments: [ServerProcess.Mode.serve, .dev])
    func returns(mode: ServerProcess.Mode) throws {
        let server = try ServerProcess(mode, Self.options)
        let empty = try usage(server)
        #expect(empty.blocks > 0 && empty.paths.contains("/journal/*.journal") && empty.streamFiles == 0)
        for _ in 0..<2 {
            try fill(server)
            try expectGrowth(server, from: empty)
            try deleteAll(server)
            try expectReturn(server, to: empty)
        }
        // It has not forgotten how to serve.
        let stream = server.stream("after")
        try stream.create(.letters(100_000))
        #expect(try stream.contents() == Payload.letters(100_000).bytes)
        #expect(server.process.stop(SIGTERM) == .exit(0))
    }

    @Test("Also when it was killed in between: what the dead one has left is given back", arguments: [false, true])
    func returnsAfterAKill(killedAfterDeletes: Bool) throws {
        var server = try ServerProcess(.serve, Self.options)
        let empty = try usage(server)
        try fill(server)
        try expectGrowth(server, from: empty)
        if killedAfterDeletes {
            try deleteAll(server)
            server = try server.restarted(after: SIGKILL)
        } else {
            server = try server.restarted(after: SIGKILL)
            try deleteAll(server)
        }
        try expectReturn(server, to: empty)
        server = try server.restarted(after: SIGTERM)
        try expectReturn(server, to: empty)
    }
}
