// From which peers `X-Forwarded-*` counts (ACCESS.md 15): networks in the form of RFC 4632 and RFC 4291, and `unix` for Unix-domain sockets.

/// Peers that are believed when they say whom they speak for.
public struct TrustedProxies: Sendable, Equatable {
    /// An IPv6 network; IPv4 is mapped into it (RFC 4291 2.5.5.2).
    private struct Network: Sendable, Equatable {
        let address: UInt128
        let length: Int
        let text: String

        func contains(_ other: UInt128) -> Bool { (address ^ other) >> UInt128(128 - length) == 0 }
    }

    private var networks: [Network] = []
    private var trustsUnix = false

    static let expected = "an address, a network such as 10.0.0.0/8 or fd00::/8, or unix"
    private static let mapped: UInt128 = 0xFFFF << 32

    /// Nobody.
    public init() {}

    public init(_ texts: [String]) throws(ValueFault) {
        for text in texts {
            if text == "unix" {
                trustsUnix = true
            } else {
                networks.append(try Self.network(text))
            }
        }
    }

    /// The written form.
    public var texts: [String] { networks.map(\.text) + (trustsUnix ? ["unix"] : []) }

    /// - Parameter address: IPv6, or IPv4 mapped into it; nil: a Unix-domain socket.
    public func contains(_ address: UInt128?) -> Bool {
        guard let address else { return trustsUnix }
        return networks.contains { $0.contains(address) }
    }

    private static func network(_ text: String) throws(ValueFault) -> Network {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        let host = String(parts[0])
        let (address, bits): (UInt128, Int)
        if let number = ListenAddress.ipv4(host) {
            (address, bits) = (mapped | UInt128(number), 32)
        } else if let number = ListenAddress.ipv6(host) {
            (address, bits) = (number, 128)
        } else {
            throw ValueFault(text, "is no address", expected: expected)
        }
        var length = bits
        if parts.count > 1 {
            guard parts.count == 2, let given = Int(parts[1]), 0...bits ~= given, parts[1].utf8.allSatisfy({ 0x30...0x39 ~= $0 }) else {
                throw ValueFault(text, "has no valid length", expected: "a length from 0 to \(bits) behind the slash")
            }
            length = given
        }
        length += 128 - bits
        let mask = UInt128.max << UInt128(128 - length)
        if address & ~mask != 0 { throw ValueFault(text, "has bits behind its length", expected: expected) }
        return Network(address: address, length: length, text: text)
    }
}
