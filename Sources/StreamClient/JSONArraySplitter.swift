// JSONArraySplitter: the JSON array that a read of a JSON stream answers (PROTOCOL.md section 8), in any pieces → its elements, one per line.
//
//     [{"a":1}, "x,]" ,⏎ [1,2]]   →   {"a":1}⏎  "x,]"⏎  [1,2]⏎
//
// The splitter trusts the server that the elements are JSON and only follows strings and brackets. Line breaks inside an element can only
// be whitespace, so they become spaces and every element stays on its line. An element is given out when it is complete, never in parts:
// a connection that breaks in the middle of one leaves nothing behind, and the elements given out so far can be counted.

struct JSONArraySplitter {
    struct Malformed: Error {}

    private enum Place {
        case start, between, element, end
    }

    private var place = Place.start
    private var element: [UInt8] = []
    private var depth = 0
    private var isInString = false
    private var isEscaped = false

    /// Whether the array was complete, or nothing came at all.
    var isComplete: Bool { place == .end || place == .start }

    /// Bytes held for the element that is not complete; the caller bounds it.
    var bufferedCount: Int { element.count }

    /// `emit` receives each element with its final LF.
    mutating func feed<E: Error>(_ piece: UnsafeRawBufferPointer, emit: ([UInt8]) throws(E) -> Void) throws(E) -> Malformed? {
        // Bytes of the current element that have been looked at but not yet copied begin here.
        var kept = 0
        var index = 0
        while index < piece.count {
            let byte = piece[index]
            switch place {
            case .start:
                if byte == UInt8(ascii: "[") {
                    place = .between
                } else if !Self.isSpace(byte) {
                    return Malformed()
                }
            case .between:
                if byte == UInt8(ascii: "]") {
                    place = .end
                } else if !Self.isSpace(byte) {
                    place = .element
                    kept = index
                    continue
                }
            case .end:
                if !Self.isSpace(byte) { return Malformed() }
            case .element:
                if isInString {
                    if isEscaped {
                        isEscaped = false
                    } else if byte == UInt8(ascii: "\\") {
                        isEscaped = true
                    } else if byte == UInt8(ascii: "\"") {
                        isInString = false
                    }
                } else {
                    switch byte {
                    case UInt8(ascii: "\""): isInString = true
                    case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
                    case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
                        element.append(contentsOf: piece[kept..<index])
                        element.append(UInt8(ascii: " "))
                        kept = index + 1
                    case UInt8(ascii: ",") where depth == 0:
                        element.append(contentsOf: piece[kept..<index])
                        guard try end(emit) else { return Malformed() }
                        place = .between
                    case UInt8(ascii: "]") where depth == 0:
                        element.append(contentsOf: piece[kept..<index])
                        guard try end(emit) else { return Malformed() }
                        place = .end
                    case UInt8(ascii: "]"), UInt8(ascii: "}"):
                        guard depth > 0 else { return Malformed() }
                        depth -= 1
                    default: break
                    }
                }
            }
            index += 1
        }
        if place == .element { element.append(contentsOf: piece[kept...]) }
        return nil
    }

    /// False when there was nothing between two commas.
    private mutating func end<E: Error>(_ emit: ([UInt8]) throws(E) -> Void) throws(E) -> Bool {
        while let last = element.last, Self.isSpace(last) { element.removeLast() }
        guard !element.isEmpty else { return false }
        element.append(UInt8(ascii: "\n"))
        try emit(element)
        element.removeAll(keepingCapacity: true)
        return true
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09
    }
}
