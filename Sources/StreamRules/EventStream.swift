// The frames of a live reader beside its data events (PROTOCOL.md section 4, SSE; data events: EventEncoder.swift).
//
//     :␊            event: control␊
//     ␊             data:{"streamNextOffset":"…","streamCursor":"…","upToDate":true}␊
//     heartbeat     id:<offset>␊
//                   ␊
//
// `id:` names the offset to go on from, so that a browser that comes back with `Last-Event-ID` misses nothing and sees nothing twice.

/// Writers of whole frames.
public enum EventStream {
    /// A comment line, which keeps an idle connection alive through proxies.
    public static let heartbeat: StaticString = ":\n\n"

    /// Writes a control event.
    public static func putControl(_ control: EventStreamControl, _ sink: inout ByteSink) {
        sink.put("event: control\ndata:{\"streamNextOffset\":\"")
        control.nextOffset.write(into: sink.take(StreamOffset.tokenLength))
        switch control.progress {
        case .behind(let cursor): putCursor(cursor, "\"}\n", &sink)
        case .upToDate(let cursor): putCursor(cursor, "\",\"upToDate\":true}\n", &sink)
        case .closed: sink.put("\",\"upToDate\":true,\"streamClosed\":true}\n")
        }
        putIdentifier(control.nextOffset.position, &sink)
        sink.put("\n")
    }

    private static func putCursor(_ cursor: UInt64, _ end: StaticString, _ sink: inout ByteSink) {
        sink.put("\",\"streamCursor\":\"")
        _ = StreamCursor.write(cursor, into: sink.take(StreamCursor.length(cursor)))
        sink.put(end)
    }

    static func putIdentifier(_ position: UInt64, _ sink: inout ByteSink) {
        sink.put("id:")
        StreamOffset(position: position).write(into: sink.take(StreamOffset.tokenLength))
        sink.put("\n")
    }
}
