import Testing

@testable import StreamStore

@Suite struct JournalFileTests {
    @Test(
        arguments: [(1, "0000000000000001.journal"), (42, "0000000000000042.journal"), (9_999_999_999_999_999, "9999999999999999.journal")]
            as [(UInt64, String)])
    func name(number: UInt64, name: String) {
        #expect(JournalFile.name(number) == name && JournalFile.number(of: name) == number)
    }

    @Test(arguments: [
        "", ".journal", "1.journal", "000000000000001.journal", "00000000000000001.journal", "+000000000000001.journal",
        "-000000000000001.journal",
        "000000000000000a.journal", "0000000000000001.journa", "0000000000000001.journalx", "0000000000000001.JOURNAL",
        " 000000000000001.journal",
        "0000000000000001", "\u{0660}0000000000000.journal",
    ])
    func notAName(name: String) {
        #expect(JournalFile.number(of: name) == nil)
    }

    @Test(arguments: [0, 1, 77, .max] as [UInt64])
    func header(number: UInt64) {
        let bytes = JournalFile.encodeHeader(number: number, size: 1 << 30, salt: ~number)
        #expect(bytes.count == JournalFile.headerLength && Array(bytes[0..<8]) == Array("DSJOURN1".utf8))
        #expect(bytes.withUnsafeBytes { JournalFile.decodeHeader($0) } == .valid(number: number, salt: ~number))
        for place in bytes.indices {
            for bit in 0..<8 {
                var changed = bytes
                changed[place] ^= 1 << UInt8(bit)
                if changed.withUnsafeBytes({ JournalFile.decodeHeader($0) }) != .damaged { Issue.record("bit \(bit) of byte \(place)") }
            }
            let cut = Array(bytes[..<place]).withUnsafeBytes { JournalFile.decodeHeader($0) }
            if cut != .damaged { Issue.record("cut to \(place)") }
        }
    }

    @Test func batchHeader() {
        let header = JournalFile.BatchHeader(file: 3, number: 1 << 50, firstLSN: 17, lastLSN: .max, byteCount: 123_456, salt: 99)
        var bytes = [UInt8](repeating: 0xAA, count: JournalFile.batchHeaderLength)
        bytes.withUnsafeMutableBytes { header.encode(to: $0.baseAddress!) }
        #expect(Array(bytes[0..<4]) == Array("DSB1".utf8))
        #expect(bytes.withUnsafeBytes { JournalFile.BatchHeader.decode($0) } == header)
        for place in bytes.indices {
            for bit in 0..<8 {
                var changed = bytes
                changed[place] ^= 1 << UInt8(bit)
                if changed.withUnsafeBytes({ JournalFile.BatchHeader.decode($0) }) != nil { Issue.record("bit \(bit) of byte \(place)") }
            }
            if Array(bytes[..<place]).withUnsafeBytes({ JournalFile.BatchHeader.decode($0) }) != nil { Issue.record("cut to \(place)") }
        }
    }

    @Test func checksumIsTheStandardOne() {
        let text = Array("123456789".utf8)
        #expect(text.withUnsafeBytes { Checksum.of($0) } == 0xe306_9283)
        #expect([UInt8]().withUnsafeBytes { Checksum.of($0) } == 0)
        for middle in 0...text.count {
            let first = text[..<middle].withUnsafeBytes { Checksum.of($0) }
            #expect(text[middle...].withUnsafeBytes { Checksum.extend(first, with: $0) } == 0xe306_9283)
        }
    }
}
