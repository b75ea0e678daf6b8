// How the content of a request is delimited (RFC 9112 6.3), decided from the fields alone:
//
//     Transfer-Encoding   Content-Length        framing
//     -                   -                     none
//     -                   n                     length(n)
//     -                   n, n … all the same   length(n)
//     -                   n and m               400
//     chunked, HTTP/1.1   -                     chunked
//     anything else       any                   400
//
// A request that two implementations could cut differently is refused (RFC 9112 11.2, request smuggling).

/// How much content follows a request head.
public enum BodyFraming: Sendable, Equatable {
    case none
    /// Exactly so many bytes; may be 0.
    case length(Int)
    /// Chunks up to the last one and the trailer section: see ``ChunkedDecoder``.
    case chunked

}

extension RequestHead {
    /// The framing that the fields ask for.
    func decideFraming(_ bytes: UnsafeRawBufferPointer) throws(HTTPRefusal) -> BodyFraming {
        let hasLength = has(.contentLength)
        guard let coding = first(.transferEncoding) else {
            return hasLength ? .length(try contentLength(bytes)) : .none
        }
        if hasLength { throw .lengthAndCoding }
        guard !hasSeveral(.transferEncoding), bytes.equalsWithoutCase("chunked", in: coding) else { throw .transferCoding }
        guard minorVersion > 0 else { throw .transferCodingVersion }
        return .chunked
    }

    /// The one length that all elements of all Content-Length lines spell with the same digits (RFC 9110 8.6).
    private func contentLength(_ bytes: UnsafeRawBufferPointer) throws(HTTPRefusal) -> Int {
        var known: (length: Int, digits: Range<Int>)?
        for field in fields where field.name == .contentLength {
            for element in ListElements(bytes, in: field.valueRange) {
                let length = try RequestHead.decimal(bytes, element)
                guard let known else {
                    known = (length, element)
                    continue
                }
                guard known.digits.count == element.count, bytes[known.digits].elementsEqual(bytes[element]) else {
                    throw .contentLengthConflict
                }
            }
        }
        guard let known else { preconditionFailure("a head that has Content-Length has a line of it") }
        return known.length
    }

    private static func decimal(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(HTTPRefusal) -> Int {
        guard !range.isEmpty else { throw .contentLengthMalformed }
        var value = 0
        var overflow = false
        for index in range {
            guard Octet.isDigit(bytes[index]) else { throw .contentLengthMalformed }
            let (product, tooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, tooLargeToo) = product.addingReportingOverflow(Int(bytes[index] &- 0x30))
            overflow = overflow || tooLarge || tooLargeToo
            value = sum
        }
        guard !overflow else { throw .contentLengthOverflow }
        return value
    }
}
