// For which names the server answers (ACCESS.md 14.6): a page of another site whose name is made to point here (DNS rebinding) is refused.

/// Hosts that requests may name; without an entry, all.
public struct AllowedHosts: Sendable, Equatable {
    /// `*` alone for all; names in lower case, without port; `*.name` for all names below it; `address` for every literal address.
    public let texts: [String]
    private let names: [[UInt8]]
    private let suffixes: [[UInt8]]
    private let allowsAddresses: Bool

    static let expected = "* alone for all, or a host name, *.name for all names below it, or address for every literal address"

    /// All.
    public init() { (texts, names, suffixes, allowsAddresses) = ([], [], [], false) }

    public init(_ texts: [String]) throws(ValueFault) {
        if texts == ["*"] {
            (self.texts, names, suffixes, allowsAddresses) = (texts, [], [], false)
            return
        }
        var names: [[UInt8]] = []
        var suffixes: [[UInt8]] = []
        var allowsAddresses = false
        for text in texts {
            let name = text.lowercased()
            if name == "address" {
                allowsAddresses = true
                continue
            }
            let bare = name.hasPrefix("*.") ? name.dropFirst(2) : Substring(name)
            let isLiteral = bare.hasPrefix("[") && bare.hasSuffix("]")
            guard !bare.isEmpty,
                isLiteral || bare.utf8.allSatisfy({ 0x61...0x7a ~= $0 || 0x30...0x39 ~= $0 || $0 == 0x2d || $0 == 0x2e || $0 == 0x5f })
            else { throw ValueFault(text, "is no host name", expected: Self.expected) }
            if name.hasPrefix("*.") { suffixes.append(Array(name.dropFirst().utf8)) } else { names.append(Array(name.utf8)) }
        }
        self.texts = texts
        self.names = names
        self.suffixes = suffixes
        self.allowsAddresses = allowsAddresses
    }

    public var allowsAll: Bool { texts.isEmpty || texts == ["*"] }

    /// - Parameter authority: of a request: a host, with or without a port.
    public func allow(_ authority: UnsafeRawBufferPointer) -> Bool {
        if allowsAll { return true }
        var host = authority[...]
        if let colon = host.lastIndex(of: UInt8(ascii: ":")), colon > (host.lastIndex(of: UInt8(ascii: "]")) ?? -1) {
            host = host[..<colon]
        }
        if host.last == UInt8(ascii: ".") { host = host.dropLast() }
        if host.isEmpty { return false }
        let lower = host.map { 0x41...0x5A ~= $0 ? $0 | 0x20 : $0 }
        if names.contains(where: { $0 == lower }) { return true }
        if suffixes.contains(where: { lower.count > $0.count && lower.suffix($0.count).elementsEqual($0) }) { return true }
        guard allowsAddresses else { return false }
        let text = String(decoding: lower, as: UTF8.self)
        if text.hasPrefix("["), text.hasSuffix("]") { return ListenAddress.ipv6(String(text.dropFirst().dropLast())) != nil }
        return ListenAddress.ipv4(text) != nil
    }
}
