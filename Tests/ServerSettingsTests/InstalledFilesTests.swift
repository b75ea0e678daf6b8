// Files that are installed with the server and repeat what stands elsewhere: that they still say the same.

import Foundation
import Testing

@testable import ServerSettings

struct InstalledFilesTests {
    private static func lines(_ path: String) throws -> [String] {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        return try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8).split(separator: "\n").map(String.init)
    }

    /// The settings of a unit file, without comments.
    private static func directives(_ path: String) throws -> [String] {
        try lines(path).filter { !$0.hasPrefix("#") && !$0.isEmpty }
    }

    /// What the template of several instances says differently from the unit of the one server.
    private static func named(_ line: String) -> String {
        line.replacing("durable-streams@%i.", with: "durable-streams.").replacing("-instances/%i", with: "").replacing(" %i", with: "")
            .replacing(" --config /etc/durable-streams/instances/%i.yaml", with: "")
            .replacing("ConfigurationDirectory=durable-streams/instances", with: "ConfigurationDirectory=durable-streams")
    }

    @Test func theTemplateIsTheServiceWithAName() throws {
        let service = try Self.directives("systemd/durable-streams.service")
        #expect(service.contains("WatchdogSec=60") && service.count > 40)
        #expect(try Self.directives("systemd/durable-streams@.service").map(Self.named) == service)
    }

    @Test func theTemplateOfTheSocketDiffersInItsAddress() throws {
        let socket = try Self.directives("systemd/durable-streams.socket").filter {
            !$0.hasPrefix("ListenStream=") && !$0.hasPrefix("BindIPv6Only=")
        }
        #expect(socket.contains("FileDescriptorName=http"))
        let template = try Self.directives("systemd/durable-streams@.socket")
        #expect(template.contains("ListenStream=/run/durable-streams-sockets/%i.sock"))
        #expect(template.filter { !$0.hasPrefix("ListenStream=") }.map(Self.named) == socket)
    }

    /// Each line of the example is a setting with its default, commented out.
    @Test func theExampleShowsTheDefaults() throws {
        var seen = 0
        for line in try Self.lines("deploy/examples/config.yaml") where line.hasPrefix("#") && !line.hasPrefix("# ") && line != "#" {
            let text = line.dropFirst()
            var problems: [SettingProblem] = []
            let file = ConfigurationFile(Array(text.utf8), path: "example", problems: &problems)
            #expect(problems.isEmpty, "\(problems)")
            let name = String(text.prefix { $0 != ":" })
            let key = try #require(SettingKey.named(name), "\(name)")
            #expect(file.layer.origins[name] != nil)
            let value = text.dropFirst(name.count + 1).prefix { $0 != "#" }.trimmingCharacters(in: .whitespaces)
            #expect(
                value.trimmingCharacters(in: CharacterSet(charactersIn: "[]\"")) == key.serveStandard?.joined(separator: ", "), "\(line)")
            seen += 1
        }
        #expect(seen > 8)
    }
}
