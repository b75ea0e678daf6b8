// Text of unknown origin made safe to print on one line.
//
// Escaped is everything that can end a line, move a terminal's cursor or reorder what is shown: C0 and C1 controls, DEL, the line
// and paragraph separators U+2028 and U+2029, and the bidirectional controls. The rest of Unicode passes.
//
//     newline → \n     tab → \t     escape → \x1b     U+2028 → \u{2028}     backslash → \\     quote → \" (inside quotes only)

enum EscapedText {
    /// The most bytes of one string that are shown: a longer one is cut at a character and ends with `…`.
    /// journald reads lines up to 48 KiB; a line with a dozen such values still fits.
    static let limit = 2048

    /// Whether a scalar must not appear as it is.
    static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0...0x1f, 0x7f...0x9f, 0x061c, 0x200e, 0x200f, 0x2028...0x202e, 0x2066...0x2069, 0xfeff: true
        default: false
        }
    }

    /// Appends `text` with unsafe characters and backslashes escaped, and quotes too where `quoted`.
    static func append(_ text: String, to line: inout [UInt8], quoted: Bool, limit: Int = Self.limit) {
        var used = 0
        for scalar in text.unicodeScalars {
            used += UTF8.width(scalar)
            if used > limit {
                line.append(contentsOf: "…".utf8)
                return
            }
            switch scalar {
            case "\n": line.append(contentsOf: #"\n"#.utf8)
            case "\r": line.append(contentsOf: #"\r"#.utf8)
            case "\t": line.append(contentsOf: #"\t"#.utf8)
            case "\\": line.append(contentsOf: #"\\"#.utf8)
            case "\"" where quoted: line.append(contentsOf: #"\""#.utf8)
            case let control where isUnsafe(control):
                let hex = String(control.value, radix: 16)
                line.append(contentsOf: (control.value < 0x100 ? "\\x" + (hex.count == 1 ? "0" : "") + hex : "\\u{\(hex)}").utf8)
            default: line.append(contentsOf: UTF8.encode(scalar)!)
            }
        }
    }

    /// The text in double quotes.
    static func quoted(_ text: String, limit: Int = 200) -> String {
        var line: [UInt8] = [UInt8(ascii: "\"")]
        append(text, to: &line, quoted: true, limit: limit)
        line.append(UInt8(ascii: "\""))
        return String(decoding: line, as: UTF8.self)
    }

    /// The text without quotes, for places such as file names that are not quoted.
    static func plain(_ text: String) -> String {
        var line: [UInt8] = []
        append(text, to: &line, quoted: false)
        return String(decoding: line, as: UTF8.self)
    }
}
