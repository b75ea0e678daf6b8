// PROTOCOL.md section 10. The headers on answers other than preflights: Response.commonFaults, on every answer of all suites.

import Testing

@Suite struct CORSTests {
    static let server = SuiteServer()
    static let listed = SuiteServer(.dev, "--cors-origins", "https://a.example", "--cors-origins", "http://localhost:5173")

    private static let methods = ["get", "post", "put", "delete", "head", "options"]
    private static let fields = [
        "content-type", "authorization", "if-none-match", "stream-ttl", "stream-expires-at", "stream-seq", "stream-closed",
        "stream-forked-from",
        "stream-fork-offset", "stream-fork-sub-offset", "producer-id", "producer-epoch", "producer-seq",
    ]

    @Test("OPTIONS: 204 with Allow-Methods, Allow-Headers and Max-Age, whether the stream exists or not")
    func preflight() throws {
        let stream = try Self.server.stream()
        for exists in [false, true] {
            if exists { try stream.create() }
            for requested in ["GET", "PUT", "POST", "DELETE"] {
                let response = try stream.request(
                    "OPTIONS", "?offset=-1",
                    [
                        "Origin: https://app.example", "Access-Control-Request-Method: \(requested)",
                        "Access-Control-Request-Headers: content-type, stream-seq",
                    ])
                #expect(response.status == 204 && response.body.isEmpty, "\(response.summary)")
                #expect(response["Access-Control-Allow-Origin"] == "*")
                #expect(response.members("Access-Control-Allow-Methods").isSuperset(of: Self.methods), "\(response.summary)")
                #expect(response.members("Access-Control-Allow-Headers").isSuperset(of: Self.fields), "\(response.summary)")
                #expect(response["Access-Control-Max-Age"].flatMap { Int($0) } != nil)
            }
            #expect(try stream.request("OPTIONS").status == 204)
        }
    }

    @Test("OPTIONS * is answered")
    func asterisk() throws {
        let response = try Self.server.get().connect().exchange("OPTIONS", "*")
        #expect(response.status == 204, "\(response.summary)")
    }

    @Test("Access-Control-Allow-Origin: `*` by default, on answers and errors, with and without Origin")
    func anyOrigin() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        for fields in [[], ["Origin: https://app.example"], ["Origin: null"]] {
            for response in [
                try stream.get("", fields), try stream.get("offset=zzz", fields), try stream.request("HEAD", "", fields),
                try stream.put(fields),
                try stream.post(fields), try stream.request("PATCH", "", fields), try stream.get("offset=-1&live=long-poll", fields),
                try Self.server.stream().get("", fields), try stream.follow(from: "-1", fields).head,
            ] {
                #expect(response["Access-Control-Allow-Origin"] == "*", "\(response.summary)")
            }
        }
    }

    @Test("configurable list: the origin of the request if it is listed, and nobody else's")
    func listedOrigins() throws {
        let server = try Self.listed.get()
        // The common rules want the header on every answer; here it depends, so the answers are read by hand.
        func answer(_ method: String, _ origin: String?) throws -> Response {
            let client = try server.connect()
            try client.send(client.request(method, "/v1/stream/none", origin.map { ["Origin: \($0)"] } ?? []))
            return try client.head(to: method)
        }
        for method in ["OPTIONS", "GET", "HEAD", "DELETE"] {
            for origin in ["https://a.example", "http://localhost:5173"] {
                let response = try answer(method, origin)
                #expect(response["Access-Control-Allow-Origin"] == origin, "\(response.summary)")
                #expect(response.members("Vary").contains("origin"), "\(response.summary)")
            }
            for origin in ["https://b.example", "http://a.example", "https://a.example.evil.example", "https://a.example:444", "null", nil]
            {
                let value = try answer(method, origin)["Access-Control-Allow-Origin"]
                #expect(value == nil || value != "*" && value != origin, "\(value ?? "")")
            }
        }
    }
}
