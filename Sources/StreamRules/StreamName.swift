// From the path of a request target to the name of a stream, and back (PROTOCOL.md, introduction).
//
//     /v1/stream/account%2D1/a%2Fb        path, as it was sent
//                account-1 / a␁b          name, as it is kept: decoded, with 0x01 for an encoded slash
//
// The name is the percent-decoded rest of the path. `%2F` stays distinct from `/`; it is kept as byte 0x01, which cannot
// occur otherwise, because control bytes are refused. So two paths name the same stream exactly if their names have the
// same bytes. A path without `%`, the common one, is its own name: it is only looked at, never copied.
//
// Order of faults: a segment `__ds`, at any depth, belongs to other APIs and is told before the rest of the path is judged.

/// Why a path names no stream. `reserved` is a 404, everything else a 400.
public enum StreamNameFault: String, Error, Sendable, CaseIterable {
    case notAStreamPath = "the path must begin with /v1/stream/"
    case empty = "the stream name is empty"
    case tooLong = "the stream name is longer than 1024 bytes"
    case dotSegment = "a stream name must not have . or .. segments"
    case controlByte = "a stream name must not hold control bytes"
    case percentEncoding = "% must be followed by two hexadecimal digits"
    case reserved = "paths with a segment __ds are reserved for control, and there is nothing at this one"

    /// Short text for the peer.
    public var reason: String { rawValue }
}

/// The rules for stream names.
public enum StreamName {
    /// Where `locate` found a name.
    public enum Location: Sendable, Equatable {
        /// In the path itself, at these positions.
        case slice(Range<Int>)
        /// In the scratch array.
        case decoded
    }

    /// The most bytes of a name.
    public static let maximumLength = 1024
    /// The byte that stands for an encoded slash inside a name.
    public static let encodedSlash: UInt8 = 0x01
    /// The bytes of `/v1/stream/`.
    public static let prefixLength = 11

    /// Whether a path, without its query, begins with `/v1/stream/`.
    @inlinable
    public static func isStreamPath(_ path: UnsafeRawBufferPointer) -> Bool {
        guard path.count >= prefixLength, let base = path.baseAddress else { return false }
        // "/v1/stre" and, overlapping it, "/stream/".
        return ByteWord.load(base) == 0x6572_7473_2F31_762F && ByteWord.load(base + 3) == 0x2F6D_6165_7274_732F
    }

    // MARK: Reading

    /// Checks the name in `path` and says where it is; decodes it into `scratch` only if it has to.
    /// - Parameter path: the path of the request target, without the query.
    public static func locate(_ path: UnsafeRawBufferPointer, scratch: inout [UInt8]) throws(StreamNameFault) -> Location {
        guard isStreamPath(path) else { throw .notAStreamPath }
        let name = UnsafeRawBufferPointer(rebasing: path[prefixLength...])
        let survey = survey(name)
        if survey.hasPercent {
            try decode(path, into: &scratch)
            return .decoded
        }
        if let fault = judge(name, survey) { throw fault }
        return .slice(prefixLength..<path.count)
    }

    /// Writes the name in `path` to `name`, whether or not it had to be decoded. `name` is emptied first, also on a throw.
    /// - Parameter path: the path of the request target, without the query.
    public static func decode(_ path: UnsafeRawBufferPointer, into name: inout [UInt8]) throws(StreamNameFault) {
        name.removeAll(keepingCapacity: true)
        guard isStreamPath(path) else { throw .notAStreamPath }
        var survey = Survey(hasDots: true)
        var isCut = false
        var index = prefixLength
        // A name that is too long is read on a little: the segment that makes it so may be a reserved one.
        while index < path.count, name.count <= maximumLength + 5 {
            let byte = path[index]
            index += 1
            guard byte == 0x25 else {
                // A raw 0x01 is told here, before it could be taken for a slash.
                survey.hasControls = survey.hasControls || isControl(byte)
                name.append(byte)
                continue
            }
            guard index + 2 <= path.count, let high = hexDigit(path[index]), let low = hexDigit(path[index + 1]) else {
                isCut = true
                break
            }
            index += 2
            let decoded = high << 4 | low
            survey.hasControls = survey.hasControls || isControl(decoded)
            name.append(decoded == 0x2F ? encodedSlash : decoded)
        }
        let fault: StreamNameFault? = name.withUnsafeBytes { bytes in
            guard isCut else { return judge(bytes, survey) }
            return isReserved(bytes, isCut: true) ? .reserved : .percentEncoding
        }
        if let fault {
            name.removeAll(keepingCapacity: true)
            throw fault
        }
    }

    /// What one look at all bytes told.
    private struct Survey {
        var hasPercent = false
        var hasControls = false
        var hasDots = false
    }

    /// Looks at all bytes once, eight at a time, up to the first `%`.
    private static func survey(_ name: UnsafeRawBufferPointer) -> Survey {
        var survey = Survey()
        var index = 0
        while index < name.count {
            if let base = name.baseAddress, name.count - index >= 8 {
                let word = ByteWord.load(base + index)
                let found =
                    ByteWord.zeroes(word ^ ByteWord.filled(0x25)) | ByteWord.zeroes(word ^ ByteWord.filled(0x2E))
                    | ByteWord.zeroes(word ^ ByteWord.filled(0x7F))
                    | ((word &- ByteWord.filled(0x20)) & ~word & ByteWord.highs)
                if found == 0 {
                    index += 8
                    continue
                }
                index += ByteWord.firstIndex(found)
            }
            let byte = name[index]
            if byte == 0x25 {
                survey.hasPercent = true
                return survey
            }
            if byte == 0x2E { survey.hasDots = true }
            if isControl(byte) { survey.hasControls = true }
            index += 1
        }
        return survey
    }

    /// The fault of a decoded name, if it has one.
    private static func judge(_ name: UnsafeRawBufferPointer, _ survey: Survey) -> StreamNameFault? {
        if name.isEmpty { return .empty }
        if isReserved(name, isCut: false) { return .reserved }
        if name.count > maximumLength { return .tooLong }
        if survey.hasControls { return .controlByte }
        if survey.hasDots, hasDotSegment(name) { return .dotSegment }
        return nil
    }

    private static func hasDotSegment(_ name: UnsafeRawBufferPointer) -> Bool {
        var segment = 0
        for index in 0...name.count where index == name.count || name[index] == 0x2F {
            let length = index - segment
            if length == 1 || length == 2, name[segment] == 0x2E, name[index - 1] == 0x2E { return true }
            segment = index + 1
        }
        return false
    }

    /// Whether a segment is `__ds`.
    /// - Parameter isCut: more may follow `name`, so that its last segment is not whole.
    private static func isReserved(_ name: UnsafeRawBufferPointer, isCut: Bool) -> Bool {
        guard let base = name.baseAddress, name.count >= 4 else { return false }
        var index = 0
        while name.count - index >= 4 {
            if (base + index).loadUnaligned(as: UInt32.self) == UInt32(littleEndian: 0x7364_5F5F) {
                let end = index + 4
                if end == name.count ? !isCut : name[end] == 0x2F { return true }
            }
            guard let slash = ByteWord.index(of: 0x2F, name, from: index) else { return false }
            index = slash + 1
        }
        return false
    }

    /// Whether two names have the same first segment.
    public static func shareFirstSegment(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        one.prefix { $0 != 0x2F }.elementsEqual(other.prefix { $0 != 0x2F })
    }

    @inline(__always)
    private static func isControl(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == 0x7F
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }
}
