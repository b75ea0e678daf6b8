// The log on standard error, behind swift-log. One event is one line and one write(2); a line that cannot be written is lost, because
// a server that stops for its log serves its log. What a line looks like is decided once, at the start, by what standard error is:
//
//     JOURNAL_STREAM=dev:inode is that of descriptor 2   → journal    (systemd.exec(5))
//     a terminal, in dev mode                            → terminal
//     anything else                                      → plain

import Glibc
public import Logging

/// The log handler of the server.
public struct LogOutput: LogHandler {
    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?

    private let line: LogLine
    private let writer: DescriptorWriter
    private let clock: @Sendable () -> Int64

    /// - Parameter clock: milliseconds since 1970-01-01T00:00:00Z.
    init(
        level: Logger.Level, format: LogFormat, destination: LogDestination, descriptor: Int32,
        clock: @escaping @Sendable () -> Int64 = Self.now
    ) {
        logLevel = level
        line = LogLine(destination: destination, format: format)
        writer = DescriptorWriter(descriptor: descriptor)
        self.clock = clock
    }

    /// Makes this the log of the process; to be called once, before the first `Logger` is made.
    public static func bootstrap(settings: Settings) {
        let journalStream = getenv("JOURNAL_STREAM").map { String(cString: $0) }
        let destination = destination(mode: settings.mode, journalStream: journalStream, descriptor: STDERR_FILENO)
        let output = LogOutput(
            level: settings.logLevel, format: settings.logFormat, destination: destination, descriptor: STDERR_FILENO)
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
        writer.write(line.bytes(level: event.level, message: event.message.description, metadata: all, milliseconds: clock()))
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
