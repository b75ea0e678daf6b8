// A second reading of RFC 8259, written for clarity alone: recursive, byte by byte, on an array. The tests compare
// JSONMessages with it.

/// Parses one JSON text and remembers where the elements of an array at the top lie.
struct JSONReference {
    private struct Fault: Error {}

    private let bytes: [UInt8]
    private let maximumDepth: Int
    private var index = 0
    private var elements: [Range<Int>] = []

    private init(_ bytes: [UInt8], _ maximumDepth: Int) {
        self.bytes = bytes
        self.maximumDepth = maximumDepth
    }

    /// The messages of a body without whitespace at their ends, raw newlines as spaces; nil if the body is not JSON.
    static func messages(_ bytes: [UInt8], maximumDepth: Int = 1024) -> [[UInt8]]? {
        var reference = JSONReference(bytes, maximumDepth)
        do {
            reference.blanks()
            let start = reference.index
            try reference.value(depth: 0)
            let end = reference.index
            reference.blanks()
            guard reference.index == bytes.count else { return nil }
            let ranges = bytes[start] == UInt8(ascii: "[") ? reference.elements : [start..<end]
            // Validity was checked on the way, so CR and LF occur outside strings only.
            return ranges.map { bytes[$0].map { $0 == 0x0A || $0 == 0x0D ? 0x20 : $0 } }
        } catch {
            return nil
        }
    }

    private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func blanks() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { index += 1 }
    }

    private mutating func take(_ text: String) throws {
        for byte in text.utf8 {
            guard next == byte else { throw Fault() }
            index += 1
        }
    }

    private mutating func value(depth: Int) throws {
        guard let byte = next else { throw Fault() }
        switch Character(UnicodeScalar(byte)) {
        case "{":
            guard depth < maximumDepth else { throw Fault() }
            index += 1
            blanks()
            if next == UInt8(ascii: "}") {
                index += 1
                return
            }
            while true {
                blanks()
                try string()
                blanks()
                try take(":")
                blanks()
                try value(depth: depth + 1)
                blanks()
                if next == UInt8(ascii: ",") {
                    index += 1
                    continue
                }
                return try take("}")
            }
        case "[":
            guard depth < maximumDepth else { throw Fault() }
            index += 1
            blanks()
            if next == UInt8(ascii: "]") {
                index += 1
                return
            }
            while true {
                blanks()
                let start = index
                try value(depth: depth + 1)
                if depth == 0 { elements.append(start..<index) }
                blanks()
                if next == UInt8(ascii: ",") {
                    index += 1
                    continue
                }
                return try take("]")
            }
        case "\"": try string()
        case "t": try take("true")
        case "f": try take("false")
        case "n": try take("null")
        default: try number()
        }
    }

    private mutating func string() throws {
        try take("\"")
        var content: [UInt8] = []
        while true {
            guard let byte = next, byte >= 0x20 else { throw Fault() }
            index += 1
            if byte == UInt8(ascii: "\"") { break }
            content.append(byte)
            if byte != UInt8(ascii: "\\") { continue }
            guard let escaped = next else { throw Fault() }
            index += 1
            if escaped == UInt8(ascii: "u") {
                for _ in 0..<4 {
                    guard let digit = next, Character(UnicodeScalar(digit)).isHexDigit, digit < 0x80 else { throw Fault() }
                    index += 1
                }
            } else if !"\"\\/bfnrt".utf8.contains(escaped) {
                throw Fault()
            }
        }
        guard String(validating: content, as: UTF8.self) != nil else { throw Fault() }
    }

    private mutating func number() throws {
        func isDigit(_ byte: UInt8?) -> Bool { byte.map { (0x30...0x39).contains($0) } ?? false }
        if next == UInt8(ascii: "-") { index += 1 }
        guard isDigit(next) else { throw Fault() }
        if next == UInt8(ascii: "0") {
            index += 1
        } else {
            while isDigit(next) { index += 1 }
        }
        if next == UInt8(ascii: ".") {
            index += 1
            guard isDigit(next) else { throw Fault() }
            while isDigit(next) { index += 1 }
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            index += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { index += 1 }
            guard isDigit(next) else { throw Fault() }
            while isDigit(next) { index += 1 }
        }
    }
}

/// A small generator with a seed, so that every run sees the same cases (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
