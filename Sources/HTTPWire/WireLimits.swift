// The bounds on everything a peer can make this module hold or look at, each with its reason. What is beyond a bound is refused at the
// first byte that passes it, never after collecting the rest.

/// Bounds on one request as it arrives. All in bytes unless said otherwise.
public struct WireLimits: Sendable, Equatable {
    /// The whole head: leading empty lines, request line, field lines, the final empty line. Half of the 64 KiB receive
    /// buffer, so that a head always fits and its content can arrive in the same receive; common servers allow 8 to 32 KiB.
    public var headBytes = 32 << 10

    /// The request target. RFC 9112 3 recommends that at least 8000 be supported; a stream's name (1024 bytes, each at most
    /// three when percent-encoded) with offset and cursor needs about half.
    public var targetBytes = 8 << 10

    /// Number of field lines. Browsers behind proxies send about 30; lookups walk the list, so it has to stay short.
    public var fieldCount = 100

    /// Number of empty lines accepted before a request line. RFC 9112 2.2 asks for at least one (old clients end content with
    /// an extra CRLF); more than a few is noise that costs the sender nothing.
    public var emptyLines = 2

    /// One chunk-size line without its CRLF: 15 digits and room for an extension such as a signature.
    public var chunkLineBytes = 256

    /// How far chunk-size lines may outweigh the content of the whole message. Each chunk pays for 16 bytes of line and for twice
    /// its size; the rest adds up to at most this. Without it, one-byte chunks with long extensions make 1 byte cost 260.
    public var chunkExcessBytes = 16 << 10

    /// All trailer lines with their line ends. They are checked and dropped, so nobody needs long ones.
    public var trailerBytes = 8 << 10

    public init() {}
}
