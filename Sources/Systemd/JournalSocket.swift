// Log events with their fields to the systemd journal, in its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), one datagram each.
//
//     PRIORITY=4\n                                     a value without a line end
//     MESSAGE\n  <length, 8 bytes, little endian>  value\n     any value
//
// This is what sd_journal_sendv(3) sends. It is not called, because it waits while journald's queue is full, and whoever logs is the
// reactor; here an event for which there is no room is lost and counted, and the next one says how many there were.

import Glibc
import Synchronization

public final class JournalSocket: Sendable {
    private let descriptor: Int32
    private let lost = Atomic<Int>(0)

    public static let standardPath = "/run/systemd/journal/socket"
    /// The most bytes of one value. Far more than an event has, less than a datagram may be.
    static let valueLimit = 48 * 1024

    /// Connects; nil when no journal listens there.
    public init?(path: String = JournalSocket.standardPath) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        let status = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard status == 0 else {
            Glibc.close(descriptor)
            return nil
        }
        self.descriptor = descriptor
    }

    deinit { Glibc.close(descriptor) }

    public typealias Field = (name: String, value: String)

    /// Sends one event. False when the journal does not listen any more, so that the event should be told in another way.
    public func send(_ fields: [Field]) -> Bool {
        let before = lost.load(ordering: .relaxed)
        let datagram = Self.datagram(before == 0 ? fields : fields + [("LOST", "\(before)")])
        while true {
            let sent = datagram.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if sent >= 0 {
                lost.subtract(before, ordering: .relaxed)
                return true
            }
            switch errno {
            case EINTR: continue
            case EAGAIN, ENOBUFS, EMSGSIZE:
                lost.add(1, ordering: .relaxed)
                return true
            default: return false
            }
        }
    }

    static func datagram(_ fields: [Field]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(512)
        for (name, value) in fields {
            let value = value.utf8.prefix(valueLimit)
            bytes.append(contentsOf: name.utf8)
            if value.contains(10) {
                bytes.append(10)
                withUnsafeBytes(of: UInt64(value.count).littleEndian) { bytes.append(contentsOf: $0) }
            } else {
                bytes.append(UInt8(ascii: "="))
            }
            bytes.append(contentsOf: value)
            bytes.append(10)
        }
        return bytes
    }

    /// A key as a field's name: capitals, digits and underscores, the first a letter, at most 64 (journald drops others and keeps names with
    /// a leading underscore to itself).
    public static func fieldName(_ key: String) -> String {
        var name = key.utf8.prefix(64).map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): byte & 0xdf
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
            default: UInt8(ascii: "_")
            }
        }
        if name.first.map({ !(UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0) }) ?? true { name = Array("X".utf8) + name.prefix(63) }
        return String(decoding: name, as: UTF8.self)
    }
}
