import StreamRules
import Testing

/// The name of a path by `locate` and by `decode`, which must agree.
private func name(_ path: [UInt8]) throws(StreamNameFault) -> [UInt8] {
    let result: Result<[UInt8], StreamNameFault> = withBytes(path) { bytes in
        var decoded: [UInt8] = [1, 2, 3]
        var scratch: [UInt8] = [4, 5, 6]
        let byDecode = Result { () throws(StreamNameFault) in try StreamName.decode(bytes, into: &decoded) }.map { decoded }
        let byLocate = Result { () throws(StreamNameFault) -> [UInt8] in
            switch try StreamName.locate(bytes, scratch: &scratch) {
            case .slice(let range):
                #expect(!path.contains(0x25) && scratch == [4, 5, 6])
                return Array(bytes[range])
            case .decoded:
                #expect(path.contains(0x25))
                return scratch
            }
        }
        #expect(byDecode == byLocate)
        if case .failure = byDecode { #expect(decoded.isEmpty) }
        return byLocate
    }
    return try result.get()
}

@Suite struct StreamNameTests {
    @Test(arguments: [
        ("a", "a"), ("account-1/chat/room-7", "account-1/chat/room-7"), ("a%62c", "abc"), ("a%2Fb", "a\u{1}b"), ("a%2fb/c", "a\u{1}b/c"),
        ("%e6%BC%a2", "漢"), ("a%20b", "a b"), ("a%25b", "a%b"), ("%252F", "%2F"), ("a%3Fb%23", "a?b#"), ("a/", "a/"), ("a//b", "a//b"),
        ("/", "/"), ("+", "+"),
        ("...", "..."), (".a", ".a"), ("a.", "a."), ("..a", "..a"), ("a..", "a.."), ("a/.b/c.d/..e", "a/.b/c.d/..e"),
        ("a%2F..%2Fb", "a\u{1}..\u{1}b"),
        ("x.123456789.y", "x.123456789.y"), ("__d", "__d"), ("__dsx", "__dsx"), ("_ds", "_ds"), ("a/__dsx", "a/__dsx"), ("__DS", "__DS"),
        ("__ds%2Fx", "__ds\u{1}x"),
        ("a/x__ds", "a/x__ds"), ("~!$&'()*,;=:@", "~!$&'()*,;=:@"), ("%7E", "~"), ("%80%FF", "\u{FFFD}"),
    ])
    func accepted(rest: String, expected: String) throws {
        let bytes = try name(Array("/v1/stream/\(rest)".utf8))
        #expect(
            String(decoding: bytes, as: UTF8.self) == expected.replacing("\u{FFFD}", with: String(decoding: [0x80, 0xFF], as: UTF8.self)))
    }

    @Test(arguments: [
        ("", StreamNameFault.empty), (".", .dotSegment), ("..", .dotSegment), ("./a", .dotSegment), ("../a", .dotSegment),
        ("a/.", .dotSegment), ("a/..", .dotSegment),
        ("a/./b", .dotSegment), ("a/../b", .dotSegment), ("%2e", .dotSegment), ("%2E%2e/a", .dotSegment), ("a/.%2E", .dotSegment),
        ("a/%2e/b", .dotSegment),
        ("12345678/../b", .dotSegment), ("a%00", .controlByte), ("a%1F", .controlByte), ("a%7f", .controlByte), ("a%0Ab", .controlByte),
        ("%01", .controlByte),
        ("a\u{1}b", .controlByte), ("a\u{1}b%2F", .controlByte), ("\u{7F}", .controlByte), ("12345678\u{0}", .controlByte),
        ("%", .percentEncoding), ("a%", .percentEncoding),
        ("a%2", .percentEncoding), ("%2G", .percentEncoding), ("%G2", .percentEncoding), ("%%41", .percentEncoding),
        ("% 41", .percentEncoding), ("%+1", .percentEncoding),
        ("a/%u0041", .percentEncoding), ("__ds%zz", .percentEncoding), ("__ds", .reserved), ("__ds/", .reserved), ("__ds/x", .reserved),
        ("__ds/../x", .reserved), ("__ds/%zz", .reserved), ("/__ds", .reserved), ("a/__ds", .reserved), ("a/b/__ds/c", .reserved),
        ("%5F_ds", .reserved), ("__%64s/x%2Fy", .reserved), ("__ds/\u{1}", .reserved),
    ])
    func refused(rest: String, fault: StreamNameFault) {
        #expect(throws: fault) { try name(Array("/v1/stream/\(rest)".utf8)) }
    }

    @Test func length() throws {
        let longest = String(repeating: "a", count: 1024)
        #expect(try name(Array("/v1/stream/\(longest)".utf8)).count == 1024)
        #expect(throws: StreamNameFault.tooLong) { try name(Array("/v1/stream/\(longest)b".utf8)) }
        let encoded = String(repeating: "%41", count: 1024)
        #expect(try name(Array("/v1/stream/\(encoded)".utf8)).count == 1024)
        #expect(throws: StreamNameFault.tooLong) { try name(Array("/v1/stream/\(encoded)b".utf8)) }
        #expect(throws: StreamNameFault.tooLong) { try name(Array("/v1/stream/\(encoded)\(encoded)".utf8)) }
    }

    /// Each byte value, raw and encoded, alone and inside a longer name.
    @Test func everyByte() {
        let hex = Array("0123456789abcdef".utf8)
        for byte in UInt8.min...UInt8.max {
            let isControl = byte < 0x20 || byte == 0x7F
            for (before, after) in [("", ""), ("abcdefg", "hij"), ("abcdefghi", "")] {
                let start = Array("/v1/stream/x\(before)".utf8)
                let encoded = start + [0x25, hex[Int(byte >> 4)], hex[Int(byte & 15)]] + Array(after.utf8)
                let kept = byte == 0x2F ? StreamName.encodedSlash : byte
                let expected = Array("x\(before)".utf8) + [kept] + Array(after.utf8)
                #expect((try? name(encoded)) == (isControl ? nil : expected))
                let raw = start + [byte] + Array(after.utf8)
                let expectedRaw = Array("x\(before)".utf8) + [byte] + Array(after.utf8)
                if byte != 0x25 { #expect((try? name(raw)) == (isControl ? nil : expectedRaw)) }
            }
        }
    }

    @Test(arguments: [
        ("/v1/stream/", true), ("/v1/stream/a", true), ("/v1/stream//", true), ("/v1/stream", false), ("/v1/streams/a", false),
        ("/v1/Stream/a", false), ("/v2/stream/a", false),
        ("//v1/stream/a", false), ("/v1/stream%2Fa", false), ("/v1//stream/a", false), ("", false), ("/", false), ("v1/stream/aaaa", false),
        ("/v1/strea/m", false),
    ])
    func streamPath(path: String, expected: Bool) {
        #expect(withBytes(path, StreamName.isStreamPath) == expected)
        if !expected { #expect(throws: StreamNameFault.notAStreamPath) { try name(Array(path.utf8)) } }
    }

    @Test func everyByteOfThePrefixCounts() {
        let path = Array("/v1/stream/".utf8)
        for place in path.indices {
            for byte in UInt8.min...UInt8.max where byte != path[place] {
                var changed = path
                changed[place] = byte
                #expect(!withBytes(changed, StreamName.isStreamPath))
            }
        }
    }

    @Test func everyFaultHasItsOwnReason() {
        #expect(Set(StreamNameFault.allCases.map(\.reason)).count == StreamNameFault.allCases.count)
    }
}
