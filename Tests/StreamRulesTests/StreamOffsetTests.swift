import Foundation
import StreamRules
import Testing

@Suite struct StreamOffsetTests {
    @Test(
        arguments: [
            0, 1, 9, 10, 42, 99, 100, 9999, 10000, 12_345_678, 99_999_999, 100_000_000, 123_456_789, 1_234_567_890_123_456,
            9_999_999_900_000_000,
            StreamOffset.maximum,
        ] as [UInt64])
    func roundTrip(position: UInt64) {
        let expected = "0000000000000000_" + String(repeating: "0", count: 16 - "\(position)".count) + "\(position)"
        let offset = StreamOffset(position: position)
        #expect(offset.description == expected)
        #expect(withBytes(expected, StreamOffset.parse) == offset)
        let bytes = written(33) {
            offset.write(into: $0.baseAddress!)
            return 33
        }
        #expect(bytes == Array(expected.utf8))
    }

    @Test func allOfFourDigitsAndRandomOnes() {
        var generator = SeededGenerator(seed: 5)
        for index in 0..<40_000 as Range<UInt64> {
            let position = index < 20_000 ? index : UInt64.random(in: 0...StreamOffset.maximum, using: &generator)
            let text = StreamOffset(position: position).description
            if UInt64(text.suffix(16)) != position || text.utf8.count != 33 || withBytes(text, StreamOffset.parse)?.position != position {
                Issue.record("\(position) \(text)")
            }
        }
    }

    @Test(arguments: [
        "", "-1", "now", "0", "0000000000000000", "0000000000000000_", "0000000000000000_000000000000004",
        "0000000000000000_00000000000000042",
        "0000000000000001_0000000000000042", "1000000000000000_0000000000000000", "0000000000000000-0000000000000042",
        "0000000000000000_000000000000004a",
        "0000000000000000_+000000000000042", "0000000000000000_-000000000000042", "0000000000000000_ 00000000000042",
        "0000000000000000_00000000000000 2",
        "0000000000000000_000000000000/042", "0000000000000000_000000000000:042", " 0000000000000000_000000000000042",
        "000000000000000_00000000000000042",
        "0000000000000000_0000000000000042 ", "0000000000000000_000000000000004\u{0}", "000000000000000é_000000000000042",
    ])
    func refused(token: String) {
        #expect(withBytes(token, StreamOffset.parse) == nil)
    }

    @Test func everyByteInEveryPlace() {
        let token = Array(StreamOffset(position: 1_234_567_890_123_456).description.utf8)
        for place in token.indices {
            for byte in UInt8.min...UInt8.max {
                var changed = token
                changed[place] = byte
                let isValid = place < 16 ? byte == 0x30 : place == 16 ? byte == 0x5F : (0x30...0x39).contains(byte)
                let parsed = withBytes(changed, StreamOffset.parse)
                if parsed?.description.utf8.elementsEqual(changed) != (isValid ? true : nil) { Issue.record("\(place) \(byte)") }
            }
        }
    }

    @Test func order() {
        let positions: [UInt64] = [0, 1, 9, 10, 99_999_999, 100_000_000, StreamOffset.maximum]
        for left in positions {
            for right in positions {
                let (a, b) = (StreamOffset(position: left), StreamOffset(position: right))
                #expect((a < b) == (left < right))
                #expect((a < b) == (a.description < b.description))
                #expect((a == b) == (left == right))
            }
        }
        #expect(StreamOffset.start.position == 0)
    }
}
