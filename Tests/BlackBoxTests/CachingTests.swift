// PROTOCOL.md section 9.

import Glibc
import Testing

@Suite struct CachingTests {
    static let server = SuiteServer(.dev, "--long-poll-timeout", "200ms", "--chunk-size", "4KiB")
    static let privately = SuiteServer(.dev, "--cache-visibility", "private")

    /// The current interval: 20 s counted from 2024-10-09T00:00:00Z.
    private var interval: Int { (time(nil) - 1_728_432_000) / 20 }

    @Test("Catch-up 200 with data: Cache-Control: public, max-age=60, stale-while-revalidate=300")
    func cacheable() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        let value = try #require(try stream.get()["Cache-Control"])
        #expect(value == "public, max-age=60, stale-while-revalidate=300")
        #expect(try stream.longPoll(from: "-1").response()["Cache-Control"] == value)
        try stream.append(.letters(5000))
        // A range that can never change again may use `immutable` with a long `max-age`.
        let partial = try stream.get()
        #expect(!partial.isUpToDate)
        let sealed = try #require(partial["Cache-Control"])
        #expect(sealed == value || sealed.hasPrefix("public") && sealed.contains("immutable"), "\(sealed)")
    }

    @Test("configurable to `private`")
    func visibility() throws {
        let stream = try Self.privately.stream()
        try stream.create("data")
        for response in [try stream.get(), try stream.longPoll(from: "-1").response()] {
            let value = try #require(response["Cache-Control"])
            #expect(value.hasPrefix("private") && !value.contains("public"), "\(value)")
        }
    }

    @Test("At-tail empty reads: short or `no-cache`")
    func emptyReads() throws {
        let stream = try Self.server.stream()
        let tail = try stream.create("data")
        for isClosed in [false, true] {
            if isClosed { try stream.close() }
            let value = try #require(try stream.get("offset=\(tail)")["Cache-Control"])
            let age = value.split(separator: ",").map(\.trimmed).first { $0.hasPrefix("max-age=") }.flatMap { Int($0.dropFirst(8)) }
            #expect(value.contains("no-cache") || value.contains("no-store") || isClosed || age.map { $0 <= 5 } == true, "\(value)")
        }
    }

    @Test("ETag on every catch-up and long-poll 200 except `offset=now`: quoted")
    func tags() throws {
        let stream = try Self.server.stream()
        let tail = try stream.create("data")
        for response in [try stream.get(), try stream.get("offset=\(tail)"), try stream.longPoll(from: "-1").response()] {
            let tag = try #require(response["ETag"])
            #expect(tag.count > 2 && tag.hasPrefix("\"") && tag.hasSuffix("\"") && !tag.dropFirst().dropLast().contains("\""), "\(tag)")
        }
        #expect(try stream.get("offset=now")["ETag"] == nil)
    }

    @Test("ETag changes with stream incarnation, range and closed status, and with nothing else")
    func tagChanges() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        var tags: [String: String] = [:]
        func note(_ what: String, _ query: String) throws {
            let response = try stream.get(query)
            #expect(try stream.get(query)["ETag"] == response["ETag"])
            let tag = try #require(response["ETag"])
            #expect(tags.updateValue(what, forKey: tag) == nil, "\(what) has the tag of \(tags[tag] ?? "")")
        }
        try note("whole", "")
        try note("from 1", "offset=\(Offset.at(1))")
        try note("at the tail", "offset=\(Offset.at(4))")
        #expect(try stream.get("")["ETag"] == stream.get("offset=\(Offset.start)")["ETag"])
        try stream.append("more")
        try note("longer", "")
        try note("longer, from 1", "offset=\(Offset.at(1))")
        try note("longer, from the old tail", "offset=\(Offset.at(4))")
        try stream.close()
        try note("closed", "")
        try note("closed, from 1", "offset=\(Offset.at(1))")
        try note("closed, at the tail", "offset=\(Offset.at(8))")
        #expect(try stream.delete().status == 204)
        try stream.create("data")
        try note("anew", "")
        let twin = try Self.server.stream()
        try twin.create("data")
        #expect(try tags[#require(try twin.get()["ETag"])] == nil)
    }

    @Test("A chunk that is sealed keeps its ETag when the stream grows and closes")
    func sealedTag() throws {
        let stream = try Self.server.stream()
        try stream.create(.letters(3000))
        try stream.append(.letters(3000))
        let first = try stream.get()
        #expect(first.body.count == 3000 && !first.isUpToDate)
        try stream.append(.letters(3000))
        try stream.close()
        let again = try stream.get()
        #expect(again["ETag"] == first["ETag"] && again.body == first.body)
        #expect(try stream.get("", ["If-None-Match: \(first["ETag"] ?? "")"]).status == 304)
    }

    @Test("If-None-Match (list and `*` too) that matches → 304 with ETag, cache and stream headers, no body")
    func notModified() throws {
        for (type, query) in [
            ("text/plain", ""), ("text/plain", "offset=\(Offset.at(2))"), ("text/plain", "offset=\(Offset.at(4))"),
            ("application/json", ""),
        ] {
            let stream = try Self.server.stream(type)
            try stream.create(type == "text/plain" ? "data" : "[1]")
            for isClosed in [false, true] {
                if isClosed { try stream.close() }
                let full = try stream.get(query)
                let tag = try #require(full["ETag"])
                for value in [tag, "W/\(tag)", "\"a\", \(tag)", "\(tag), \"b\"", "\"a\",\"b\" ,W/\(tag),", "*", "\"a,b\", \(tag)"] {
                    let response = try stream.get(query, ["If-None-Match: \(value)"])
                    #expect(response.status == 304 && response.body.isEmpty, "\(value): \(response.summary)")
                    for name in ["ETag", "Cache-Control", "Stream-Next-Offset", "Stream-Up-To-Date", "Stream-Closed"] {
                        #expect(response[name] == full[name], "\(name) for \(value)")
                    }
                }
                for value in [
                    "\"a\"", "", String(tag.dropFirst().dropLast()), "\"x\(tag.dropFirst())", "\"*\"", tag.dropLast() + "x\"", "a\(tag)",
                ] {
                    let response = try stream.get(query, ["If-None-Match: \(value)"])
                    #expect(response.status == 200 && response.body == full.body, "\(value): \(response.summary)")
                }
                // Two field lines are one list.
                #expect(try stream.get(query, ["If-None-Match: \"a\"", "If-None-Match: \(tag)"]).status == 304)
            }
        }
    }

    @Test("What was current once is not for ever")
    func modified() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        let tag = try #require(try stream.get()["ETag"])
        try stream.append("more")
        let grown = try stream.get("", ["If-None-Match: \(tag)"])
        #expect(grown.status == 200 && grown.text == "datamore")
        try stream.close()
        let closed = try stream.get("", ["If-None-Match: \(grown["ETag"] ?? "")"])
        #expect(closed.status == 200 && closed.isClosed)
    }

    @Test("Long-poll 200 is cacheable like catch-up; If-None-Match works there too")
    func longPoll() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        let response = try stream.longPoll(from: "-1").response()
        let tag = try #require(response["ETag"])
        let again = try stream.get("offset=-1&live=long-poll", ["If-None-Match: \(tag)"])
        #expect(again.status == 304 && again["ETag"] == tag, "\(again.summary)")
        let timeout = try stream.longPoll(from: "now").response()
        #expect(timeout.status == 204 && timeout["Cache-Control"] == "no-store" && timeout["ETag"] == nil, "\(timeout.summary)")
    }

    // MARK: Cursors

    @Test("Stream-Cursor: intervals of 20 s counted from 2024-10-09T00:00:00Z, as decimal text")
    func cursor() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        let before = interval
        let answers = [
            try stream.longPoll(from: "-1").response()["Stream-Cursor"], try stream.longPoll(from: "now").response()["Stream-Cursor"],
            try stream.follow().batch()?.control.cursor,
            try stream.longPoll(from: "-1", "&cursor=\(before - 1)").response()["Stream-Cursor"],
            try stream.longPoll(from: "-1", "&cursor=0").response()["Stream-Cursor"],
        ]
        for answer in answers {
            let value = try #require(answer.flatMap { Int($0) })
            #expect(value >= before && value <= interval && String(value) == answer)
        }
        #expect(try stream.get()["Stream-Cursor"] == nil)
    }

    @Test("If the client's cursor is at or past the current interval, answer with one strictly larger: by 1…180 intervals")
    func cursorAhead() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        var steps: Set<Int> = []
        for ahead in [0, 0, 0, 0, 0, 0, 1, 2, 100, 1_000_000, 1_000_000_000] {
            let sent = interval + ahead
            // The interval may end just now; then the client's is no longer ahead.
            func check(_ answer: String?) throws {
                let value = try #require(answer.flatMap { Int($0) })
                #expect(value > sent && value <= sent + 180 || ahead == 0 && value == interval, "\(value) for \(sent)")
                steps.insert(value - sent)
            }
            try check(try stream.longPoll(from: "-1", "&cursor=\(sent)").response()["Stream-Cursor"])
            try check(try stream.longPoll(from: "now", "&cursor=\(sent)").response()["Stream-Cursor"])
            let client = try stream.server.connect()
            try client.send("GET", "\(stream.path)?offset=-1&live=sse&cursor=\(sent)")
            try check(try EventStreamReader(client).batch()?.control.cursor)
        }
        #expect(steps.count > 3, "the steps are random: \(steps)")
    }

    @Test("A reader that gives back each cursor never gets one twice")
    func cursorChain() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        var cursor = interval
        for _ in 0..<20 {
            let next = try #require(try stream.longPoll(from: "-1", "&cursor=\(cursor)").response()["Stream-Cursor"].flatMap { Int($0) })
            #expect(next > cursor)
            cursor = next
        }
    }
}
