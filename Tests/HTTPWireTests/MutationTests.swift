import HTTPWire
import HTTPWireTesting
import Testing

@Suite("Mutated requests")
struct MutationTests {
    /// A small reproducible generator (xorshift).
    private struct Dice: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
    }

    private static let seeds = [
        "GET /a?offset=-1 HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: u\r\n\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
        "PUT http://a:1/b HTTP/1.1\r\nHost: h\r\nConnection: close, x\r\nExpect: 100-continue\r\nContent-Length: 1, 1\r\n\r\nz",
    ]

    @Test("are read alike whatever the arrivals", arguments: 1...20)
    func arrivals(seed: Int) {
        var dice = Dice(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15)
        let interesting = Array("\r\n\t :;,/#*0159afAF\0".utf8) + [0x7F, 0x80, 0xFF]
        var limits = WireLimits()
        limits.headBytes = 96
        limits.targetBytes = 24
        limits.chunkLineBytes = 8
        limits.trailerBytes = 12
        limits.fieldCount = 4
        for _ in 0..<1000 {
            var bytes = Array(MutationTests.seeds.randomElement(using: &dice)!.utf8)
            for _ in 0..<Int.random(in: 1...4, using: &dice) {
                let place = Int.random(in: bytes.indices, using: &dice)
                let octet = interesting.randomElement(using: &dice)!
                switch Int.random(in: 0..<5, using: &dice) {
                case 0: bytes[place] = octet
                case 1: bytes.insert(octet, at: place)
                case 2: if bytes.count > 1 { bytes.remove(at: place) }
                case 3: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 12)], at: place)
                default: bytes.swapAt(place, Int.random(in: bytes.indices, using: &dice))
                }
            }
            let limits = Bool.random(using: &dice) ? limits : WireLimits()
            let whole = Transcript(of: bytes, limits: limits)
            for step in [1, 2, Int.random(in: 3...40, using: &dice)] {
                let pieces = Transcript(of: bytes, step: step, limits: limits)
                #expect(pieces.messages == whole.messages && pieces.end == whole.end, "step \(step): \(text(bytes).debugDescription)")
            }
        }
    }
}
