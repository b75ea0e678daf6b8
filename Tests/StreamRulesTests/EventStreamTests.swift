import Foundation
import StreamRules
import Testing

/// The rules of the WHATWG event stream format, as a client applies them.
private func events(_ bytes: [UInt8]) -> [(event: String, data: [UInt8], id: String)] {
    var events: [(String, [UInt8], String)] = []
    var event = ""
    var id = ""
    var data: [UInt8] = []
    var lines: [[UInt8]] = []
    var line: [UInt8] = []
    var index = 0
    while index < bytes.count {
        let byte = bytes[index]
        index += 1
        guard byte == 0x0A || byte == 0x0D else {
            line.append(byte)
            continue
        }
        if byte == 0x0D, index < bytes.count, bytes[index] == 0x0A { index += 1 }
        lines.append(line)
        line = []
    }
    for line in lines {
        if line.isEmpty {
            if !data.isEmpty { events.append((event, data.dropLast(), id)) }
            event = ""
            data = []
            continue
        }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        var value = line[min(colon + 1, line.endIndex)...]
        if value.first == 0x20 { value = value.dropFirst() }
        switch String(decoding: line[..<colon], as: UTF8.self) {
        case "event": event = String(decoding: value, as: UTF8.self)
        case "id": id = String(decoding: value, as: UTF8.self)
        case "data": data += value + [0x0A]
        default: break
        }
    }
    return events
}

/// Text as it arrives: line ends made LF, ill-formed parts made U+FFFD by the standard library, which replaces maximal parts as well.
private func normalized(_ bytes: [UInt8]) -> [UInt8] {
    var out: [UInt8] = []
    for (index, byte) in bytes.enumerated() {
        if byte == 0x0A, index > 0, bytes[index - 1] == 0x0D { continue }
        out.append(byte == 0x0D ? 0x0A : byte)
    }
    return Array(String(decoding: out, as: UTF8.self).utf8)
}

private let end: UInt64 = 1_000
private func identifier(_ position: UInt64) -> String { StreamOffset(position: position).description }

/// One event whose payload comes in parts that end at `cuts`, into sinks that stop taking payload after `limit` bytes each.
private func encoded(
    _ form: EventEncoder.Form, _ payload: [UInt8], cuts: [Int] = [], limit: Int = 1 << 16, carry: Carry = Carry(), closes: Bool = true
) -> (bytes: [UInt8], carry: Carry) {
    var encoder = EventEncoder(form, carry: carry)
    var out: [UInt8] = []
    func sink(_ body: (inout ByteSink) -> Void) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: limit + ByteSink.reserve, alignment: 1)
        defer { memory.deallocate() }
        var sink = ByteSink(memory)
        body(&sink)
        #expect(sink.count <= limit + ByteSink.reserve)
        out += sink.bytes
    }
    for (start, stop) in zip([0] + cuts, cuts + [payload.count]) {
        var index = start
        while index < stop {
            sink { sink in index += withBytes(Array(payload[index..<stop])) { encoder.encode($0, &sink) } }
        }
    }
    sink { _ = encoder.finish(end: end, isEndOfClosed: closes, &$0) }
    return (out, encoder.carry)
}

@Suite struct EventStreamTests {
    @Test(arguments: [
        ("a", "data:a\n"), ("a\nb", "data:a\ndata:b\n"), ("a\r\nb", "data:a\ndata:b\n"), ("a\rb", "data:a\ndata:b\n"),
        ("a\n", "data:a\ndata:\n"), ("\n", "data:\ndata:\n"),
        ("\r\n", "data:\ndata:\n"), ("\n\r", "data:\ndata:\ndata:\n"), ("\r\r\n\n", "data:\ndata:\ndata:\ndata:\n"), (" a", "data:  a\n"),
        ("  a", "data:   a\n"), (" ", "data:  \n"),
        ("a\n b", "data:a\ndata:  b\n"), ("\t", "data:\t\n"),
        (": x\nevent: y\n\ndata: z", "data:: x\ndata:event: y\ndata:\ndata:data: z\n"), ("é漢\u{2028}\u{85}", "data:é漢\u{2028}\u{85}\n"),
        ("12345678\n12345678", "data:12345678\ndata:12345678\n"),
    ])
    func lines(payload: String, expected: String) {
        #expect(encoded(.text, Array(payload.utf8)).bytes == Array("event: data\n\(expected)id:\(identifier(end))\n\n".utf8))
    }

    /// Every payload of up to seven of the bytes that matter comes back through a client's parser, whole or in three parts.
    @Test func everyShortPayload() {
        var payloads: [[UInt8]] = [[]]
        for _ in 0..<7 {
            payloads = payloads.flatMap { start in Array("\r\n a".utf8).map { start + [$0] } }
            for payload in payloads {
                let event = encoded(.text, payload).bytes
                let read = events(event)
                if read.count != 1 || read[0].event != "data" || read[0].data != normalized(payload) { Issue.record("\(payload) \(event)") }
                if payload.count > 5 { continue }
                for first in 0...payload.count {
                    for second in first...payload.count where encoded(.text, payload, cuts: [first, second], limit: 40).bytes != event {
                        Issue.record("\(payload) \(first) \(second)")
                    }
                }
            }
        }
    }

    /// Every sequence of up to four of the bytes that decide about characters: ill-formed parts become U+FFFD as the standard library has it, wherever
    /// the payload is cut.
    @Test func everyShortSequenceOfBytes() {
        let bytes: [UInt8] = [0x61, 0x0A, 0x80, 0xA0, 0xBF, 0xC3, 0xE0, 0xED, 0xF0, 0xF4, 0xFF]
        var payloads: [[UInt8]] = [[]]
        for _ in 0..<4 {
            payloads = payloads.flatMap { start in bytes.map { start + [$0] } }
            for payload in payloads {
                let event = encoded(.text, payload).bytes
                if events(event).first?.data != normalized(payload) { Issue.record("\(payload) \(event)") }
                for cut in 1..<max(2, payload.count) where encoded(.text, payload, cuts: [min(cut, payload.count)], limit: 1).bytes != event
                {
                    Issue.record("\(payload) cut at \(cut)")
                }
            }
        }
    }

    /// The bytes of an event do not depend on where the payload and the pieces are cut.
    @Test func anyCuts() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<400 {
            let count = Int.random(in: 1..<300, using: &generator)
            let letters = Array("abcdefgh \r\n é漢😀".utf8) + [0xC3, 0xF0, 0xFF]
            let cuts = (0..<Int.random(in: 0..<12, using: &generator)).map { _ in Int.random(in: 0...count, using: &generator) }.sorted()
            let limit = Int.random(in: 1...200, using: &generator)
            let text = (0..<count).map { _ in letters.randomElement(using: &generator)! }
            #expect(encoded(.text, text, cuts: cuts, limit: limit).bytes == encoded(.text, text).bytes)
            #expect(events(encoded(.text, text).bytes).first?.data == normalized(text))
            let binary = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(encoded(.base64, binary, cuts: cuts, limit: limit).bytes == encoded(.base64, binary).bytes)
            let json = Array((0..<count).map { _ in "\([1, 22, 333].randomElement(using: &generator)!),\n" }.joined().utf8)
            #expect(encoded(.json, json, cuts: cuts, limit: limit).bytes == encoded(.json, json).bytes)
        }
    }

    /// What a text becomes in several events, cut at every byte: no event ends inside a character, and each `id` lies before what is held back.
    @Test(arguments: ["é", "aé", "éa", "漢字", "😀", "a😀b漢é", " leading", "\u{10FFFF}\u{800}\u{7FF}"])
    func charactersCutAtEveryByte(text: String) {
        let bytes = Array(text.utf8)
        for cut in 0...bytes.count {
            let boundary = (0...cut).last { String(validating: bytes[..<$0], as: UTF8.self) != nil }!
            let (first, carry) = encoded(.text, Array(bytes[..<cut]), closes: false)
            #expect(carry.bytes == Array(bytes[boundary..<cut]))
            let read = events(first)
            #expect(read.map(\.data) == (boundary > 0 ? [Array(bytes[..<boundary])] : []))
            if boundary > 0 { #expect(read[0].id == identifier(end - UInt64(cut - boundary))) }
            let (second, rest) = encoded(.text, Array(bytes[cut...]), carry: carry, closes: false)
            #expect(rest.isEmpty && events(second).map(\.data) == (boundary < bytes.count ? [Array(bytes[boundary...])] : []))
        }
    }

    /// What is cut off at the end of a closed stream is ill-formed, and what can be no character is not held back.
    @Test(
        arguments: [
            ([0x61, 0xC3], false, "a", [0xC3]), ([0x61, 0xC3], true, "a\u{FFFD}", []), ([0xF0, 0x9F, 0x98], true, "\u{FFFD}", []),
            ([0x61, 0x80], false, "a\u{FFFD}", []), ([0xE0, 0x80], false, "\u{FFFD}\u{FFFD}", []), ([0xFF], false, "\u{FFFD}", []),
            ([0xF0, 0x9F, 0x98], false, nil, [0xF0, 0x9F, 0x98]), ([0xF0, 0x9F, 0x61], false, "\u{FFFD}a", []),
            ([0xE2, 0x82, 0xE2, 0x82, 0xAC], false, "\u{FFFD}€", []),
        ] as [([UInt8], Bool, String?, [UInt8])])
    func broken(bytes: [UInt8], closes: Bool, sent: String?, held: [UInt8]) {
        let (event, carry) = encoded(.text, bytes, closes: closes)
        #expect(events(event).map(\.data) == (sent.map { [Array($0.utf8)] } ?? []))
        #expect(carry.bytes == held)
    }

    /// The end of the stream brings what was held back; so does a byte that cannot belong to it.
    @Test func heldBack() {
        #expect(events(encoded(.text, [], carry: Carry([0xF0, 0x9F])).bytes).map(\.data) == [Array("\u{FFFD}".utf8)])
        #expect(events(encoded(.text, Array("a".utf8), carry: Carry([0xF0, 0x9F])).bytes).map(\.data) == [Array("\u{FFFD}a".utf8)])
        let (event, carry) = encoded(.text, [0x9F, 0x98], carry: Carry([0xF0]), closes: false)
        #expect(event.isEmpty && carry.bytes == [0xF0, 0x9F, 0x98])
    }

    @Test(arguments: [[], [1], [0xC3], [0xF0, 0x9F], [0, 0, 0], [0xF0, 0x9F, 0x98]] as [[UInt8]])
    func carry(bytes: [UInt8]) {
        let carry = Carry(bytes)
        #expect(carry.count == bytes.count && carry.bytes == bytes && carry.isEmpty == bytes.isEmpty)
        #expect(Carry([0]) != Carry([0, 0]) && Carry([1, 2]) != Carry([2, 1]))
    }

    @Test func base64Events() {
        for count in 1...64 {
            for start in [0, 85, 190, 251] {
                let payload = (0..<count).map { UInt8(truncatingIfNeeded: start + $0 * 37) }
                let event = Array("event: data\ndata:\(Data(payload).base64EncodedString())\nid:\(identifier(end))\n\n".utf8)
                #expect(encoded(.base64, payload).bytes == event)
                for first in 0...min(count, 8) {
                    for second in first...min(count, 8) {
                        #expect(encoded(.base64, payload, cuts: [first, second], limit: 5).bytes == event)
                    }
                }
            }
        }
        // Every sextet in every place.
        for group in 0..<(1 << 12) {
            let payload = (0..<4).flatMap { _ in
                [UInt8(group >> 4), UInt8(truncatingIfNeeded: group << 4 | group >> 8), UInt8(truncatingIfNeeded: group)]
            }
            if events(encoded(.base64, payload).bytes).first?.data != Array(Data(payload).base64EncodedString().utf8) {
                Issue.record("\(group)")
            }
        }
    }

    @Test(arguments: [
        ("1,\n", "data:[1]\n", "[1]"), ("1,\n2,\n", "data:[1,\ndata:2]\n", "[1,\n2]"),
        ("{\"a\": 1},\n\"x\",\n", "data:[{\"a\": 1},\ndata:\"x\"]\n", "[{\"a\": 1},\n\"x\"]"),
        ("[1,2],\n\",\",\n", "data:[[1,2],\ndata:\",\"]\n", "[[1,2],\n\",\"]"),
    ])
    func jsonEvents(stored: String, expected: String, data: String) {
        let payload = Array(stored.utf8)
        let event = Array("event: data\n\(expected)id:\(identifier(end))\n\n".utf8)
        #expect(encoded(.json, payload).bytes == event)
        #expect(events(event).map(\.data) == [Array(data.utf8)])
        for first in 0...payload.count {
            for second in first...payload.count {
                for limit in [1, 2, 3, 18, 20] { #expect(encoded(.json, payload, cuts: [first, second], limit: limit).bytes == event) }
            }
        }
    }

    private func control(_ control: EventStreamControl) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) { memory in
            var sink = ByteSink(memory)
            EventStream.putControl(control, &sink)
            return Array(sink.bytes)
        }
    }

    @Test func controlEvents() throws {
        let offset = "0000000000000000_0000000000000042"
        let cases: [(EventStreamControl.Progress, String)] = [
            (.behind(cursor: 7), "{\"streamNextOffset\":\"\(offset)\",\"streamCursor\":\"7\"}"),
            (.upToDate(cursor: 3_351_900), "{\"streamNextOffset\":\"\(offset)\",\"streamCursor\":\"3351900\",\"upToDate\":true}"),
            (.upToDate(cursor: .max), "{\"streamNextOffset\":\"\(offset)\",\"streamCursor\":\"18446744073709551615\",\"upToDate\":true}"),
            (.behind(cursor: 0), "{\"streamNextOffset\":\"\(offset)\",\"streamCursor\":\"0\"}"),
            (.closed, "{\"streamNextOffset\":\"\(offset)\",\"upToDate\":true,\"streamClosed\":true}"),
        ]
        for (progress, expected) in cases {
            let bytes = control(EventStreamControl(nextOffset: StreamOffset(position: 42), progress: progress))
            #expect(bytes == Array("event: control\ndata:\(expected)\nid:\(offset)\n\n".utf8))
            let read = events(bytes)
            #expect(read.map(\.event) == ["control"] && read.map(\.id) == [offset])
            let object = try JSONSerialization.jsonObject(with: Data(read.first?.data ?? [])) as? [String: Any]
            #expect(object?["streamNextOffset"] as? String == offset)
        }
    }

    @Test func longestControlEvent() {
        let longest = control(
            EventStreamControl(nextOffset: StreamOffset(position: StreamOffset.maximum), progress: .upToDate(cursor: .max)))
        #expect(longest.count <= ByteSink.reserve / 2)
    }

    /// A live reader's whole connection, frame after frame: a payload cannot forge a field, an event or a space.
    @Test(arguments: ["a\n\nevent: control\ndata:{}\n\n", "\r\revent: x\r\r", ":\r\n id: 4\r\n\r\nretry: 1", "  two spaces", "\n"])
    func frames(payload: String) {
        let heartbeat = Array(EventStream.heartbeat.description.utf8)
        #expect(heartbeat == Array(":\n\n".utf8) && events(heartbeat).isEmpty)
        let stream =
            heartbeat + encoded(.text, Array(payload.utf8)).bytes
            + control(EventStreamControl(nextOffset: StreamOffset(position: end), progress: .closed)) + heartbeat
        let read = events(stream)
        #expect(read.map(\.event) == ["data", "control"] && read.map(\.id) == [identifier(end), identifier(end)])
        #expect(read.first?.data == normalized(Array(payload.utf8)))
    }
}
