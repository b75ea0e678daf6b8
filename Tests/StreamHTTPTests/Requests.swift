// Requests from text to what the router makes of them.

import HTTPWire
import StreamHTTP
import StreamRules
import Testing

/// Scans, parses and routes a head. `fields` are lines without their line ends; a Host is added unless one is given.
func route(
    _ method: String, _ target: String, _ fields: [String] = [], host: String? = "example.org:4437", version: String = "1.1",
    secure: Bool = false, trusted: Bool = true,
    router: Router = Router()
) throws -> Routed {
    var router = router
    var text = "\(method) \(target) HTTP/\(version)\r\n"
    if let host { text += "Host: \(host)\r\n" }
    for field in fields { text += field + "\r\n" }
    text += "\r\n"
    let bytes = Array(text.utf8)
    return try bytes.withUnsafeBytes { bytes in
        var scanner = HeadScanner()
        let length = try #require(try scanner.scan(bytes, limits: WireLimits()))
        #expect(length == bytes.count)
        var head = RequestHead()
        try head.parse(bytes, limits: WireLimits())
        return router.route(head, bytes, RequestPeer(secure: secure, isTrustedProxy: trusted))
    }
}

/// The request that a head becomes; anything else fails the test.
func request(
    _ method: String, _ target: String, _ fields: [String] = [], host: String? = "example.org:4437", version: String = "1.1",
    secure: Bool = false
) throws -> StreamRequest {
    let routed = try route(method, target, fields, host: host, version: version, secure: secure)
    guard case .stream(let request) = routed else {
        Issue.record("\(method) \(target) \(fields): \(routed)")
        throw NotRouted()
    }
    return request
}

/// How a head is refused; anything else fails the test.
func problem(_ method: String, _ target: String, _ fields: [String] = []) throws -> Problem {
    let routed = try route(method, target, fields)
    guard case .problem(let problem, _) = routed else {
        Issue.record("\(method) \(target) \(fields): \(routed)")
        throw NotRouted()
    }
    return problem
}

struct NotRouted: Error {}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
