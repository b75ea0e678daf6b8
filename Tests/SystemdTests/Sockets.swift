// Sockets of the tests' own in place of the service manager's and the journal's.

import Glibc
import Testing

/// A datagram socket that somebody sends to.
final class Mailslot {
    let descriptor: Int32
    /// As NOTIFY_SOCKET has it.
    let name: String
    private let path: String?

    /// - Parameter isAbstract: whether it has a name instead of a path.
    init(isAbstract: Bool = false) throws {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes: [UInt8]
        if isAbstract {
            bytes = [0] + Array("durable-streams-test-\(getpid())-\(UInt64.random(in: 0 ... .max))".utf8)
            name = "@" + String(decoding: bytes.dropFirst(), as: UTF8.self)
            path = nil
        } else {
            var template = Array("/tmp/durable-streams-test.XXXXXX".utf8CString)
            try #require(mkdtemp(&template) != nil)
            path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            name = path! + "/socket"
            bytes = Array(name.utf8)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        let descriptor = descriptor
        let status = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        try #require(status == 0)
    }

    deinit {
        close(descriptor)
        if let path {
            unlink(path + "/socket")
            rmdir(path)
        }
    }

    /// The oldest datagram that has come; sent is received, on Unix sockets.
    func take() -> [UInt8]? {
        var block = [UInt8](repeating: 0, count: 1 << 17)
        let count = recv(descriptor, &block, block.count, 0)
        return count < 0 ? nil : Array(block[..<count])
    }

    func takeText() -> String? { take().map { String(decoding: $0, as: UTF8.self) } }

    func takeAll() -> [String] {
        var all: [String] = []
        while let text = takeText() { all.append(text) }
        return all
    }
}

/// Descriptors that are closed when the test is over.
final class Descriptors {
    private var open: [Int32] = []

    deinit { for descriptor in open { close(descriptor) } }

    func add(_ descriptor: Int32) throws -> Int32 {
        try #require(descriptor >= 0, "errno \(errno)")
        open.append(descriptor)
        return descriptor
    }

    func socket(_ family: Int32, _ type: __socket_type, _ transport: Int32 = 0) throws -> Int32 {
        try add(Glibc.socket(family, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), transport))
    }

    /// A stream socket that listens on a port, or under an abstract name, of the kernel's choice.
    func listening(_ family: Int32 = AF_INET) throws -> Int32 {
        let descriptor = try socket(family, SOCK_STREAM)
        if family == AF_UNIX {
            var address = sockaddr(sa_family: sa_family_t(AF_UNIX), sa_data: sockaddr().sa_data)
            try #require(bind(descriptor, &address, socklen_t(MemoryLayout<sa_family_t>.size)) == 0)
        }
        try #require(listen(descriptor, 1) == 0, "errno \(errno)")
        return descriptor
    }
}
