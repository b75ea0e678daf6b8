import Testing

@testable import StreamRules

@Suite struct DecimalTextTests {
    @Test func eightDigits() {
        // Every quad in both halves: the divisions by multiplication must be right for all of 0…9999.
        for quad in 0..<10_000 as Range<UInt64> {
            for value in [quad, quad * 10_000, quad * 10_000 + 9999 - quad] {
                let digits = Array(String(100_000_000 + value).utf8.dropFirst())
                let bytes = written(8) {
                    DecimalText.writeEight(value, to: $0.baseAddress!)
                    return 8
                }
                if bytes != digits { Issue.record("\(value)") }
                if withBytes(digits, { DecimalText.parseEight($0.baseAddress!) }) != value { Issue.record("\(value)") }
            }
        }
    }
}
