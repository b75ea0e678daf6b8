// HTTPRequest: one request as the client's parts describe it to `HTTPSession`.

public struct HTTPRequest: Sendable {
    public enum Method: String, Sendable {
        case get = "GET"
        case head = "HEAD"
        case put = "PUT"
        case post = "POST"
        case delete = "DELETE"
    }

    /// Seconds without a byte in either direction after which a request counts as lost.
    public static let patience = 30
    /// The same for a live read, where silence is normal: longer than the long-poll and SSE intervals that servers use (30 to 60 s).
    public static let livePatience = 90

    public var method: Method
    public var url: String
    public var fields: [HeaderField]
    public var body: [UInt8]
    public var patience: Int

    public init(_ method: Method, _ url: String, fields: [HeaderField] = [], body: [UInt8] = [], patience: Int = HTTPRequest.patience) {
        self.method = method
        self.url = url
        self.fields = fields
        self.body = body
        self.patience = patience
    }
}
