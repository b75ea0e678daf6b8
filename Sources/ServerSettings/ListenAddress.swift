// Where the server accepts connections, read once from its written form.
//
//     127.0.0.1:4437      IPv4 address and port
//     [::1]:4437          IPv6 address in brackets and port (RFC 3986 section 3.2.2)
//     localhost:4437      the same as 127.0.0.1:4437
//     :4437               every address of the machine, IPv6 and IPv4
//     unix:/run/x.sock    Unix-domain socket, absolute path
//
// Port 0 lets the kernel choose. Host names are not looked up: a listener that depends on a name server
// fails at boot. `description` gives the written form back, so that reading it again gives the same address.

import Glibc

/// One address to listen on.
public enum ListenAddress: Sendable, Hashable {
    /// An IPv4 address, most significant byte first in the integer (127.0.0.1 is 0x7f000001).
    case ipv4(UInt32, port: UInt16)
    /// An IPv6 address, most significant byte first in the integer (::1 is 1). To be bound with `IPV6_V6ONLY`.
    case ipv6(UInt128, port: UInt16)
    /// Every address of the machine: `[::]` accepting IPv4 too, or `0.0.0.0` where IPv6 is switched off.
    case all(port: UInt16)
    /// The absolute path of a Unix-domain socket, 1 to 107 bytes without NUL.
    case unix(String)

    /// The bytes that `sun_path` has room for, less the terminating NUL (unix(7)).
    static let unixPathLimit = 107

    static let expected = "an address such as 127.0.0.1:4437, [::1]:4437, :4437 (all addresses) or unix:/run/durable-streams.sock"

    /// Reads the written form.
    public init(_ text: String) throws(ValueFault) {
        if text.hasPrefix("unix:") {
            self = .unix(try Self.unixPath(text))
            return
        }
        if text.contains("://") {
            throw ValueFault(text, "is a URL", expected: "an address without scheme and path, such as 127.0.0.1:4437")
        }
        if text.hasPrefix("/") {
            throw ValueFault(text, "is a path", expected: "unix:\(text) for a Unix-domain socket")
        }
        let host: Substring
        let portText: Substring
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else {
                throw ValueFault(text, "has no closing bracket", expected: "[::1]:4437")
            }
            let after = text[text.index(after: end)...]
            guard after.hasPrefix(":") else { throw ValueFault(text, "has no port", expected: "\(text[...end]):4437") }
            (host, portText) = (text[...end], after.dropFirst())
        } else {
            guard let colon = text.firstIndex(of: ":") else {
                let isPort = !text.isEmpty && text.allSatisfy { $0.isASCII && $0.isNumber }
                throw isPort
                    ? ValueFault(text, "is a port alone", expected: "127.0.0.1:\(text), or :\(text) for all addresses")
                    : ValueFault(text, "has no port", expected: Self.expected)
            }
            (host, portText) = (text[..<colon], text[text.index(after: colon)...])
            if portText.contains(":") {
                throw ValueFault(text, "is an IPv6 address without brackets", expected: "[::1]:4437")
            }
        }
        guard !portText.isEmpty, portText.utf8.allSatisfy({ 0x30...0x39 ~= $0 }), let port = UInt16(portText) else {
            throw ValueFault(text, "has no valid port", expected: "a port from 0 to 65535 (0: the kernel chooses)")
        }
        switch host {
        case "": self = .all(port: port)
        case "localhost": self = .ipv4(0x7f00_0001, port: port)
        default:
            if host.hasPrefix("[") {
                guard let address = Self.ipv6(String(host.dropFirst().dropLast())) else {
                    throw ValueFault(text, "is not an IPv6 address and port", expected: "[::1]:4437")
                }
                self = .ipv6(address, port: port)
            } else {
                guard let address = Self.ipv4(String(host)) else {
                    throw ValueFault(text, "is not an IP address and port (host names are not looked up)", expected: Self.expected)
                }
                self = .ipv4(address, port: port)
            }
        }
    }

    /// The TCP port, nil for a Unix-domain socket. 0 means that the kernel chooses.
    public var port: UInt16? {
        switch self {
        case .ipv4(_, let port), .ipv6(_, let port), .all(let port): port
        case .unix: nil
        }
    }

    private static func unixPath(_ text: String) throws(ValueFault) -> String {
        let path = String(text.dropFirst("unix:".count))
        if !path.hasPrefix("/") || path.hasPrefix("//") || path.hasSuffix("/") {
            throw ValueFault(text, "has no absolute path", expected: "unix:/run/durable-streams.sock")
        }
        if path.utf8.contains(0) { throw ValueFault(text, "contains a NUL byte", expected: "a path") }
        if path.utf8.count > unixPathLimit {
            throw ValueFault(text, "is too long", expected: "a path of at most \(unixPathLimit) bytes (the kernel's limit)")
        }
        return path
    }

    /// The address that `text` spells, most significant byte first.
    public static func ipv4(_ text: String) -> UInt32? {
        var address = in_addr()
        guard !text.utf8.contains(0), inet_pton(AF_INET, text, &address) == 1 else { return nil }
        return UInt32(bigEndian: address.s_addr)
    }

    /// The address that `text` spells, most significant byte first.
    public static func ipv6(_ text: String) -> UInt128? {
        var address = UInt128()
        guard !text.utf8.contains(0), inet_pton(AF_INET6, text, &address) == 1 else { return nil }
        return UInt128(bigEndian: address)
    }
}

extension ListenAddress: CustomStringConvertible {
    public var description: String {
        switch self {
        case .ipv4(let address, let port):
            let bytes = (0..<4).map { String((address >> UInt32(24 - 8 * $0)) & 0xff) }
            return bytes.joined(separator: ".") + ":\(port)"
        case .ipv6(let address, let port):
            var bytes = address.bigEndian
            let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { buffer in
                guard inet_ntop(AF_INET6, &bytes, buffer.baseAddress!, socklen_t(buffer.count)) != nil else {
                    preconditionFailure("an IPv6 address always has a written form")
                }
                return String(cString: buffer.baseAddress!)
            }
            return "[\(text)]:\(port)"
        case .all(let port): return ":\(port)"
        case .unix(let path): return "unix:\(path)"
        }
    }
}
