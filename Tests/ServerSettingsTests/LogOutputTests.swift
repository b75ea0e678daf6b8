import Glibc
import Logging
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
}
