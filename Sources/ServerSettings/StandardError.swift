// Standard error as the place for messages to the person who started the program: best effort, never an error of its own.

import Glibc

public enum StandardError {
    /// Writes text as it is, whatever becomes of it.
    public static func write(_ text: String) {
        DescriptorWriter(descriptor: STDERR_FILENO).write(Array(text.utf8))
    }

    /// Writes lines that say why the program ends; the systemd journal takes them as errors (sd-daemon(3)).
    public static func report(_ lines: String) {
        if !LogOutput.isJournal { return write(lines) }
        write(lines.split(separator: "\n").map { "<3>\($0)\n" }.joined())
    }
}

/// Writes whole lines to a descriptor, with one write(2) per call so that lines of several threads and processes do not mix.
struct DescriptorWriter: Sendable {
    let descriptor: Int32

    /// One write(2), repeated only when a signal interrupted it before any byte was written. A failure is not reported:
    /// there is nowhere to report it.
    func write(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { buffer in
            while Glibc.write(descriptor, buffer.baseAddress, buffer.count) < 0 && errno == EINTR {}
        }
    }
}
