import Foundation
import StreamRules
import Testing

// A body goes through `prepare` and both ways of writing in a buffer of exactly its own size, followed by bytes
// that must stay as they are.

/// What became of one body.
private struct Outcome: Equatable {
    var count: Int
    var stored: [UInt8]
    var text: String { String(decoding: stored, as: UTF8.self) }
}

private func run(_ body: [UInt8], maximumDepth: Int = 1024) throws(JSONFault) -> Outcome {
    let guardBytes = [UInt8](repeating: 0x22, count: 8)
    var buffer = body + guardBytes
    var caught: JSONFault?
    let messages: JSONMessages? = buffer.withUnsafeMutableBytes { bytes in
        do throws(JSONFault) {
            return try JSONMessages.prepare(UnsafeMutableRawBufferPointer(rebasing: bytes[..<body.count]), maximumDepth: maximumDepth)
        } catch {
            caught = error
            return nil
        }
    }
    #expect(Array(buffer[body.count...]) == guardBytes)
    guard let messages else { throw caught! }
    let prepared = Array(buffer[..<body.count])

    var out = [UInt8](repeating: 0xAA, count: messages.storedLength) + guardBytes
    prepared.withUnsafeBytes { source in
        out.withUnsafeMutableBytes { messages.write(source, to: UnsafeMutableRawBufferPointer(rebasing: $0[..<messages.storedLength])) }
    }
    #expect(Array(out[messages.storedLength...]) == guardBytes)
    let stored = Array(out[..<messages.storedLength])

    let size = max(body.count, messages.storedLength)
    var same = prepared + [UInt8](repeating: 0xAA, count: size - body.count) + guardBytes
    same.withUnsafeMutableBytes {
        messages.writeInPlace(UnsafeMutableRawBufferPointer(rebasing: $0[..<size]), preparedCount: body.count)
    }
    #expect(Array(same[..<messages.storedLength]) == stored)
    #expect(Array(same[size...]) == guardBytes)
    return Outcome(count: messages.count, stored: stored)
}

/// Cuts a stored form into its messages, as a reader may: at `,` LF, without blanks at the ends.
private func cut(_ stored: [UInt8]) -> [[UInt8]] {
    var messages: [[UInt8]] = []
    var line: [UInt8] = []
    for byte in stored {
        guard byte == 0x0A else {
            line.append(byte)
            continue
        }
        #expect(line.popLast() == UInt8(ascii: ","))
        let isBlank = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
        messages.append(Array(line.drop(while: isBlank).reversed().drop(while: isBlank).reversed()))
        line = []
    }
    #expect(line.isEmpty)
    return messages
}

@Suite struct JSONMessagesTests {
    @Test(arguments: [
        // One text, one message.
        ("{}", 1, "{},\n"), ("null", 1, "null,\n"), ("true", 1, "true,\n"), ("false", 1, "false,\n"), ("\"\"", 1, "\"\",\n"),
        ("0", 1, "0,\n"), (" \t\r\n 7 \r\n\t ", 1, "7,\n"), ("\"a\"", 1, "\"a\",\n"), ("{\"a\":1}", 1, "{\"a\":1},\n"),
        ("{\"a\" : [1, 2] , \"b\":{}}", 1, "{\"a\" : [1, 2] , \"b\":{}},\n"),
        // An array at the top is flattened by one level.
        ("[]", 0, ""), (" [ \n ] ", 0, ""), ("[1]", 1, "1,\n"), ("[1,2]", 2, "1,\n2,\n"), ("[[1,2]]", 1, "[1,2],\n"),
        ("[[],[[]],{}]", 3, "[],\n[[]],\n{},\n"), ("[[1,2],[3,4]]", 2, "[1,2],\n[3,4],\n"),
        ("[{\"a\":[1,2],\"b\":3},4]", 2, "{\"a\":[1,2],\"b\":3},\n4,\n"),
        // Whitespace around elements never grows a message's line at its start.
        ("[1, 2]", 2, "1,\n2,\n"), ("[ 1 ,2 ]", 2, "1 ,\n2,\n"),
        ("[1,\n  2,\r\n\t3\n]", 3, "1  ,\n2  ,\n3,\n"),
        ("\n[\"a\",\"b\"]\n", 2, "\"a\",\n\"b\",\n"),
        // Raw newlines outside strings.
        ("{\n\"a\":\r\n1\r}", 1, "{ \"a\":  1 },\n"), ("[{\n},{\r}]", 2, "{ },\n{ },\n"),
        // Spelling stays.
        (
            "[1.0,1e5,1E+05,-0,-0.0e-0,123456789012345678901234567890]", 6,
            "1.0,\n1e5,\n1E+05,\n-0,\n-0.0e-0,\n123456789012345678901234567890,\n"
        ),
        ("{\"b\":1,\"a\":2,\"b\":3}", 1, "{\"b\":1,\"a\":2,\"b\":3},\n"),
        (
            "[\"\\u00e9\\ud83d\\ude00\\/\\\"\\\\\\b\\f\\n\\r\\t\",\"é😀/\"]", 2,
            "\"\\u00e9\\ud83d\\ude00\\/\\\"\\\\\\b\\f\\n\\r\\t\",\n\"é😀/\",\n"
        ),
        ("[\",\",\"]\",\"[1,2]\"]", 3, "\",\",\n\"]\",\n\"[1,2]\",\n"),
    ])
    func storedForm(body: String, count: Int, stored: String) throws {
        let outcome = try run(Array(body.utf8))
        #expect(outcome.count == count)
        #expect(outcome.text == stored)
    }

    @Test(arguments: [
        ("", JSONFault.Kind.emptyBody, 0), (" \n\t", .onlyWhitespace, 0), ("\u{FEFF}1", .byteOrderMark, 0), ("\u{FEFF}", .byteOrderMark, 0),
        ("[", .unexpectedEnd, 1), ("{", .unexpectedEnd, 1), ("[1", .unexpectedEnd, 2), ("[1,", .unexpectedEnd, 3),
        ("{\"a\"", .unexpectedEnd, 4),
        ("{\"a\":", .unexpectedEnd, 5), ("{\"a\":1,", .unexpectedEnd, 7), ("\"", .unexpectedEnd, 1), ("\"abc", .unexpectedEnd, 4),
        ("\"\\", .unexpectedEnd, 2), ("\"\\u12", .unexpectedEnd, 5), ("-", .unexpectedEnd, 1), ("1.", .unexpectedEnd, 2),
        ("1e", .unexpectedEnd, 2),
        ("1e+", .unexpectedEnd, 3), ("\"0123456789abcdef", .unexpectedEnd, 17), ("[1,]", .expectedValue, 3), ("[,1]", .expectedValue, 1),
        ("[1,,2]", .expectedValue, 3), ("NaN", .expectedValue, 0), ("Infinity", .expectedValue, 0), ("nul", .expectedValue, 0),
        ("nulL", .expectedValue, 0), ("tru", .expectedValue, 0), ("fals", .expectedValue, 0), ("falsy", .expectedValue, 0),
        ("True", .expectedValue, 0), ("'a'", .expectedValue, 0),
        ("+1", .expectedValue, 0), (".5", .expectedValue, 0), ("/**/1", .expectedValue, 0), ("\u{0}", .expectedValue, 0),
        ("\u{A0}1", .expectedValue, 0),
        ("]", .expectedValue, 0), ("}", .expectedValue, 0), (",", .expectedValue, 0), ("{\"a\":}", .expectedValue, 5),
        ("[1,\u{C}2]", .expectedValue, 3),
        ("{1:2}", .expectedKey, 1), ("{a:1}", .expectedKey, 1), ("{,}", .expectedKey, 1), ("{\"a\":1,}", .expectedKey, 7),
        ("{\"a\":1,,}", .expectedKey, 7),
        ("{\"a\" 1}", .expectedColon, 5), ("{\"a\",1}", .expectedColon, 4), ("{\"a\"::1}", .expectedValue, 5),
        ("[1 2]", .expectedCommaOrBracket, 3), ("[1}", .expectedCommaOrBracket, 2), ("[1:2]", .expectedCommaOrBracket, 2),
        ("[0x1]", .expectedCommaOrBracket, 2),
        ("[truefalse]", .expectedCommaOrBracket, 5), ("{\"a\":1]", .expectedCommaOrBrace, 6),
        ("{\"a\":1 \"b\":2}", .expectedCommaOrBrace, 7),
        ("-a", .expectedDigit, 1), ("--1", .expectedDigit, 1), ("1.a", .expectedDigit, 2), ("1.e5", .expectedDigit, 2),
        ("1ex", .expectedDigit, 2), ("1e+-1", .expectedDigit, 3),
        ("-Infinity", .expectedDigit, 1), ("01", .leadingZero, 0), ("-01", .leadingZero, 1), ("00", .leadingZero, 0),
        ("[1,012]", .leadingZero, 3),
        ("\"\n\"", .controlInString, 1), ("\"a\tb\"", .controlInString, 2), ("\"\u{0}\"", .controlInString, 1),
        ("\"\u{1F}\"", .controlInString, 1),
        ("\"\u{1E}\"", .controlInString, 1), ("\"01234567890\r\"", .controlInString, 12), ("{\"\n\":1}", .controlInString, 2),
        ("\"\\a\"", .invalidEscape, 1), ("\"\\x41\"", .invalidEscape, 1), ("\"\\u12g4\"", .invalidEscape, 1),
        ("\"\\U0041\"", .invalidEscape, 1),
        ("\"\\'\"", .invalidEscape, 1), ("\"\\\u{0}\"", .invalidEscape, 1), ("\"\\é\"", .invalidEscape, 1),
        ("\"012345678\\q\"", .invalidEscape, 10),
        ("1 2", .trailingBytes, 2), ("{}{}", .trailingBytes, 2), ("[]]", .trailingBytes, 2), ("1,", .trailingBytes, 1),
        ("\"a\"b", .trailingBytes, 3),
        ("[1]\u{0}", .trailingBytes, 3), ("1\u{1E}", .trailingBytes, 1), ("null1", .trailingBytes, 4), ("0x1", .trailingBytes, 1),
        ("1.2.3", .trailingBytes, 3),
        ("[1\u{1E}2]", .expectedCommaOrBracket, 2), ("{}\n// end", .trailingBytes, 3),
    ])
    func refused(body: String, kind: JSONFault.Kind, position: Int) {
        #expect { try run(Array(body.utf8)) } throws: { error in
            guard let fault = error as? JSONFault else { return false }
            #expect(fault.kind == kind, "\(body.debugDescription): \(fault)")
            #expect(fault.position == position, "\(body.debugDescription): \(fault)")
            return true
        }
        #expect(JSONReference.messages(Array(body.utf8)) == nil)
    }

    @Test func everyKindHasItsOwnReason() {
        #expect(Set(JSONFault.Kind.allCases.map(\.rawValue)).count == JSONFault.Kind.allCases.count)
    }

    /// Every sequence of one to four bytes around the limits of RFC 3629, alone and behind a run of other characters.
    @Test func utf8() {
        let edges: [UInt8] = [
            0x61, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3,
            0xF4, 0xF5, 0xFF,
        ]
        var sequences: [[UInt8]] = edges.map { [$0] }
        var longest = sequences
        for _ in 0..<3 {
            longest = longest.flatMap { start in edges.map { start + [$0] } }
            if longest[0].count < 4 {
                sequences += longest
            } else {
                sequences += longest.filter { $0[0] >= 0xF0 && [0x61, 0x80, 0xBF, 0xC2].contains($0[3]) }
            }
        }
        var valid = 0
        for sequence in sequences {
            let isValid = String(validating: sequence, as: UTF8.self) != nil
            for prefix in [[], Array("abcde漢".utf8)] {
                let outcome = try? run([0x22] + prefix + sequence + [0x22])
                if outcome?.stored != (isValid ? [0x22] + prefix + sequence + [0x22, 0x2C, 0x0A] : nil) {
                    Issue.record("\(sequence)")
                }
            }
            if isValid { valid += 1 }
        }
        #expect(valid > 100)
        // At the end of the bytes, without the closing quotation mark.
        for sequence in sequences.prefix(4000) { #expect(throws: JSONFault.self) { try run([0x22] + sequence) } }
    }

    /// Each byte in each place of a string: plain, ending, escape, control, or the start of a character.
    @Test func everyByteInEveryPlace() {
        for length in 0...20 {
            for place in 0...length {
                for byte in UInt8.min...UInt8.max {
                    var body = [UInt8](repeating: 0x61, count: length)
                    body.insert(byte, at: place)
                    body = [0x22] + body + [0x22]
                    let isPlain = byte >= 0x20 && byte < 0x80 && byte != 0x22 && byte != 0x5C
                    // A quotation mark at the end, or an escape that `a` and the end do not complete, cannot be valid.
                    if (try? run(body))?.stored != (isPlain ? body + [0x2C, 0x0A] : nil) { Issue.record("\(length) \(place) \(byte)") }
                }
            }
        }
    }

    @Test(arguments: [1, 2, 63, 64, 65, 66, 127, 128, 129, 192, 193, 1023, 1024])
    func depth(limit: Int) throws {
        let arrays = [UInt8](repeating: 0x5B, count: limit) + [UInt8](repeating: 0x5D, count: limit)
        #expect(try run(arrays, maximumDepth: limit).count == (limit == 1 ? 0 : 1))
        let tooDeep = [0x5B] + arrays + [0x5D]
        #expect(throws: JSONFault.self) { try run(tooDeep, maximumDepth: limit) }

        // Objects and arrays in a pattern that differs in every block of 64 levels, with a member after each level on the way out.
        var generator = SeededGenerator(seed: UInt64(limit))
        var opening = ""
        var closing = ""
        for level in 0..<limit {
            if Bool.random(using: &generator) {
                opening += "{\"k\":"
                closing = ",\"l\":\(level)}" + closing
            } else {
                opening += "["
                closing = ",\(level)]" + closing
            }
        }
        let body = Array((opening + "0" + closing).utf8)
        let outcome = try run(body, maximumDepth: limit)
        #expect(cut(outcome.stored) == JSONReference.messages(body))
        // Every closing bracket in turn becomes the other kind.
        for (place, byte) in body.enumerated() where byte == 0x5D || byte == 0x7D {
            var wrong = body
            wrong[place] = byte ^ 0x20
            #expect(throws: JSONFault.self) { try run(wrong, maximumDepth: limit) }
        }
    }

    @Test func depthFault() {
        #expect(throws: JSONFault.self) { try run(Array("[[1]]".utf8), maximumDepth: 1) }
        let fault = #expect(throws: JSONFault.self) { try run([UInt8](repeating: 0x5B, count: 100_000)) }
        #expect(fault?.kind == .tooDeep)
        #expect(fault?.position == 1024)
    }

    /// Random documents with random whitespace, then the same documents damaged, against the reference.
    @Test(arguments: 0..<8)
    func mutations(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var accepted = 0
        var refused = 0
        for _ in 0..<2500 {
            var body = Array(document(&generator).utf8)
            compare(body)
            for _ in 0..<4 {
                mutate(&body, &generator)
                if compare(body) { accepted += 1 } else { refused += 1 }
            }
        }
        #expect(accepted > 500)
        #expect(refused > 2000)
    }

    @discardableResult
    private func compare(_ body: [UInt8]) -> Bool {
        let expected = JSONReference.messages(body)
        let outcome = try? run(body)
        if outcome?.count != expected?.count || outcome.map({ cut($0.stored) }) != expected { Issue.record("\(body)") }
        return expected != nil
    }

    private func mutate(_ body: inout [UInt8], _ generator: inout SeededGenerator) {
        let interesting = Array("[]{},:\"\\ \n\r\t0123456789-+.eEtrufalsn/\u{1E}\u{0}é漢😀".utf8)
        let place = Int.random(in: 0...body.count, using: &generator)
        let byte =
            Int.random(in: 0..<8, using: &generator) == 0
            ? UInt8.random(in: 0...255, using: &generator) : interesting.randomElement(using: &generator)!
        switch Int.random(in: 0..<5, using: &generator) {
        case 0: body.insert(byte, at: place)
        case 1 where place < body.count: body[place] = byte
        case 2 where place < body.count: body.remove(at: place)
        case 3 where place < body.count: body.swapAt(place, Int.random(in: 0..<body.count, using: &generator))
        case 4: body.insert(contentsOf: body[place..<min(body.count, place + 5)], at: place)
        default: break
        }
    }

    private func document(_ generator: inout SeededGenerator) -> String {
        func blank() -> String {
            Int.random(in: 0..<4, using: &generator) > 0
                ? "" : [" ", "\n", "\r\n", "\t", "\n          ", "  "].randomElement(using: &generator)!
        }
        func string() -> String {
            let parts = [
                "a", "é", "漢字", "😀", "\\n", "\\u00e9", "\\ud800", "\\\"", "\\\\", ",", "]", "}", "plain text of some length", " ", ":",
            ]
            return "\"" + (0..<Int.random(in: 0..<6, using: &generator)).map { _ in parts.randomElement(using: &generator)! }.joined()
                + "\""
        }
        func value(_ depth: Int) -> String {
            let choice = Int.random(in: 0..<(depth > 3 ? 4 : 8), using: &generator)
            switch choice {
            case 0: return ["null", "true", "false"].randomElement(using: &generator)!
            case 1, 2: return ["0", "-0", "12", "3.25", "1e9", "-1.5E-3", "99999999999999999999"].randomElement(using: &generator)!
            case 3: return string()
            case 4, 5:
                let members = (0..<Int.random(in: 0..<4, using: &generator)).map { _ in
                    blank() + string() + blank() + ":" + blank() + value(depth + 1) + blank()
                }
                return "{" + blank() + members.joined(separator: ",") + "}"
            default:
                let elements = (0..<Int.random(in: 0..<5, using: &generator)).map { _ in blank() + value(depth + 1) + blank() }
                return "[" + blank() + elements.joined(separator: ",") + "]"
            }
        }
        return blank() + value(0) + blank()
    }

    /// What a GET returns is the same value as what was sent.
    @Test func valuesAreTheSame() throws {
        var generator = SeededGenerator(seed: 99)
        for _ in 0..<500 {
            let text = document(&generator)
            // Foundation refuses lone surrogates.
            if text.contains("\\ud800") { continue }
            let sent = try JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
            let stored = try run(Array(text.utf8)).stored
            let answer = [UInt8(ascii: "[")] + stored.dropLast(2) + [UInt8(ascii: "]")]
            let read = try JSONSerialization.jsonObject(with: Data(answer)) as? NSArray
            #expect(read == (sent as? NSArray ?? NSArray(object: sent)))
        }
    }

    /// Arrays of every small size, with separators that are marks, with separators that are final, and with both.
    @Test func manyMessages() throws {
        for size in 1...40 {
            for style in 0..<3 {
                let elements = (0..<size).map { String(repeating: "7", count: 1 + $0 * 5 % 23) }
                var body = "["
                for (index, element) in elements.enumerated() {
                    if index > 0 { body += style == 0 || (style == 2 && index % 3 == 0) ? "," : ", " }
                    body += element
                }
                for padding in 0..<9 {
                    let outcome = try run(Array((String(repeating: " ", count: padding) + body + "]").utf8))
                    #expect(outcome.count == size)
                    #expect(outcome.text == elements.map { $0 + ",\n" }.joined())
                }
            }
        }
    }
}
