// JSONText: a scanner over one JSON text (RFC 8259), enough for what the client needs: to tell whether a line is a JSON text before it is
// sent, and to take single values out of an SSE control event. Nesting is bounded, so a hostile text costs no stack.

import StreamRules

struct JSONText {
    struct Malformed: Error {}

    static let deepest = 1000

    private let bytes: [UInt8]
    private(set) var position = 0

    init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

    /// Whether the bytes are exactly one JSON text in UTF-8, whitespace around it allowed.
    static func isValid(_ bytes: some Sequence<UInt8>) -> Bool {
        var text = JSONText(bytes)
        return (try? text.wholeText()) != nil
    }

    private mutating func wholeText() throws(Malformed) {
        try skipValue()
        skipSpace()
        guard position == bytes.count, String(validating: bytes, as: UTF8.self) != nil else { throw Malformed() }
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    /// Takes the byte if it is next after whitespace.
    mutating func take(_ wanted: Character) -> Bool {
        skipSpace()
        guard let byte = current, byte == wanted.asciiValue else { return false }
        position += 1
        return true
    }

    private mutating func require(_ wanted: Character) throws(Malformed) {
        guard take(wanted) else { throw Malformed() }
    }

    mutating func takeWord(_ word: StaticString) -> Bool {
        skipSpace()
        guard position + word.utf8CodeUnitCount <= bytes.count else { return false }
        for index in 0..<word.utf8CodeUnitCount where bytes[position + index] != word.utf8Start[index] { return false }
        position += word.utf8CodeUnitCount
        return true
    }

    /// One value of any kind, without recursion: `open` holds the containers around the position, true for an object.
    mutating func skipValue() throws(Malformed) {
        var open: [Bool] = []
        while true {
            // A value begins here.
            skipSpace()
            switch current {
            case UInt8(ascii: "{"):
                position += 1
                guard open.count < Self.deepest else { throw Malformed() }
                if !take("}") {
                    open.append(true)
                    try skipName()
                    continue
                }
            case UInt8(ascii: "["):
                position += 1
                guard open.count < Self.deepest else { throw Malformed() }
                if !take("]") {
                    open.append(false)
                    continue
                }
            case UInt8(ascii: "\""): try skipString()
            case UInt8(ascii: "t"): if !takeWord("true") { throw Malformed() }
            case UInt8(ascii: "f"): if !takeWord("false") { throw Malformed() }
            case UInt8(ascii: "n"): if !takeWord("null") { throw Malformed() }
            default: try skipNumber()
            }
            // A value has ended; close what ends with it, then go on to the next one.
            while let isObject = open.last {
                if take(",") {
                    if isObject { try skipName() }
                    break
                }
                try require(isObject ? "}" : "]")
                open.removeLast()
            }
            if open.isEmpty { return }
        }
    }

    private mutating func skipName() throws(Malformed) {
        skipSpace()
        try skipString()
        try require(":")
    }

    private mutating func skipString() throws(Malformed) {
        guard current == UInt8(ascii: "\"") else { throw Malformed() }
        position += 1
        while let byte = current {
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return
            case UInt8(ascii: "\\"):
                guard let escape = current else { throw Malformed() }
                position += 1
                if escape == UInt8(ascii: "u") {
                    _ = try hexadecimal()
                } else if !"\"\\/bfnrt".utf8.contains(escape) {
                    throw Malformed()
                }
            case 0..<0x20: throw Malformed()
            default: break
            }
        }
        throw Malformed()
    }

    private mutating func hexadecimal() throws(Malformed) -> UInt16 {
        guard position + 4 <= bytes.count else { throw Malformed() }
        var value: UInt16 = 0
        for byte in bytes[position..<position + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { throw Malformed() }
            value = value << 4 | UInt16(digit)
        }
        position += 4
        return value
    }

    private mutating func skipNumber() throws(Malformed) {
        if current == UInt8(ascii: "-") { position += 1 }
        if current == UInt8(ascii: "0") { position += 1 } else { try skipDigits() }
        if current == UInt8(ascii: ".") {
            position += 1
            try skipDigits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            try skipDigits()
        }
    }

    private mutating func skipDigits() throws(Malformed) {
        let start = position
        while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        guard position > start else { throw Malformed() }
    }

    /// A string with its escapes resolved; nil, and nothing taken, when the next value is no string.
    mutating func string() throws(Malformed) -> String? {
        skipSpace()
        guard current == UInt8(ascii: "\"") else { return nil }
        let start = position + 1
        try skipString()
        let raw = bytes[start..<position - 1]
        guard raw.contains(UInt8(ascii: "\\")) else { return String(decoding: raw, as: UTF8.self) }
        return try Self.unescape(raw)
    }

    /// `raw` has passed `skipString`, so every escape is complete.
    private static func unescape(_ raw: ArraySlice<UInt8>) throws(Malformed) -> String {
        var units: [UInt16] = []
        var rest = JSONText(raw)
        while let byte = rest.current {
            guard byte == UInt8(ascii: "\\") else {
                let run = rest.bytes[rest.position...].prefix { $0 != UInt8(ascii: "\\") }
                units.append(contentsOf: String(decoding: run, as: UTF8.self).utf16)
                rest.position += run.count
                continue
            }
            let escape = rest.bytes[rest.position + 1]
            rest.position += 2
            switch escape {
            case UInt8(ascii: "u"): units.append(try rest.hexadecimal())
            case UInt8(ascii: "b"): units.append(0x08)
            case UInt8(ascii: "f"): units.append(0x0c)
            case UInt8(ascii: "n"): units.append(0x0a)
            case UInt8(ascii: "r"): units.append(0x0d)
            case UInt8(ascii: "t"): units.append(0x09)
            default: units.append(UInt16(escape))
            }
        }
        return String(decoding: units, as: UTF16.self)
    }
}

/// A JSON string literal for the text, as `head --json` prints it: nothing in it acts on a terminal.
public func jsonLiteral(_ text: String) -> String { JSONString.quoted(text, alsoEscaping: isForTerminals) }
