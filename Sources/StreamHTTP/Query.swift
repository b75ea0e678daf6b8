// The query of a request target: pairs `name=value` between `&`, values percent-decoded when they are wanted. Points into the request's bytes.

import StreamRules

struct Query {
    private let bytes: UnsafeRawBufferPointer

    /// - Parameter target: of the request; the query is behind its first `?`.
    init(of target: UnsafeRawBufferPointer, behind split: Int) {
        bytes = UnsafeRawBufferPointer(rebasing: target[min(split + 1, target.count)...])
    }

    /// Each pair in order; a name without `=` has an empty value.
    @inline(__always)
    func forEach(_ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(Problem) -> Void) throws(Problem) {
        var position = 0
        while position < bytes.count {
            let end = ByteWord.index(of: UInt8(ascii: "&"), bytes, from: position) ?? bytes.count
            let pair = UnsafeRawBufferPointer(rebasing: bytes[position..<end])
            let equals = ByteWord.index(of: UInt8(ascii: "="), pair, from: 0) ?? pair.count
            position = end + 1
            try body(
                UnsafeRawBufferPointer(rebasing: pair[..<equals]),
                UnsafeRawBufferPointer(rebasing: pair[min(equals + 1, pair.count)...]))
        }
    }

    /// What a parameter's value means, percent-decoded.
    static func decoded<Meaning>(
        _ value: UnsafeRawBufferPointer, _ name: String, _ meaning: (UnsafeRawBufferPointer) -> Meaning?
    ) throws(Problem) -> Meaning? {
        if ByteWord.index(of: UInt8(ascii: "%"), value, from: 0) == nil { return meaning(value) }
        var result: [UInt8] = []
        var index = 0
        while index < value.count {
            if value[index] != UInt8(ascii: "%") {
                result.append(value[index])
                index += 1
                continue
            }
            guard index + 2 < value.count, let high = hex(value[index + 1]), let low = hex(value[index + 2]) else {
                throw Problem(400, "The parameter \(name) has an invalid percent-encoding; expected % and two hexadecimal digits.")
            }
            result.append(high << 4 | low)
            index += 3
        }
        return result.withUnsafeBytes(meaning)
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

/// Comparing bytes of a request with texts.
enum ByteText {
    @inline(__always)
    static func equals(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        guard bytes.count == text.utf8CodeUnitCount else { return false }
        for index in 0..<bytes.count where bytes[index] != text.utf8Start[index] { return false }
        return true
    }

    static func equalsIgnoringCase(_ bytes: UnsafeRawBufferPointer, _ lowercase: String) -> Bool {
        let expected = lowercase.utf8
        guard bytes.count == expected.count else { return false }
        return zip(bytes, expected).allSatisfy { byte, wanted in (byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte) == wanted }
    }
}
