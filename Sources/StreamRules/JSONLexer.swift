// The tokens of RFC 8259: strings (section 7, with UTF-8 as in RFC 3629), numbers (section 6), literals, whitespace.
//
// Each function takes the address of a token's start, which must lie before `end`, and returns the address behind it.
// Nothing is converted: a number keeps its spelling, a string its escapes. Only a raw CR or LF outside strings is changed:
// it becomes a space, because the stored form gives newlines a meaning (JSONMessages.swift).
//
//     string   " plain run … \n \u00e9 é 漢 … "
//                └ eight bytes at a time, stopped by " \ control or a byte above 0x7F
//
// A lone surrogate escape such as \ud800 is inside the grammar and passes.

struct JSONLexer {
    typealias Address = UnsafeMutablePointer<UInt8>

    let start: Address
    let end: Address

    func fault(_ kind: JSONFault.Kind, _ place: Address) -> JSONFault {
        JSONFault(kind, at: place - start)
    }

    // MARK: Whitespace

    /// Skips blanks; most tokens have none before them, so only the test is inlined.
    @inline(__always)
    func skipBlanks(_ place: Address) -> Address {
        place < end && place.pointee <= 0x20 ? skipBlankRun(place) : place
    }

    @inline(never)
    private func skipBlankRun(_ place: Address) -> Address {
        var place = place
        while place < end {
            switch place.pointee {
            case 0x20, 0x09: place += 1
            case 0x0A, 0x0D:
                place.pointee = 0x20
                place += 1
                // Indentation follows.
                while end - place >= 8, ByteWord.load(place) == ByteWord.filled(0x20) { place += 8 }
            default: return place
            }
        }
        return place
    }

    // MARK: Strings

    /// Takes the string whose opening quotation mark is at `place`.
    @inline(__always)
    func string(_ place: Address) throws(JSONFault) -> Address {
        let first = place + 1
        // Keys and short values end within the first word.
        if end - first >= 8 {
            let stops = ByteWord.jsonStringStops(ByteWord.load(first))
            if stops != 0 {
                let stop = first + ByteWord.firstIndex(stops)
                if stop.pointee == 0x22 { return stop + 1 }
                return try stringRest(stop)
            }
            return try stringRest(first + 8)
        }
        return try stringRest(first)
    }

    @inline(never)
    private func stringRest(_ place: Address) throws(JSONFault) -> Address {
        var place = place
        while true {
            while end - place >= 8 {
                let stops = ByteWord.jsonStringStops(ByteWord.load(place))
                if stops != 0 {
                    place += ByteWord.firstIndex(stops)
                    break
                }
                place += 8
            }
            guard place < end else { throw fault(.unexpectedEnd, place) }
            let byte = place.pointee
            if byte == 0x22 { return place + 1 }
            if byte >= 0x80 {
                place = try nonASCII(place)
            } else if byte == 0x5C {
                place = try escape(place)
            } else if byte < 0x20 {
                throw fault(.controlInString, place)
            } else {
                place += 1
            }
        }
    }

    /// Takes the escape whose backslash is at `place`.
    @inline(__always)
    private func escape(_ place: Address) throws(JSONFault) -> Address {
        guard end - place >= 2 else { throw fault(.unexpectedEnd, end) }
        switch place[1] {
        case 0x22, 0x2F, 0x5C, 0x62, 0x66, 0x6E, 0x72, 0x74: return place + 2
        case 0x75:
            for index in 2..<6 {
                guard place + index < end else { throw fault(.unexpectedEnd, end) }
                switch place[index] {
                case 0x30...0x39, 0x41...0x46, 0x61...0x66: continue
                default: throw fault(.invalidEscape, place)
                }
            }
            return place + 6
        default: throw fault(.invalidEscape, place)
        }
    }

    /// Takes the run of characters above U+007F at `place`: RFC 3629 section 4, so no overlong form, no surrogate, nothing
    /// above U+10FFFF.
    @inline(__always)
    private func nonASCII(_ place: Address) throws(JSONFault) -> Address {
        var place = place
        repeat {
            // Three bytes are the common case in long runs: 1110xxxx 10xxxxxx 10xxxxxx, neither overlong nor a surrogate.
            while end - place >= 4 {
                let word = UInt32(littleEndian: UnsafeRawPointer(place).loadUnaligned(as: UInt32.self))
                let lead = word & 0x0000_200F
                guard word & 0x00C0_C0F0 == 0x0080_80E0, lead != 0, lead != 0x0000_200D else { break }
                place += 3
            }
            // Two bytes are, in the scripts of Europe and the Near East: 110xxxxx 10xxxxxx, not overlong.
            while end - place >= 2 {
                let word = UInt16(littleEndian: UnsafeRawPointer(place).loadUnaligned(as: UInt16.self))
                guard word & 0xC0E0 == 0x80C0, word & 0x001E != 0 else { break }
                place += 2
            }
            guard place < end, place.pointee >= 0x80 else { break }
            let length = try characterLength(place)
            place += length
        } while place < end && place.pointee >= 0x80
        return place
    }

    /// The length of the character above U+007F at `place`.
    @inline(__always)
    private func characterLength(_ place: Address) throws(JSONFault) -> Int {
        let lead = place.pointee
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch lead {
        case 0xC2...0xDF: length = 2
        case 0xE0:
            length = 3
            second = 0xA0...0xBF
        case 0xED:
            length = 3
            second = 0x80...0x9F
        case 0xE1...0xEF: length = 3
        case 0xF0:
            length = 4
            second = 0x90...0xBF
        case 0xF1...0xF3: length = 4
        case 0xF4:
            length = 4
            second = 0x80...0x8F
        default: throw fault(.invalidUTF8, place)
        }
        guard end - place >= length, second.contains(place[1]) else { throw fault(.invalidUTF8, place) }
        for index in 2..<max(length, 2) where place[index] & 0xC0 != 0x80 { throw fault(.invalidUTF8, place) }
        return length
    }

    // MARK: Numbers and literals

    /// Takes the number that begins with `-` or a digit at `place`.
    @inline(__always)
    func number(_ place: Address) throws(JSONFault) -> Address {
        var place = place
        if place.pointee == 0x2D { place += 1 }
        if place < end, place.pointee == 0x30 {
            place += 1
            if place < end, isDigit(place) { throw fault(.leadingZero, place - 1) }
        } else {
            place = try digits(place)
        }
        guard place < end else { return place }
        if place.pointee == 0x2E { place = try digits(place + 1) }
        guard place < end, place.pointee | 0x20 == 0x65 else { return place }
        place += 1
        if place < end, place.pointee == 0x2B || place.pointee == 0x2D { place += 1 }
        return try digits(place)
    }

    @inline(__always)
    private func isDigit(_ place: Address) -> Bool {
        place.pointee &- 0x30 < 10
    }

    /// Takes one digit or more.
    @inline(__always)
    private func digits(_ place: Address) throws(JSONFault) -> Address {
        guard place < end else { throw fault(.unexpectedEnd, place) }
        guard isDigit(place) else { throw fault(.expectedDigit, place) }
        var place = place + 1
        while place < end, isDigit(place) { place += 1 }
        return place
    }

    /// Takes `true`, `false` or `null`, of which the first byte, at `place`, has been looked at.
    @inline(__always)
    func literal(_ place: Address) throws(JSONFault) -> Address {
        // The last four bytes as a little-endian number: "true", "alse", "null".
        let (length, expected): (Int, UInt32) =
            switch place.pointee {
            case 0x74: (4, 0x6575_7274)
            case 0x66: (5, 0x6573_6C61)
            default: (4, 0x6C6C_756E)
            }
        guard end - place >= length else { return try literalFault(place) }
        let word = UnsafeRawPointer(place + length - 4).loadUnaligned(as: UInt32.self)
        guard UInt32(littleEndian: word) == expected else { return try literalFault(place) }
        return place + length
    }

    @inline(never)
    private func literalFault(_ place: Address) throws(JSONFault) -> Address {
        throw fault(.expectedValue, place)
    }
}
