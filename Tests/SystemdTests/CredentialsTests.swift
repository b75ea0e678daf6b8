import Glibc
import Testing

@testable import Systemd

@Suite struct CredentialsTests {
    private final class Directory {
        let path: String
        private var names: [String] = []
        init() throws {
            var template = Array("/tmp/durable-streams-test.XXXXXX".utf8CString)
            try #require(mkdtemp(&template) != nil)
            path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        deinit {
            for name in names { unlink(path + "/" + name) }
            rmdir(path)
        }
        @discardableResult
        func write(_ bytes: [UInt8], _ name: String, mode: mode_t = 0o600) throws -> String {
            let file = creat(path + "/" + name, mode)
            try #require(file >= 0)
            defer { close(file) }
            names.append(name)
            try #require(fchmod(file, mode) == 0 && Glibc.write(file, bytes, bytes.count) == bytes.count)
            return path + "/" + name
        }
    }

    private func fault(_ read: () throws(CredentialFault) -> String?) -> String? {
        do throws(CredentialFault) {
            _ = try read()
            return nil
        } catch { return error.description }
    }

    @Test(arguments: ["s3cret", "s3cret\n"]) func aLine(_ content: String) throws {
        let directory = try Directory()
        try directory.write(Array(content.utf8), "token")
        #expect(try Credentials.named("token", directory: directory.path) == "s3cret")
        #expect(try Credentials.named("other", directory: directory.path) == nil)
        #expect(try Credentials.named("token", directory: nil) == nil)
    }

    static let faults: [([UInt8], String)] = [
        ([], "empty"), (Array("\n".utf8), "empty"), (Array("\ns3cret".utf8), "more than one line"),
        (Array("s3cret\ns3cret\n".utf8), "more than one line"), (Array("s3cret".utf8) + [0xff], "not UTF-8"),
    ]

    @Test func aFileThatIsNoSecret() throws {
        let directory = try Directory()
        let path = try directory.write([UInt8](repeating: 0x73, count: Credentials.sizeLimit + 1), "token")
        let text = try #require(fault { () throws(CredentialFault) in try Credentials.file(path) })
        #expect(text.contains(path) && text.contains("larger than 64 KiB"), "\(text)")
    }

    @Test(arguments: faults) func notOneLine(_ content: [UInt8], _ words: String) throws {
        let directory = try Directory()
        let path = try directory.write(content, "token")
        let text = try #require(fault { () throws(CredentialFault) in try Credentials.file(path) })
        #expect(text.contains(path) && text.contains(words) && !text.contains("s3cret"), "\(text)")
    }

    @Test(arguments: [0o604, 0o602, 0o644] as [mode_t]) func aFileForEverybodyIsRefused(_ mode: mode_t) throws {
        let directory = try Directory()
        let path = try directory.write(Array("s3cret".utf8), "token", mode: mode)
        let text = try #require(fault { () throws(CredentialFault) in try Credentials.file(path) })
        #expect(text.contains(path) && text.contains("chmod o-rwx") && !text.contains("s3cret"), "\(text)")
    }

    @Test func aMissingFileIsNamed() throws {
        let directory = try Directory()
        let text = try #require(fault { () throws(CredentialFault) in try Credentials.file(directory.path + "/none") })
        #expect(text.contains(directory.path + "/none") && text.contains("No such file"), "\(text)")
    }
}
