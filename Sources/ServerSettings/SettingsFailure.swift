// Everything that is wrong with a configuration, all of it at once: whoever fixes a file wants to fix it once.

/// One thing that is wrong, with its place.
public struct SettingProblem: Sendable, Equatable, CustomStringConvertible {
    /// The flag, variable or file line.
    public let origin: SettingOrigin
    /// The sentence, with the value found and what is expected.
    public let message: String

    init(_ origin: SettingOrigin, _ message: String) {
        self.origin = origin
        self.message = message
    }

    /// `place: message`, as compilers print it.
    public var description: String { "\(origin): \(message)" }
}

/// A configuration that cannot be used. Never empty.
public struct SettingsFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// The exit status for a faulty configuration.
    public static let exitStatus: Int32 = 2

    /// The problems in the order flags, environment, file, then those between values.
    public let problems: [SettingProblem]

    init(_ problems: [SettingProblem]) {
        precondition(!problems.isEmpty, "a failure has a problem")
        self.problems = problems
    }

    /// One line per problem, without a final newline.
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}
