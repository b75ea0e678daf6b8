import Logging
import Testing

@testable import ServerSettings

struct SettingsChangeTests {
    private static func changed(_ texts: [String: [String]]) throws -> Settings {
        var settings = Settings(mode: .serve)
        for (name, texts) in texts { try #require(SettingKey.named(name)).read(texts, &settings) }
        return settings
    }

    @Test func nothingChanges() throws {
        let change = SettingsChange(from: Settings(mode: .serve), to: Settings(mode: .serve))
        #expect(change.applied.isEmpty && change.waiting.isEmpty)
    }

    @Test func whatCanTakesEffectAndTheRestWaits() throws {
        let new = try Self.changed([
            "listen": [":80"], "log-level": ["debug"], "journal-size": ["1GiB"],
            "cors-origins": ["https://a.example", "https://b.example"],
            "long-poll-timeout": ["5s"], "data-dir": ["/other"],
        ])
        let change = SettingsChange(from: Settings(mode: .serve), to: new)
        #expect(change.applied.map(\.name) == ["cors-origins", "long-poll-timeout", "log-level"])
        #expect(change.applied.map(\.old) == ["*", "30s", "info"])
        #expect(change.applied.map(\.new) == ["https://a.example, https://b.example", "5s", "debug"])
        #expect(change.waiting == ["listen", "data-dir", "journal-size"])
        #expect(change.settings.logLevel == .debug && change.settings.longPollTimeout == .seconds(5))
        #expect(change.settings.listen == Settings(mode: .serve).listen && change.settings.dataDirectory == nil)
        // What waits is told again at the next reload, because it is still not in force.
        let again = SettingsChange(from: change.settings, to: new)
        #expect(again.applied.isEmpty && again.waiting == change.waiting)
        // And it can be taken back.
        let back = SettingsChange(from: change.settings, to: Settings(mode: .serve))
        #expect(back.applied.map(\.name) == change.applied.map(\.name) && back.waiting.isEmpty)
    }

    @Test func aListCanBecomeEmpty() throws {
        let change = SettingsChange(from: Settings(mode: .serve), to: try Self.changed(["cors-origins": []]))
        #expect(change.settings.corsOrigins == .only([]) && change.applied.map(\.name) == ["cors-origins"])
    }
}
