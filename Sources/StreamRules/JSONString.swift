// Strings in JSON (RFC 8259 7), for texts that the program writes itself.

public enum JSONString {
    /// The text between quotation marks, with what has to be escaped.
    ///
    /// - Parameter isEscaped: whether a scalar of the basic plane that JSON would let stand is escaped all the same.
    public static func quoted(_ text: String, alsoEscaping isEscaped: (Unicode.Scalar) -> Bool = { _ in false }) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20 || scalar.value <= 0xFFFF && isEscaped(scalar):
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
