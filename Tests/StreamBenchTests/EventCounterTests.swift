import Testing

@testable import StreamBench

@Suite("Events that a reader counts")
struct EventCounterTests {
    private func counted(_ text: String, step: Int) -> EventCounter {
        var counter = EventCounter()
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: step) {
            bytes[start..<min(bytes.count, start + step)].withUnsafeBytes { counter.take($0) }
        }
        return counter
    }

    private static let control = "event: control\ndata:{\"streamNextOffset\":\"00_42\",\"streamCursor\":\"7\",\"upToDate\":true}\n\n"

    @Test(
        "counts are the same whatever the pieces",
        arguments: [
            ("", 0, 0, 0),
            (control, 0, 1, 0),
            (control + "event: data\ndata:abcde\n\n" + control, 1, 2, 5),
            ("event: data\r\ndata:abcde\r\n\r\n" + control, 1, 1, 5),
            ("event: data\ndata: abcde\n\n", 1, 0, 5),
            ("event: data\ndata:  abcde\n\n", 1, 0, 6),
            ("event: data\ndata:\n\n", 1, 0, 0),
            ("event: data\ndata: \n\n", 1, 0, 0),
            ("event: data\ndata:a\n\n", 1, 0, 1),
            ("event: data\ndata:\r\n\r\n", 1, 0, 0),
            ("event: data\ndata:a\r\n\r\n", 1, 0, 1),
            ("event: data\ndata:a\rb\n\n", 1, 0, 3),
            ("event: data\ndata:one\ndata:two\n\n", 1, 0, 6),
            ("event:data\ndata:x\n\n", 1, 0, 1),
            // Comments, other events, fields that are none, data without an event.
            (":\n\n" + control + ": still here\n\n", 0, 1, 0),
            ("event: other\ndata:xyz\n\ndata:xyz\n\n", 0, 0, 0),
            ("event: data\nid: 7\ndata:xyz\nretry: 5\n\n", 1, 0, 3),
            ("event: data\ndatabase:xyz\n\n", 1, 0, 0),
            // Not ended: the payload is counted, the event is not.
            ("event: data\ndata:abc", 0, 0, 3),
        ])
    func counts(text: String, data: Int, control: Int, payload: Int) {
        for step in [1, 2, 3, 5, 7, 64, 5000, 1 << 20] {
            let counter = counted(text, step: step)
            #expect(counter.dataEvents == data && counter.controlEvents == control, "\(step) bytes at a time: \(text.prefix(80))")
            // A piece that ends within a line may leave its last octets uncounted, never the whole line.
            if text.hasSuffix("\n") || step == 1 || step > 1000 && text.count < 1000 {
                #expect(counter.payloadBytes == payload, "\(step) bytes at a time: \(text.prefix(80))")
            }
        }
    }

    @Test("a long payload is counted and not kept", arguments: [1, 4096, 5000, 1 << 20], ["\n", "\r\n"])
    func long(step: Int, end: String) {
        let text = "event: data\(end)data:" + String(repeating: "x", count: 20_000) + end + end + Self.control
        let counter = counted(text, step: step)
        #expect(counter.dataEvents == 1 && counter.controlEvents == 1 && counter.payloadBytes == 20_000)
    }

    @Test("the offset is that of the last control event", arguments: [1, 2, 3, 10, 1000])
    func offset(step: Int) {
        let text =
            Self.control + "event: control\ndata:{\"upToDate\":true,\"streamNextOffset\":\"00_99\"}\n\n" + "event: control\ndata:{}\n\n"
        #expect(counted(text, step: step).nextOffset == Array("00_99".utf8))
    }

    @Test("after a broken connection, what no control event covered is taken back")
    func restart() {
        var counter = counted("event: data\ndata:abc\n\n" + Self.control + "event: data\ndata:defg\n\nevent: con", step: 1000)
        #expect(counter.payloadBytes == 7)
        counter.restart()
        #expect(counter.payloadBytes == 3)
        Array(("event: data\ndata:defg\n\n" + Self.control).utf8).withUnsafeBytes { counter.take($0) }
        #expect(counter.payloadBytes == 7 && counter.controlEvents == 2)
    }

    @Test("a line without end takes no memory without end")
    func endless() {
        var counter = EventCounter()
        let piece = [UInt8](repeating: 0x78, count: 10_000)
        for _ in 0..<100 { piece.withUnsafeBytes { counter.take($0) } }
        Array("\n\n\(Self.control)".utf8).withUnsafeBytes { counter.take($0) }
        #expect(counter.controlEvents == 1 && counter.payloadBytes == 0)
    }
}
