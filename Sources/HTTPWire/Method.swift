// The methods this server answers (PROTOCOL.md section 1); RFC 9110 9.1: method names are case-sensitive tokens.

/// A request method. What cannot be a method at all never becomes one of these: it is refused.
public enum Method: UInt8, Sendable, CaseIterable {
    case get, head, put, post, delete, options
    /// Any other valid token; the text is at ``RequestHead/methodRange``.
    case other

    /// The method spelled by `name`, which must be a valid token for `.other` to mean anything.
    public static func recognize(_ name: UnsafeRawBufferPointer) -> Method {
        switch name.count {
        case 3:
            if spells("GET", name) { return .get }
            if spells("PUT", name) { return .put }
        case 4:
            if spells("POST", name) { return .post }
            if spells("HEAD", name) { return .head }
        case 6: if spells("DELETE", name) { return .delete }
        case 7: if spells("OPTIONS", name) { return .options }
        default: break
        }
        return .other
    }

    @inline(__always)
    private static func spells(_ text: StaticString, _ name: UnsafeRawBufferPointer) -> Bool {
        for index in 0..<text.utf8CodeUnitCount where text.utf8Start[index] != name[index] { return false }
        return true
    }
}
