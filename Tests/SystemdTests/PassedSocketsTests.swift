import Glibc
import Testing

@testable import Systemd

@Suite struct PassedSocketsTests {
    private func problems(_ sockets: [PassedSocket]) -> [String] {
        do throws(PassedSocketsFault) {
            try PassedSockets.check(sockets)
            return []
        } catch { return error.problems }
    }

    @Test(arguments: ["http", "https", "redirect", "", "unknown", "durable-streams.socket"]) func names(_ name: String) throws {
        let descriptors = Descriptors()
        #expect(problems([PassedSocket(descriptor: try descriptors.listening(), name: name)]).isEmpty)
    }

    @Test(arguments: ["metrics", "HTTP", "connection", "stored"]) func namesThatNothingIsSpokenUnder(_ name: String) throws {
        let descriptors = Descriptors()
        let found = problems([PassedSocket(descriptor: try descriptors.listening(), name: name)])
        #expect(found.count == 1 && found[0].contains("\"\(name)\"") && found[0].contains("FileDescriptorName=http"), "\(found)")
    }

    @Test func familiesThatAreServed() throws {
        let descriptors = Descriptors()
        var sockets = [try descriptors.listening(AF_INET), try descriptors.listening(AF_UNIX)]
        if let six = try? descriptors.listening(AF_INET6) { sockets.append(six) }
        #expect(problems(sockets.map { PassedSocket(descriptor: $0, name: "http") }).isEmpty)
    }

    /// Each wrong kind is told with what it is, and all of them at once.
    @Test func wrongKinds() throws {
        let descriptors = Descriptors()
        var pipes: [Int32] = [-1, -1]
        try #require(pipe(&pipes) == 0)
        for end in pipes { _ = try descriptors.add(end) }
        var pair: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
        for end in pair { _ = try descriptors.add(end) }
        var kinds: [(Int32, String)] = [
            (try descriptors.socket(AF_INET, SOCK_DGRAM), "is a datagram socket"),
            (try descriptors.socket(AF_UNIX, SOCK_DGRAM), "is a datagram socket"),
            (try descriptors.socket(AF_UNIX, SOCK_SEQPACKET), "is a socket of sequential packets"),
            (try descriptors.socket(AF_INET, SOCK_STREAM), "is a connection, or does not listen"),
            (pair[0], "is a connection, or does not listen"),
            (pipes[0], "is a FIFO"), (try descriptors.add(open("/dev/null", O_RDONLY)), "is a device"),
            (try descriptors.add(open("/proc/self/exe", O_RDONLY)), "is a file"),
            (try descriptors.add(open("/tmp", O_RDONLY | O_DIRECTORY)), "is not a socket"),
        ]
        kinds.append((1_000_000, "is not open"))
        let found = problems(kinds.map { PassedSocket(descriptor: $0.0, name: "http") })
        #expect(found.count == kinds.count)
        for ((descriptor, kind), problem) in zip(kinds, found) {
            #expect(
                problem.contains("(descriptor \(descriptor))") && problem.contains(kind) && problem.contains("ListenStream="), "\(problem)")
        }
    }

}
