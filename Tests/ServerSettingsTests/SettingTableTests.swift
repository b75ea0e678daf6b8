import Logging
import Testing

@testable import ServerSettings

struct SettingTableTests {
    /// The whole table, as a change of it should be read by somebody who reviews it.
    static let defaults: [(String, String?, String?)] = [
        ("listen", "127.0.0.1:4437", "127.0.0.1:4437"), ("port-file", nil, nil), ("cors-origins", "*", "*"),
        ("cache-visibility", "public", "public"),
        ("trusted-proxies", "127.0.0.0/8::1/128unix", "127.0.0.0/8::1/128unix"), ("allowed-hosts", "", "localhost*.localhostaddress"),
        ("fork-scope", "any", "any"),
        ("listen-tls", "", ""), ("tls-certificate", "", ""), ("tls-key", "", ""), ("tls-minimum", "1.2", "1.2"),
        ("tls-client-ca", nil, nil),
        ("tls-client-auth", "off", "off"), ("listen-redirect", "", ""), ("strict-transport", "0s", "0s"),
        ("data-dir", nil, nil), ("durability", "always", "none"), ("segment-size", "64MiB", "64MiB"), ("journal-size", "256MiB", "32MiB"),
        ("tail-buffer-budget", "256MiB", "256MiB"), ("descriptor-cache", "512", "512"), ("checkpoint-interval", "30s", "30s"),
        ("disk-workers", "4", "4"), ("scrub-rate", "4MiB/s", "4MiB/s"), ("scrub-pause", "1d", "1d"), ("long-poll-timeout", "30s", "30s"),
        ("sse-interval", "60s", "60s"), ("sse-heartbeat", "20s", "20s"), ("chunk-size", "1MiB", "1MiB"),
        ("body-limit", "64MiB", "64MiB"), ("head-limit", "32KiB", "32KiB"), ("target-limit", "8KiB", "8KiB"),
        ("connection-limit", "automatic", "automatic"), ("connections-per-address", "automatic", "automatic"),
        ("peer-memory", "1GiB", "1GiB"), ("producer-retention", "7d", "7d"), ("idle-timeout", "75s", "75s"),
        ("header-timeout", "10s", "10s"),
        ("peer-timeout", "30s", "30s"), ("body-timeout", "30s", "30s"), ("body-grace", "10s", "10s"),
        ("body-minimum-rate", "1KiB/s", "1KiB/s"), ("drain-timeout", "10s", "10s"), ("log-level", "info", "info"),
        ("log-format", "text", "text"),
        ("access-log", "false", "false"),
    ]

    @Test func theTableIsComplete() {
        #expect(SettingKey.all.map(\.name) == Self.defaults.map(\.0))
    }

    @Test(arguments: defaults) func defaultsAreEffective(_ name: String, _ serve: String?, _ dev: String?) throws {
        let key = try #require(SettingKey.named(name))
        #expect(key.standard(in: .serve)?.joined() == serve)
        #expect(key.standard(in: .dev)?.joined() == dev)
        // What the defaults set is what they say: the written form of the effective value is the written default.
        #expect(key.write(Settings(mode: .serve))?.joined() == serve)
        #expect(key.write(Settings(mode: .dev))?.joined() == dev)
    }

    @Test func typedDefaults() {
        let settings = Settings(mode: .serve)
        #expect(settings.listen == [.ipv4(0x7f00_0001, port: 4437)])
        #expect(settings.longPollTimeout == .seconds(30))
        #expect(settings.chunkSize == 1 << 20)
        #expect(settings.bodyMinimumRate == 1024)
        #expect(settings.connectionLimit == 0)
        #expect(settings.durability == .always)
        #expect(settings.logLevel == .info)
        #expect(Settings(mode: .dev).durability == .none)
    }

    @Test func namesAreKebabCaseAndHelpIsOneSentence() {
        for key in SettingKey.all {
            #expect(key.name.allSatisfy { $0 == "-" || ("a"..."z").contains($0) })
            #expect(key.help.hasSuffix(".") && !key.help.contains("\n") && key.help.count < 100)
            #expect(key.environmentName == "DURABLE_STREAMS_" + key.name.uppercased().replacing("-", with: "_"))
        }
        #expect(SettingKey.longPollTimeout.environmentName == "DURABLE_STREAMS_LONG_POLL_TIMEOUT")
        #expect(SettingKey.longPollTimeout.flag == "--long-poll-timeout")
        #expect(SettingKey.named("nothing") == nil)
    }

    /// name, written value, written form of the effective value or the message
    static let values: [(String, String, String)] = [
        ("long-poll-timeout", "1ms", "1ms"), ("long-poll-timeout", "1h", "1h"),
        ("long-poll-timeout", "0", #""0" is too small; expected 1ms to 1h (proxies cut silent requests off)"#),
        ("long-poll-timeout", "3601s", #""3601s" is too large; expected 1ms to 1h (proxies cut silent requests off)"#),
        ("drain-timeout", "0", "0s"), ("body-grace", "0", "0s"),
        ("chunk-size", "4K", "4KiB"),
        (
            "chunk-size", "4095",
            #""4095" is too small; expected 4KiB to 64MiB (small ones cost a request each, large ones cannot be resumed within)"#
        ),
        ("body-limit", "1GiB", "1GiB"),
        ("body-limit", "1T", #""1T" is too large; expected 1KiB to 1GiB (a body is held in memory until it is durable)"#),
        ("body-minimum-rate", "0", "0/s"), ("body-minimum-rate", "2K", "2KiB/s"), ("body-minimum-rate", "2KiB/s", "2KiB/s"),
        ("body-minimum-rate", "2GiB/s", #""2GiB/s" is too large; expected 0 to 1GiB per second (0: no floor)"#),
        (
            "body-minimum-rate", "fast/s",
            #""fast/s" is not a size; expected a whole number of bytes, or one with a unit, KiB, MiB, GiB (short K, M, G) or KB, MB, GB, such as 64KiB, per second"#
        ),
        ("connection-limit", "0", "automatic"), ("connection-limit", "automatic", "automatic"),
        ("connections-per-address", "automatic", "automatic"),
        ("peer-memory", "1GiB", "1GiB"), ("producer-retention", "7d", "7d"), ("connection-limit", "1", "1"),
        (
            "connection-limit", "many",
            #""many" is not a whole number; expected automatic (0), or 1 to 10000000 (automatic: what the limit of open files allows)"#
        ),
        (
            "connection-limit", "10000001",
            #""10000001" is too large; expected automatic (0), or 1 to 10000000 (automatic: what the limit of open files allows)"#
        ),
        ("disk-workers", "64", "64"), ("disk-workers", "0", #""0" is too small; expected 1 to 64 (each is a thread)"#),
        ("disk-workers", "-1", #""-1" is not a whole number; expected 1 to 64 (each is a thread)"#),
        ("disk-workers", "", #""" is not a whole number; expected 1 to 64 (each is a thread)"#),
        ("disk-workers", "99999999999999999999", #""99999999999999999999" is too large; expected 1 to 64 (each is a thread)"#),
        ("durability", "none", "none"),
        ("durability", "Always", #""Always" is not one of the choices; expected always or none; did you mean always?"#),
        ("durability", "x", #""x" is not one of the choices; expected always or none"#),
        ("cache-visibility", "private", "private"),
        ("log-level", "critical", "critical"),
        (
            "log-level", "warn",
            #""warn" is not one of the choices; expected trace, debug, info, notice, warning, error or critical; did you mean warning?"#
        ),
        ("log-format", "json", "json"), ("log-format", "xml", #""xml" is not one of the choices; expected text or json"#),
        ("access-log", "true", "true"), ("access-log", "Yes", "true"), ("access-log", "off", "false"),
        ("access-log", "1", #""1" is neither true nor false; expected true or false"#),
        ("data-dir", "/var/lib/x", "/var/lib/x"), ("data-dir", "", #""" is not a path; expected a path"#),
        ("port-file", "a\0b", #""a\x00b" is not a path; expected a path"#),
        ("listen", ":0", ":0"), ("cors-origins", "http://A", "http://a"),
    ]

    @Test(arguments: values) func reads(_ name: String, _ text: String, _ outcome: String) throws {
        let key = try #require(SettingKey.named(name))
        var settings = Settings(mode: .serve)
        let found: String
        do {
            try key.read([text], &settings)
            found = try #require(key.write(settings)).joined()
        } catch let fault as ValueFault {
            found = fault.description
        }
        #expect(found == outcome)
    }

    /// Whatever is written is read back as the same.
    @Test func writtenFormsAreRead() throws {
        for mode in ServerMode.allCases {
            for key in SettingKey.all {
                var settings = Settings(mode: mode)
                guard let texts = key.write(settings) else { continue }
                try key.read(texts, &settings)
                #expect(key.write(settings) == texts)
            }
        }
    }
}
