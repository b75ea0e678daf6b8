// Decimal numbers in headers, parameters and tokens: digits only, never a sign, space, point or exponent.
//
// Eight digits are read and written in one word: the digits are paired three times (1+1, 2+2, 4+4), which takes three
// multiplications instead of eight.
//
//     memory  '1' '2' '3' '4' '5' '6' '7' '8'
//     pairs     12      34      56      78
//     quads        1234            5678
//     number             12345678

public enum DecimalText {
    /// Reads a canonical number: `0`, or digits without a leading zero.
    /// - Returns: nil when empty, when another byte occurs, or when the number is larger than `maximum`.
    static func parseCanonical(_ bytes: UnsafeRawBufferPointer, maximum: UInt64) -> UInt64? {
        if bytes.count > 1, bytes[0] == 0x30 { return nil }
        return parse(bytes, maximum: maximum)
    }

    /// Reads digits, leading zeros included.
    /// - Returns: nil when empty, when another byte occurs, or when the number is larger than `maximum`.
    static func parse(_ bytes: UnsafeRawBufferPointer, maximum: UInt64) -> UInt64? {
        if bytes.isEmpty { return nil }
        var value: UInt64 = 0
        for byte in bytes {
            let digit = byte &- 0x30
            if digit > 9 { return nil }
            let (tens, tooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, stillTooLarge) = tens.addingReportingOverflow(UInt64(digit))
            if tooLarge || stillTooLarge { return nil }
            value = sum
        }
        return value <= maximum ? value : nil
    }

    /// Reads exactly eight digits, or nil if one of the eight bytes is none.
    @inlinable @inline(__always)
    static func parseEight(_ address: UnsafeRawPointer) -> UInt64? {
        let digits = ByteWord.load(address) ^ ByteWord.filled(0x30)
        // A byte over 9 reaches 0x80 when 0x76 is added; a byte over 0x7F has the bit already.
        if (((digits & ~ByteWord.highs) &+ ByteWord.filled(0x76)) | digits) & ByteWord.highs != 0 { return nil }
        let pairs = (digits &* 10 &+ (digits &>> 8)) & 0x00FF_00FF_00FF_00FF
        let quads = (pairs &* 100 &+ (pairs &>> 16)) & 0x0000_FFFF_0000_FFFF
        return (quads &* 10_000 &+ (quads &>> 32)) & 0xFFFF_FFFF
    }

    /// Writes `value`, less than 100,000,000, as exactly eight digits.
    @inlinable @inline(__always)
    static func writeEight(_ value: UInt64, to address: UnsafeMutableRawPointer) {
        let quads = (value / 10_000) | ((value % 10_000) &<< 32)
        // 10,486 / 2^20 is 1/100 closely enough for 0…9,999; 103 / 2^10 is 1/10 closely enough for 0…99.
        let hundreds = ((quads &* 10_486) &>> 20) & 0x0000_007F_0000_007F
        let pairs = hundreds | ((quads &- hundreds &* 100) &<< 16)
        let tens = ((pairs &* 103) &>> 10) & 0x000F_000F_000F_000F
        let digits = tens | ((pairs &- tens &* 10) &<< 8)
        address.storeBytes(of: (digits &+ ByteWord.filled(0x30)).littleEndian, as: UInt64.self)
    }

    /// The number of digits of `value`, 1…20.
    static func length(_ value: UInt64) -> Int {
        var count = 1
        var rest = value / 10
        while rest > 0 {
            count += 1
            rest /= 10
        }
        return count
    }

    /// Writes `value` without leading zeros and returns the number of digits, 1…20.
    public static func write(_ value: UInt64, to address: UnsafeMutableRawPointer) -> Int {
        let count = length(value)
        var rest = value
        var index = count
        repeat {
            index -= 1
            address.storeBytes(of: UInt8(truncatingIfNeeded: rest % 10) | 0x30, toByteOffset: index, as: UInt8.self)
            rest /= 10
        } while index > 0
        return count
    }
}
