import Glibc
import Logging
import Systemd
import Testing

@testable import ServerSettings

struct LogOutputTests {
    /// What a log writes to a pipe.
    private static func written(_ body: (Int32) -> Void) -> String {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        body(ends[1])
        close(ends[1])
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(ends[0], &block, block.count)
            if count <= 0 { break }
            bytes += block[..<count]
        }
        close(ends[0])
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func logger(_ descriptor: Int32, level: Logger.Level = .info) -> Logger {
        let output = LogOutput(level: level, format: .text, destination: .journal, descriptor: descriptor, clock: { 0 })
        return Logger(label: "test") { _ in output }
    }

    private struct Refusal: Error, CustomStringConvertible {
        let description = "no\nway"
    }

    @Test func writesOneLinePerEvent() {
        let text = Self.written { descriptor in
            var logger = Self.logger(descriptor)
            logger.info("first")
            logger[metadataKey: "connection"] = "7"
            logger.debug("below the level")
            logger.warning("second\nline", metadata: ["path": "/v1/stream/a"])
            logger.info("third", metadata: ["connection": "8"])
            logger.error("fourth", error: Refusal())
        }
        #expect(
            text == """
                <6>first
                <4>second\\nline connection=7 path=/v1/stream/a
                <6>third connection=8
                <3>fourth connection=7 error="no\\nway"

                """)
    }

    @Test func metadataOfTheProviderIsWeakest() {
        let text = Self.written { descriptor in
            var output = LogOutput(level: .info, format: .text, destination: .journal, descriptor: descriptor, clock: { 0 })
            output.metadataProvider = Logger.MetadataProvider { ["a": "provider", "b": "provider", "c": "provider"] }
            output[metadataKey: "b"] = "logger"
            output[metadataKey: "c"] = "logger"
            let made = output
            Logger(label: "test") { _ in made }.info("m", metadata: ["c": "event"])
        }
        #expect(text == "<6>m a=provider b=logger c=event\n")
    }

    @Test func aLineThatCannotBeWrittenIsLost() {
        Self.logger(-1).critical("nobody reads this")
    }

    @Test func destinations() {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        defer {
            close(ends[0])
            close(ends[1])
        }
        var status = stat()
        precondition(fstat(ends[1], &status) == 0)
        let own = "\(status.st_dev):\(status.st_ino)"
        let others: [String?] = [
            nil, "", ":", own + ":", own + "1", "0:0", "\(status.st_dev)", "\(status.st_dev):", ":\(status.st_ino)",
            "\(status.st_dev):-\(status.st_ino)", " \(own)",
            "\(status.st_ino):\(status.st_dev)x",
        ]
        for mode in ServerMode.allCases {
            #expect(LogOutput.destination(mode: mode, journalStream: own, descriptor: ends[1]) == .journal)
            #expect(LogOutput.destination(mode: mode, journalStream: own, descriptor: -1) == .plain)
            for other in others {
                #expect(LogOutput.destination(mode: mode, journalStream: other, descriptor: ends[1]) == .plain)
            }
        }
    }

    @Test func aTerminalIsForPeopleInDevModeOnly() {
        var controller: Int32 = 0
        var terminal: Int32 = 0
        guard openpty(&controller, &terminal, nil, nil, nil) == 0 else { return }
        defer {
            close(controller)
            close(terminal)
        }
        #expect(LogOutput.destination(mode: .serve, journalStream: nil, descriptor: terminal) == .plain)
        guard case .terminal(let ahead) = LogOutput.destination(mode: .dev, journalStream: nil, descriptor: terminal) else {
            Issue.record("a terminal in dev mode is for people")
            return
        }
        #expect(abs(ahead) <= 15 * 3600)
    }

    // MARK: The journal

    /// A datagram socket where journald would listen.
    private final class Journal {
        let path: String
        private let folder: String
        private let descriptor: Int32

        init() throws {
            var template = Array("/tmp/durable-streams-test.XXXXXX".utf8CString)
            try #require(mkdtemp(&template) != nil)
            folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            path = folder + "/socket"
            descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let descriptor = descriptor
            let status = withUnsafePointer(to: address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
            try #require(status == 0)
        }

        deinit {
            close(descriptor)
            unlink(path)
            rmdir(folder)
        }

        /// The next event's fields in order, CODE_LINE aside.
        func take() throws -> [String] {
            var block = [UInt8](repeating: 0, count: 1 << 16)
            let count = recv(descriptor, &block, block.count, 0)
            try #require(count > 0)
            return String(decoding: block[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
                .filter { !$0.hasPrefix("CODE_LINE=") }
        }
    }

    @Test func eventsWithFields() throws {
        let journal = try Journal()
        let text = Self.written { descriptor in
            let output = LogOutput(
                level: .info, format: .text, destination: .journal, descriptor: descriptor, journal: JournalSocket(path: journal.path))
            let logger = Logger(label: "test") { _ in output }
            logger.info("PUT /v1/stream/a", metadata: ["status": "201", "STREAM": "a"], file: "Server/Connection.swift", function: "f()")
            logger.log(
                .error, .reloadRefused, "two\nlines", metadata: ["data-dir": "/d", "priority": "mine"], file: "Server/ServerRuntime.swift",
                function: "g()")
        }
        #expect(text.isEmpty)
        #expect(
            try journal.take() == [
                "MESSAGE=PUT /v1/stream/a status=201", "PRIORITY=6", "SYSLOG_IDENTIFIER=durable-streams",
                "CODE_FILE=Server/Connection.swift",
                "CODE_FUNC=f()", "STREAM=a", "STATUS=201",
            ])
        #expect(
            try journal.take() == [
                #"MESSAGE=two\nlines data-dir=/d priority=mine"#, "PRIORITY=3", "SYSLOG_IDENTIFIER=durable-streams",
                "CODE_FILE=Server/ServerRuntime.swift", "CODE_FUNC=g()", "MESSAGE_ID=\(OperatorEvent.reloadRefused.rawValue)",
                "DATA_DIR=/d",
                "X_PRIORITY=mine",
            ])
    }

    @Test func aJournalThatIsGoneIsReplacedByLines() throws {
        var journal: Journal? = try Journal()
        let socket = try #require(JournalSocket(path: journal!.path))
        journal = nil
        let text = Self.written { descriptor in
            let output = LogOutput(level: .info, format: .text, destination: .journal, descriptor: descriptor, journal: socket)
            Logger(label: "test") { _ in output }.warning("m", metadata: ["STREAM": "a", "k": "v"])
        }
        #expect(text == "<4>m k=v\n")
    }

    @Test func theLevelOfAllLoggersChanges() {
        let text = Self.written { descriptor in
            let threshold = LogThreshold()
            let output = LogOutput(level: .info, format: .text, destination: .journal, descriptor: descriptor, threshold: threshold)
            let first = Logger(label: "first") { _ in output }
            var second = Logger(label: "second") { _ in output }
            second.logLevel = .error
            for level in [Logger.Level.debug, .error, .info] {
                threshold.level = level
                #expect(first.logLevel == level && second.logLevel == .error)
                first.debug("\(level)")
                second.warning("never")
            }
        }
        #expect(text == "<7>debug\n")
    }
}
