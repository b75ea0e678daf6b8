// One-way messages to the service manager (sd_notify(3)), each a datagram to the Unix socket that NOTIFY_SOCKET names.
//
//     READY=1\nSTATUS=serving 12 streams          lines NAME=value
//     NOTIFY_SOCKET=/run/systemd/notify           or @name: a name in the abstract namespace
//
// sd_notify() waits while the manager's queue is full, and the caller is the reactor; so the datagram is sent here, and "would block" is
// an answer.

import Glibc

/// An address and a socket to send from.
struct NotifySocket: Sendable {
    private let descriptor: Int32
    private let address: sockaddr_un
    private let length: socklen_t

    /// - Parameter name: the value of NOTIFY_SOCKET; nil when it is no address of a Unix socket.
    init?(_ name: String) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(name.utf8)
        guard bytes.count > 1, bytes.count < MemoryLayout.size(ofValue: address.sun_path),
            bytes[0] == UInt8(ascii: "/") || bytes[0] == UInt8(ascii: "@")
        else { return nil }
        // The abstract namespace's names begin with NUL and have no end but their length.
        if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        // For the last words, which may wait, but not for ever.
        var patience = timeval(tv_sec: 1, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        self.descriptor = descriptor
        self.address = address
        length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
    }

    /// False when the manager's queue is full. A manager that is not there any more has no use for the message.
    func send(_ message: String, waiting: Bool = false) -> Bool {
        var message = message
        return message.withUTF8 { bytes in
            withUnsafePointer(to: address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                    while true {
                        let flags = Int32(MSG_NOSIGNAL) | (waiting ? 0 : Int32(MSG_DONTWAIT))
                        if sendto(descriptor, bytes.baseAddress, bytes.count, flags, address, length) >= 0 { return true }
                        if errno == EINTR { continue }
                        return errno != EAGAIN && errno != ENOBUFS
                    }
                }
            }
        }
    }

    func close() { _ = Glibc.close(descriptor) }
}
