// What is wrong with one written value: the value as found, why it is refused, and what is expected.
// The place where it was found is added by `SettingProblem`.

/// A value that cannot be used.
public struct ValueFault: Error, Equatable, Sendable, CustomStringConvertible {
    /// The value as it was written.
    public let found: String
    /// Why it is refused, as the rest of a sentence that begins with the value.
    public let reason: String
    /// What is expected instead.
    public let expected: String

    init(_ found: String, _ reason: String, expected: String) {
        self.found = found
        self.reason = reason
        self.expected = expected
    }

    /// `"30" has no unit; expected …`. Control characters in the value are escaped.
    public var description: String { "\(EscapedText.quoted(found)) \(reason); expected \(expected)" }
}
