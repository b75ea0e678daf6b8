// access-log: each request that has been answered is one line, whether its answer came at once, from the disk, after a wait, or as a refusal.

import Glibc
import Testing

@Suite(.onlyInClear("Asked of the log, which does not depend on it")) struct AccessLogTests {
    @Test("One line per request: method, target, status")
    func lines() throws {
        let server = try ServerProcess(.serve, ["--access-log", "--long-poll-timeout", "20ms", "--body-limit", "1KiB"])
        let text = ["Content-Type: text/plain"]
        let requests: [(String, String, [String], Payload?, Int)] = [
            ("PUT", "/v1/stream/a", text, nil, 201), ("POST", "/v1/stream/a", text, "hello", 204), ("GET", "/v1/stream/a", [], nil, 200),
            ("GET", "/v1/stream/a?offset=now", [], nil, 200), ("GET", "/v1/stream/a?offset=now&live=long-poll", [], nil, 204),
            ("HEAD", "/v1/stream/a", [], nil, 200), ("OPTIONS", "/v1/stream/a", [], nil, 204), ("GET", "/v1/stream/none", [], nil, 404),
            ("GET", "/v1/stream/none", [], nil, 404), ("GET", "/elsewhere", [], nil, 404), ("PATCH", "/v1/stream/a", [], nil, 405),
            ("GET", "/v1/stream/a?live=never&offset=-1", [], nil, 400), ("POST", "/v1/stream/a", text, .letters(1025), 413),
            ("DELETE", "/v1/stream/a", [], nil, 204),
        ]
        for (method, target, fields, body, status) in requests {
            let response = try server.connect().exchange(method, target, fields, body)
            #expect(response.status == status, "\(method) \(target): \(response.summary)")
        }
        #expect(server.process.stop(SIGTERM) == .exit(0))
        let lines = server.log.split(separator: "\n").compactMap { line -> String? in
            // <time> info GET /v1/stream/a ms=0 status=200
            let words = line.split(separator: " ")
            guard words.count == 6, words[1] == "info", words[4].hasPrefix("ms="), words[5].hasPrefix("status=") else { return nil }
            let milliseconds = Int(words[4].dropFirst(3)) ?? -1
            #expect(0...20_000 ~= milliseconds, "\(line)")
            return "\(words[2]) \(words[3]) \(words[5].dropFirst(7))"
        }
        #expect(lines == requests.map { "\($0.0) \($0.1) \($0.4)" })
    }
}
