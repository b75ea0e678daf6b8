// ClientDuration: a length of time as a person writes it on a command line: digits and a unit (`ms`, `s`, `m`, `h`, `d`), or digits alone
// for seconds. `500ms`, `90`, `90s`, `30m`, `12h`, `7d`.

public struct ClientDuration: Equatable, Sendable {
    public let milliseconds: Int

    public init(milliseconds: Int) { self.milliseconds = milliseconds }

    /// Nil for anything else, and for more than some 292 million years.
    public init?(_ text: String) {
        let digits = text.utf8.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard let count = Int(Substring(digits)) else { return nil }
        let unit: Int
        switch text.dropFirst(digits.count) {
        case "ms": unit = 1
        case "", "s": unit = 1000
        case "m": unit = 60_000
        case "h": unit = 3_600_000
        case "d": unit = 86_400_000
        default: return nil
        }
        let (product, overflow) = count.multipliedReportingOverflow(by: unit)
        guard !overflow else { return nil }
        milliseconds = product
    }

    /// Nil unless it is a whole number of seconds (`Stream-TTL` knows nothing finer).
    public var wholeSeconds: Int? { milliseconds % 1000 == 0 ? milliseconds / 1000 : nil }
}

extension ClientDuration: CustomStringConvertible {
    /// In the largest unit that fits, so that parsing it gives the same duration.
    public var description: String {
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
        guard milliseconds != 0, let unit = units.first(where: { milliseconds % $0.1 == 0 }) else { return "\(milliseconds)ms" }
        return "\(milliseconds / unit.1)\(unit.0)"
    }
}
