// One stream of a test: requests to its path, each on a connection of its own unless one is given.

import Testing

struct TestStream: Sendable {
    let server: ServerProcess
    let path: String
    /// The content type that `create` and `append` send.
    var type = "text/plain"

    init(_ server: ServerProcess, path: String) {
        self.server = server
        self.path = path
    }

    func of(_ type: String) -> TestStream {
        var stream = self
        stream.type = type
        return stream
    }

    /// The same stream of another server, a successor.
    func on(_ server: ServerProcess) -> TestStream { TestStream(server, path: path).of(type) }

    func request(
        _ method: String, _ query: String = "", _ fields: [String] = [], _ body: Payload? = nil, chunked: Bool = false,
        over client: RawClient? = nil
    ) throws -> Response {
        try (client ?? server.connect()).exchange(method, path + query, fields, body, chunked: chunked)
    }

    func put(_ fields: [String] = [], _ body: Payload? = nil, chunked: Bool = false) throws -> Response {
        try request("PUT", "", fields, body, chunked: chunked)
    }

    func post(_ fields: [String] = [], _ body: Payload? = nil, chunked: Bool = false, over client: RawClient? = nil) throws -> Response {
        try request("POST", "", fields, body, chunked: chunked, over: client)
    }

    /// - Parameter query: without the question mark.
    func get(_ query: String = "", _ fields: [String] = [], over client: RawClient? = nil) throws -> Response {
        try request("GET", query.isEmpty ? "" : "?" + query, fields, over: client)
    }

    func head() throws -> Response { try request("HEAD") }
    func delete() throws -> Response { try request("DELETE") }

    // MARK: Steps that must succeed

    /// Creates it. - Returns: the tail.
    @discardableResult
    func create(_ body: Payload? = nil, _ fields: [String] = [], at location: SourceLocation = #_sourceLocation) throws -> String {
        let response = try put(["Content-Type: \(type)"] + fields, body)
        try #require(response.status == 201, "\(response.summary)", sourceLocation: location)
        return try #require(response.offset, sourceLocation: location)
    }

    /// Appends to it. - Returns: the new tail.
    @discardableResult
    func append(_ body: Payload, _ fields: [String] = [], over client: RawClient? = nil, at location: SourceLocation = #_sourceLocation)
        throws -> String
    {
        let response = try post(["Content-Type: \(type)"] + fields, body, over: client)
        try #require(response.status == 204 || response.status == 200, "\(response.summary)", sourceLocation: location)
        return try #require(response.offset, sourceLocation: location)
    }

    @discardableResult
    func close(at location: SourceLocation = #_sourceLocation) throws -> String {
        let response = try post(["Stream-Closed: true"])
        try #require(response.status == 204, "\(response.summary)", sourceLocation: location)
        return try #require(response.offset, sourceLocation: location)
    }

    /// Everything from an offset to the tail, over as many answers as it takes.
    func contents(from offset: String = "-1", at location: SourceLocation = #_sourceLocation) throws -> [UInt8] {
        var result: [UInt8] = []
        let client = try server.connect()
        var next = offset
        while true {
            let response = try get("offset=\(next)", over: client)
            try #require(response.status == 200, "\(response.summary)", sourceLocation: location)
            result += response.body
            if response.isUpToDate { return result }
            try #require(!response.body.isEmpty, "a partial answer without data", sourceLocation: location)
            next = try #require(response.offset, sourceLocation: location)
        }
    }

    // MARK: Forks

    /// The fields of a PUT that forks this stream.
    func forkFields(at offset: String? = nil, sub: String? = nil) -> [String] {
        ["Stream-Forked-From: \(path)"] + (offset.map { ["Stream-Fork-Offset: \($0)"] } ?? [])
            + (sub.map { ["Stream-Fork-Sub-Offset: \($0)"] } ?? [])
    }

    /// Forks it under a new name, or the one given.
    func fork(
        named name: String? = nil, at offset: String? = nil, sub: String? = nil, _ fields: [String] = [], _ body: Payload? = nil,
        location: SourceLocation = #_sourceLocation
    ) throws -> TestStream {
        let fork = server.stream(name).of(type)
        let response = try fork.put(forkFields(at: offset, sub: sub) + fields, body)
        try #require(response.status == 201, "\(response.summary)", sourceLocation: location)
        return fork
    }

    /// Messages of a JSON stream without the whitespace between them.
    func messages(_ query: String = "") throws -> String { try get(query).text.filter { !$0.isWhitespace } }

    func tail(at location: SourceLocation = #_sourceLocation) throws -> String {
        let response = try head()
        try #require(response.status == 200, "\(response.summary)", sourceLocation: location)
        return try #require(response.offset, sourceLocation: location)
    }

    // MARK: Live readers

    /// A long-poll that has been sent; its answer is the next of the connection.
    func longPoll(from offset: String, _ query: String = "") throws -> RawClient {
        let client = try server.connect()
        try client.send("GET", "\(path)?offset=\(offset)&live=long-poll\(query)")
        return client
    }

    /// An event stream whose head has come.
    func follow(from offset: String = "-1", _ fields: [String] = []) throws -> EventStreamReader {
        let client = try server.connect()
        try client.send("GET", "\(path)?offset=\(offset)&live=sse", fields)
        return try EventStreamReader(client)
    }

    /// The fields of an append by an idempotent producer.
    static func producer(_ id: String, _ epoch: Int, _ seq: Int) -> [String] {
        ["Producer-Id: \(id)", "Producer-Epoch: \(epoch)", "Producer-Seq: \(seq)"]
    }
}
