// Data events of a live reader (PROTOCOL.md section 4, SSE; the WHATWG event stream format), in pieces of bounded size:
//
//     payload  a␍␊ b␊                      stored  m1,␊m2,␊                 bytes  00 01 02 03
//     text     event: data␊               json    event: data␊            base64 event: data␊
//              data:a␊                            data:[m1,␊                     data:AAECAw==␊
//              data:  b␊                          data:m2]␊                      id:<offset>␊
//              data:␊                             id:<offset>␊                   ␊
//              id:<offset>␊                       ␊
//              ␊
//
// One event may be as large as a body, so its payload comes in parts and its bytes go in pieces: `encode` takes payload until the sink is full,
// `finish` ends the event. What has to be known between two calls is in the encoder, a value of a few words: a reader that is slow keeps that and
// no bytes. Pieces may be cut anywhere; the bytes of all pieces together do not depend on where the payload or the sinks were cut.
//
// A line ends at CRLF, CR or LF, so that no payload can forge a field or an event, and CRLF is one end even when a part stops between the
// two. A parser strips one space after the colon, so a line that begins with a space gets one more.
//
// Text is UTF-8 whatever was stored: each maximal ill-formed part becomes one U+FFFD (Unicode 3.9, the practice that the WHATWG encoding
// standard follows). A character whose end is missing at the end of an event is held back (`carry`) and goes before the next event's payload;
// at the end of a closed stream it is ill-formed.
//
// An event begins with its first byte of output: a payload that is held back whole makes none.

/// The encoder of one reader's data events.
public struct EventEncoder: Sendable, Equatable {
    /// How the payload is represented.
    public enum Form: Sendable, Equatable, Hashable, CaseIterable {
        /// `text/*`: lines of UTF-8.
        case text
        /// Any other type: standard base64, padded, on one line.
        case base64
        /// The stored form of a JSON stream, whole messages: a JSON array, one message on each line.
        case json

        public init(_ type: ContentType) { self = type.isJSON ? .json : type.isText ? .text : .base64 }
    }

    public let form: Form
    /// Text: the beginning of a character. Base64: one or two bytes that do not make a group yet.
    public private(set) var carry: Carry
    /// An event is under way: its first bytes have been written.
    public private(set) var hasBegun = false
    /// Text: nothing of this line has been written.
    private var isLineStart = true
    /// Text: the last byte was CR, and an LF would belong to it.
    private var endsWithCarriageReturn = false
    /// JSON: 1: a comma, 2: a comma and LF, which belong to the event only if more follows.
    private var pending: UInt8 = 0

    public init(_ form: Form, carry: Carry = Carry()) {
        self.form = form
        self.carry = carry
    }

    // MARK: Payload

    /// Encodes from the front of `payload` until that is used up or the sink is full.
    /// - Returns: how many bytes of the payload were taken.
    public mutating func encode(_ payload: UnsafeRawBufferPointer, _ sink: inout ByteSink) -> Int {
        if payload.isEmpty { return 0 }
        switch form {
        case .text: return encodeText(payload, &sink)
        case .json: return encodeJSON(payload, &sink)
        case .base64: return encodeBase64(payload, &sink)
        }
    }

    /// Ends the event.
    /// - Parameters:
    ///   - end: the position behind the payload. The event's `id` lies before what is held back.
    ///   - isEndOfClosed: nothing will follow: what is held back is ill-formed.
    /// - Returns: the position that the event's `id` names, nil if there was no event to end.
    public mutating func finish(end: UInt64, isEndOfClosed: Bool, _ sink: inout ByteSink) -> UInt64? {
        if form == .text, isEndOfClosed, !carry.isEmpty {
            putReplacement(&sink)
            carry = Carry()
        }
        if form == .base64, !carry.isEmpty {
            begin(&sink)
            let group = (carry[0], carry[1])
            let count = carry.count
            withUnsafeBytes(of: group) { bytes in
                _ = Base64.encode(UnsafeRawBufferPointer(rebasing: bytes[..<count]), to: sink.take(4))
            }
            carry = Carry()
        }
        guard hasBegun else { return nil }
        if form == .json { sink.put("]") }
        let position = end - UInt64(form == .text ? carry.count : 0)
        sink.put("\n")
        EventStream.putIdentifier(position, &sink)
        sink.put("\n")
        hasBegun = false
        isLineStart = true
        endsWithCarriageReturn = false
        pending = 0
        return position
    }

    private mutating func begin(_ sink: inout ByteSink) {
        if hasBegun { return }
        hasBegun = true
        sink.put(form == .json ? "event: data\ndata:[" : "event: data\ndata:")
    }

    // MARK: JSON

    private mutating func encodeJSON(_ payload: UnsafeRawBufferPointer, _ sink: inout ByteSink) -> Int {
        begin(&sink)
        var index = 0
        if pending == 1 {
            if payload[0] == 0x0A {
                pending = 2
                index = 1
            } else {
                sink.put(",")
                pending = 0
            }
        }
        while index < payload.count, !sink.isFull {
            if pending == 2 {
                sink.put(",\ndata:")
                pending = 0
            }
            // A newline stands nowhere but behind the comma that ends a message.
            let newline = ByteWord.index(of: 0x0A, payload, from: index)
            let end = newline.map { max(index, $0 - 1) } ?? (payload[payload.count - 1] == 0x2C ? payload.count - 1 : payload.count)
            let count = min(end - index, max(1, sink.limit - sink.count))
            sink.put(UnsafeRawBufferPointer(rebasing: payload[index..<index + count]))
            index += count
            if index < end { return index }
            if let newline {
                pending = 2
                index = newline + 1
            } else if end < payload.count {
                pending = 1
                index = payload.count
            }
        }
        return index
    }

    // MARK: Base64

    private mutating func encodeBase64(_ payload: UnsafeRawBufferPointer, _ sink: inout ByteSink) -> Int {
        begin(&sink)
        var index = 0
        if !carry.isEmpty {
            let needed = 3 - carry.count
            guard payload.count >= needed else {
                for byte in payload { carry.append(byte) }
                return payload.count
            }
            let group = carry.count == 1 ? (carry[0], payload[0], payload[1]) : (carry[0], carry[1], payload[0])
            withUnsafeBytes(of: group) { _ = Base64.encode($0, to: sink.take(4)) }
            carry = Carry()
            index = needed
        }
        let room = sink.isFull ? 0 : (sink.limit - sink.count + 3) / 4 * 3
        let whole = min((payload.count - index) / 3 * 3, room)
        if whole > 0 {
            let part = UnsafeRawBufferPointer(rebasing: payload[index..<index + whole])
            _ = Base64.encode(part, to: sink.take(Base64.encodedLength(whole)))
            index += whole
        }
        if payload.count - index < 3 {
            for byte in payload[index...] { carry.append(byte) }
            index = payload.count
        }
        return index
    }

    // MARK: Text

    private mutating func encodeText(_ payload: UnsafeRawBufferPointer, _ sink: inout ByteSink) -> Int {
        var index = completeCharacter(payload, &sink)
        if endsWithCarriageReturn, index < payload.count, carry.isEmpty {
            endsWithCarriageReturn = false
            if payload[index] == 0x0A { index += 1 }
        }
        while index < payload.count, !sink.isFull {
            let end = Self.plainEnd(payload, from: index, bound: index + max(1, sink.limit - sink.count))
            if end > index {
                begin(&sink)
                if isLineStart, payload[index] == 0x20 { sink.put(" ") }
                isLineStart = false
                sink.put(UnsafeRawBufferPointer(rebasing: payload[index..<end]))
                index = end
                continue
            }
            let byte = payload[index]
            if byte < 0x80 {
                begin(&sink)
                sink.put("\ndata:")
                isLineStart = true
                index += 1
                guard byte == 0x0D else { continue }
                if index == payload.count { endsWithCarriageReturn = true } else if payload[index] == 0x0A { index += 1 }
                continue
            }
            let part = Self.illFormedPart(payload, at: index)
            if index + part == payload.count, part < UTF8Tail.characterLength(byte) {
                // It may still become a character.
                carry = Carry(payload[index...])
                return payload.count
            }
            putReplacement(&sink)
            index += part
        }
        return index
    }

    /// Takes the rest of a character that an earlier part began. Returns how many bytes were taken.
    private mutating func completeCharacter(_ payload: UnsafeRawBufferPointer, _ sink: inout ByteSink) -> Int {
        var index = 0
        while !carry.isEmpty {
            guard index < payload.count else { return index }
            let (lead, byte) = (carry[0], payload[index])
            guard byte & 0xC0 == 0x80, carry.count > 1 || UTF8Tail.allowsSecond(lead, byte) else {
                putReplacement(&sink)
                carry = Carry()
                return index
            }
            index += 1
            guard carry.count + 1 == UTF8Tail.characterLength(lead) else {
                carry.append(byte)
                continue
            }
            begin(&sink)
            isLineStart = false
            for held in 0..<carry.count { sink.take(1).storeBytes(of: carry[held], as: UInt8.self) }
            sink.take(1).storeBytes(of: byte, as: UInt8.self)
            carry = Carry()
        }
        return index
    }

    private mutating func putReplacement(_ sink: inout ByteSink) {
        begin(&sink)
        isLineStart = false
        endsWithCarriageReturn = false
        sink.put("\u{FFFD}")
    }

    /// The end of the whole characters from `start` on that are no line ends: at the first CR, LF or ill-formed byte, or at the first
    /// character's end at or behind `bound`.
    private static func plainEnd(_ bytes: UnsafeRawBufferPointer, from start: Int, bound: Int) -> Int {
        guard let base = bytes.baseAddress else { return start }
        let stop = min(bound, bytes.count)
        var index = start
        while index < stop {
            while stop - index >= 8 {
                let word = ByteWord.load(base + index)
                let lines = ByteWord.zeroes(word ^ ByteWord.filled(0x0A)) | ByteWord.zeroes(word ^ ByteWord.filled(0x0D))
                let found = lines | (word & ByteWord.highs)
                if found != 0 {
                    index += ByteWord.firstIndex(found)
                    break
                }
                index += 8
            }
            guard index < stop else { break }
            let byte = bytes[index]
            if byte == 0x0A || byte == 0x0D { return index }
            if byte < 0x80 {
                index += 1
                continue
            }
            let length = UTF8Tail.characterLength(byte)
            guard length > 0, bytes.count - index >= length, illFormedPart(bytes, at: index) == length else { return index }
            index += length
        }
        return index
    }

    /// The bytes at `index`, the first of which is no ASCII, that are a character or the maximal beginning of one: at least 1, and the whole
    /// length only for a character that is there.
    private static func illFormedPart(_ bytes: UnsafeRawBufferPointer, at index: Int) -> Int {
        let lead = bytes[index]
        let length = UTF8Tail.characterLength(lead)
        guard length > 0, index + 1 < bytes.count else { return 1 }
        let second = bytes[index + 1]
        guard second & 0xC0 == 0x80, UTF8Tail.allowsSecond(lead, second) else { return 1 }
        var count = 2
        while count < length, index + count < bytes.count, bytes[index + count] & 0xC0 == 0x80 { count += 1 }
        return count
    }
}
