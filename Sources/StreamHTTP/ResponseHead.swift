// The head of a response, written once, for any transport.
//
//     status  +  "Name: value\r\n" "Name: value\r\n" …
//
// HTTP/1.1 sends the lines as they are behind a status line; HTTP/2 takes them apart again, which is cheap because we made them. A head is
// reused from response to response, so a warm one allocates nothing.

import HTTPWire
import StreamRules

public struct ResponseHead: Sendable {
    public internal(set) var status = 200
    public internal(set) var lines: [UInt8] = []
    /// nil: the end of the body is the end of the connection (or of the HTTP/2 stream).
    public internal(set) var contentLength: Int? = 0

    public init(reserving capacity: Int = 1024) { lines.reserveCapacity(capacity) }

    mutating func begin(_ status: Int) {
        self.status = status
        lines.removeAll(keepingCapacity: true)
        contentLength = 0
    }

    @inline(__always)
    mutating func add(_ text: StaticString) {
        text.withUTF8Buffer { lines.append(contentsOf: $0) }
    }

    @inline(__always)
    mutating func add(_ bytes: [UInt8]) { lines.append(contentsOf: bytes) }

    mutating func add(_ number: UInt64) {
        if number < 10 {
            lines.append(UInt8(ascii: "0") + UInt8(number))
            return
        }
        withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { digits in
            var rest = number
            var index = 20
            while rest > 0 {
                index -= 1
                digits[index] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            }
            lines.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(digits)[index..<20]))
        }
    }

    mutating func add(hex number: UInt64) {
        withUnsafeTemporaryAllocation(byteCount: 16, alignment: 1) { digits in
            var rest = number
            var index = 16
            repeat {
                index -= 1
                let digit = UInt8(rest & 15)
                digits[index] = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
                rest >>= 4
            } while rest > 0
            lines.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(digits)[index..<16]))
        }
    }

    mutating func add(_ offset: StreamOffset) {
        withUnsafeTemporaryAllocation(byteCount: StreamOffset.tokenLength, alignment: 1) { token in
            offset.write(into: token.baseAddress!)
            lines.append(contentsOf: UnsafeRawBufferPointer(token))
        }
    }

    @inline(__always)
    mutating func endLine() {
        lines.append(0x0D)
        lines.append(0x0A)
    }

    mutating func field(_ name: StaticString, _ number: UInt64) {
        add(name)
        add(number)
        endLine()
    }

    mutating func field(_ name: StaticString, _ bytes: [UInt8]) {
        add(name)
        add(bytes)
        endLine()
    }

    mutating func field(_ name: StaticString, _ offset: StreamOffset) {
        add(name)
        add(offset)
        endLine()
    }
}
