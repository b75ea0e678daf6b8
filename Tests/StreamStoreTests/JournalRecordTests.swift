import StreamRules
import Testing

@testable import StreamStore

private let bodies: [RecordBody] = [
    .create("a"), .create("", type: ""),
    .create("name/with/slashes", type: "application/json; charset=utf-8", chunk: .max, time: .min, closed: true),
    .create(String(repeating: "n", count: 1024), expiry: .timeToLive(seconds: .max), chunk: 0, time: .max),
    .create("x", expiry: .at(milliseconds: -1, text: Array("1969-12-31T23:59:59.999Z".utf8))),
    .create("y", expiry: .at(milliseconds: .max, text: [])),
    .append(at: 0), .append(at: .max, time: -5, closes: true), .append(at: 1, sequence: ""), .append(at: 1, sequence: "0001"),
    .append(at: 2, producer: ProducerStamp(id: [], epoch: 0, sequence: 0)),
    .append(at: 3, closes: true, sequence: "s", producer: ProducerStamp(id: Array("producer".utf8), epoch: .max, sequence: .max)),
    .delete(DeleteRecord(time: 0)), .delete(DeleteRecord(time: -1, retains: true)), .delete(DeleteRecord(time: 3, sourceID: .max)),
    .renew(until: .max),
    .create(
        "fork",
        origin: ForkOrigin(sourceID: 1, source: Array("from".utf8), offset: 2, offsetWasGiven: true, subOffset: 3, position: 4, lastCut: 0)),
    .create(
        "fork 2", closed: true,
        origin: ForkOrigin(sourceID: .max, source: [], offset: 0, offsetWasGiven: false, subOffset: 0, position: .max, lastCut: .max)),
]

@Suite struct JournalRecordTests {
    @Test(arguments: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 1000])
    func roundTrip(size: Int) {
        let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for (index, body) in bodies.enumerated() {
            let bytes = Record(UInt64(index), body, payload).encoded(lsn: 1 << 60)
            #expect(bytes.count % 8 == 0 && bytes.count == JournalRecord.paddedLength(body, payload: size))
            for behind in [[], [1, 2, 3]] as [[UInt8]] {
                (bytes + behind).withUnsafeBytes {
                    let view = JournalRecord.decode($0).record
                    #expect(view?.lsn == 1 << 60 && view?.stream == UInt64(index) && view?.body.fields == body.fields)
                    #expect(view.map { Array($0.payload) } == payload && view?.paddedLength == bytes.count)
                }
            }
        }
    }

    /// The form on disk, byte by byte: other versions of the server read it.
    @Test func form() {
        let bytes = Record(
            0x1122, .append(at: 5, time: 6, closes: true, sequence: "s", producer: ProducerStamp(id: [80], epoch: 7, sequence: 8)), "xyz"
        ).encoded(lsn: 9)
        let metadata: [UInt8] =
            [5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7] + [1, 0, 0, 0, 115] + [1, 0, 0, 0, 80]
            + [7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]
        #expect(metadata.count == 43)
        #expect(
            bytes[4..<8] == [86, 0, 0, 0] && bytes[8..<16] == [9, 0, 0, 0, 0, 0, 0, 0] && bytes[16..<24] == [0x22, 0x11, 0, 0, 0, 0, 0, 0])
        #expect(bytes[24..<32] == [2, 1, 0, 0, 43, 0, 0, 0] && bytes[36..<40] == [0, 0, 0, 0])
        #expect(bytes[40..<83] == metadata[...] && bytes[83...] == [120, 121, 122, 0, 0])
        let sum = bytes[4..<83].withUnsafeBytes { Checksum.of($0) }
        let payloadSum = Array("xyz".utf8).withUnsafeBytes { Checksum.of($0) }
        bytes.withUnsafeBytes {
            #expect($0.load(as: UInt32.self) == sum && $0.load(fromByteOffset: 32, as: UInt32.self) == payloadSum)
        }
    }

    @Test func everyTruncation() {
        for body in bodies {
            let record = Record(1, body, "payload")
            let bytes = record.encoded(lsn: 1)
            let whole = JournalRecord.headerLength + JournalRecord.metadataLength(body) + 7
            for count in 0..<bytes.count {
                // A copy of its own, so that nothing behind it can be read unnoticed.
                let decoded = Array(bytes[..<count]).withUnsafeBytes { JournalRecord.decode($0).record != nil }
                if decoded != (count >= whole) { Issue.record("\(body.fields) cut to \(count) of \(whole)") }
            }
        }
    }

    @Test func everyFlippedBit() {
        for body in bodies where JournalRecord.metadataLength(body) < 200 {
            let bytes = Record(3, body, "payload").encoded(lsn: 77)
            let whole = JournalRecord.headerLength + JournalRecord.metadataLength(body) + 7
            for place in bytes.indices {
                for bit in 0..<8 {
                    var changed = bytes
                    changed[place] ^= 1 << UInt8(bit)
                    let isRead = changed.withUnsafeBytes { JournalRecord.decode($0).record?.body.fields == body.fields }
                    if isRead != (place >= whole) { Issue.record("\(body.fields): bit \(bit) of byte \(place)") }
                }
            }
        }
    }

    /// Metadata that its checksum vouches for and that is wrong all the same: too short, too long, of unknown kinds.
    @Test func wrongMetadata() {
        func decodes(_ change: (inout [UInt8]) -> Void) -> Bool {
            var bytes = Record(1, .append(at: 1, sequence: "ab")).encoded(lsn: 1)
            change(&bytes)
            let metadata = Int(bytes[28]) | Int(bytes[29]) << 8 | Int(bytes[30]) << 16
            let end = min(bytes.count, 40 + metadata)
            let sum = bytes[4..<end].withUnsafeBytes { Checksum.of($0) }
            withUnsafeBytes(of: sum.littleEndian) { bytes.replaceSubrange(0..<4, with: $0) }
            return bytes.withUnsafeBytes { JournalRecord.decode($0).record != nil }
        }
        #expect(decodes { _ in })
        #expect(!decodes { $0[24] = 5 }, "an unknown kind")
        #expect(!decodes { $0[25] = 2 }, "an unknown version")
        #expect(!decodes { $0[57] = 3 }, "a string that is longer than the metadata")
        #expect(!decodes { $0[57] = 1 }, "a string that leaves a byte over")
        #expect(!decodes { $0[60] = 0xFF }, "a string of 4 GB")
        #expect(!decodes { $0[56] = 0 }, "no flag for the string that follows")
        #expect(!decodes { $0[56] = 6 }, "a flag for a producer that is not there")
        #expect(!decodes { $0[28] = 22 }, "metadata cut short")
        #expect(!decodes { $0[4] = 39 }, "shorter than its head")
        #expect(!decodes { $0[31] = 0xFF }, "metadata longer than the record")
    }
}

extension JournalRecordTests {
    /// A record that is whole and not known is a newer server's, and never torn.
    @Test(arguments: [(24, 9), (24, 0), (25, 2), (25, 0)])
    func newer(place: Int, value: UInt8) {
        var bytes = Record(1, .append(at: 1, sequence: "ab"), "payload").encoded(lsn: 12)
        bytes[place] = value
        let end = 40 + Int(bytes[28])
        let sum = bytes[4..<end].withUnsafeBytes { Checksum.of($0) }
        withUnsafeBytes(of: sum.littleEndian) { bytes.replaceSubrange(0..<4, with: $0) }
        bytes.withUnsafeBytes {
            guard case .newer(12, let kind, let version) = JournalRecord.decode($0) else {
                Issue.record("not newer")
                return
            }
            #expect(kind == bytes[24] && version == bytes[25])
        }
        // With a payload that is damaged it is nothing.
        bytes[end] ^= 1
        bytes.withUnsafeBytes { if case .none = JournalRecord.decode($0) {} else { Issue.record("damaged, and not told") } }
    }
}
