// PROTOCOL.md, introduction and section 1. That every answer carries the common headers is checked on each answer of all suites, by
// `Response.checkCommonRules`; here are the kinds of answers that no other suite asks for.

import Testing

@Suite struct MethodsAndHeadersTests {
    static let server = SuiteServer()

    @Test("Methods at a glance: the success of each method")
    func successes() throws {
        let stream = try Self.server.stream()
        #expect(try stream.put(["Content-Type: text/plain"]).status == 201)
        #expect(try stream.put(["Content-Type: text/plain"]).status == 200)
        #expect(try stream.post(["Content-Type: text/plain"], "a").status == 204)
        #expect(try stream.post(["Content-Type: text/plain"] + TestStream.producer("p", 0, 0), "b").status == 200)
        #expect(try stream.get().status == 200)
        #expect(try stream.get("offset=now").status == 200)
        let head = try stream.head()
        #expect(head.status == 200 && head.body.isEmpty)
        #expect(try stream.request("OPTIONS").status == 204)
        #expect(try stream.delete().status == 204)
    }

    @Test("A stream that does not exist: 404", arguments: ["GET", "HEAD", "POST", "DELETE"])
    func missing(method: String) throws {
        let body: Payload? = method == "POST" ? "x" : nil
        let response = try Self.server.stream().request(method, "", ["Content-Type: text/plain"], body)
        #expect(response.status == 404, "\(response.summary)")
    }

    @Test(
        "anything else: 405 with Allow",
        arguments: ["PATCH", "TRACE", "PROPFIND", "BREW", "get", "Get", "GETT", "GE", "POSTS", "M-SEARCH", "X!#$%&'*+-.^_`|~9"])
    func otherMethods(method: String) throws {
        let stream = try Self.server.stream()
        for _ in 0...1 {
            let response = try stream.request(method)
            #expect(response.status == 405, "\(response.summary)")
            let allowed = response.members("Allow")
            #expect(allowed.isSuperset(of: ["get", "head", "put", "post", "delete", "options"]), "\(response.summary)")
            #expect(!allowed.contains("patch"))
            try #require(try stream.put().status / 100 == 2)
        }
    }

    @Test(
        "`.`/`..` segments, empty names, NUL and control bytes, invalid percent-encoding: 400",
        arguments: [
            "", ".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "%2e", "%2E%2e/a", "a/.%2E", "a/%2e%2e/b", "a%00b", "%00",
            "a%01",
            "a%1f", "a%0a", "a%0D", "a%7F", "%", "a%", "a%2", "a%zz", "a%2g", "%%41", "a%u0041", "%-1", "% 1".replacing(" ", with: "+"),
        ])
    func badNames(name: String) throws {
        for method in ["PUT", "GET", "HEAD", "POST", "DELETE"] {
            let response = try Self.server.get().stream(name).request(
                method, "", ["Content-Type: text/plain"], method == "POST" ? "x" : nil)
            #expect(response.status == 400, "\(method) \(name): \(response.summary)")
        }
    }

    @Test("a decoded name over 1024 bytes: 400")
    func longNames() throws {
        let server = try Self.server.get()
        let longest = String(repeating: "n", count: 1024)
        #expect(try server.stream(longest).put().status == 201)
        #expect(try server.stream(longest + "n").put().status == 400)
        // Encoded, it is the same stream, and three times as long.
        let encoded = String(repeating: "%6e", count: 1024)
        #expect(try server.stream(encoded).put().status == 200)
        #expect(try server.stream(encoded + "%6E").put().status == 400)
        #expect(try server.stream(longest).get().status == 200)
        let segments = String(repeating: "a/", count: 511) + "bc"
        #expect(try server.stream(segments).put().status == 201)
        #expect(try server.stream(segments + "d").put().status == 400)
    }

    @Test("A stream is identified by its percent-decoded path")
    func encodedNames() throws {
        let server = try Self.server.get()
        try server.stream("decoded/a%20b%C3%A9~").create("one")
        for same in ["decoded/a%20b%c3%a9~", "%64ecoded/a%20b%C3%A9%7E"] {
            let response = try server.stream(same).get()
            #expect(response.status == 200 && response.text == "one", "\(same): \(response.summary)")
        }
        #expect(try server.stream("decoded/a+b%C3%A9~").get().status == 404)
        #expect(try server.stream("Decoded/a%20b%C3%A9~").get().status == 404)
        #expect(try server.stream("decoded/a%2520b%C3%A9~").get().status == 404)
    }

    @Test("`%2F` stays distinct from `/`")
    func encodedSlash() throws {
        let server = try Self.server.get()
        try server.stream("slash/x").create("plain")
        #expect(try server.stream("slash%2Fx").get().status == 404)
        try server.stream("slash%2Fx").create("encoded")
        #expect(try server.stream("slash/x").get().text == "plain")
        #expect(try server.stream("slash%2fx").get().text == "encoded")
        #expect(try server.stream("slash%252Fx").get().status == 404)
        #expect(try server.stream("slash%2Fx").delete().status == 204)
        #expect(try server.stream("slash/x").get().text == "plain")
        // The form in which a server may keep it is not another name for it.
        #expect(try server.stream("slash%01x").get().status == 400)
    }

    @Test("it may have several segments")
    func segments() throws {
        let server = try Self.server.get()
        try server.stream("account-1/chat/room-7").create("7")
        try server.stream("account-1/chat").create("chat")
        #expect(try server.stream("account-1").get().status == 404)
        #expect(try server.stream("account-1/chat/room-7").get().text == "7")
        #expect(try server.stream("account-1/chat").delete().status == 204)
        #expect(try server.stream("account-1/chat/room-7").get().text == "7")
        try server.stream("bytes/%80%FF%C0").create("any bytes")
        #expect(try server.stream("bytes/%80%FF%C0").get().text == "any bytes")
    }

    @Test(
        "Names with a segment `__ds`, at any depth, are reserved: 404 with a JSON error",
        arguments: ["__ds", "__ds/", "__ds/subscriptions", "__ds/a/b", "%5F%5Fds/x", "__%64s", "a/__ds", "a/b/__ds/c", "a/%5F_ds"])
    func reserved(name: String) throws {
        for method in ["PUT", "GET", "POST", "DELETE"] {
            let response = try Self.server.get().stream(name).request(
                method, "", ["Content-Type: text/plain"], method == "POST" ? "x" : nil)
            #expect(response.status == 404, "\(method): \(response.summary)")
            #expect(response["Content-Type"]?.hasPrefix("application/json") == true, "\(response.summary)")
            #expect(response.text.trimmed.first == "{", "\(response.summary)")
        }
        let head = try Self.server.get().stream(name).head()
        #expect(head.status == 404 && head.body.isEmpty)
    }

    @Test("Only exactly `__ds` is reserved", arguments: ["__dsx", "a/__dsx", "_ds", "__DS", "__ds%2Fx", "a%2F__ds"])
    func notReserved(name: String) throws {
        let stream = try Self.server.get().stream(name)
        try stream.create("mine")
        #expect(try stream.get().text == "mine")
    }

    @Test(
        "streams live under `/v1/stream/`: other paths are not found",
        arguments: ["/", "/v1/", "/v1/streams/a", "/v2/stream/a", "/V1/stream/a"])
    func otherPaths(path: String) throws {
        let server = try Self.server.get()
        for method in ["GET", "PUT", "POST", "DELETE", "HEAD"] {
            let response = try server.connect().exchange(method, path, ["Content-Type: text/plain"], method == "POST" ? "x" : nil)
            #expect(response.status == 404, "\(method) \(path): \(response.summary)")
        }
    }

    @Test("Unknown query parameters and unknown headers are ignored")
    func unknown() throws {
        let stream = try Self.server.stream()
        let odd = ["X-Whatever: 1", "Stream-Colour: blue", "Producer-Colour: red", "Range: bytes=0-1", "Accept: image/png", "Cookie: a=b"]
        #expect(try stream.request("PUT", "?colour=blue&&=&x", ["Content-Type: text/plain"] + odd, "data").status == 201)
        #expect(try stream.request("POST", "?offset2=1", ["Content-Type: text/plain"] + odd, "more").status == 204)
        for query in ["colour=blue", "offset=-1&colour=blue", "&&offset=-1&&", "=&offset=-1", "Offset=zzz", "offsets=zzz&xoffset=1"] {
            let response = try stream.get(query, odd)
            #expect(response.status == 200 && response.text == "datamore", "\(query): \(response.summary)")
        }
        #expect(try stream.get("colour=blue").text == "datamore")
        #expect(try stream.request("HEAD", "?x=y", odd).status == 200)
        #expect(try stream.request("DELETE", "?x=y", odd).status == 204)
    }

    @Test("Error bodies are short `text/plain` that names the offending header or parameter")
    func errorTexts() throws {
        let stream = try Self.server.stream()
        try stream.create("data")
        func names(_ word: String, _ status: Int, _ response: Response) {
            #expect(response.status == status, "\(response.summary)")
            #expect(response["Content-Type"]?.hasPrefix("text/plain") == true, "\(response.summary)")
            #expect(response.text.lowercased().contains(word.lowercased()), "expected a word about \(word): \(response.summary)")
        }
        let other = try Self.server.stream()
        names("Stream-TTL", 400, try other.put(["Stream-TTL: soon"]))
        names("Stream-Expires-At", 400, try other.put(["Stream-Expires-At: soon"]))
        names("Stream-TTL", 400, try other.put(["Stream-TTL: 5", "Stream-Expires-At: 2099-01-01T00:00:00Z"]))
        names("Content-Type", 400, try stream.post([], "x"))
        names("Content-Type", 409, try stream.post(["Content-Type: text/html"], "x"))
        names("body", 400, try stream.post(["Content-Type: text/plain"], Payload.none))
        names("Producer-Epoch", 400, try stream.post(["Content-Type: text/plain", "Producer-Id: p", "Producer-Seq: 0"], "x"))
        names(
            "Producer-Seq", 400,
            try stream.post(["Content-Type: text/plain", "Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: a"], "x"))
        names(
            "Producer-Id", 400, try stream.post(["Content-Type: text/plain", "Producer-Id:", "Producer-Epoch: 0", "Producer-Seq: 0"], "x"))
        try stream.append("y", ["Stream-Seq: b"])
        names("Stream-Seq", 409, try stream.post(["Content-Type: text/plain", "Stream-Seq: a"], "x"))
        names("offset", 400, try stream.get("offset=zzz"))
        names("offset", 400, try stream.get("live=sse"))
        names("live", 400, try stream.get("offset=-1&live=soon"))
        names(
            "closed", 409,
            try {
                try stream.close()
                return try stream.post(["Content-Type: text/plain"], "x")
            }())
        #expect(try stream.contents() == Array("datay".utf8))
    }
}
