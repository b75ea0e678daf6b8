// The YAML file as a source: one flat mapping from setting names to scalars, or lists of scalars where a setting takes several.
//
//     listen: [127.0.0.1:4437, unix:/run/durable-streams/http.sock]
//     data-dir: /var/lib/durable-streams
//     long-poll-timeout: 30s        # comments are YAML's
//
// Everything that is wrong is reported with its line: each unknown key and bad value, or else the first place where it is not YAML.

import SystemPackage
import Yams

/// A configuration file, read and checked.
struct ConfigurationFile {
    /// The most bytes that are read: far more than any real file, far less than would hurt.
    static let sizeLimit = 1 << 20

    let layer: SettingsLayer

    /// Reads a file. What is wrong is appended to `problems`.
    /// - Parameter mustExist: whether a missing file is a problem; if not, the result is nil.
    /// - Parameter named: the flag or variable that names the file.
    static func read(
        _ path: FilePath, mustExist: Bool, named: SettingOrigin, problems: inout [SettingProblem]
    ) -> ConfigurationFile? {
        let bytes: [UInt8]
        do {
            bytes = try contents(path)
        } catch Errno.noSuchFileOrDirectory where !mustExist {
            return nil
        } catch {
            problems.append(SettingProblem(named, "\(EscapedText.plain(path.string)): \(error)"))
            return nil
        }
        if bytes.count > sizeLimit {
            problems.append(SettingProblem(.file(path.string, line: nil), "larger than \(SizeText.write(sizeLimit))"))
            return nil
        }
        return ConfigurationFile(bytes, path: path.string, problems: &problems)
    }

    /// Reads a file's bytes. `path` is for messages.
    init(_ bytes: [UInt8], path: String, problems: inout [SettingProblem]) {
        var found = Entries(path: path)
        if let text = String(validating: bytes, as: UTF8.self) {
            found.readDocument(text)
        } else {
            found.report(Self.firstLineNotUTF8(bytes), "not UTF-8; expected a YAML file in UTF-8")
        }
        problems += found.problems
        layer = SettingsLayer(name: path, entries: found.entries)
    }

    private static func contents(_ path: FilePath) throws(Errno) -> [UInt8] {
        do {
            let file = try FileDescriptor.open(path, .readOnly)
            defer { try? file.close() }
            var bytes: [UInt8] = []
            var block = [UInt8](repeating: 0, count: 1 << 16)
            while bytes.count <= sizeLimit {
                let count = try block.withUnsafeMutableBytes { try file.read(into: $0) }
                if count == 0 { break }
                bytes += block[..<count]
            }
            return bytes
        } catch {
            throw error as? Errno ?? .ioError
        }
    }

    private static func firstLineNotUTF8(_ bytes: [UInt8]) -> Int {
        // No byte of a multi-byte sequence is a newline, so that lines can be judged one by one.
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        return 1 + (lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0)
    }
}

/// What has been found so far.
private struct Entries {
    let path: String
    var entries: [SettingsLayer.Entry] = []
    var problems: [SettingProblem] = []

    init(path: String) { self.path = path }

    mutating func report(_ line: Int?, _ message: String) {
        problems.append(SettingProblem(.file(path, line: line), message))
    }

    mutating func readDocument(_ text: String) {
        let root: Node?
        do {
            root = try Parser(yaml: text, encoding: .utf8).singleRoot()
        } catch {
            report(error, in: text)
            return
        }
        switch root {
        case nil: return
        case .scalar(let scalar)? where Self.isNull(scalar): return
        case .mapping(let mapping)?:
            for (key, value) in mapping { readPair(key, value) }
        case let other?:
            report(other.mark?.line, "not a mapping; expected lines of the form key: value")
        }
    }

    private mutating func readPair(_ keyNode: Node, _ value: Node) {
        guard let name = keyNode.scalar?.string else {
            report(keyNode.mark?.line, "a key is not a name; expected lines of the form key: value")
            return
        }
        guard let key = SettingKey.named(name) else {
            let hint = NearestName.find(name, in: SettingKey.all.map(\.name)).map { "did you mean \($0)?" }
            report(
                keyNode.mark?.line,
                "unknown key \(EscapedText.quoted(name)); \(hint ?? "check-config --help lists the settings")")
            return
        }
        let place = SettingOrigin.file(path, line: keyNode.mark?.line)
        switch value {
        case .scalar(let scalar):
            if Self.isNull(scalar) {
                report(keyNode.mark?.line, "\(name): has no value; expected \(key.allowed)")
            } else {
                add(SettingsLayer.Entry(key, [scalar.string], place))
            }
        case .sequence(let sequence) where key.shape == .list:
            var texts: [String] = []
            var items: [SettingOrigin] = []
            for item in sequence {
                guard let scalar = item.scalar, !Self.isNull(scalar) else {
                    report(item.mark?.line, "\(name): an item is not a single value; expected \(key.allowed)")
                    return
                }
                texts.append(scalar.string)
                items.append(.file(path, line: item.mark?.line))
            }
            add(SettingsLayer.Entry(key, texts, place, items: items))
        case .sequence:
            report(keyNode.mark?.line, "\(name): is a list; expected a single value, \(key.allowed)")
        case .mapping, .alias:
            report(
                keyNode.mark?.line,
                "\(name): is a mapping; expected \(key.shape == .list ? "a value or a list, " : "a value, ")\(key.allowed)")
        }
    }

    private mutating func add(_ entry: SettingsLayer.Entry) {
        problems += entry.problems
        entries.append(entry)
    }

    private static func isNull(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    private mutating func report(_ error: any Error, in text: String) {
        switch error {
        case YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _):
            report(mark.line, "not valid YAML: \(problem)")
        case YamlError.reader(let problem, let offset, _, _):
            let line = offset.map { 1 + text.prefix($0).count { $0.isNewline } }
            report(line, "not valid YAML: \(problem)")
        case YamlError.duplicatedKeysInMapping(let names, let context):
            report(
                context.mark.line, "given twice: \(names.map { EscapedText.quoted($0) }.joined(separator: ", ")); expected each key once")
        default:
            report(nil, "not valid YAML")
        }
    }
}
