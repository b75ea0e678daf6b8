// Where an effective value comes from, and where a faulty one stands. The written form is what a person has to look for:
// `--listen`, `DURABLE_STREAMS_LISTEN`, `/etc/durable-streams/config.yaml:12`, `default`.

/// The place a setting's value was taken from.
public enum SettingOrigin: Sendable, Equatable, CustomStringConvertible {
    /// A command-line flag, with its dashes.
    case flag(String)
    /// An environment variable.
    case environment(String)
    /// A line of the configuration file, counted from 1; nil for the file as a whole.
    case file(String, line: Int?)
    /// The default of the mode.
    case standard

    public var description: String {
        switch self {
        case .flag(let name), .environment(let name): EscapedText.plain(name)
        case .file(let path, let line): EscapedText.plain(path) + (line.map { ":\($0)" } ?? "")
        case .standard: "default"
        }
    }
}
