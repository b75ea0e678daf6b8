// Reads one field line (RFC 9112 5): field-name ":" OWS field-value OWS CRLF.
//
// What makes two implementations see two different messages is refused, not repaired: white space before the colon or at the start
// of a line (obs-fold), bare CR and LF, NUL and other controls, names that are no tokens. obs-text (0x80 and up) in values passes.

enum FieldLine {
    /// Reads the line at `position` and moves behind its CRLF; nil at the empty line that ends the section, moved behind as well.
    @inline(__always)
    static func next(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) throws(HTTPRefusal) -> Field? {
        let start = position
        guard start < bytes.count else { throw .fieldWithoutColon }
        if bytes[start] == Octet.carriageReturn {
            position = try end(bytes, at: start)
            return nil
        }
        let colon = bytes.firstMarked(from: start, to: bytes.count) {
            OctetWord.marks($0, equalTo: Octet.colon) | OctetWord.marks($0, below: 0x21)
        }
        guard colon < bytes.count, bytes[colon] == Octet.colon, colon > start else { throw fault(bytes, start, colon) }
        let name = FieldName.recognize(UnsafeRawBufferPointer(rebasing: bytes[start..<colon]))
        if name == .other, !OctetSet.token.containsAll(of: bytes, in: start..<colon) { throw .fieldNameOctet }

        var valueStart = colon + 1
        while valueStart < bytes.count, Octet.isBlank(bytes[valueStart]) { valueStart += 1 }
        var valueEnd = valueStart
        while true {
            valueEnd = bytes.firstMarked(from: valueEnd, to: bytes.count) {
                OctetWord.marks($0, below: 0x20) | OctetWord.marks($0, equalTo: Octet.delete)
            }
            guard valueEnd < bytes.count, bytes[valueEnd] == Octet.tab else { break }
            valueEnd += 1
        }
        position = try end(bytes, at: valueEnd)
        while valueEnd > valueStart, Octet.isBlank(bytes[valueEnd - 1]) { valueEnd -= 1 }
        return Field(name: name, nameRange: start..<colon, valueRange: valueStart..<valueEnd)
    }

    /// The index behind the CRLF that has to stand at `index`.
    @inline(__always)
    static func end(_ bytes: UnsafeRawBufferPointer, at index: Int) throws(HTTPRefusal) -> Int {
        guard index < bytes.count else { throw .bareCarriageReturn }
        guard bytes[index] == Octet.carriageReturn else {
            throw bytes[index] == Octet.lineFeed ? .bareLineFeed : .fieldValueOctet
        }
        guard index + 1 < bytes.count, bytes[index + 1] == Octet.lineFeed else { throw .bareCarriageReturn }
        return index + 2
    }

    /// Why the octet at `stop` cannot end the name that began at `start`.
    private static func fault(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ stop: Int) -> HTTPRefusal {
        guard stop < bytes.count else { return .fieldWithoutColon }
        switch bytes[stop] {
        case Octet.colon: return .fieldNameEmpty
        case Octet.space, Octet.tab: return stop == start ? .foldedLine : .fieldNameSpace
        case Octet.carriageReturn: return .fieldWithoutColon
        case Octet.lineFeed: return .bareLineFeed
        default: return .fieldNameOctet
        }
    }
}
