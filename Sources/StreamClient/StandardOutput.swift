// StandardOutput: writes all bytes to a descriptor, or says why not.

import Glibc

public struct StandardOutput: Sendable {
    let descriptor: Int32
    let interruption: Int32?

    public init(descriptor: Int32 = STDOUT_FILENO, interruption: Int32? = nil) {
        self.descriptor = descriptor
        self.interruption = interruption
    }

    /// - Throws: `outputClosed` on EPIPE, `interrupted` if Ctrl-C came while the reader of the output did not read, else `inputOutput`.
    public func write(_ bytes: UnsafeRawBufferPointer) throws(ClientFailure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if written >= 0 {
                rest = rest.dropFirst(written)
                continue
            }
            switch errno {
            case EINTR: if Interruption.happened(interruption) { throw .interrupted }
            case EPIPE: throw .outputClosed
            case EAGAIN:
                // Somebody else made the shared open file non-blocking.
                var waiting = [
                    pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0),
                    pollfd(fd: interruption ?? -1, events: Int16(POLLIN), revents: 0),
                ]
                _ = poll(&waiting, 2, -1)
                if waiting[1].revents != 0 { throw .interrupted }
            default: throw .inputOutput("standard output: \(String(cString: strerror(errno)))")
            }
        }
    }

    /// Writes the text and a newline.
    public func write(line: String) throws(ClientFailure) {
        try Array("\(line)\n".utf8).withUnsafeBytesTyped { bytes throws(ClientFailure) in try write(bytes) }
    }
}
