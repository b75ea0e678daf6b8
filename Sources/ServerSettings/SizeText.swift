// Sizes in bytes as people write them: a whole number and, above bytes, a unit.
//
//     512   64K = 64KiB   1M = 1MiB   2G = 2GiB   1T = 1TiB        powers of 1024
//     64kB = 64KB   1MB   2GB   1TB                                powers of 1000

/// Reading and writing sizes with units.
public enum SizeText {
    static let units: [(suffix: String, bytes: Int)] = [
        ("", 1), ("B", 1), ("K", 1 << 10), ("KiB", 1 << 10), ("M", 1 << 20), ("MiB", 1 << 20), ("G", 1 << 30), ("GiB", 1 << 30),
        ("T", 1 << 40), ("TiB", 1 << 40), ("kB", 1_000), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ]
    static let expected = "a whole number of bytes, or one with a unit, KiB, MiB, GiB (short K, M, G) or KB, MB, GB, such as 64KiB"

    /// Reads a size in bytes.
    public static func read(_ text: String) throws(ValueFault) -> Int {
        let digits = text.prefix { "0"..."9" ~= $0 }
        let suffix = text.dropFirst(digits.count)
        guard !digits.isEmpty, let unit = units.first(where: { $0.suffix == suffix }) else {
            throw ValueFault(text, "is not a size", expected: expected)
        }
        guard let number = Int(digits) else { throw ValueFault(text, "is too large", expected: expected) }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit.bytes)
        if overflow { throw ValueFault(text, "is too large", expected: expected) }
        return bytes
    }

    /// The written form: the largest binary unit that divides it.
    public static func write(_ bytes: Int) -> String {
        for (suffix, unit) in [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        where bytes != 0 && bytes % unit == 0 {
            return "\(bytes / unit)\(suffix)"
        }
        return "\(bytes)"
    }
}
