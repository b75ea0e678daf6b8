import Testing

@testable import ServerSettings

struct EnvironmentVariablesTests {
    static let unknown: [(String, String, String)] = [
        ("LONG_POL_TIMEOUT", "30s", #"unknown variable with the value "30s"; did you mean DURABLE_STREAMS_LONG_POLL_TIMEOUT?"#),
        ("LISTEN_ADDRESS", ":1", #"unknown variable with the value ":1"; did you mean DURABLE_STREAMS_LISTEN?"#),
        ("TLS_XYZ", "a\nb", #"unknown variable with the value "a\nb"; check-config --help lists the settings"#),
        ("", "x", #"unknown variable with the value "x"; check-config --help lists the settings"#),
        ("CONFIGURATION", "/x", #"unknown variable with the value "/x"; did you mean DURABLE_STREAMS_CONFIG?"#),
        ("listen", "x", #"unknown variable with the value "x"; did you mean DURABLE_STREAMS_LISTEN?"#),
        ("PORT", "4437", #"unknown variable with the value "4437"; did you mean DURABLE_STREAMS_PORT_FILE?"#),
        ("PORT_4437_SCTPX", "x", #"unknown variable with the value "x"; check-config --help lists the settings"#),
    ]

    @Test(arguments: unknown) func unknownVariablesAreProblems(_ suffix: String, _ value: String, _ message: String) {
        var problems: [SettingProblem] = []
        _ = EnvironmentVariables.layer(["DURABLE_STREAMS_" + suffix: value], problems: &problems)
        #expect(problems == [SettingProblem(.environment("DURABLE_STREAMS_" + suffix), message)])
    }

    static let ignored: [(String, String)] = [
        ("DURABLE_STREAMS_SERVICE_HOST", "10.0.0.1"), ("DURABLE_STREAMS_SERVICE_PORT", "4437"),
        ("DURABLE_STREAMS_SERVICE_PORT_HTTP", "4437"),
        ("DURABLE_STREAMS_PORT", "tcp://10.0.0.1:4437"), ("DURABLE_STREAMS_PORT_4437_TCP", "tcp://10.0.0.1:4437"),
        ("DURABLE_STREAMS_PORT_4437_TCP_PROTO", "tcp"), ("DURABLE_STREAMS_PORT_4437_TCP_PORT", "4437"),
        ("DURABLE_STREAMS_PORT_4437_UDP_ADDR", "10.0.0.1"), ("DURABLE_STREAMS_NAME", "/web/durable-streams"),
        ("DURABLE_STREAMS_LISTEN", ""), ("DURABLE_STREAMS_UNKNOWN", ""), ("DURABLE_STREAMS_CONFIG", "/x"), ("LISTEN", ":1"),
        ("XDURABLE_STREAMS_LISTEN", ":1"), ("DURABLE_STREAM_LISTEN", ":1"),
    ]

    @Test(arguments: ignored) func othersVariablesAreIgnored(_ name: String, _ value: String) {
        var problems: [SettingProblem] = []
        let layer = EnvironmentVariables.layer([name: value], problems: &problems)
        #expect(problems.isEmpty)
        #expect(layer.origins.isEmpty)
    }

    @Test func everySettingHasAVariable() throws {
        for key in SettingKey.all {
            var texts = key.write(Settings(mode: .serve)) ?? ["/x"]
            if texts.isEmpty {
                texts =
                    key.name.hasPrefix("listen")
                    ? [":1", ":2"] : key.name == "allowed-hosts" ? ["a.example", "*.b.example"] : ["/x", "/y"]
            }
            var environment = [key.environmentName: texts.joined(separator: " , "), "STATE_DIRECTORY": "/s"]
            // These are only good together.
            switch key.name {
            case SettingKey.listenTLS.name:
                for other in [SettingKey.tlsCertificates, .tlsKeys] { environment[other.environmentName] = "/x" }
            case SettingKey.tlsCertificates.name: environment[SettingKey.tlsKeys.environmentName] = "/x,/y"
            case SettingKey.tlsKeys.name: environment[SettingKey.tlsCertificates.environmentName] = "/x,/y"
            default: break
            }
            let sources = SettingsSources(environment: environment)
            var isolated = sources
            isolated.standardFile = "/nonexistent/config.yaml"
            let effective = try isolated.effective(mode: .serve)
            if key.name != SettingKey.portFile.name || texts.isEmpty {
                #expect(effective.origin(of: key) == .environment(key.environmentName))
            }
            #expect(key.write(effective.settings) == texts)
        }
    }
}
