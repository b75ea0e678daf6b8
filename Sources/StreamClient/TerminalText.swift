// What a server says, as a terminal may show it: no control characters, which could move the cursor, change the title, or send input back, and
// nothing that changes the direction of writing.

/// A text without characters that a terminal acts on; U+FFFD stands in for each.
public func terminalText(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars { result.append(isForTerminals(scalar) ? "\u{FFFD}" : scalar) }
    return String(result)
}

/// Controls of C0 and C1, line and paragraph separators, and those of the bidirectional algorithm (UAX 9).
func isForTerminals(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7F..<0xA0, 0x2028...0x202E, 0x2066...0x2069, 0x200E, 0x200F, 0x061C: true
    default: false
    }
}
