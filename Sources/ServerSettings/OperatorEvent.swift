// The few events that an operator sets an alarm on. Each has an identity that never changes, whatever becomes of its words; the journal
// has it as MESSAGE_ID, and systemd/durable-streams.catalog explains it (journalctl -x).
//
//     journalctl MESSAGE_ID=d697f6ffde3040858125c67ef8824cbc

public import Logging

public enum OperatorEvent: String, Sendable, CaseIterable {
    /// The journal or a segment could not be made durable; the process ends with status 74.
    case diskFailed = "d697f6ffde3040858125c67ef8824cbc"
    /// The server could not start.
    case notStarted = "b077d69d9d534f56b5d7870a35441459"
    /// The server before this one did not end cleanly; what it had acknowledged has been recovered.
    case recovered = "13101b16daf34646b494528929192843"
    /// More connections than the limit: further ones are answered 503.
    case connectionLimitReached = "fb3c924fd154413f94121b0fdc15bf4d"
    /// The process or the machine is out of descriptors: connections wait in the backlog.
    case descriptorsExhausted = "4063ab86d8154559ad4a7c9972c640f9"
    /// The configuration read again has faults; the former one stays in force.
    case reloadRefused = "61fa80c043d645709646b7848d4702e1"
    /// A checkpoint, a flush or a look-up did not succeed and will be tried again.
    case storageTrouble = "dad9a9316a82486fb937f415df4cc543"
    /// The disk is full: appends are answered 507.
    case diskFull = "0b1c1a6f7e0d4a3f9d5a8a5b7f5c2e41"
    /// Less than a tenth of the data directory's file system is free.
    case diskNearlyFull = "6a9d2f0c4b7e4f6f8c1e3d5a7b9c0e12"
    /// Stored bytes are not what was written; reads of them are refused.
    case dataDamaged = "5f0c1ab2c9e64f2b8a6d3f1f4c7e9b60"
    /// Acknowledged data may not survive a reboot: the data directory is in memory.
    case dataInMemory = "35b7b30af2a74865b6ae1c5e30be66f8"

    /// The metadata that carries the identity.
    public var metadata: Logger.Metadata { ["MESSAGE_ID": .string(rawValue)] }
}

extension Logger {
    /// Logs an event with its identity.
    public func log(
        _ level: Logger.Level, _ event: OperatorEvent, _ message: @autoclosure () -> Logger.Message,
        metadata: @autoclosure () -> Logger.Metadata = [:], file: String = #fileID, function: String = #function, line: UInt = #line
    ) {
        log(level: level, message(), metadata: event.metadata.merging(metadata()) { $1 }, file: file, function: function, line: line)
    }
}
