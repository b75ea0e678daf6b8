// The server that the tests of one suite share. It is started by the first test that asks for it; when that fails, every test of the suite
// says why.

final class SuiteServer: Sendable {
    private let result: Result<ServerProcess, any Error>

    init(tls: Bool = Transport.current.hasTLS, _ mode: ServerProcess.Mode = .dev, _ options: String...) {
        result = Result { try ServerProcess(mode, options, tls: tls) }
    }

    func get() throws -> ServerProcess { try result.get() }

    /// A stream that no other test has.
    func stream(_ type: String = "text/plain") throws -> TestStream { try get().stream().of(type) }
}
