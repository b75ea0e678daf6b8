// PROTOCOL.md section 3, idempotent producers.

import Testing

@Suite struct ProducersTests {
    static let server = SuiteServer()

    private func post(_ stream: TestStream, _ producer: [String], _ body: Payload?, _ more: [String] = []) throws -> Response {
        try stream.post((body == nil ? [] : ["Content-Type: \(stream.type)"]) + producer + more, body)
    }

    private func expect(
        _ response: Response, _ status: Int, epoch: Int? = nil, seq: Int? = nil, expected: Int? = nil, received: Int? = nil,
        at location: SourceLocation = #_sourceLocation
    ) {
        #expect(response.status == status, "\(response.summary)", sourceLocation: location)
        for (name, value) in [
            ("Producer-Epoch", epoch), ("Producer-Seq", seq), ("Producer-Expected-Seq", expected), ("Producer-Received-Seq", received),
        ] {
            if let value { #expect(response[name] == String(value), "\(name): \(response.summary)", sourceLocation: location) }
        }
    }

    @Test("all three or none, else 400")
    func allOrNone() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let fields = TestStream.producer("p", 0, 0)
        for mask in 1..<7 {
            let some = fields.indices.filter { mask >> $0 & 1 == 1 }.map { fields[$0] }
            let response = try post(stream, some, "x")
            #expect(response.status == 400, "\(some): \(response.summary)")
            #expect(try post(stream, some, nil, ["Stream-Closed: true"]).status == 400)
        }
        #expect(try stream.tail() == Offset.start)
        #expect(try !stream.head().isClosed)
    }

    @Test("Producer-Id: non-empty", arguments: ["Producer-Id:", "Producer-Id: ", "Producer-Id: \t "])
    func emptyIdentifier(field: String) throws {
        let stream = try Self.server.stream()
        try stream.create()
        #expect(try post(stream, [field, "Producer-Epoch: 0", "Producer-Seq: 0"], "x").status == 400)
    }

    @Test(
        "Producer-Epoch, Producer-Seq: integers 0…2^53−1; malformed or larger: 400",
        arguments: [
            "", "-1", "+1", "1.0", "1e3", "0x1", "a", "1a", " 1 1", "1,1", "9007199254740992", "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999999999", "\u{0661}",
        ])
    func badNumbers(value: String) throws {
        let stream = try Self.server.stream()
        try stream.create()
        #expect(try post(stream, ["Producer-Id: p", "Producer-Epoch: \(value)", "Producer-Seq: 0"], "x").status == 400)
        #expect(try post(stream, ["Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: \(value)"], "x").status == 400)
        expect(try post(stream, TestStream.producer("p", 0, 0), "x"), 200, epoch: 0, seq: 0)
    }

    @Test("The largest numbers")
    func largest() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let most = 9_007_199_254_740_991
        expect(try post(stream, TestStream.producer("p", most, 0), "x"), 200, epoch: most, seq: 0)
        expect(try post(stream, TestStream.producer("p", most - 1, 0), "x"), 403, epoch: most)
        expect(try post(stream, TestStream.producer("p", most, most), "x"), 409, expected: 1, received: most)
        expect(try post(stream, TestStream.producer("q", 0, most), "x"), 409, expected: 0, received: most)
        #expect(try stream.get().text == "x")
    }

    @Test("The table, row by row")
    func table() throws {
        let stream = try Self.server.stream()
        try stream.create()
        // no state, seq > 0: 409 gap, expected 0; and it leaves no state.
        expect(try post(stream, TestStream.producer("p", 3, 1), "no"), 409, expected: 0, received: 1)
        expect(try post(stream, TestStream.producer("p", 3, 7), "no"), 409, expected: 0, received: 7)
        // no state, seq 0: accept 200.
        let first = try post(stream, TestStream.producer("p", 3, 0), "a")
        expect(first, 200, epoch: 3, seq: 0)
        #expect(first.offset == Offset.at(1))
        // same epoch, seq = last + 1: accept 200.
        expect(try post(stream, TestStream.producer("p", 3, 1), "b"), 200, epoch: 3, seq: 1)
        expect(try post(stream, TestStream.producer("p", 3, 2), "c"), 200, epoch: 3, seq: 2)
        // same epoch, seq ≤ last: 204 duplicate, with the highest accepted.
        for seq in [2, 1, 0] { expect(try post(stream, TestStream.producer("p", 3, seq), "different"), 204, epoch: 3, seq: 2) }
        // same epoch, seq > last + 1: 409.
        for seq in [4, 5, 1_000_000] {
            expect(try post(stream, TestStream.producer("p", 3, seq), "no"), 409, expected: 3, received: seq)
        }
        // epoch < current: 403, whatever the seq.
        for epoch in [0, 2] {
            for seq in [0, 2, 3, 9] { expect(try post(stream, TestStream.producer("p", epoch, seq), "no"), 403, epoch: 3) }
        }
        // epoch > current, seq > 0: 400, and the epoch is not taken.
        for epoch in [4, 99] {
            for seq in [1, 3, 4] { expect(try post(stream, TestStream.producer("p", epoch, seq), "no"), 400) }
        }
        expect(try post(stream, TestStream.producer("p", 3, 3), "d"), 200, epoch: 3, seq: 3)
        // epoch > current, seq 0: accept 200, new epoch; the old one is fenced off.
        expect(try post(stream, TestStream.producer("p", 7, 0), "e"), 200, epoch: 7, seq: 0)
        expect(try post(stream, TestStream.producer("p", 3, 4), "no"), 403, epoch: 7)
        expect(try post(stream, TestStream.producer("p", 7, 0), "no"), 204, epoch: 7, seq: 0)
        expect(try post(stream, TestStream.producer("p", 7, 1), "f"), 200, epoch: 7, seq: 1)
        #expect(try stream.get().text == "abcdef")
    }

    @Test("State is per (stream, producer id)")
    func scope() throws {
        let first = try Self.server.stream()
        let second = try Self.server.stream()
        try first.create()
        try second.create()
        let ids = ["p", "P", "p ".trimmed + "2", "a b", "é", String(repeating: "long", count: 50), "0", "\"q\"", "p,q"]
        for (number, id) in ids.enumerated() {
            for stream in [first, second] {
                expect(try post(stream, TestStream.producer(id, number, 0), "\(number)"), 200, epoch: number, seq: 0)
                expect(try post(stream, TestStream.producer(id, number, 0), "\(number)"), 204, epoch: number, seq: 0)
            }
        }
        #expect(try first.get().text == "012345678")
        expect(try post(first, TestStream.producer("p", 0, 1), "x"), 200, epoch: 0, seq: 1)
        expect(try post(second, TestStream.producer("p", 0, 2), "x"), 409, expected: 1, received: 2)
    }

    @Test("The duplicate check comes before Stream-Seq")
    func duplicateBeforeSequence() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let fields = TestStream.producer("p", 0, 0)
        expect(try post(stream, fields, "x", ["Stream-Seq: 5"]), 200)
        expect(try post(stream, fields, "x", ["Stream-Seq: 5"]), 204, epoch: 0, seq: 0)
        expect(try post(stream, fields, "x", ["Stream-Seq: 1"]), 204)
        // The next one of the producer is compared.
        #expect(try post(stream, TestStream.producer("p", 0, 1), "y", ["Stream-Seq: 5"]).status == 409)
        expect(try post(stream, TestStream.producer("p", 0, 1), "y", ["Stream-Seq: 6"]), 200, seq: 1)
        #expect(try stream.get().text == "xy")
    }

    @Test("What is refused for another reason leaves the producer's state as it was")
    func refused() throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        let fields = TestStream.producer("p", 0, 0)
        #expect(try stream.post(["Content-Type: text/plain"] + fields, "1").status == 409)
        #expect(try stream.post(fields, "1").status == 400)
        #expect(try post(stream, fields, "{").status == 400)
        #expect(try post(stream, fields, "[]").status == 400)
        #expect(try post(stream, fields, Payload.none).status == 400)
        expect(try post(stream, fields, "1"), 200, epoch: 0, seq: 0)
        #expect(try post(stream, TestStream.producer("p", 0, 1), "[1,").status == 400)
        expect(try post(stream, TestStream.producer("p", 0, 1), "2"), 200, seq: 1)
    }

    @Test("With Stream-Closed: true an accepted append answers 200")
    func appendAndClose() throws {
        let stream = try Self.server.stream()
        try stream.create()
        expect(try post(stream, TestStream.producer("p", 1, 0), "a"), 200)
        let closing = TestStream.producer("p", 1, 1)
        let response = try post(stream, closing, "b", ["Stream-Closed: true"])
        expect(response, 200, epoch: 1, seq: 1)
        #expect(response.isClosed && response.offset == Offset.at(2))
        // On a closed stream: the same (id, epoch, seq) that closed it → 204 with Stream-Closed: true …
        for body: Payload? in ["b", "different", nil] {
            for _ in 0...1 {
                let again = try post(stream, closing, body, ["Stream-Closed: true"])
                #expect(again.status == 204 && again.isClosed, "\(again.summary)")
            }
        }
        // … anything else → 409 as above.
        for other in [("p", 1, 0), ("p", 1, 2), ("p", 0, 1), ("p", 2, 0), ("q", 1, 1), ("q", 0, 0)] {
            for body: Payload? in ["b", nil] {
                let refused = try post(stream, TestStream.producer(other.0, other.1, other.2), body, ["Stream-Closed: true"])
                #expect(refused.status == 409 && refused.isClosed && refused.offset == Offset.at(2), "\(other): \(refused.summary)")
            }
        }
        #expect(try stream.get().text == "ab")
    }

    @Test("a close without body 204")
    func closeOnly() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        expect(try post(stream, TestStream.producer("p", 0, 0), "a"), 200)
        let closing = TestStream.producer("p", 0, 1)
        for _ in 0...2 {
            let response = try post(stream, closing, nil, ["Stream-Closed: true"])
            #expect(response.status == 204 && response.isClosed && response.offset == Offset.at(2), "\(response.summary)")
        }
        #expect(try post(stream, TestStream.producer("p", 0, 0), "a").status == 409)
        #expect(try stream.get().text == "xa")
    }

    @Test("A close in the wrong place of the sequence does not close")
    func closeGap() throws {
        let stream = try Self.server.stream()
        try stream.create()
        expect(try post(stream, TestStream.producer("p", 5, 0), "a"), 200)
        expect(try post(stream, TestStream.producer("p", 5, 2), nil, ["Stream-Closed: true"]), 409, expected: 1, received: 2)
        expect(try post(stream, TestStream.producer("p", 4, 1), nil, ["Stream-Closed: true"]), 403, epoch: 5)
        expect(try post(stream, TestStream.producer("p", 6, 1), nil, ["Stream-Closed: true"]), 400)
        expect(try post(stream, TestStream.producer("q", 0, 1), "b", ["Stream-Closed: true"]), 409, expected: 0, received: 1)
        let head = try stream.head()
        #expect(!head.isClosed && head.offset == Offset.at(1))
    }

    @Test("Check and append are one step per stream: of many equal requests at once, one is accepted")
    func concurrentDuplicates() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let clients = try (0..<12).map { _ in try stream.server.connect() }
        for seq in 0..<20 {
            for client in clients {
                try client.send("POST", stream.path, ["Content-Type: text/plain"] + TestStream.producer("p", 0, seq), "(\(seq))")
            }
            let responses = try clients.map { try $0.response() }
            #expect(responses.filter { $0.status == 200 }.count == 1, "\(responses.map(\.status))")
            for response in responses {
                #expect(response.status == 200 || response.status == 204, "\(response.summary)")
                #expect(response["Producer-Seq"] == "\(seq)")
            }
        }
        #expect(try stream.get().text == (0..<20).map { "(\($0))" }.joined())
    }

    @Test("seq 1 arriving before seq 0 on another connection is a 409 gap, not a reordering buffer")
    func noReordering() throws {
        let stream = try Self.server.stream()
        try stream.create()
        expect(try post(stream, TestStream.producer("p", 0, 1), "b"), 409, expected: 0, received: 1)
        expect(try post(stream, TestStream.producer("p", 0, 0), "a"), 200, seq: 0)
        #expect(try stream.get().text == "a")
        expect(try post(stream, TestStream.producer("p", 0, 1), "b"), 200, seq: 1)
        #expect(try stream.get().text == "ab")
    }

    @Test("A producer may pipeline")
    func pipelined() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let client = try stream.server.connect()
        for seq in [0, 1, 2, 2, 3, 5, 4, 0, 5] {
            try client.send("POST", stream.path, ["Content-Type: text/plain"] + TestStream.producer("p", 0, seq), "\(seq)")
        }
        #expect(try (0..<9).map { _ in try client.response().status } == [200, 200, 200, 204, 200, 409, 200, 204, 200])
        #expect(try stream.get().text == "012345")
    }

    @Test("A producer's appends and those of others are one sequence")
    func mixed() throws {
        let stream = try Self.server.stream()
        try stream.create()
        expect(try post(stream, TestStream.producer("p", 0, 0), "a"), 200)
        try stream.append("-")
        expect(try post(stream, TestStream.producer("p", 0, 0), "a"), 204)
        expect(try post(stream, TestStream.producer("p", 0, 1), "b"), 200)
        #expect(try stream.get().text == "a-b")
    }
}
