// The way into the executable. A command line that cannot be understood (an unknown flag, a missing argument) is a faulty
// configuration like any other and ends with the same exit status, 2, instead of argument-parser's 64.

public import ArgumentParser
import Glibc

extension ParsableCommand {
    /// Parses the arguments and runs the command, as `main()` does, with exit status 2 for arguments that cannot be understood.
    /// - Parameter arguments: without the program's name; nil: those of the process.
    public static func start(_ arguments: [String]? = nil) {
        do {
            var command = try parseAsRoot(arguments)
            try command.run()
        } catch {
            let status = exitStatus(for: error)
            if status != SettingsFailure.exitStatus { exit(withError: error) }
            let message = fullMessage(for: error)
            if !message.isEmpty { StandardError.write(message + "\n") }
            Glibc.exit(status)
        }
    }

    /// The exit status for an error of parsing or running.
    static func exitStatus(for error: any Error) -> Int32 {
        let code = exitCode(for: error)
        return code == .validationFailure ? SettingsFailure.exitStatus : code.rawValue
    }
}
