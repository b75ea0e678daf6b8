import HTTPWire
import Testing

@Suite("Field names")
struct FieldNameTests {
    private func recognize(_ name: [UInt8]) -> FieldName { name.withUnsafeBytes { FieldName.recognize($0) } }

    private func canonical(_ name: FieldName) -> [UInt8] { name.canonical.withUTF8Buffer { Array($0) } }

    @Test("each name, in any case, and nothing one octet away from it", arguments: FieldName.allCases.filter { $0 != .other })
    func recognized(name: FieldName) {
        let text = canonical(name)
        #expect(recognize(text) == name)
        #expect(recognize(text.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }) == name)
        #expect(recognize(text.map { (0x61...0x7A).contains($0) ? $0 & ~0x20 : $0 }) == name)
        #expect(recognize(Array(text.dropLast())) != name && recognize(text + [0x61]) != name && recognize([0x61] + text) != name)
        for place in text.indices {
            for octet in UInt8.min...UInt8.max {
                var other = text
                other[place] = octet
                let letter = text[place] | 0x20
                let same = octet == text[place] || (0x61...0x7A).contains(letter) && octet | 0x20 == letter
                #expect((recognize(other) == name) == same, "\(text) \(place) \(octet)")
            }
        }
    }

    @Test("the names as the specifications write them")
    func spelling() {
        let names: [(FieldName, String)] = [
            (.other, ""), (.host, "Host"), (.contentLength, "Content-Length"), (.transferEncoding, "Transfer-Encoding"),
            (.connection, "Connection"), (.expect, "Expect"), (.contentType, "Content-Type"), (.ifNoneMatch, "If-None-Match"),
            (.origin, "Origin"), (.authorization, "Authorization"),
            (.forwardedProto, "X-Forwarded-Proto"), (.forwardedHost, "X-Forwarded-Host"), (.streamTTL, "Stream-TTL"),
            (.streamExpiresAt, "Stream-Expires-At"), (.streamSeq, "Stream-Seq"), (.streamClosed, "Stream-Closed"),
            (.streamForkedFrom, "Stream-Forked-From"), (.streamForkOffset, "Stream-Fork-Offset"),
            (.streamForkSubOffset, "Stream-Fork-Sub-Offset"), (.producerID, "Producer-Id"), (.producerEpoch, "Producer-Epoch"),
            (.producerSeq, "Producer-Seq"), (.contentEncoding, "Content-Encoding"), (.ifMatch, "If-Match"),
            (.serviceWorker, "Service-Worker"), (.lastEventID, "Last-Event-ID"), (.forwardedFor, "X-Forwarded-For"),
        ]
        #expect(names.count == FieldName.allCases.count)
        for (name, text) in names { #expect(canonical(name) == Array(text.utf8)) }
        // RequestHead keeps one bit of 64 for each.
        #expect(FieldName.allCases.allSatisfy { $0.rawValue < 64 })
    }

    @Test("others", arguments: ["", "a", "X-Other", "Host2", "Content_Length", "Stream", "Proxy-Connection", "Content-Length\0"])
    func other(name: String) { #expect(recognize(latin1(name)) == .other) }
}
