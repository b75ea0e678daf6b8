// One body of a JSON stream: validated, cut into messages, and turned into the stored form (PROTOCOL.md section 8).
//
// A body is one JSON text. An array at its top is flattened by one level: each element is a message. The stored form has
// each message on one line, so that a GET is `[` + a range without its last two bytes + `]`:
//
//     body      [{"a":1},   {"b":2},{"c":\n3} ]
//     prepared  .{"a":1}  ,␊{"b":2}␞{"c": 3} .      ␊ is LF, ␞ is the mark 0x1E, the dots lie outside `content`
//     stored    {"a":1}  ,␊{"b":2},␊{"c": 3},␊
//
// `prepare` works in the body's own bytes and makes no list of boundaries, whatever the number of messages:
//
// - A raw CR or LF outside strings becomes a space. Inside strings RFC 8259 has none. So afterwards LF is free.
// - A separator that has whitespace behind it becomes `,` LF within that whitespace: it is final already.
// - A separator without becomes the mark, one byte that valid JSON cannot hold and that `write` makes two.
//
// Invariant: storedLength = content bytes + marks + 2 (the last `,` LF), or 0 without messages; LF occurs in the stored form
// only as the end of a message, and each line begins with the first byte of its message. Spelling of numbers, escapes,
// duplicate keys and key order are the bytes of the body.
//
// Nesting is remembered as one bit per level, 64 levels in a register and the levels below in `outer`; nothing recurses.

/// What `prepare` found in a body.
public struct JSONMessages: Sendable, Equatable {
    /// The number of messages: 1, or the number of elements of an array at the top, 0 for `[]`.
    public let count: Int
    /// The bytes of the stored form.
    public let storedLength: Int

    /// The prepared bytes without outer whitespace and the brackets of an array at the top.
    let content: Range<Int>
    /// Separators in `content` that still have to grow from one byte to two.
    let marks: Int

    static let mark: UInt8 = 0x1E

    /// The largest `maximumDepth`: it bounds the memory for nesting.
    public static let depthBound = 1024

    private init(count: Int, content: Range<Int>, marks: Int) {
        self.count = count
        self.content = content
        self.marks = marks
        storedLength = count == 0 ? 0 : content.count + marks + 2
    }

    // MARK: Preparing

    /// Checks that `bytes` are one JSON text in UTF-8 and prepares them in place.
    /// - Parameters:
    ///   - bytes: the whole body. After a throw their content is undefined.
    ///   - maximumDepth: the deepest nesting of arrays and objects, 1…`depthBound`, an array at the top included.
    /// - Throws: the first fault with its position (RFC 8259).
    public static func prepare(_ bytes: UnsafeMutableRawBufferPointer, maximumDepth: Int = 1024) throws(JSONFault) -> JSONMessages {
        precondition(1...depthBound ~= maximumDepth, "maximumDepth out of bounds")
        guard let base = bytes.baseAddress, bytes.count > 0 else { throw JSONFault(.emptyBody, at: 0) }
        let start = base.assumingMemoryBound(to: UInt8.self)
        let end = start + bytes.count
        let lexer = JSONLexer(start: start, end: end)

        let first = lexer.skipBlanks(start)
        guard first < end else { throw JSONFault(.onlyWhitespace, at: 0) }
        if bytes.count >= 3, start[0] == 0xEF, start[1] == 0xBB, start[2] == 0xBF { throw JSONFault(.byteOrderMark, at: 0) }

        var separators = 0
        var marks = 0
        let last = try walk(lexer, from: first, maximumDepth: maximumDepth) { comma, next in
            separators += 1
            if next - comma == 1 {
                comma.pointee = mark
                marks += 1
            } else {
                comma.pointee = 0x20
                next[-2] = 0x2C
                next[-1] = 0x0A
            }
        }
        guard lexer.skipBlanks(last) == end else { throw lexer.fault(.trailingBytes, lexer.skipBlanks(last)) }

        guard first.pointee == 0x5B else {
            return JSONMessages(count: 1, content: first - start..<last - start, marks: 0)
        }
        let lower = lexer.skipBlanks(first + 1)
        var upper = last - 1
        guard lower < upper else { return JSONMessages(count: 0, content: 0..<0, marks: 0) }
        while upper[-1] == 0x20 || upper[-1] == 0x09 { upper -= 1 }
        return JSONMessages(count: separators + 1, content: lower - start..<upper - start, marks: marks)
    }

    /// Takes the one value at `first` and returns the address behind it. Calls `separator` for each comma of an array at
    /// the top, with the comma's address and that of the first byte of the next element.
    @inline(__always)
    private static func walk(
        _ lexer: JSONLexer, from first: JSONLexer.Address, maximumDepth: Int,
        separator: (_ comma: JSONLexer.Address, _ next: JSONLexer.Address) -> Void
    ) throws(JSONFault) -> JSONLexer.Address {
        let end = lexer.end
        var place = first
        var depth = 0
        /// One bit per open level of this block of 64, the innermost lowest: 1 for an object, 0 for an array.
        var levels: UInt64 = 0
        /// The full blocks further out.
        var outer = InlineArray<15, UInt64>(repeating: 0)

        value: while true {
            guard place < end else { throw lexer.fault(.unexpectedEnd, place) }
            switch place.pointee {
            case 0x22:
                place = try lexer.string(place)
            case 0x2D, 0x30...0x39:
                place = try lexer.number(place)
            case 0x74, 0x66, 0x6E:
                place = try lexer.literal(place)
            case let opening where opening == 0x7B || opening == 0x5B:
                let inside = lexer.skipBlanks(place + 1)
                guard depth < maximumDepth else { throw lexer.fault(.tooDeep, place) }
                guard inside < end else { throw lexer.fault(.unexpectedEnd, inside) }
                // `]` and `}` are two above `[` and `{`.
                if inside.pointee == opening + 2 {
                    place = inside + 1
                    break
                }
                if depth & 63 == 0, depth > 0 { outer[depth / 64 - 1] = levels }
                levels = levels &<< 1 | (opening == 0x7B ? 1 : 0)
                depth += 1
                place = opening == 0x7B ? try memberValue(lexer, inside) : inside
                continue value
            default:
                throw lexer.fault(.expectedValue, place)
            }

            // A value has ended here, and with it perhaps the containers around it.
            while depth > 0 {
                place = lexer.skipBlanks(place)
                guard place < end else { throw lexer.fault(.unexpectedEnd, place) }
                let isObject = levels & 1 == 1
                if place.pointee == 0x2C {
                    let next = lexer.skipBlanks(place + 1)
                    if isObject {
                        place = try memberValue(lexer, next)
                    } else {
                        if depth == 1 { separator(place, next) }
                        place = next
                    }
                    continue value
                }
                guard place.pointee == (isObject ? 0x7D : 0x5D) else {
                    throw lexer.fault(isObject ? .expectedCommaOrBrace : .expectedCommaOrBracket, place)
                }
                place += 1
                depth -= 1
                levels &>>= 1
                if depth & 63 == 0, depth > 0 { levels = outer[depth / 64 - 1] }
            }
            return place
        }
    }

    /// Takes `"key" :` at `place` and returns the address of the member's value.
    @inline(__always)
    private static func memberValue(_ lexer: JSONLexer, _ place: JSONLexer.Address) throws(JSONFault) -> JSONLexer.Address {
        guard place < lexer.end else { throw lexer.fault(.unexpectedEnd, place) }
        guard place.pointee == 0x22 else { throw lexer.fault(.expectedKey, place) }
        let colon = lexer.skipBlanks(try lexer.string(place))
        guard colon < lexer.end else { throw lexer.fault(.unexpectedEnd, colon) }
        guard colon.pointee == 0x3A else { throw lexer.fault(.expectedColon, colon) }
        return lexer.skipBlanks(colon + 1)
    }

    // MARK: Writing

    /// Writes the stored form of `prepared`, the bytes that `prepare` left, to the first `storedLength` bytes of `out`.
    /// The two must not overlap.
    public func write(_ prepared: UnsafeRawBufferPointer, to out: UnsafeMutableRawBufferPointer) {
        precondition(prepared.count >= content.upperBound && out.count >= storedLength, "buffers too small")
        guard count > 0, var source = prepared.baseAddress, var target = out.baseAddress else { return }
        let end = source + content.upperBound
        source += content.lowerBound
        if marks == 0 {
            target.copyMemory(from: source, byteCount: end - source)
            return Self.endMessage(target + (end - source))
        }
        // The rest of `out` is never shorter than the rest of `content`, so that whole words may be written ahead.
        while end - source >= 8 {
            let word = source.loadUnaligned(as: UInt64.self)
            target.storeBytes(of: word, as: UInt64.self)
            let found = ByteWord.zeroes(UInt64(littleEndian: word) ^ ByteWord.filled(Self.mark))
            if found == 0 {
                source += 8
                target += 8
            } else {
                let index = ByteWord.firstIndex(found)
                Self.endMessage(target + index)
                source += index + 1
                target += index + 2
            }
        }
        while source < end {
            let byte = source.load(as: UInt8.self)
            if byte == Self.mark {
                Self.endMessage(target)
                target += 2
            } else {
                target.storeBytes(of: byte, as: UInt8.self)
                target += 1
            }
            source += 1
        }
        Self.endMessage(target)
    }

    /// The same in one buffer, so that a large body is never held twice: the first `preparedCount` bytes of `buffer` are
    /// the prepared ones, and afterwards its first `storedLength` bytes are the stored form.
    /// - Parameter buffer: at least max(preparedCount, storedLength) bytes.
    public func writeInPlace(_ buffer: UnsafeMutableRawBufferPointer, preparedCount: Int) {
        precondition(preparedCount >= content.upperBound && buffer.count >= max(preparedCount, storedLength), "buffer too small")
        guard count > 0, let base = buffer.baseAddress else { return }
        if content.lowerBound > 0 { base.copyMemory(from: base + content.lowerBound, byteCount: content.count) }
        // Back to front: what lies before a mark moves by the number of marks before it, so nothing unread is overwritten.
        var end = content.count
        var shift = marks
        Self.endMessage(base + end + shift)
        while shift > 0 {
            let index = Self.lastMark(UnsafeRawPointer(base), before: end)
            (base + index + 1 + shift).copyMemory(from: base + index + 1, byteCount: end - index - 1)
            shift -= 1
            Self.endMessage(base + index + shift)
            end = index
        }
    }

    @inline(__always)
    private static func endMessage(_ address: UnsafeMutableRawPointer) {
        address.storeBytes(of: 0x2C, as: UInt8.self)
        address.storeBytes(of: 0x0A, toByteOffset: 1, as: UInt8.self)
    }

    /// The position of the last mark before `end`; there is one.
    @inline(__always)
    private static func lastMark(_ base: UnsafeRawPointer, before end: Int) -> Int {
        var end = end
        while end >= 8 {
            let found = ByteWord.exactZeroes(ByteWord.load(base + end - 8) ^ ByteWord.filled(mark))
            if found != 0 { return end - 8 + ByteWord.lastIndex(found) }
            end -= 8
        }
        repeat {
            precondition(end > 0, "not the prepared bytes")
            end -= 1
        } while base.load(fromByteOffset: end, as: UInt8.self) != mark
        return end
    }
}
