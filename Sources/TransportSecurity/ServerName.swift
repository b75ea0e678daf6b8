// Which certificate a client means that names its server (SNI, RFC 6066 3): names are compared without case, a wildcard stands for exactly one
// label (RFC 6125 6.4.3), an exact name wins over a wildcard, and the first certificate that has a name keeps it.
//
//     www.example.org     exact "www.example.org", else "*.example.org", else the first certificate of all

enum ServerName {
    static func normalized(_ name: UnsafeRawBufferPointer) -> String {
        String(decoding: name.map { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") ? $0 | 0x20 : $0 }, as: UTF8.self)
    }

    /// The name with `*` in place of its first label; nil when there is nothing behind that.
    static func wildcard(of name: String) -> String? {
        guard let dot = name.firstIndex(of: "."), dot > name.startIndex, name.index(after: dot) < name.endIndex else { return nil }
        return "*" + name[dot...]
    }
}
