// ClientExit: how a client command tells its failure to the user and to the shell. One table, in ClientFailure.exitCode.

import ArgumentParser
import Glibc
import StreamClient

enum ClientExit {
    /// Appended to the discussion of every client command.
    static let table = """
        The server is named by --url or STREAM_URL; STREAM_AUTH, or the line in --auth-file, is sent as the Authorization header (as a bearer token when it has no space). \
        A stream is given by its name below that URL, or by a full http(s) URL.

        Exit codes: 0 done; 1 the server refused; 2 usage or unusable input; 3 no such stream (404, 410); 4 the server could not be reached \
        (connection refused, DNS, TLS, time-out); 130 interrupted.
        """

    static func say(_ line: String) {
        try? StandardOutput(descriptor: STDERR_FILENO).write(line: "durable-streams: \(line)")
    }

    /// A line on standard output; prints through the same path as stream data, so a closed pipe is quiet.
    static func print(_ line: String) throws(ClientFailure) {
        try StandardOutput().write(line: line)
    }
}

extension ParsableCommand {
    /// Runs the work of a client command; a failure becomes its message on standard error and its exit code.
    func reportingFailures(_ work: () throws(ClientFailure) -> Void) throws {
        Interruption.ignoreBrokenPipes()
        do throws(ClientFailure) {
            try work()
        } catch {
            if let message = error.message { ClientExit.say(message) }
            throw ExitCode(error.exitCode)
        }
    }

    /// Ends the process as `exit(withError:)` does, but with 2 for usage errors, where the argument parser's own choice is 64.
    static func exitAsUnixExpects(_ error: any Error) -> Never {
        guard exitCode(for: error) == .validationFailure else { exit(withError: error) }
        var text = fullMessage(for: error)
        if text.last != "\n" { text += "\n" }
        let bytes = Array(text.utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
        Glibc.exit(2)
    }
}
