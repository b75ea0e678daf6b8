// From a request's head to what it asks (PROTOCOL.md 1 to 4, 7, 10).

import HTTPWire
import StreamRules

public struct RouterSettings: Sendable {
    /// Pages that may use the server (PROTOCOL.md 10); nil: any.
    public var origins: [[UInt8]]?
    /// Answers over TLS say that nothing else shall be used.
    public var strictTransport = false
    /// Whether the server answers for a host (ACCESS.md 14.6); nil: for all.
    public var allowsHost: (@Sendable (UnsafeRawBufferPointer) -> Bool)?
    /// A fork's name begins with the first segment of its source's.
    public var forksStayInSegment = false

    public init() {}
}

public struct Router: Sendable {
    private let settings: RouterSettings
    private var types = ContentTypeCache()
    private var scratch: [UInt8] = []

    public init(_ settings: RouterSettings = RouterSettings()) { self.settings = settings }

    static let allowed = "GET, HEAD, PUT, POST, DELETE, OPTIONS"

    public mutating func route(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ peer: RequestPeer) -> Routed {
        var context = ResponseContext()
        context.headOnly = head.method == .head
        context.tellsStrictTransport = peer.secure && settings.strictTransport
        if settings.origins != nil, let origin = head.first(.origin) { context.origin = Array(bytes[origin]) }
        do throws(Problem) {
            return try route(head, bytes, peer, &context)
        } catch {
            return .problem(error, context)
        }
    }

    private mutating func route(
        _ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ peer: RequestPeer, _ context: inout ResponseContext
    ) throws(Problem) -> Routed {
        try checkHost(head, bytes, peer)
        if let range = head.first(.serviceWorker), ByteText.equalsIgnoringCase(UnsafeRawBufferPointer(rebasing: bytes[range]), "script") {
            throw Problem(403, "A stream is no script of a service worker: it would answer for other streams in this browser.")
        }
        if head.method == .options { return .preflight(context) }
        let target = UnsafeRawBufferPointer(rebasing: bytes[head.target])
        let split = ByteWord.index(of: UInt8(ascii: "?"), target, from: 0) ?? target.count
        let path = UnsafeRawBufferPointer(rebasing: target[..<split])
        guard StreamName.isStreamPath(path) else { return try control(head, path, context) }
        let name: [UInt8]
        do throws(StreamNameFault) {
            switch try StreamName.locate(path, scratch: &scratch) {
            case .slice(let range): name = Array(path[range])
            case .decoded: name = scratch
            }
        } catch {
            // No route exists below __ds yet, at any root.
            if error == .reserved { throw Problem(404, "There is nothing at this path.", code: "SUBSCRIPTION_NOT_FOUND") }
            throw Problem(400, error.reason)
        }
        var condition = StreamCondition.none
        switch head.method {
        case .put, .post, .delete:
            if let origins = settings.origins, let origin = context.origin { try checkOrigin(origin, origins, head, bytes, peer) }
            if let range = head.first(.ifMatch) {
                let value = UnsafeRawBufferPointer(rebasing: bytes[range])
                condition = head.count(of: .ifMatch) == 1 && ByteText.equals(value, "*") ? .exists : .never
            }
            if head.method != .delete, head.has(.contentEncoding) { try checkEncoding(head, bytes) }
        default: break
        }
        let verb: StreamVerb
        switch head.method {
        case .get:
            var asked = try read(Query(of: target, behind: split), &context)
            if asked.mode == .events, let range = head.first(.lastEventID),
                let offset = StreamOffset.parse(UnsafeRawBufferPointer(rebasing: bytes[range]))
            {
                asked = ReadRequest(start: .position(offset.position), mode: .events)
                context.fromNow = false
                context.isResumption = true
            }
            verb = .read(asked)
            if let range = head.first(.ifMatch) { context.ifMatch = joined(head, .ifMatch, bytes, first: range) }
            if let range = head.first(.ifNoneMatch) { context.ifNoneMatch = joined(head, .ifNoneMatch, bytes, first: range) }
        case .head: verb = .metadata
        case .put:
            let request = try create(head, bytes)
            if settings.forksStayInSegment, let fork = request.fork, !StreamName.shareFirstSegment(fork.source, name) {
                throw Problem(
                    403, "The header Stream-Forked-From names a stream below another first segment, which this server's fork-scope forbids."
                )
            }
            verb = .create(request)
            context.location = location(head, bytes, path, peer)
        case .post: verb = .append(try append(head, bytes))
        case .delete: verb = .delete
        case .options, .other:
            throw Problem(405, "This method is not known here. Allowed are \(Self.allowed).", allowed: Self.allowed)
        }
        return .stream(StreamRequest(name: name, verb: verb, condition: condition, context: context))
    }

    // MARK: Control

    /// What is asked for beside the streams.
    private func control(_ head: RequestHead, _ path: UnsafeRawBufferPointer, _ context: ResponseContext) throws(Problem) -> Routed {
        guard let route = ControlRoute.allCases.first(where: { ByteText.equals(path, $0.path) }) else {
            throw Problem(404, "There is nothing at this path. Streams live under /v1/stream/.")
        }
        guard route.allows(head.method) else {
            throw Problem(
                405, "This method is not known here. Allowed are \(route.allowed).", code: "INVALID_REQUEST", allowed: route.allowed)
        }
        return .control(ControlRequest(route: route, context: context))
    }

    // MARK: Who may ask

    /// A name that was made to point here by another site is none of ours.
    private func checkHost(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ peer: RequestPeer) throws(Problem) {
        guard let allows = settings.allowsHost, let host = authority(head, bytes, peer) else { return }
        if !allows(host) { throw Problem(421, "This server does not answer for the host of this request; see allowed-hosts.") }
    }

    /// What changes something comes from a page that may use the server, or from no page.
    private func checkOrigin(
        _ origin: [UInt8], _ origins: [[UInt8]], _ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ peer: RequestPeer
    ) throws(Problem) {
        if origins.contains(origin) { return }
        if let host = authority(head, bytes, peer) {
            let own = scheme(head, bytes, peer) + Array("://".utf8) + host.map { 0x41...0x5A ~= $0 ? $0 | 0x20 : $0 }
            if own == origin { return }
        }
        throw Problem(403, "Pages of this Origin may not change streams here; see cors-origins.")
    }

    private func checkEncoding(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) throws(Problem) {
        for field in head.fields where field.name == .contentEncoding {
            for coding in bytes[field.valueRange].split(separator: UInt8(ascii: ",")) {
                let trimmed = coding.filter { $0 != 0x20 && $0 != 0x09 }
                if trimmed.isEmpty || trimmed.withUnsafeBytes({ ByteText.equalsIgnoringCase($0, "identity") }) { continue }
                throw Problem(415, "The header Content-Encoding names a coding; expected none: content is stored as it comes.")
            }
        }
    }

    // MARK: Reading

    private func read(_ query: Query, _ context: inout ResponseContext) throws(Problem) -> ReadRequest {
        var start: ReadRequest.Start??
        var mode: ReadRequest.Mode??
        var cursor: UInt64?
        try query.forEach { (name, value) throws(Problem) in
            if ByteText.equals(name, "offset") {
                if start != nil { throw Problem(400, "The parameter offset is given twice; expected one.") }
                start = .some(try Query.decoded(value, "offset", Self.start))
            } else if ByteText.equals(name, "live") {
                if mode != nil { throw Problem(400, "The parameter live is given twice; expected one.") }
                mode = .some(try Query.decoded(value, "live", Self.mode))
            } else if ByteText.equals(name, "cursor") {
                cursor = StreamCursor.parse(value)
            }
        }
        context.cursor = cursor
        guard let mode = mode ?? .catchUp else {
            throw Problem(400, "The parameter live is not known; expected long-poll or sse.")
        }
        context.isLive = mode != .catchUp
        guard let given = start else {
            if mode != .catchUp {
                throw Problem(400, "The parameter live needs the parameter offset: -1, now or an offset of this stream.")
            }
            return ReadRequest(start: .beginning, mode: mode)
        }
        guard let start = given else {
            throw Problem(
                400,
                "The parameter offset is not an offset; expected -1, now or a token from Stream-Next-Offset (two 16-digit numbers joined by _)."
            )
        }
        if case .now = start { context.fromNow = true }
        return ReadRequest(start: start, mode: mode)
    }

    private static func start(_ offset: UnsafeRawBufferPointer) -> ReadRequest.Start? {
        if ByteText.equals(offset, "-1") { return .beginning }
        if ByteText.equals(offset, "now") { return .now }
        return StreamOffset.parse(offset).map { .position($0.position) }
    }

    private static func mode(_ live: UnsafeRawBufferPointer) -> ReadRequest.Mode? {
        ByteText.equals(live, "long-poll") ? .longPoll : ByteText.equals(live, "sse") ? .events : nil
    }

    // MARK: Creating

    private mutating func create(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) throws(Problem) -> CreateRequest {
        let fork = try fork(head, bytes)
        let type = try contentType(head, bytes)
        let ttl = try single(head, .streamTTL, bytes)
        let expires = try single(head, .streamExpiresAt, bytes)
        var expiry = Expiry.never
        if ttl != nil, expires != nil {
            throw Problem(400, "The headers Stream-TTL and Stream-Expires-At are both given; expected one of them.")
        }
        if let ttl {
            guard let seconds = StreamTTL.parse(ttl) else {
                throw Problem(
                    400,
                    "The header Stream-TTL is not a number of seconds; expected 0 or digits without leading zero, sign, point or exponent.")
            }
            expiry = .timeToLive(seconds: seconds)
        }
        if let expires {
            if expires.count > StreamBounds.expiresAt { throw StreamBounds.problem("Stream-Expires-At", StreamBounds.expiresAt) }
            guard let moment = RFC3339.parse(expires) else {
                throw Problem(400, "The header Stream-Expires-At is not a time; expected RFC 3339, for example 2030-01-31T12:00:00Z.")
            }
            expiry = .at(milliseconds: moment, text: Array(expires))
        }
        return CreateRequest(contentType: type, expiry: expiry, closed: closes(head, bytes), fork: fork)
    }

    private mutating func fork(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) throws(Problem) -> ForkRequest? {
        guard let path = try single(head, .streamForkedFrom, bytes) else {
            for name in [FieldName.streamForkOffset, .streamForkSubOffset] where head.has(name) {
                throw Problem(400, "The header \(name.canonical) is given without Stream-Forked-From, which names the stream to fork.")
            }
            return nil
        }
        let source: [UInt8]
        do throws(StreamNameFault) {
            guard StreamName.isStreamPath(path), !path.contains(UInt8(ascii: "?")), !path.contains(UInt8(ascii: "#")) else {
                throw .notAStreamPath
            }
            switch try StreamName.locate(path, scratch: &scratch) {
            case .slice(let range): source = Array(path[range])
            case .decoded: source = scratch
            }
        } catch {
            throw Problem(
                400,
                "The header Stream-Forked-From is not the path of a stream: \(error.reason). Expected /v1/stream/ and its name, encoded as in a URL."
            )
        }
        var offset: UInt64?
        if let token = try single(head, .streamForkOffset, bytes) {
            guard let parsed = StreamOffset.parse(token) else {
                throw Problem(
                    400,
                    "The header Stream-Fork-Offset is not an offset; expected a token from Stream-Next-Offset (two 16-digit numbers joined by _)."
                )
            }
            offset = parsed.position
        }
        var subOffset: UInt64 = 0
        if let number = try single(head, .streamForkSubOffset, bytes) {
            guard let parsed = StreamTTL.parse(number) else {
                throw Problem(
                    400,
                    "The header Stream-Fork-Sub-Offset is not a number; expected 0 or digits without leading zero, sign, point or exponent."
                )
            }
            subOffset = parsed
        }
        return ForkRequest(source: source, offset: offset, subOffset: subOffset)
    }

    /// The absolute URL of the stream, as the client sees it (PROTOCOL.md 2).
    private func location(
        _ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ path: UnsafeRawBufferPointer, _ peer: RequestPeer
    ) -> [UInt8] {
        guard let authority = authority(head, bytes, peer) else { return Array(path) }
        return scheme(head, bytes, peer) + Array("://".utf8) + Array(authority) + Array(path)
    }

    private func scheme(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ peer: RequestPeer) -> [UInt8] {
        if peer.isTrustedProxy, let forwarded = head.first(.forwardedProto) {
            let value = firstElement(UnsafeRawBufferPointer(rebasing: bytes[forwarded]))
            for known in ["http", "https"] where ByteText.equalsIgnoringCase(value, known) { return Array(known.utf8) }
        }
        return Array((peer.secure ? "https" : "http").utf8)
    }

    /// The host that the client has asked for; nil: it names none.
    private func authority(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ peer: RequestPeer) -> UnsafeRawBufferPointer? {
        if peer.isTrustedProxy, let forwarded = head.first(.forwardedHost) {
            let value = firstElement(UnsafeRawBufferPointer(rebasing: bytes[forwarded]))
            if value.count > 0, Authority.isValid(value, in: 0..<value.count, hostMayBeEmpty: false) { return value }
        }
        guard let range = head.authority ?? head.first(.host), !range.isEmpty else { return nil }
        return UnsafeRawBufferPointer(rebasing: bytes[range])
    }

    /// The https URL of what was asked for in clear, on `port`; nil when the request names no host.
    public func secureLocation(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, port: UInt16) -> [UInt8]? {
        guard let range = head.authority ?? head.first(.host), !range.isEmpty else { return nil }
        let authority = UnsafeRawBufferPointer(rebasing: bytes[range])
        // The port is behind the last colon that is not within brackets.
        var end = authority.count
        if let colon = authority.lastIndex(of: UInt8(ascii: ":")), colon > (authority.lastIndex(of: UInt8(ascii: "]")) ?? -1) {
            end = colon
        }
        if end == 0 { return nil }
        let suffix = port == 443 ? "" : ":\(port)"
        let target = UnsafeRawBufferPointer(rebasing: bytes[head.target])
        let path = target.first == UInt8(ascii: "/") ? Array(target) : Array("/".utf8)
        return Array("https://".utf8) + Array(authority[..<end]) + Array(suffix.utf8) + path
    }

    private func firstElement(_ list: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var end = list.firstIndex(of: UInt8(ascii: ",")) ?? list.count
        while end > 0, list[end - 1] == UInt8(ascii: " ") || list[end - 1] == UInt8(ascii: "\t") { end -= 1 }
        return UnsafeRawBufferPointer(rebasing: list[..<end])
    }

    // MARK: Appending

    private mutating func append(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) throws(Problem) -> AppendRequest {
        // Judged only if there is content: what is no media type then simply does not match the stream's.
        let type = try single(head, .contentType, bytes).flatMap { $0.isEmpty ? nil : types.intern($0) }
        let sequence = try single(head, .streamSeq, bytes).map { Array($0) }
        if let sequence, sequence.count > StreamBounds.sequence { throw StreamBounds.problem("Stream-Seq", StreamBounds.sequence) }
        let id = try single(head, .producerID, bytes)
        let epoch = try single(head, .producerEpoch, bytes)
        let number = try single(head, .producerSeq, bytes)
        var producer: ProducerStamp?
        if id != nil || epoch != nil || number != nil {
            guard let id, let epoch, let number else {
                throw Problem(400, "The headers Producer-Id, Producer-Epoch and Producer-Seq belong together; expected all three or none.")
            }
            guard !id.isEmpty else { throw Problem(400, "The header Producer-Id is empty; expected a name of the producer.") }
            if id.count > StreamBounds.producerID { throw StreamBounds.problem("Producer-Id", StreamBounds.producerID) }
            guard let epochNumber = ProducerNumber.parse(epoch) else {
                throw Problem(400, "The header Producer-Epoch is not a number; expected an integer from 0 to 9007199254740991.")
            }
            guard let sequenceNumber = ProducerNumber.parse(number) else {
                throw Problem(400, "The header Producer-Seq is not a number; expected an integer from 0 to 9007199254740991.")
            }
            producer = ProducerStamp(id: Array(id), epoch: epochNumber, sequence: sequenceNumber)
        }
        return AppendRequest(contentType: type, hasContent: false, closes: closes(head, bytes), sequence: sequence, producer: producer)
    }

    private func closes(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let range = head.first(.streamClosed) else { return false }
        return ByteText.equalsIgnoringCase(UnsafeRawBufferPointer(rebasing: bytes[range]), "true")
    }

    // MARK: Fields

    private mutating func contentType(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) throws(Problem) -> ContentType? {
        guard let value = try single(head, .contentType, bytes) else { return nil }
        // An empty field says no more than a missing one.
        if value.isEmpty { return nil }
        if value.count > StreamBounds.contentType { throw StreamBounds.problem("Content-Type", StreamBounds.contentType) }
        guard MediaType.isValid(value) else {
            throw Problem(400, "The header Content-Type is not a media type; expected type/subtype, for example application/json.")
        }
        return types.intern(value)
    }

    /// The value of a field that may be given once.
    private func single(_ head: RequestHead, _ name: FieldName, _ bytes: UnsafeRawBufferPointer) throws(Problem) -> UnsafeRawBufferPointer?
    {
        guard let range = head.first(name) else { return nil }
        if head.count(of: name) > 1 { throw Problem(400, "The header \(name.canonical) is given twice; expected one.") }
        return UnsafeRawBufferPointer(rebasing: bytes[range])
    }

    /// The values of a list field that may be given several times, as one list.
    private func joined(_ head: RequestHead, _ name: FieldName, _ bytes: UnsafeRawBufferPointer, first: Range<Int>) -> [UInt8] {
        if head.count(of: name) == 1 { return Array(bytes[first]) }
        var list: [UInt8] = []
        for field in head.fields where field.name == name {
            if !list.isEmpty { list += [UInt8(ascii: ","), UInt8(ascii: " ")] }
            list += bytes[field.valueRange]
        }
        return list
    }
}
