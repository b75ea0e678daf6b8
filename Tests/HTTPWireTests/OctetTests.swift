import Testing

@testable import HTTPWire

@Suite("Octets")
struct OctetTests {
    private static let alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

    @Test("sets against their definitions in RFC 9110 5.6.2 and RFC 3986 2")
    func sets() {
        let token = Set((OctetTests.alphanumeric + "!#$%&'*+-.^_`|~").utf8)
        let hostName = Set((OctetTests.alphanumeric + "-._~!$&'()*+,;=").utf8)
        for octet in UInt8.min...UInt8.max {
            #expect(OctetSet.token.contains(octet) == token.contains(octet))
            #expect(OctetSet.hostName.contains(octet) == hostName.contains(octet))
            #expect(Octet.hexValue(octet) == (octet < 0x80 ? Int(String(Unicode.Scalar(octet)), radix: 16) : nil))
            #expect(Octet.isDigit(octet) == ("0".utf8.first!..."9".utf8.first!).contains(octet))
            #expect(Octet.isFieldText(octet) == (octet == 9 || (0x20...0x7E).contains(octet) || octet >= 0x80))
        }
    }

    @Test("eight at a time is the same as one at a time")
    func words() {
        func check(_ bytes: [UInt8], _ start: Int, _ end: Int) {
            bytes.withUnsafeBytes { buffer in
                func naive(_ test: (UInt8) -> Bool) -> Int { (start..<end).first { test(buffer[$0]) } ?? end }
                let found = (
                    buffer.firstMarked(from: start, to: end) { OctetWord.marks($0, below: 0x20) },
                    buffer.firstMarked(from: start, to: end) { OctetWord.marks($0, below: 0x21) | OctetWord.marks($0, equalTo: 0x3A) },
                    buffer.firstMarked(from: start, to: end) { OctetWord.marks($0, equalTo: 0x7F) | OctetWord.marksNotASCII($0) }
                )
                let expected = (naive { $0 < 0x20 }, naive { $0 < 0x21 || $0 == 0x3A }, naive { $0 >= 0x7F })
                #expect(found == expected, "\(bytes) \(start) \(end)")
            }
        }
        // One special octet at each place, of each value, among neighbours that borrow and carry.
        for filler: UInt8 in [0x21, 0x39, 0x3B, 0x7E] {
            for count in 0...18 {
                for place in 0..<count {
                    for octet: UInt8 in [0, 1, 0x1F, 0x20, 0x21, 0x39, 0x3A, 0x3B, 0x7E, 0x7F, 0x80, 0x81, 0xBA, 0xFF] {
                        var bytes = [UInt8](repeating: filler, count: count)
                        bytes[place] = octet
                        for start in [0, 1, min(place, count)] where start <= count { check(bytes, start, count) }
                        check(bytes, 0, place)
                    }
                }
            }
        }
    }
}
