// From the lines of an HTTP/1.1 head to the fields of HTTP/2 (RFC 9113 8.2 and 8.3.2):
//
//     Stream-Next-Offset: 0000_0012 CRLF Connection: close CRLF
//     `----------------'  `-------'      `-- left out
//      lower case          as it is
//
// Secrets are never indexed (RFC 7541 7.1.3): neither side keeps them in a table in which another request's guesses could be compared with them.
// What is different in every answer is not indexed either; it would only push useful fields out.

import CNGHTTP2

enum ResponseFields {
    /// Calls `body` with the fields, which live until it returns.
    static func withFields(
        status: Int, lines: UnsafeRawBufferPointer, contentLength: Int?,
        _ body: (UnsafeMutablePointer<nghttp2_nv>, Int) -> Int32
    ) -> Int32 {
        var lineCount = 0
        for byte in lines where byte == UInt8(ascii: "\n") { lineCount += 1 }
        return withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: lineCount + 2) { fields in
            withUnsafeTemporaryAllocation(byteCount: lines.count + 64, alignment: 1) { text in
                var writer = Writer(fields: fields, text: text)
                writer.add(":status", number: status)
                writer.add(lines)
                if let contentLength { writer.add("content-length", number: contentLength) }
                return body(fields.baseAddress!, writer.count)
            }
        }
    }

    /// Fields of one connection's HTTP/1.1 (RFC 9113 8.2.2).
    private static func isOfConnection(_ name: UnsafeRawBufferPointer) -> Bool {
        switch name.count {
        case 7: spells(name, "upgrade")
        case 10: spells(name, "connection") || spells(name, "keep-alive")
        case 16: spells(name, "proxy-connection")
        case 17: spells(name, "transfer-encoding")
        default: false
        }
    }

    /// Never indexed. `location` and the offsets name a stream, which for some is the secret.
    private static func isPrivate(_ name: UnsafeRawBufferPointer) -> Bool {
        switch name.count {
        case 4: spells(name, "etag") || spells(name, "date")
        case 6: spells(name, "cookie")
        case 8: spells(name, "location")
        case 10: spells(name, "set-cookie")
        case 13: spells(name, "authorization") || spells(name, "stream-cursor")
        case 16: spells(name, "www-authenticate")
        case 18: spells(name, "stream-next-offset") || spells(name, "proxy-authenticate")
        case 19: spells(name, "proxy-authorization")
        default: false
        }
    }

    private static func spells(_ name: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        name.elementsEqual(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    private struct Writer {
        let fields: UnsafeMutableBufferPointer<nghttp2_nv>
        let text: UnsafeMutableRawBufferPointer
        var count = 0
        private var used = 0

        init(fields: UnsafeMutableBufferPointer<nghttp2_nv>, text: UnsafeMutableRawBufferPointer) {
            self.fields = fields
            self.text = text
        }

        mutating func add(_ name: StaticString, number: Int) {
            precondition(number >= 0)
            var start = text.count
            var rest = number
            repeat {
                start -= 1
                text[start] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            let digits = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(text)[start...])
            add(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount), keep(digits))
        }

        mutating func add(_ lines: UnsafeRawBufferPointer) {
            var position = 0
            while position < lines.count {
                let end = lines[position...].firstIndex(of: UInt8(ascii: "\r")) ?? lines.count
                guard let colon = lines[position..<end].firstIndex(of: UInt8(ascii: ":")) else {
                    preconditionFailure("a line of our own has a colon")
                }
                let start = used
                for byte in lines[position..<colon] {
                    text[used] = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
                    used += 1
                }
                let name = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(text)[start..<used])
                var value = lines[(colon + 1)..<end]
                while value.first == UInt8(ascii: " ") { value = value.dropFirst() }
                position = min(end + 2, lines.count)
                if ResponseFields.isOfConnection(name) { continue }
                add(name, UnsafeRawBufferPointer(rebasing: value))
            }
        }

        private mutating func keep(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
            let kept = UnsafeMutableRawBufferPointer(rebasing: text[used..<used + bytes.count])
            kept.copyMemory(from: bytes)
            used += bytes.count
            return UnsafeRawBufferPointer(kept)
        }

        private mutating func add(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
            // libnghttp2 copies both and changes neither.
            fields[count] = nghttp2_nv(
                name: UnsafeMutablePointer(mutating: name.assumingMemoryBound(to: UInt8.self).baseAddress),
                value: UnsafeMutablePointer(mutating: value.assumingMemoryBound(to: UInt8.self).baseAddress), namelen: name.count,
                valuelen: value.count,
                flags: UInt8((ResponseFields.isPrivate(name) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE).rawValue))
            count += 1
        }
    }
}
