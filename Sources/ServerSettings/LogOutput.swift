// The log, behind swift-log: lines on standard error, or events with fields where standard error is the systemd journal. One event is one
// write(2) or one datagram; what cannot be written is lost, because a server that stops for its log serves its log. What a line looks like
// is decided once, at the start, by what standard error is:
//
//     JOURNAL_STREAM=dev:inode is that of descriptor 2   → journal    (systemd.exec(5)); in text form: events with fields
//     a terminal, in dev mode                            → terminal
//     anything else                                      → plain
//
// An event in the journal: MESSAGE as in a line, PRIORITY, CODE_FILE, CODE_LINE, CODE_FUNC, and each key of the metadata in capitals
// (data-dir: DATA_DIR). Keys that are in capitals already (STREAM, MESSAGE_ID) are for the journal and JSON only; lines leave them out.

import Glibc
public import Logging
import Synchronization
import Systemd

/// The log handler of the server.
public struct LogOutput: LogHandler {
    public var logLevel: Logger.Level {
        get { own ?? threshold.level }
        set { own = newValue }
    }
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?

    /// The level that was set for this logger alone.
    private var own: Logger.Level?
    private let threshold: LogThreshold
    private let line: LogLine
    private let writer: DescriptorWriter
    private let journal: JournalSocket?
    private let clock: @Sendable () -> Int64

    /// - Parameter clock: milliseconds since 1970-01-01T00:00:00Z.
    init(
        level: Logger.Level, format: LogFormat, destination: LogDestination, descriptor: Int32, journal: JournalSocket? = nil,
        threshold: LogThreshold = LogThreshold(), clock: @escaping @Sendable () -> Int64 = Self.now
    ) {
        threshold.level = level
        self.threshold = threshold
        line = LogLine(destination: destination, format: format)
        writer = DescriptorWriter(descriptor: descriptor)
        self.journal = journal
        self.clock = clock
    }

    /// The level of all the process's loggers.
    private static let processThreshold = LogThreshold()

    /// Changes the level of all the process's loggers.
    public static func changeLevel(to level: Logger.Level) { processThreshold.level = level }

    /// Whether standard error is the systemd journal.
    public static var isJournal: Bool {
        destination(mode: .serve, journalStream: getenv("JOURNAL_STREAM").map { String(cString: $0) }, descriptor: STDERR_FILENO)
            == .journal
    }

    /// Makes this the log of the process; to be called once, before the first `Logger` is made.
    public static func bootstrap(settings: Settings) {
        let destination: LogDestination =
            isJournal ? .journal : destination(mode: settings.mode, journalStream: nil, descriptor: STDERR_FILENO)
        let output = LogOutput(
            level: settings.logLevel, format: settings.logFormat, destination: destination, descriptor: STDERR_FILENO,
            journal: destination == .journal && settings.logFormat == .text ? JournalSocket() : nil, threshold: processThreshold)
        LoggingSystem.bootstrap(
            { _, provider in
                var output = output
                output.metadataProvider = provider
                return output
            }, metadataProvider: nil)
    }

    public subscript(metadataKey key: String) -> Logger.MetadataValue? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var all = metadataProvider?.get() ?? [:]
        all.merge(metadata) { $1 }
        if let error = event.error { all["error"] = "\(error)" }
        if let own = event.metadata { all.merge(own) { $1 } }
        if let journal, journal.send(fields(of: event, all)) { return }
        writer.write(line.bytes(level: event.level, message: event.message.description, metadata: all, milliseconds: clock()))
    }

    private func fields(of event: LogEvent, _ metadata: Logger.Metadata) -> [JournalSocket.Field] {
        var fields: [JournalSocket.Field] = [
            ("MESSAGE", line.text(message: event.message.description, metadata: metadata)),
            ("PRIORITY", "\(LogLine.priority(event.level))"),
            ("SYSLOG_IDENTIFIER", "durable-streams"),
            ("CODE_FILE", event.file),
            ("CODE_LINE", "\(event.line)"),
            ("CODE_FUNC", event.function),
        ]
        let taken = Set(fields.map(\.name))
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            let name = JournalSocket.fieldName(key)
            fields.append((taken.contains(name) ? "X_" + name : name, LogLine.text(of: value)))
        }
        return fields
    }

    /// What a descriptor is, as far as the log is concerned.
    static func destination(mode: ServerMode, journalStream: String?, descriptor: Int32) -> LogDestination {
        if let journalStream, isStream(journalStream, descriptor) { return .journal }
        if mode == .dev, isatty(descriptor) == 1 { return .terminal(secondsFromUTC: secondsFromUTC()) }
        return .plain
    }

    /// Whether `device:inode`, in decimal, names the file behind a descriptor.
    private static func isStream(_ name: String, _ descriptor: Int32) -> Bool {
        let parts = name.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let device = UInt64(parts[0]), let inode = UInt64(parts[1]) else { return false }
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_dev == device && status.st_ino == inode
    }

    private static func secondsFromUTC() -> Int {
        var now = time(nil)
        var local = tm()
        return localtime_r(&now, &local) == nil ? 0 : local.tm_gmtoff
    }

    private static func now() -> Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
    }
}

/// The least severe level that is logged; may change while the server runs.
final class LogThreshold: Sendable {
    private let index = Atomic<Int>(0)

    var level: Logger.Level {
        get { Logger.Level.allCases[index.load(ordering: .relaxed)] }
        set { index.store(Logger.Level.allCases.firstIndex(of: newValue)!, ordering: .relaxed) }
    }
}
