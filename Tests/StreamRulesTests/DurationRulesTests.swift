import StreamRules
import Testing

@Suite struct DurationRulesTests {
    @Test(
        arguments: [
            ("0", 0), ("1", 1), ("9", 9), ("10", 10), ("3600", 3600), ("9007199254740990", 9_007_199_254_740_990),
            ("9007199254740991", 9_007_199_254_740_991),
            ("9007199254740992", nil), ("18446744073709551615", nil), ("18446744073709551616", nil), ("184467440737095516160", nil),
            ("99999999999999999999999999", nil),
            ("", nil), ("00", nil), ("01", nil), ("007", nil), ("-1", nil), ("-0", nil), ("+1", nil), ("1.0", nil), ("1.", nil),
            ("1e3", nil), ("1E3", nil), (" 1", nil), ("1 ", nil),
            ("1,000", nil), ("0x1", nil), ("abc", nil), ("1a", nil), ("1/", nil), ("1:", nil), ("\u{0}", nil), ("1\u{0}", nil), ("١", nil),
            ("NaN", nil), ("1_000", nil),
        ] as [(String, UInt64?)])
    func numbers(text: String, expected: UInt64?) {
        #expect(withBytes(text, StreamTTL.parse) == expected)
        #expect(withBytes(text, ProducerNumber.parse) == expected)
    }
}
