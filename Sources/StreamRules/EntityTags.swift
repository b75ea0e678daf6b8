// `If-None-Match` (RFC 9110 section 13.1.2) against the current entity tag:
//
//     "a", W/"b,c" ,, "d"        a list, whose tags may hold commas; empty elements count for nothing
//     *                          any current representation
//
// The comparison is weak (section 8.8.3.2): `W/` is dropped on both sides. The list is read from the left; where it stops
// being one, nothing further matches, and the answer is then the whole content, which is always right.
//
// `If-Match` (section 13.1.1) has the same form and compares strongly: a weak tag holds for nothing.

/// Rules for entity tags.
public enum EntityTags {
    /// Whether a 304 is due.
    /// - Parameters:
    ///   - ifNoneMatch: the field value.
    ///   - etag: the current tag with its quotation marks, `"…"` or `W/"…"`.
    public static func matches(ifNoneMatch list: UnsafeRawBufferPointer, etag: UnsafeRawBufferPointer) -> Bool {
        if isStar(list) { return true }
        return contains(list, etag, strongly: false)
    }

    /// Whether `If-Match` holds for something that is there.
    /// - Parameter etag: its tag; empty: it has none.
    public static func holds(ifMatch list: UnsafeRawBufferPointer, etag: UnsafeRawBufferPointer) -> Bool {
        isStar(list) || contains(list, etag, strongly: true)
    }

    private static func contains(_ list: UnsafeRawBufferPointer, _ etag: UnsafeRawBufferPointer, strongly: Bool) -> Bool {
        var end = 0
        guard let current = takeTag(etag, &end), end == etag.count, !strongly || current.lowerBound == 1 else { return false }
        var index = 0
        while true {
            while index < list.count, isBlank(list[index]) || list[index] == 0x2C { index += 1 }
            let start = index
            guard index < list.count, let tag = takeTag(list, &index) else { return false }
            while index < list.count, isBlank(list[index]) { index += 1 }
            guard index == list.count || list[index] == 0x2C else { return false }
            if !strongly || tag.lowerBound == start + 1, list[tag].elementsEqual(etag[current]) { return true }
        }
    }

    private static func isStar(_ list: UnsafeRawBufferPointer) -> Bool {
        var stars = 0
        for byte in list {
            if byte == 0x2A { stars += 1 } else if !isBlank(byte) { return false }
        }
        return stars == 1
    }

    /// Takes a tag at `index` and returns where its opaque part is, without the quotation marks.
    private static func takeTag(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Range<Int>? {
        if index + 2 <= bytes.count, bytes[index] == 0x57, bytes[index + 1] == 0x2F { index += 2 }
        guard index < bytes.count, bytes[index] == 0x22 else { return nil }
        let first = index + 1
        index = first
        while index < bytes.count, isTagByte(bytes[index]) { index += 1 }
        guard index < bytes.count, bytes[index] == 0x22 else { return nil }
        index += 1
        return first..<index - 1
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09
    }

    /// `etagc`: visible characters but the quotation mark, and everything above 0x7F.
    private static func isTagByte(_ byte: UInt8) -> Bool {
        byte == 0x21 || (byte >= 0x23 && byte != 0x7F)
    }
}
