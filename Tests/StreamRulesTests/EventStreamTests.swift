import Foundation
import StreamRules
import Testing

/// The rules of the WHATWG event stream format, as a client applies them.
private func events(_ bytes: [UInt8]) -> [(event: String, data: [UInt8])] {
    var events: [(String, [UInt8])] = []
    var event = ""
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
            if !data.isEmpty { events.append((event, data.dropLast())) }
            event = ""
            data = []
            continue
        }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        var value = line[min(colon + 1, line.endIndex)...]
        if value.first == 0x20 { value = value.dropFirst() }
        switch String(decoding: line[..<colon], as: UTF8.self) {
        case "event": event = String(decoding: value, as: UTF8.self)
        case "data": data += value + [0x0A]
        default: break
        }
    }
    return events
}

private func normalized(_ bytes: [UInt8]) -> [UInt8] {
    var out: [UInt8] = []
    for (index, byte) in bytes.enumerated() {
        if byte == 0x0A, index > 0, bytes[index - 1] == 0x0D { continue }
        out.append(byte == 0x0D ? 0x0A : byte)
    }
    return out
}

@Suite struct EventStreamTests {
    private func text(_ payload: [UInt8]) -> [UInt8]? {
        withBytes(payload) { bytes in written(EventStream.dataEventLength(bytes)) { EventStream.writeDataEvent(bytes, to: $0) } }
    }

    private func base64(_ payload: [UInt8]) -> [UInt8]? {
        withBytes(payload) { bytes in written(EventStream.base64EventLength(bytes.count)) { EventStream.writeBase64Event(bytes, to: $0) } }
    }

    private func json(_ payload: [UInt8]) -> [UInt8]? {
        withBytes(payload) { bytes in written(EventStream.jsonEventLength(bytes)) { EventStream.writeJSONEvent(bytes, to: $0) } }
    }

    @Test(arguments: [
        ("", "data:\n"), ("a", "data:a\n"), ("a\nb", "data:a\ndata:b\n"), ("a\r\nb", "data:a\ndata:b\n"), ("a\rb", "data:a\ndata:b\n"),
        ("a\n", "data:a\ndata:\n"), ("\n", "data:\ndata:\n"),
        ("\r\n", "data:\ndata:\n"), ("\n\r", "data:\ndata:\ndata:\n"), ("\r\r\n\n", "data:\ndata:\ndata:\ndata:\n"), (" a", "data:  a\n"),
        ("  a", "data:   a\n"), (" ", "data:  \n"),
        ("a\n b", "data:a\ndata:  b\n"), ("\t", "data:\t\n"),
        (": x\nevent: y\n\ndata: z", "data:: x\ndata:event: y\ndata:\ndata:data: z\n"), ("é漢\u{2028}\u{85}", "data:é漢\u{2028}\u{85}\n"),
        ("12345678\n12345678", "data:12345678\ndata:12345678\n"),
    ])
    func lines(payload: String, expected: String) {
        #expect(text(Array(payload.utf8)) == Array("event: data\n\(expected)\n".utf8))
    }

    /// Every payload of up to seven of the bytes that matter comes back through a client's parser, whole or in three pieces.
    @Test func everyShortPayload() {
        var payloads: [[UInt8]] = [[]]
        for _ in 0..<7 {
            payloads = payloads.flatMap { start in Array("\r\n a".utf8).map { start + [$0] } }
            for payload in payloads {
                guard let event = text(payload) else {
                    Issue.record("\(payload)")
                    continue
                }
                let read = events(event)
                if read.count != 1 || read[0].event != "data" || read[0].data != normalized(payload) { Issue.record("\(payload) \(event)") }
                if payload.count > 5 { continue }
                for first in 0...payload.count {
                    for second in first...payload.count {
                        if pieces(.text, payload, [first, second]) != event { Issue.record("\(payload) \(first) \(second)") }
                    }
                }
            }
        }
    }

    /// An event from a payload cut at the given places, measured and written.
    private func pieces(_ form: EventStreamEncoder.Form, _ payload: [UInt8], _ cuts: [Int]) -> [UInt8]? {
        func encode(_ target: UnsafeMutableRawBufferPointer?) -> Int {
            var encoder = EventStreamEncoder(form, payloadLength: payload.count, target: target)
            for (start, end) in zip([0] + cuts, cuts + [payload.count]) { withBytes(Array(payload[start..<end])) { encoder.append($0) } }
            return encoder.finish()
        }
        return written(encode(nil), encode)
    }

    @Test func manyPiecesOfLongPayloads() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<300 {
            let count = Int.random(in: 0..<200, using: &generator)
            let payload = (0..<count).map { _ in Array("abcdefgh \r\n".utf8).randomElement(using: &generator)! }
            let cuts = (0..<Int.random(in: 0..<12, using: &generator)).map { _ in Int.random(in: 0...count, using: &generator) }.sorted()
            #expect(pieces(.text, payload, cuts) == text(payload))
            #expect(events(text(payload) ?? []).first?.data == normalized(payload))
            let binary = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(pieces(.base64, binary, cuts) == base64(binary))
        }
    }

    @Test func base64Events() {
        #expect(base64([]) == Array("event: data\ndata:\n\n".utf8))
        #expect(base64(Array("f".utf8)) == Array("event: data\ndata:Zg==\n\n".utf8))
        #expect(base64(Array("fo".utf8)) == Array("event: data\ndata:Zm8=\n\n".utf8))
        #expect(base64(Array("foobar".utf8)) == Array("event: data\ndata:Zm9vYmFy\n\n".utf8))
        for count in 0...64 {
            for start in [0, 85, 190, 251] {
                let payload = (0..<count).map { UInt8(truncatingIfNeeded: start + $0 * 37) }
                #expect(base64(payload) == Array("event: data\ndata:\(Data(payload).base64EncodedString())\n\n".utf8))
                for first in 0...min(count, 8) {
                    for second in first...min(count, 8) { #expect(pieces(.base64, payload, [first, second]) == base64(payload)) }
                }
            }
        }
        // Every sextet in every place.
        for group in 0..<(1 << 12) {
            let payload = (0..<4).flatMap { _ in
                [UInt8(group >> 4), UInt8(truncatingIfNeeded: group << 4 | group >> 8), UInt8(truncatingIfNeeded: group)]
            }
            if base64(payload) != Array("event: data\ndata:\(Data(payload).base64EncodedString())\n\n".utf8) { Issue.record("\(group)") }
        }
    }

    @Test(arguments: [
        ("", "data:[]\n", "[]"), ("1,\n", "data:[1]\n", "[1]"), ("1,\n2,\n", "data:[1,\ndata:2]\n", "[1,\n2]"),
        ("{\"a\": 1},\n\"x\",\n", "data:[{\"a\": 1},\ndata:\"x\"]\n", "[{\"a\": 1},\n\"x\"]"),
        ("1  ,\n  2,\n", "data:[1  ,\ndata:   2]\n", "[1  ,\n  2]"), (" 1,\n", "data:[ 1]\n", "[ 1]"),
    ])
    func jsonEvents(stored: String, expected: String, data: String) {
        let payload = Array(stored.utf8)
        let event = Array("event: data\n\(expected)\n".utf8)
        #expect(json(payload) == event)
        #expect(events(event).map(\.data) == [Array(data.utf8)])
        for first in 0...payload.count {
            for second in first...payload.count { #expect(pieces(.json, payload, [first, second]) == event) }
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
            let control = EventStreamControl(nextOffset: StreamOffset(position: 42), progress: progress)
            let bytes = written(EventStream.controlEventLength(control)) { EventStream.writeControlEvent(control, to: $0) }
            #expect(bytes == Array("event: control\ndata:\(expected)\n\n".utf8))
            #expect(EventStream.controlEventLength(control) <= EventStream.controlEventMaximumLength)
            let read = events(bytes ?? [])
            #expect(read.map(\.event) == ["control"])
            let object = try JSONSerialization.jsonObject(with: Data(read.first?.data ?? [])) as? [String: Any]
            #expect(object?["streamNextOffset"] as? String == offset)
        }
    }

    @Test func longestControlEvent() {
        let control = EventStreamControl(nextOffset: StreamOffset(position: StreamOffset.maximum), progress: .upToDate(cursor: .max))
        #expect(EventStream.controlEventLength(control) == EventStream.controlEventMaximumLength)
    }

    @Test func keepAlive() {
        #expect(EventStream.keepAlive.description == ":\n\n")
        #expect(events(Array(EventStream.keepAlive.description.utf8)).isEmpty)
    }

    /// A live reader's whole connection, frame after frame.
    @Test func frames() {
        var stream: [UInt8] = Array(EventStream.keepAlive.description.utf8)
        stream += text(Array("a\n\nevent: control\ndata:{}\n\n".utf8)) ?? []
        let control = EventStreamControl(nextOffset: .start, progress: .closed)
        stream += written(EventStream.controlEventLength(control)) { EventStream.writeControlEvent(control, to: $0) } ?? []
        let read = events(stream)
        #expect(read.map(\.event) == ["data", "control"])
        #expect(read.first?.data == Array("a\n\nevent: control\ndata:{}\n\n".utf8))
    }
}
