import Testing

@testable import ServerSettings

struct SizeTextTests {
    static let accepted: [(String, Int, String)] = [
        ("0", 0, "0"), ("512", 512, "512"), ("512B", 512, "512"), ("1024", 1024, "1KiB"), ("64KiB", 65536, "64KiB"),
        ("64K", 65536, "64KiB"),
        ("1MiB", 1 << 20, "1MiB"), ("64M", 64 << 20, "64MiB"), ("2GiB", 2 << 30, "2GiB"), ("2G", 2 << 30, "2GiB"),
        ("1TiB", 1 << 40, "1TiB"),
        ("1T", 1 << 40, "1TiB"), ("64MB", 64_000_000, "62500KiB"), ("1kB", 1000, "1000"), ("1KB", 1000, "1000"),
        ("3GB", 3_000_000_000, "3000000000"),
        ("1TB", 1_000_000_000_000, "976562500KiB"), ("1536K", 1536 << 10, "1536KiB"),
    ]

    @Test(arguments: accepted) func accepts(_ text: String, _ bytes: Int, _ written: String) throws {
        #expect(try SizeText.read(text) == bytes)
        #expect(SizeText.write(bytes) == written)
        #expect(try SizeText.read(written) == bytes)
    }

    static let refused: [(String, String)] = [
        ("", "is not a size"), ("K", "is not a size"), ("x", "is not a size"), ("1 KiB", "is not a size"), ("-1", "is not a size"),
        ("1.5M", "is not a size"), ("64k", "is not a size"), ("64mb", "is not a size"), ("64Mb", "is not a size"),
        ("1PiB", "is not a size"),
        ("0x10", "is not a size"), ("٣", "is not a size"), ("1_000", "is not a size"), ("9223372036854775808", "is too large"),
        ("8388608TiB", "is too large"),
    ]

    @Test(arguments: refused) func refuses(_ text: String, _ reason: String) {
        let fault = #expect(throws: ValueFault.self) { try SizeText.read(text) }
        let expected = "a whole number of bytes, or one with a unit, KiB, MiB, GiB (short K, M, G) or KB, MB, GB, such as 64KiB"
        #expect(fault == ValueFault(text, reason, expected: expected))
    }
}
