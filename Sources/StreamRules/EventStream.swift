// The frames of a live reader (PROTOCOL.md section 4, SSE). Data events of several pieces: EventStreamEncoder.swift.
//
//     :␊                    event: data␊               event: control␊
//     ␊                     data:<line>␊               data:{"streamNextOffset":"…","streamCursor":"…","upToDate":true}␊
//     keep-alive            ␊                          ␊
//
// A frame's length is asked first, so that the caller can reserve exactly that.

/// Lengths and bytes of whole frames; a write returns the length, which the matching function told before.
public enum EventStream {
    /// A comment line, which keeps an idle connection alive through proxies.
    public static let keepAlive: StaticString = ":\n\n"

    // MARK: Data events

    /// The bytes of a data event with the payload of a `text/*` stream.
    public static func dataEventLength(_ payload: UnsafeRawBufferPointer) -> Int {
        encode(.text, payload, nil)
    }

    /// Writes a data event with the payload of a `text/*` stream.
    @discardableResult
    public static func writeDataEvent(_ payload: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer) -> Int {
        encode(.text, payload, target)
    }

    /// The bytes of a data event with `count` payload bytes in base64.
    public static func base64EventLength(_ count: Int) -> Int {
        19 + Base64.encodedLength(count)
    }

    /// Writes a data event with the payload in base64.
    @discardableResult
    public static func writeBase64Event(_ payload: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer) -> Int {
        encode(.base64, payload, target)
    }

    /// The bytes of a data event with a JSON array.
    /// - Parameter stored: a range of the stored form that is whole messages, or empty.
    public static func jsonEventLength(_ stored: UnsafeRawBufferPointer) -> Int {
        encode(.json, stored, nil)
    }

    /// Writes a data event with a JSON array.
    /// - Parameter stored: a range of the stored form that is whole messages, or empty.
    @discardableResult
    public static func writeJSONEvent(_ stored: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer) -> Int {
        encode(.json, stored, target)
    }

    private static func encode(
        _ form: EventStreamEncoder.Form, _ payload: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer?
    ) -> Int {
        var encoder = EventStreamEncoder(form, payloadLength: payload.count, target: target)
        encoder.append(payload)
        return encoder.finish()
    }

    // MARK: Control events

    /// The pieces between the offset and the cursor.
    private static let opening: StaticString = "event: control\ndata:{\"streamNextOffset\":\""
    private static let beforeCursor: StaticString = "\",\"streamCursor\":\""
    private static let endBehind: StaticString = "\"}\n\n"
    private static let endUpToDate: StaticString = "\",\"upToDate\":true}\n\n"
    private static let endClosed: StaticString = "\",\"upToDate\":true,\"streamClosed\":true}\n\n"

    /// No control event is longer: the three parts up to the cursor, a cursor of 20 digits, the end.
    public static let controlEventMaximumLength = 41 + 33 + 18 + 20 + 20

    /// The bytes of a control event.
    public static func controlEventLength(_ control: EventStreamControl) -> Int {
        let start = opening.utf8CodeUnitCount + StreamOffset.tokenLength
        switch control.progress {
        case .behind(let cursor):
            return start + beforeCursor.utf8CodeUnitCount + StreamCursor.length(cursor) + endBehind.utf8CodeUnitCount
        case .upToDate(let cursor):
            return start + beforeCursor.utf8CodeUnitCount + StreamCursor.length(cursor) + endUpToDate.utf8CodeUnitCount
        case .closed:
            return start + endClosed.utf8CodeUnitCount
        }
    }

    /// Writes a control event.
    @discardableResult
    public static func writeControlEvent(_ control: EventStreamControl, to target: UnsafeMutableRawBufferPointer) -> Int {
        let length = controlEventLength(control)
        precondition(target.count >= length, "the target is too small")
        guard var place = target.baseAddress else { return 0 }
        put(opening, &place)
        control.nextOffset.write(into: place)
        place += StreamOffset.tokenLength
        switch control.progress {
        case .behind(let cursor):
            put(beforeCursor, &place)
            place += StreamCursor.write(cursor, into: place)
            put(endBehind, &place)
        case .upToDate(let cursor):
            put(beforeCursor, &place)
            place += StreamCursor.write(cursor, into: place)
            put(endUpToDate, &place)
        case .closed:
            put(endClosed, &place)
        }
        return length
    }

    private static func put(_ text: StaticString, _ place: inout UnsafeMutableRawPointer) {
        place.copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
        place += text.utf8CodeUnitCount
    }
}
