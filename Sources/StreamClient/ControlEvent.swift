// ControlEvent: what an SSE `control` event says (PROTOCOL.md section 4 "SSE").
//
//     {"streamNextOffset":"…","streamCursor":"…","upToDate":true,"streamClosed":true}
//
// Only the offset is always there. Members of other names, and values of other kinds, are passed over: a later protocol may add some.

struct ControlEvent: Equatable {
    var nextOffset: String
    var cursor: String?
    var isUpToDate = false
    var isClosed = false

    /// Nil when the text is not a JSON object with a `streamNextOffset`.
    init?(_ bytes: [UInt8]) {
        guard JSONText.isValid(bytes) else { return nil }
        var offset: String?
        var text = JSONText(bytes)
        guard text.take("{") else { return nil }
        do {
            while !text.take("}") {
                guard let name = try text.string(), text.take(":") else { return nil }
                switch name {
                case "streamNextOffset":
                    offset = try text.string()
                    if offset == nil { return nil }
                case "streamCursor":
                    if let value = try text.string() { cursor = value } else { try text.skipValue() }
                case "upToDate":
                    isUpToDate = text.takeWord("true")
                    if !isUpToDate { try text.skipValue() }
                case "streamClosed":
                    isClosed = text.takeWord("true")
                    if !isClosed { try text.skipValue() }
                default: try text.skipValue()
                }
                _ = text.take(",")
            }
        } catch {
            return nil
        }
        guard let offset else { return nil }
        nextOffset = offset
    }
}
