// One element of `X-Forwarded-For`: an address as proxies write it, perhaps with a port.
//
//     192.0.2.1    192.0.2.1:4711    2001:db8::1    [2001:db8::1]    [2001:db8::1]:4711

import ServerSettings

enum ForwardedAddress {
    /// IPv6, or IPv4 mapped into it; nil: it is none (`unknown`, a name).
    static func parse(_ element: some Collection<UInt8>) -> UInt128? {
        if element.count > 64 { return nil }
        var text = String(decoding: element, as: UTF8.self)[...]
        while let first = text.first, first == " " || first == "\t" { text = text.dropFirst() }
        while let last = text.last, last == " " || last == "\t" { text = text.dropLast() }
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            return ListenAddress.ipv6(String(text[text.index(after: text.startIndex)..<end]))
        }
        if let colon = text.firstIndex(of: ":"), text[text.index(after: colon)...].firstIndex(of: ":") == nil { text = text[..<colon] }
        if let number = ListenAddress.ipv4(String(text)) { return 0xFFFF << 32 | UInt128(number) }
        return ListenAddress.ipv6(String(text))
    }
}
