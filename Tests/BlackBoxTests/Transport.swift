// What the requests of the tests travel by: HTTP/1.1 or HTTP/2, each in clear or with TLS. One run of the tests has one transport, which
// DS_TEST_TRANSPORT names (h1, h1-tls, h2, h2-tls; h1 without it). The tests are the same: they write HTTP/1.1 and read HTTP/1.1, and a bridge
// (TransportBridge) makes of it what travels.
//
//     DS_TEST_TRANSPORT=h2-tls swift test --filter BlackBoxTests

import Glibc
import Testing

enum Transport: String, Sendable, CaseIterable {
    case http1 = "h1"
    case http1TLS = "h1-tls"
    case http2 = "h2"
    case http2TLS = "h2-tls"

    static let current: Transport = {
        guard let text = getenv("DS_TEST_TRANSPORT").map({ String(cString: $0) }), !text.isEmpty else { return .http1 }
        guard let transport = Transport(rawValue: text) else {
            preconditionFailure("DS_TEST_TRANSPORT is \(text); expected one of \(allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return transport
    }()

    var hasTLS: Bool { self == .http1TLS || self == .http2TLS }
    var isHTTP2: Bool { self == .http2 || self == .http2TLS }
    var scheme: String { hasTLS ? "https" : "http" }
}

extension Trait where Self == ConditionTrait {
    /// Only over HTTP/1.1 in clear. - Parameter why: what would be different, or the same again, over the others.
    static func onlyInClear(_ why: Comment) -> Self { .enabled(if: Transport.current == .http1, why) }

    /// Not over HTTP/2. - Parameter why: what HTTP/2 does not have.
    static func onlyHTTP1(_ why: Comment) -> Self { .enabled(if: !Transport.current.isHTTP2, why) }
}
