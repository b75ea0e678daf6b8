import Testing

@testable import StreamClient

@Suite struct EventStreamParserTests {
    typealias Event = EventStreamParser.Event

    /// Text with LF for a line's end → events as `name|data`.
    static let cases: [(String, [String])] = [
        ("", []),
        ("\n\n\n", []),
        ("data:x\n\n", ["message|x"]),
        ("data: x\n\n", ["message|x"]),
        ("data:  x\n\n", ["message| x"]),
        ("data:x", []),
        ("data:x\n", []),
        ("data\n\n", ["message|"]),
        ("data:\n\n", ["message|"]),
        ("data\ndata\n\n", ["message|\n"]),
        ("data:a\ndata:b\ndata:\n\n", ["message|a\nb\n"]),
        ("event: data\ndata:1\n\nevent: control\ndata:{}\n\n", ["data|1", "control|{}"]),
        ("event:data\n\ndata:1\n\n", ["message|1"]),
        ("event: a\nevent: b\ndata:1\n\ndata:2\n\n", ["b|1", "message|2"]),
        (":comment\ndata:1\n:another\n\n", ["message|1"]),
        (": keep alive\n\n", []),
        ("id: 7\nretry: 12\nunknown: x\nunknown\ndata:1\n\n", ["message|1"]),
        ("Data:1\nDATA:2\ndata :3\n\n", []),
        ("data:a:b\n\n", ["message|a:b"]),
        ("data:é✓\n\n", ["message|é✓"]),
        ("data:1\n\ndata:2\n\ndata:3", ["message|1", "message|2"]),
        ("\u{feff}data:1\n\n", ["message|1"]),
        ("\u{feff}\u{feff}data:1\n\n", []),
        ("data:1\n\n\u{feff}data:2\n\n", ["message|1"]),
    ]

    static func parse(_ pieces: [[UInt8]]) -> [String] {
        var parser = EventStreamParser()
        var events: [String] = []
        for piece in pieces {
            piece.withUnsafeBytes { bytes in
                parser.feed(bytes) { events.append("\($0.name)|\(String(decoding: $0.data, as: UTF8.self))") }
            }
        }
        return events
    }

    @Test(arguments: cases, ["\n", "\r", "\r\n"])
    func everyCaseWithEveryLineEndingInEveryCut(_ test: (String, [String]), ending: String) {
        let text = test.0.unicodeScalars.map { $0 == "\n" ? ending : String($0) }.joined()
        let bytes = Array(text.utf8)
        #expect(Self.parse([bytes]) == test.1)
        #expect(Self.parse(bytes.map { [$0] }) == test.1)
        for cut in 0...bytes.count { #expect(Self.parse([Array(bytes[..<cut]), [], Array(bytes[cut...])]) == test.1, "cut at \(cut)") }
    }

    @Test func lineEndingsMixFreely() {
        #expect(Self.parse([Array("data:1\r\ndata:2\rdata:3\n\r\ndata:4\n\n".utf8)]) == ["message|1\n2\n3", "message|4"])
        #expect(Self.parse([Array("data:1\r\r\n".utf8)]) == ["message|1"])
        // CR CR LF is a line's end and an empty line, not three ends.
        #expect(Self.parse([Array("data:1\n\r".utf8), Array("\ndata:2\n\n".utf8)]) == ["message|1", "message|2"])
    }

    @Test func halfAByteOrderMarkIsText() {
        for count in 1...2 {
            let bytes = Array([0xef, 0xbb, 0xbf][..<count]) + Array("data:1\ndata:2\n\n".utf8)
            #expect(Self.parse([bytes]) == ["message|2"])
            #expect(Self.parse(bytes.map { [$0] }) == ["message|2"])
        }
    }

    @Test(arguments: [("retry: 1500", 1500), ("retry:0", 0), ("retry: 1s", nil), ("retry: -1", nil), ("retry:", nil), ("retry", nil)])
    func retry(_ line: String, _ expected: Int?) {
        var parser = EventStreamParser()
        Array("\(line)\n".utf8).withUnsafeBytes { parser.feed($0) { _ in } }
        #expect(parser.retryMilliseconds == expected)
    }

    @Test func bufferedCountIsWhatIsHeld() {
        var parser = EventStreamParser()
        Array("data:abc\nda".utf8).withUnsafeBytes { parser.feed($0) { _ in } }
        #expect(parser.bufferedCount == 6)
        Array("ta:d\n\n".utf8).withUnsafeBytes { parser.feed($0) { _ in } }
        #expect(parser.bufferedCount == 0)
    }

    @Test func anErrorOfTheReceiverComesThrough() {
        struct Enough: Error {}
        var parser = EventStreamParser()
        #expect(throws: Enough.self) {
            try Array("data:1\n\n".utf8).withUnsafeBytes { bytes in try parser.feed(bytes) { _ in throw Enough() } }
        }
    }
}
