// The harness of the tables: each case is read whole, in several cuts and with another request behind it, and must give the same every time.

import HTTPWire
import HTTPWireTesting
import Testing

/// The bytes of a text whose characters are all below U+0100, one each.
func latin1(_ text: String) -> [UInt8] { text.unicodeScalars.map { UInt8($0.value) } }

func text(_ bytes: [UInt8]) -> String { String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) })) }

/// Another request on the same connection, recognisable by its target.
let nextRequest = latin1("GET /next HTTP/1.1\r\nHost: next\r\n\r\n")

/// What `input` is read as, whatever the arrivals.
func reading(_ input: String, limits: WireLimits = WireLimits(), location: SourceLocation = #_sourceLocation) -> Transcript {
    let bytes = latin1(input)
    let whole = Transcript(of: bytes, limits: limits)
    for step in [1, 2, 3, 5, 7, 8, 9, 64] {
        let pieces = Transcript(of: bytes, step: step, limits: limits)
        #expect(pieces.messages == whole.messages && pieces.end == whole.end, "\(step) bytes at a time: \(input)", sourceLocation: location)
    }
    for step in [1, bytes.count + nextRequest.count] {
        let followed = Transcript(of: bytes + nextRequest, step: step, limits: limits)
        switch whole.end {
        case .clean:
            #expect(followed.messages.dropLast() == whole.messages[...], "with another request behind: \(input)", sourceLocation: location)
            #expect(
                followed.messages.last?.target == Array("/next".utf8), "with another request behind: \(input)", sourceLocation: location)
            #expect(followed.end == .clean, "with another request behind: \(input)", sourceLocation: location)
        case .closed, .refused:
            #expect(followed.messages == whole.messages, "with another request behind: \(input)", sourceLocation: location)
            #expect(followed.end == whole.end, "with another request behind: \(input)", sourceLocation: location)
        case .incomplete: break
        }
    }
    return whole
}

/// Expects that `input` is refused, before any message, in the way given.
func expectRefusal(
    _ input: String, _ refusal: HTTPRefusal, limits: WireLimits = WireLimits(), location: SourceLocation = #_sourceLocation
) {
    let transcript = reading(input, limits: limits, location: location)
    #expect(transcript.messages.isEmpty, "\(input)", sourceLocation: location)
    #expect(transcript.end == .refused(refusal), "\(input)", sourceLocation: location)
}

extension Transcript.Message {
    /// The message on one line: `GET /a 1.1 | Host=a; X=y | none | keep`.
    var summary: String {
        let place = authority.map { "{" + text($0) + "}" } ?? ""
        let lines = fields.map { text($0.name) + "=" + text($0.value) }.joined(separator: "; ")
        let length =
            switch framing {
            case .none: "none"
            case .length(let count): "length \(count)"
            case .chunked: "chunked"
            }
        let parts = [
            "\(text(methodText)) \(place)\(text(target)) 1.\(minorVersion)", lines, content.isEmpty ? length : "\(length) \(text(content))",
            (keepAlive ? "keep" : "close") + (expectsContinue ? " 100" : ""),
        ]
        return parts.joined(separator: " | ")
    }
}
