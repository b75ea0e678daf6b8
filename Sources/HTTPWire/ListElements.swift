// Walks a comma-separated field value (RFC 9110 5.6.1), without quoted strings, which the lists read here do not have:
//
//     close , Keep-Alive,, upgrade          elements: close | Keep-Alive | (empty) | upgrade
//
// Empty elements are handed out: the caller knows whether they are harmless (Connection) or not (Content-Length).

struct ListElements: Sequence, IteratorProtocol {
    let bytes: UnsafeRawBufferPointer
    private var rest: Range<Int>
    private var isFinished = false

    init(_ bytes: UnsafeRawBufferPointer, in range: Range<Int>) {
        self.bytes = bytes
        rest = range
    }

    /// The next element, without the white space around it.
    mutating func next() -> Range<Int>? {
        guard !isFinished else { return nil }
        var start = rest.lowerBound
        var end = start
        while end < rest.upperBound, bytes[end] != Octet.comma { end += 1 }
        if end < rest.upperBound { rest = end + 1..<rest.upperBound } else { isFinished = true }
        while start < end, Octet.isBlank(bytes[start]) { start += 1 }
        while end > start, Octet.isBlank(bytes[end - 1]) { end -= 1 }
        return start..<end
    }
}

extension UnsafeRawBufferPointer {
    /// Whether `self[range]` is `text`, which is in lower case, when compared without case.
    func equalsWithoutCase(_ text: StaticString, in range: Range<Int>) -> Bool {
        range.count == text.utf8CodeUnitCount && equalsWithoutCase(text, at: range.lowerBound)
    }

    /// Whether `text`, which is in lower case, stands at `start` when compared without case. Precondition: that many octets are there.
    func equalsWithoutCase(_ text: StaticString, at start: Int) -> Bool {
        for index in 0..<text.utf8CodeUnitCount {
            let octet = self[start + index]
            let isUpper = octet &- UInt8(ascii: "A") < 26
            if (isUpper ? octet | 0x20 : octet) != text.utf8Start[index] { return false }
        }
        return true
    }
}
