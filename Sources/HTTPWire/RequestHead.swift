// A parsed request head: places in the bytes it was read from, and what they mean. No copy of anything.
//
//     GET /v1/stream/a?offset=-1 HTTP/1.1 CRLF Host: localhost:4437 CRLF Connection: close CRLF CRLF
//     `-' `--------------------'        `      `--' `------------'
//     methodRange  target    minorVersion     fields[0].nameRange, .valueRange      framing .none, keepAlive false
//
// Reading is two steps: the lines (RequestLine, FieldLine: RFC 9112 3 and 5), then what the fields mean together (Host, framing,
// connection, expectation: RFC 9112 3.2, 6.3, 9.3; RFC 9110 10.1.1). A head is reused from request to request; its array keeps its room.

/// One request head. All ranges are offsets into the bytes given to ``parse(_:limits:)`` and mean something only as long as those stay.
public struct RequestHead: Sendable {
    public private(set) var method = Method.other
    /// The method as written.
    public private(set) var methodRange = 0..<0
    /// path[?query], or `*`. Of an absolute-form target what follows the authority: then it may be empty or start with `?`, and the
    /// path is `/` (RFC 9110 4.2.3).
    public private(set) var target = 0..<0
    /// The authority of an absolute-form target, which wins over Host (RFC 9112 3.2.2); nil for the other forms.
    public private(set) var authority: Range<Int>?
    /// Whether the target is `*` (OPTIONS only, RFC 9112 3.2.4).
    public private(set) var isAsteriskForm = false
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    public private(set) var minorVersion = 1
    /// All fields, in the order in which they came.
    public private(set) var fields: [Field] = []
    public private(set) var framing = BodyFraming.none
    /// Whether the connection can carry another request after this one (RFC 9112 9.3).
    public private(set) var keepAlive = true
    /// Whether the client waits for 100 before it sends content; never for HTTP/1.0 (RFC 9110 10.1.1).
    public private(set) var expectsContinue = false

    /// Bit n is set when a field whose name has raw value n is in `fields`: most lookups ask for what is not there.
    @usableFromInline private(set) var present: UInt64 = 0
    /// The same for names of which there are several fields.
    private var repeated: UInt64 = 0

    public init() {}

    /// Reads a whole head over whatever was there before.
    ///
    /// - Parameter bytes: exactly the head as ``HeadScanner`` has measured it, leading empty lines and final empty line included.
    /// - Throws: what to answer when these bytes are no acceptable head: 400, 414, 417, 431 or 505. The contents are then unspecified.
    public mutating func parse(_ bytes: UnsafeRawBufferPointer, limits: WireLimits) throws(HTTPRefusal) {
        fields.removeAll(keepingCapacity: true)
        present = 0
        repeated = 0

        var position = 0
        while position + 1 < bytes.count, bytes[position] == Octet.carriageReturn, bytes[position + 1] == Octet.lineFeed { position += 2 }

        let line = try RequestLine(bytes, &position, limits)
        method = line.method
        methodRange = line.methodRange
        target = line.target
        authority = line.authority
        isAsteriskForm = line.isAsteriskForm
        minorVersion = line.minorVersion

        while let field = try FieldLine.next(bytes, &position) {
            guard fields.count < limits.fieldCount else { throw .tooManyFields(limit: limits.fieldCount) }
            fields.append(field)
            let bit = 1 &<< UInt64(field.name.rawValue)
            repeated |= present & bit
            present |= bit
        }
        precondition(position == bytes.count, "a head ends at its first empty line")

        try checkHost(bytes)
        framing = try decideFraming(bytes)
        keepAlive = decideKeepAlive(bytes)
        expectsContinue = try decideExpectation(bytes)
    }

    /// Whether a field of this name is there.
    @inlinable
    public func has(_ name: FieldName) -> Bool { present &>> UInt64(name.rawValue) & 1 == 1 }

    func hasSeveral(_ name: FieldName) -> Bool { repeated &>> UInt64(name.rawValue) & 1 == 1 }

    /// The value of the first field of this name.
    @inlinable
    public func first(_ name: FieldName) -> Range<Int>? {
        guard has(name) else { return nil }
        for field in fields where field.name == name { return field.valueRange }
        return nil
    }

    /// How many fields have this name.
    @inlinable
    public func count(of name: FieldName) -> Int {
        guard has(name) else { return 0 }
        var count = 0
        for field in fields where field.name == name { count += 1 }
        return count
    }

    /// One Host in HTTP/1.1, at most one in 1.0, well-formed, possibly empty (RFC 9112 3.2).
    private func checkHost(_ bytes: UnsafeRawBufferPointer) throws(HTTPRefusal) {
        guard let host = first(.host) else {
            if minorVersion > 0 { throw .hostMissing }
            return
        }
        guard !hasSeveral(.host) else { throw .hostRepeated }
        guard Authority.isValid(bytes, in: host, hostMayBeEmpty: true) else { throw .hostMalformed }
    }

    /// `close` anywhere in Connection ends the connection; without it 1.1 persists, and 1.0 only with `keep-alive` (RFC 9112 9.3).
    private func decideKeepAlive(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard has(.connection) else { return minorVersion > 0 }
        var asked = false
        for field in fields where field.name == .connection {
            for option in ListElements(bytes, in: field.valueRange) {
                if bytes.equalsWithoutCase("close", in: option) { return false }
                if bytes.equalsWithoutCase("keep-alive", in: option) { asked = true }
            }
        }
        return asked || minorVersion > 0
    }

    private func decideExpectation(_ bytes: UnsafeRawBufferPointer) throws(HTTPRefusal) -> Bool {
        guard has(.expect) else { return false }
        for field in fields where field.name == .expect {
            guard bytes.equalsWithoutCase("100-continue", in: field.valueRange) else { throw .expectation }
        }
        return minorVersion > 0
    }
}
