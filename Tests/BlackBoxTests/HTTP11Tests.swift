// PROTOCOL.md section 11; RFC 9110, RFC 9112. In the texts of requests, ␍␊ stands for CRLF and PATH for the path of the test's stream.

import Testing

@Suite(.onlyInClear("Bytes of HTTP/1.1 itself")) struct HTTP11Tests {
    static let server = SuiteServer(.dev, "--long-poll-timeout", "60s", "--head-limit", "8KiB", "--target-limit", "4KiB")

    private let text = ["Content-Type: text/plain"]

    private func wire(_ text: String, _ stream: TestStream) -> [UInt8] {
        Array(
            text.replacing("␍␊", with: "\r\n").replacing("␍", with: "\r").replacing("␊", with: "\n").replacing("PATH", with: stream.path)
                .utf8)
    }

    // MARK: Connections

    @Test("keep-alive: any number of requests on one connection, whatever their answers")
    func keepAlive() throws {
        let stream = try Self.server.stream()
        let client = try stream.server.connect()
        #expect(try stream.get(over: client).status == 404)
        #expect(try stream.request("PUT", "", text, "a", over: client).status == 201)
        for round in 0..<50 {
            try stream.append("b", over: client)
            #expect(try stream.get("offset=zzz", over: client).status == 400)
            #expect(try stream.request("PATCH", over: client).status == 405)
            #expect(try stream.request("HEAD", over: client).offset == Offset.at(round + 2))
            #expect(try stream.post(["Content-Type: text/html"], "refused body", over: client).status == 409)
            #expect(try stream.post([], "refused body", over: client).status == 400)
            #expect(try stream.request("POST", "", ["Content-Type: text/html"], "refused", chunked: true, over: client).status == 409)
            #expect(try stream.request("OPTIONS", over: client).status == 204)
            let tag = try #require(try stream.get(over: client)["ETag"])
            #expect(try stream.get("", ["If-None-Match: \(tag)"], over: client).status == 304)
        }
        #expect(try stream.request("DELETE", over: client).status == 204)
        #expect(try stream.get(over: client).status == 404)
    }

    @Test("pipelining: answers in order")
    func pipelining() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let client = try stream.server.connect()
        for index in 0..<1000 {
            try client.send("POST", stream.path, text, "\(index % 10)")
            if index % 5 == 0 { try client.send("GET", "\(stream.path)?offset=\(Offset.at(index))") }
            if index % 7 == 0 { try client.send("HEAD", stream.path) }
        }
        for index in 0..<1000 {
            let append = try client.response()
            #expect(append.status == 204 && append.offset == Offset.at(index + 1), "\(append.summary)")
            if index % 5 == 0 {
                let read = try client.response()
                #expect(read.status == 200 && read.text.hasPrefix("\(index % 10)"), "\(read.summary)")
            }
            if index % 7 == 0 { #expect(try client.response().offset.map { $0 >= Offset.at(index + 1) } == true) }
        }
    }

    @Test("pipelining: in order also when an earlier one is waiting")
    func pipelinedBehindWait() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let client = try stream.server.connect()
        try client.send("GET", "\(stream.path)?offset=\(Offset.at(1))&live=long-poll")
        try client.send("HEAD", stream.path)
        try client.send("GET", "\(stream.path)?offset=-1")
        try client.send("PATCH", stream.path)
        #expect(!client.isReadable(within: .milliseconds(150)))
        try stream.append("y")
        let first = try client.response()
        #expect(first.status == 200 && first.text == "y", "\(first.summary)")
        #expect(try client.response().offset == Offset.at(2))
        #expect(try client.response().text == "xy")
        #expect(try client.response().status == 405)
    }

    @Test("A request behind a waiting one is whole, however large, and is not answered before it")
    func bodyBehindWait() throws {
        let stream = try Self.server.stream()
        let other = try Self.server.stream()
        try stream.create()
        try other.create()
        let client = try stream.server.connect()
        let body = Payload.letters(300_000)
        try client.send("GET", "\(stream.path)?offset=\(Offset.start)&live=long-poll")
        // It may stop reading from the connection while it waits; 300 kB fit into the sockets' buffers.
        try client.send("POST", other.path, text, body)
        #expect(!client.isReadable(within: .milliseconds(100)))
        try stream.append("now")
        #expect(try client.response().text == "now")
        #expect(try client.response().status == 204)
        #expect(try other.contents() == body.bytes)
    }

    @Test(
        "Connection: close is obeyed and answered, and nothing behind it is answered",
        arguments: ["close", "Close", "keep-alive, close", "TE, close"])
    func connectionClose(value: String) throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let client = try stream.server.connect()
        try client.send("GET", stream.path, ["Connection: \(value)"])
        try client.send("GET", stream.path)
        let response = try client.response()
        #expect(response.text == "x" && response.members("Connection").contains("close"), "\(response.summary)")
        try client.expectEnd()
    }

    @Test("A client that has sent all it wants still gets its answers")
    func halfClosed() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let client = try stream.server.connect()
        for _ in 0..<3 { try client.send("GET", stream.path) }
        client.finishSending()
        for _ in 0..<3 { #expect(try client.response().text == "x") }
        try client.expectEnd()
    }

    @Test("A connection that ends within a request stores nothing of it")
    func cutRequest() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let whole = try stream.server.connect().request("POST", stream.path, text, "body")
        for count in [1, 10, whole.count - 5, whole.count - 4, whole.count - 1] {
            let client = try stream.server.connect()
            try client.send(Array(whole[..<count]))
            client.finishSending()
            #expect(client.ends())
        }
        let chunks = try stream.server.connect().request("POST", stream.path, text, .letters(20), chunked: true)
        for count in [chunks.count - 1, chunks.count - 2, chunks.count - 5, chunks.count - 8] {
            let client = try stream.server.connect()
            try client.send(Array(chunks[..<count]))
            client.finishSending()
            #expect(client.ends())
        }
        #expect(try stream.tail() == Offset.start)
    }

    @Test("A request may arrive in any pieces")
    func pieces() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let chunked = "POST PATH HTTP/1.1␍␊Host: h␍␊Content-Type: text/plain␍␊Transfer-Encoding: chunked␍␊␍␊2␍␊ab␍␊1;x=y␍␊c␍␊0␍␊T: u␍␊␍␊"
        let plain = "POST PATH HTTP/1.1␍␊Host: h␍␊Content-Type: text/plain␍␊Content-Length: 3␍␊␍␊abc"
        var count = 0
        for request in [chunked, plain] {
            let bytes = wire(request, stream)
            let client = try stream.server.connect()
            for cut in 1..<bytes.count {
                try client.send(Array(bytes[..<cut]))
                try client.send(Array(bytes[cut...]))
                #expect(try client.response(to: "POST").status == 204)
                count += 1
            }
            for byte in bytes { try client.send([byte]) }
            #expect(try client.response(to: "POST").status == 204)
            count += 1
        }
        #expect(try stream.contents() == Array(String(repeating: "abc", count: count).utf8))
    }

    // MARK: Messages

    @Test(
        "chunked request bodies with extensions and trailers",
        arguments: [
            ("3␍␊abc␍␊0␍␊␍␊", "abc"), ("1␍␊a␍␊2␍␊bc␍␊0␍␊␍␊", "abc"), ("003␍␊abc␍␊000␍␊␍␊", "abc"), ("A␍␊0123456789␍␊0␍␊␍␊", "0123456789"),
            ("a␍␊0123456789␍␊0␍␊␍␊", "0123456789"), ("3;name␍␊abc␍␊0;last␍␊␍␊", "abc"), ("3;n=v;m=\"q;\"␍␊abc␍␊0␍␊␍␊", "abc"),
            ("3␍␊abc␍␊0␍␊Trailer: x␍␊␍␊", "abc"), ("3␍␊abc␍␊0␍␊A: 1␍␊B: 2␍␊C:␍␊␍␊", "abc"), ("5␍␊0␍␊␍␊␍␊0␍␊␍␊", "0\r\n\r\n"),
            ("3␍␊abc␍␊0␍␊Stream-Closed: true␍␊Content-Type: text/html␍␊Content-Length: 5␍␊␍␊", "abc"),
        ])
    func chunks(body: String, content: String) throws {
        let stream = try Self.server.stream()
        try stream.create()
        for coding in ["chunked", "Chunked", "CHUNKED", " \tchunked\t "] {
            let client = try stream.server.connect()
            let head = "POST PATH HTTP/1.1␍␊Host: h␍␊Content-Type: text/plain␍␊Transfer-Encoding:\(coding)␍␊␍␊"
            try client.send(wire(head + body + "GET PATH?offset=now HTTP/1.1␍␊Host: h␍␊␍␊", stream))
            #expect(try client.response(to: "POST").status == 204)
            #expect(try client.response().status == 200)
        }
        #expect(try stream.get().text == String(repeating: content, count: 4))
        // Trailers are no headers.
        #expect(try !stream.head().isClosed)
    }

    @Test("Expect: 100-continue: an interim answer, then the body, then the final answer")
    func expectContinue() throws {
        let stream = try Self.server.stream()
        try stream.create()
        for value in ["100-continue", "100-Continue"] {
            let client = try stream.server.connect()
            try client.send(client.request("POST", stream.path, text + ["Content-Length: 3", "Expect: \(value)"]))
            let interim = try client.head(to: "POST")
            #expect(interim.status == 100, "\(interim.summary)")
            try client.send("abc")
            #expect(try client.response(to: "POST").status == 204)
            // The body behind the head makes the interim answer unnecessary, and no fault.
            try client.send(client.request("POST", stream.path, text + ["Expect: \(value)"], "def"))
            #expect(try client.response(to: "POST").status == 204)
            // In chunks as well.
            try client.send(Array(client.request("POST", stream.path, text + ["Expect: \(value)"], "ghi", chunked: true).dropLast(13)))
            #expect(try client.head(to: "POST").status == 100)
            try client.send(Array(Payload("ghi").chunked()))
            #expect(try client.response(to: "POST").status == 204)
        }
        #expect(try stream.get().text == "abcdefghiabcdefghi")
    }

    @Test("Expect: 100-continue without content, or in HTTP/1.0, is answered at once")
    func expectNothing() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let client = try stream.server.connect()
        #expect(try stream.get("", ["Expect: 100-continue"], over: client).text == "x")
        let old = try stream.server.connect()
        try old.send("POST \(stream.path) HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        #expect(!old.isReadable(within: .milliseconds(100)))
        try old.send("y")
        #expect(try old.head(to: "POST").status == 204)
    }

    @Test("HTTP/1.0: without Host, closed after the answer, kept if the client asks")
    func http10() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        var client = try stream.server.connect()
        try client.send("GET \(stream.path) HTTP/1.0\r\n\r\n")
        let response = try client.response()
        #expect(response.text == "x" && response["Transfer-Encoding"] == nil)
        try client.expectEnd()
        client = try stream.server.connect()
        try client.send("GET \(stream.path) HTTP/1.0\r\nConnection: keep-alive\r\nHost: h\r\n\r\n")
        let kept = try client.response()
        #expect(kept.text == "x")
        // It is the server's choice; but it must say what it does.
        if kept.members("Connection").contains("keep-alive") {
            try client.send("HEAD \(stream.path) HTTP/1.0\r\n\r\n")
            #expect(try client.response(to: "HEAD").status == 200)
        }
        try client.expectEnd()
        client = try stream.server.connect()
        try client.send("POST \(stream.path) HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\ny")
        #expect(try client.response(to: "POST").status == 204)
        try client.expectEnd()
    }

    @Test("HEAD without body: the next answer follows at once, and the fields are those of a GET")
    func head() throws {
        let stream = try Self.server.stream()
        try stream.create("content")
        let client = try stream.server.connect()
        for _ in 0..<3 { try client.send("HEAD", stream.path) }
        try client.send("HEAD", stream.path + "x")
        try client.send("HEAD", "/v1/stream/")
        try client.send("GET", stream.path)
        for _ in 0..<3 { #expect(try client.response().status == 200) }
        #expect(try client.response().status == 404)
        #expect(try client.response().status == 400)
        #expect(try client.response().text == "content")
    }

    @Test(
        "absolute-form targets",
        arguments: ["http://h/v1/stream/", "HTTP://other.example:81/v1/stream/", "https://h/v1/stream/"])
    func absoluteForm(base: String) throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let client = try stream.server.connect()
        let name = stream.path.dropFirst("/v1/stream/".count)
        try client.send("GET \(base)\(name)?offset=-1 HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try client.response().text == "x")
    }

    @Test("A body where none is expected is read past, not taken for a request", arguments: ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"])
    func unexpectedBody(method: String) throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        for chunked in [false, true] {
            let client = try stream.server.connect()
            let smuggled = Payload("DELETE /v1/stream/smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
            let first = try client.exchange(method, stream.path, [], smuggled, chunked: chunked)
            #expect([200, 204, 400, 404, 405].contains(first.status), "\(first.summary)")
            if first.members("Connection").contains("close") {
                try client.expectEnd()
            } else {
                #expect(try client.exchange("PATCH", stream.path).status == 405)
            }
        }
    }

    @Test("Every answer says when it was made (RFC 9110 section 6.6.1)")
    func date() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        for response in [
            try stream.get(), try stream.get("offset=zzz"), try Self.server.stream().get(), try stream.head(), try stream.follow().head,
        ] {
            let parts = (response["Date"] ?? "").split(separator: " ")
            #expect(parts.count == 6 && parts[0].hasSuffix(",") && parts[5] == "GMT" && parts[4].count == 8, "\(response.summary)")
        }
    }

    @Test("Field names have no case, values no surrounding whitespace, and the order of fields does not matter")
    func spelling() throws {
        let stream = try Self.server.stream()
        let client = try stream.server.connect()
        try client.send(
            wire("PUT PATH HTTP/1.1␍␊sTREAM-cLOSED:\t true \t␍␊CONTENT-type:text/plain␍␊content-LENGTH:  2␍␊HOST:h␍␊␍␊ab", stream))
        let response = try client.response(to: "PUT")
        #expect(response.status == 201 && response.isClosed && response["Content-Type"] == "text/plain", "\(response.summary)")
    }

    @Test("Empty lines before a request line are skipped (RFC 9112 section 2.2)")
    func emptyLines() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let client = try stream.server.connect()
        for _ in 0..<3 {
            try client.send(wire("␍␊GET PATH HTTP/1.1␍␊Host: h␍␊␍␊", stream))
            #expect(try client.response().text == "x")
        }
    }

    // MARK: Refusals

    /// Sends it whole and then byte by byte, each time with another request behind it: there is one answer, then the connection ends.
    private func refuses(_ request: String, with statuses: Set<Int>, at location: SourceLocation = #_sourceLocation) throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let bytes = wire(request, stream)
        for size in [bytes.count + 1000, 1] {
            let client = try stream.server.connect()
            let all = bytes + wire("POST PATH HTTP/1.1␍␊Host: h␍␊Content-Type: text/plain␍␊Content-Length: 8␍␊␍␊smuggled", stream)
            for start in stride(from: 0, to: all.count, by: size) {
                // The server may end the connection before the rest has been sent.
                do { try client.send(Array(all[start..<min(start + size, all.count)])) } catch { break }
            }
            let response = try client.response(to: request.hasPrefix("HEAD") ? "HEAD" : "GET")
            #expect(statuses.contains(response.status), "\(request): \(response.summary)", sourceLocation: location)
            #expect(response.members("Connection").contains("close"), "\(request): \(response.summary)", sourceLocation: location)
            #expect(throws: Never.self, "\(request)", sourceLocation: location) { try client.expectEnd() }
        }
        #expect(try stream.get().text == "x", "\(request)", sourceLocation: location)
    }

    @Test(
        "Refused with 400 and a closed connection: message framing",
        arguments: [
            // two different Content-Lengths
            "Content-Length: 1␍␊Content-Length: 2␍␊␍␊ab", "Content-Length: 1, 2␍␊␍␊ab", "Content-Length: 2␍␊content-length: 1␍␊␍␊ab",
            // Content-Length with Transfer-Encoding
            "Content-Length: 5␍␊Transfer-Encoding: chunked␍␊␍␊0␍␊␍␊", "Transfer-Encoding: chunked␍␊Content-Length: 5␍␊␍␊0␍␊␍␊",
            "Transfer-Encoding: chunked␍␊Content-Length: 0␍␊␍␊0␍␊␍␊",
            // any transfer coding but chunked
            "Transfer-Encoding: gzip␍␊␍␊", "Transfer-Encoding: gzip, chunked␍␊␍␊0␍␊␍␊", "Transfer-Encoding: chunked, gzip␍␊␍␊0␍␊␍␊",
            "Transfer-Encoding: chunked, chunked␍␊␍␊0␍␊␍␊", "Transfer-Encoding: identity␍␊␍␊", "Transfer-Encoding: xchunked␍␊␍␊0␍␊␍␊",
            "Transfer-Encoding: chunkedx␍␊␍␊0␍␊␍␊", "Transfer-Encoding:␍␊␍␊", "Transfer-Encoding: \"chunked\"␍␊␍␊0␍␊␍␊",
            "Transfer-Encoding: chunked;q=1␍␊␍␊0␍␊␍␊", "Transfer-Encoding: gzip␍␊Transfer-Encoding: chunked␍␊␍␊0␍␊␍␊",
            "Transfer-Encoding: chunked␍␊Transfer-Encoding: gzip␍␊␍␊0␍␊␍␊", "Transfer-Encoding: \u{B}chunked␍␊␍␊0␍␊␍␊",
            // digits only
            "Content-Length: +1␍␊␍␊a", "Content-Length: -1␍␊␍␊a", "Content-Length: 1 1␍␊␍␊a", "Content-Length: 0x1␍␊␍␊a",
            "Content-Length: 1.0␍␊␍␊a",
            "Content-Length:␍␊␍␊", "Content-Length: a␍␊␍␊a", "Content-Length: 1;␍␊␍␊a", "Content-Length: \"1\"␍␊␍␊a",
            "Content-Length: 1e0␍␊␍␊a",
            "Content-Length: 99999999999999999999999999␍␊␍␊a", "Content-Length: 18446744073709551617␍␊␍␊a", "Content-Length: \u{661}␍␊␍␊a",
        ])
    func framing(rest: String) throws {
        try refuses("POST PATH HTTP/1.1␍␊Host: h␍␊Content-Type: text/plain␍␊\(rest)", with: [400])
    }

    @Test(
        "Numbers in chunk sizes are digits only; a chunk ends in CRLF exactly",
        arguments: [
            "+1␍␊a␍␊0␍␊␍␊", "-1␍␊a␍␊0␍␊␍␊", " 1␍␊a␍␊0␍␊␍␊", "0x1␍␊a␍␊0␍␊␍␊", "g␍␊a␍␊0␍␊␍␊", "␍␊a␍␊0␍␊␍␊", ";x␍␊a␍␊0␍␊␍␊", "1.␍␊a␍␊0␍␊␍␊",
            "1␊a␍␊0␍␊␍␊", "1␍a␍␊0␍␊␍␊", "1␍␊a␊0␍␊␍␊", "1␍␊a␍0␍␊␍␊", "1␍␊ab␍␊0␍␊␍␊", "1␍␊a 0␍␊␍␊", "1␍␊a0␍␊␍␊", "2␍␊a␍␊0␍␊␍␊", "1␍␊a␍␊0␊␍␊",
            "1␍␊a␍␊0␍␊␊",
            "10000000000000001␍␊a␍␊0␍␊␍␊", "ffffffffffffffff␍␊a␍␊0␍␊␍␊", "fffffffffffffffffff1␍␊a␍␊0␍␊␍␊", "1;␊␍␊a␍␊0␍␊␍␊",
            "1;a=␍b␍␊a␍␊0␍␊␍␊",
            "1␍␊a␍␊-0␍␊␍␊", "1␍␊a␍␊0␍␊Bad trailer: x␍␊␍␊", "1␍␊a␍␊0␍␊: x␍␊␍␊", "1␍␊a␍␊0␍␊Bad: ␍x␍␊␍␊", "1 ␍␊a␍␊0␍␊␍␊", "1\t␍␊a␍␊0␍␊␍␊",
        ])
    func chunkRefusals(body: String) throws {
        // `2␍␊a␍␊0␍␊␍␊` is a chunk of "a␍" that does not end in CRLF.
        try refuses("POST PATH HTTP/1.1␍␊Host: h␍␊Content-Type: text/plain␍␊Transfer-Encoding: chunked␍␊␍␊\(body)", with: [400])
    }

    @Test(
        "Refused with 400 and a closed connection: the head",
        arguments: [
            // missing or double Host
            "GET PATH HTTP/1.1␍␊␍␊", "GET PATH HTTP/1.1␍␊X: y␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊Host: h␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: h␍␊host: i␍␊␍␊", "GET http://h PATH HTTP/1.1␍␊Host: h␍␊␍␊", "GET http://hPATH HTTP/1.1␍␊␍␊",
            "GET PATH HTTP/1.0␍␊Host: h␍␊Host: h␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: a b␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: a/b␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: a@b␍␊␍␊",
            // obs-fold
            "GET PATH HTTP/1.1␍␊Host: h␍␊X: a␍␊ b␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊X: a␍␊\tb␍␊␍␊", "GET PATH HTTP/1.1␍␊ Host: h␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: h␍␊ ␍␊␍␊",
            // bare CR
            "GET PATH HTTP/1.1␍Host: h␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍X: y␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊X: a␍b␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: h␍␊X: a␍␍␊␍␊", "GET PATH␍ HTTP/1.1␍␊Host: h␍␊␍␊", "G␍ET PATH HTTP/1.1␍␊Host: h␍␊␍␊",
            // whitespace before the colon
            "GET PATH HTTP/1.1␍␊Host : h␍␊␍␊", "GET PATH HTTP/1.1␍␊Host\t: h␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊Content-Length : 5␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: h␍␊Transfer-Encoding : chunked␍␊␍␊",
            // bytes outside the token set in a field name
            "GET PATH HTTP/1.1␍␊Host: h␍␊a b: c␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊a(b: c␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊é: c␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: h␍␊a\0b: c␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊\"a\": c␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊a/b: c␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: h␍␊: c␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊no colon␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊a\u{7F}: c␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: h␍␊a@: c␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊{a}: c␍␊␍␊",
            // control bytes in a value
            "GET PATH HTTP/1.1␍␊Host: h␍␊X: a\0b␍␊␍␊", "GET PATH HTTP/1.1␍␊Host: h␍␊X: \u{1}␍␊␍␊",
            "GET PATH HTTP/1.1␍␊Host: h␍␊X: \u{7F}␍␊␍␊",
            // the request line
            "GET  PATH HTTP/1.1␍␊Host: h␍␊␍␊", "GET PATH  HTTP/1.1␍␊Host: h␍␊␍␊", "GET PATH HTTP/1.1 ␍␊Host: h␍␊␍␊",
            " GET PATH HTTP/1.1␍␊Host: h␍␊␍␊",
            "GET PATH␍␊Host: h␍␊␍␊", "GET␍␊Host: h␍␊␍␊", "GET PATH http/1.1␍␊Host: h␍␊␍␊", "GET PATH HTTP/1␍␊Host: h␍␊␍␊",
            "GET PATH HTTP/1.1x␍␊Host: h␍␊␍␊", "GET PATH HTTPS/1.1␍␊Host: h␍␊␍␊", "GET PATH\tHTTP/1.1␍␊Host: h␍␊␍␊",
            "GET PATH?é HTTP/1.1␍␊Host: h␍␊␍␊",
            "GET PATH\0 HTTP/1.1␍␊Host: h␍␊␍␊", "G(T PATH HTTP/1.1␍␊Host: h␍␊␍␊", "GÉT PATH HTTP/1.1␍␊Host: h␍␊␍␊",
            "GET v1 HTTP/1.1␍␊Host: h␍␊␍␊",
            "GET * HTTP/1.1␍␊Host: h␍␊␍␊", "GET PATH a HTTP/1.1␍␊Host: h␍␊␍␊",
        ])
    func headRefusals(request: String) throws {
        try refuses(request, with: [400])
    }

    @Test(
        "505 for other versions",
        arguments: ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9", "HTTP/9.9", "HTTP/1.2".replacing("1.2", with: "2.1")])
    func versions(version: String) throws {
        try refuses("GET PATH \(version)␍␊Host: h␍␊␍␊", with: [505])
    }

    @Test("1.2 is served as 1.1 (RFC 9110 section 2.5)")
    func laterMinor() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let client = try stream.server.connect()
        try client.send(wire("GET PATH HTTP/1.9␍␊Host: h␍␊␍␊", stream))
        #expect(try client.response().status == 200)
        #expect(try client.exchange("GET", stream.path).text == "x")
    }

    @Test("The preface of HTTP/2 behind a request, and what only begins like it, are refused like a request of that version")
    func http2Preface() throws {
        for (before, text) in [(true, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), (false, "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n")] {
            let client = try Self.server.get().connect()
            if before { #expect(try client.exchange("GET", "/v1/stream/none").status == 404) }
            try client.send(text)
            #expect([400, 505].contains(try client.response().status))
            #expect(client.ends())
        }
    }

    @Test("TLS spoken to this port ends the connection")
    func tls() throws {
        let client = try Self.server.get().connect()
        try client.send([0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3] + Payload.pattern(500).bytes)
        #expect(client.ends())
    }

    @Test("414 over the target limit")
    func targetLimit() throws {
        try refuses("GET PATH?\(String(repeating: "a", count: 5000)) HTTP/1.1␍␊Host: h␍␊␍␊", with: [414])
        // The request line may also just never end.
        try refuses("GET /\(String(repeating: "a", count: 100_000))", with: [414])
    }

    @Test("431 over the header limit")
    func headLimit() throws {
        try refuses("GET PATH HTTP/1.1␍␊Host: h␍␊X: \(String(repeating: "a", count: 9000))␍␊␍␊", with: [431])
        try refuses("GET PATH HTTP/1.1␍␊Host: h␍␊\(String(repeating: "A: b␍␊", count: 2000))␍␊", with: [431])
        try refuses("GET PATH HTTP/1.1␍␊Host: h␍␊\(String(repeating: "a", count: 100_000))", with: [431])
        // Under the limits all is well.
        let stream = try Self.server.stream()
        try stream.create("x")
        #expect(try stream.get("a=\(String(repeating: "a", count: 1500))", ["X: \(String(repeating: "a", count: 1500))"]).text == "x")
    }

    @Test("Unknown expectations: 417 (RFC 9110 section 10.1.1)")
    func expectation() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        let response = try stream.get("", ["Expect: the-unexpected"])
        #expect(response.status == 417 || response.status == 200, "\(response.summary)")
    }
}
