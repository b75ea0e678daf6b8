import Testing

@testable import ServerSettings

struct ConfigurationFileTests {
    private static func problems(_ bytes: [UInt8]) -> [String] {
        var problems: [SettingProblem] = []
        _ = ConfigurationFile(bytes, path: "c.yaml", problems: &problems)
        return problems.map(\.description)
    }

    static let form = "expected lines of the form key: value"
    static let duration = "expected a whole number with a unit, ms, s, m, h or d, such as 300ms, 30s or 5m"
    static let listenForm = "host:port, [v6]:port, :port (all addresses), unix:/path; port 0: the kernel chooses"

    static let texts: [(String, [String])] = [
        ("", []),
        ("# nothing\n", []),
        ("---\n...\n", []),
        ("{}", []),
        ("\u{feff}durability: none\n", []),
        ("durability: none\r\nlog-level: info\r\n", []),
        ("listen: :80\n", []),
        ("listen: [\":80\", 'unix:/x']\n", []),
        ("listen:\n- :80\n- unix:/x\n", []),
        ("cors-origins: []\n", []),
        ("data-dir: \"/with space # and hash\"\n", []),
        ("durability: &d none\n", []),
        ("log-level: >-\n  info\n", []),
        ("drain-timeout: 0\n", []),
        ("access-log: yes\n", []),

        ("# comment\n\nlong-pol-timeout: 30s\n", [#"c.yaml:3: unknown key "long-pol-timeout"; did you mean long-poll-timeout?"#]),
        ("xyzzy: 1", [#"c.yaml:1: unknown key "xyzzy"; check-config --help lists the settings"#]),
        ("config: /x", [#"c.yaml:1: unknown key "config"; check-config --help lists the settings"#]),
        ("\"a\\nb\": 1", [#"c.yaml:1: unknown key "a\nb"; check-config --help lists the settings"#]),
        ("<<: {a: b}", [#"c.yaml:1: unknown key "<<"; check-config --help lists the settings"#]),
        ("\nsse-interval: 30\n", [#"c.yaml:2: sse-interval: "30" has no unit; \#(duration)"#]),
        ("sse-interval: \"30\"\n", [#"c.yaml:1: sse-interval: "30" has no unit; \#(duration)"#]),
        ("sse-interval:\n", ["c.yaml:1: sse-interval: has no value; expected 10ms to 1d (caches collapse requests by interval)"]),
        ("sse-interval: ~\n", ["c.yaml:1: sse-interval: has no value; expected 10ms to 1d (caches collapse requests by interval)"]),
        ("sse-interval: null\n", ["c.yaml:1: sse-interval: has no value; expected 10ms to 1d (caches collapse requests by interval)"]),
        ("sse-interval: ''\n", [#"c.yaml:1: sse-interval: "" is not a duration; \#(duration)"#]),
        ("durability: [none]\n", ["c.yaml:1: durability: is a list; expected a single value, always or none"]),
        ("durability: {none: 1}\n", ["c.yaml:1: durability: is a mapping; expected a value, always or none"]),
        ("listen: {a: b}\n", ["c.yaml:1: listen: is a mapping; expected a value or a list, \(listenForm)"]),
        ("listen:\n- :80\n- [a]\n", ["c.yaml:3: listen: an item is not a single value; expected \(listenForm)"]),
        ("listen:\n- :80\n-\n", ["c.yaml:3: listen: an item is not a single value; expected \(listenForm)"]),
        ("listen:\n- :80\n- :90\n- :80\n", [#"c.yaml:4: listen: ":80" is listed twice; expected each address once"#]),
        ("listen: []\n", [#"c.yaml:1: listen: "[]" is empty; expected \#(ListenAddress.expected)"#]),
        (
            "listen:\n- :80\n- a\n- :x\n",
            [
                #"c.yaml:3: listen: "a" has no port; expected \#(ListenAddress.expected)"#,
                #"c.yaml:4: listen: ":x" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#,
            ]
        ),
        (
            "cors-origins:\n  - http://a\n  - '*'\n",
            [#"c.yaml:3: cors-origins: "*" stands beside other origins; expected either * alone or a list of origins"#]
        ),
        ("[durability]: none\n", ["c.yaml:1: a key is not a name; \(form)"]),
        ("\n- a\n", ["c.yaml:2: not a mapping; \(form)"]),
        ("\nhello\n", ["c.yaml:2: not a mapping; \(form)"]),
        ("durability: none\nlog-level: info\ndurability: always\n", [#"c.yaml:1: given twice: "durability"; expected each key once"#]),
        ("\na: b: c\n", ["c.yaml:2: not valid YAML: mapping values are not allowed in this context"]),
        ("durability: none\n---\nx: y\n", ["c.yaml:2: not valid YAML: but found another document"]),
        ("durability: *x\n", ["c.yaml:1: not valid YAML: found undefined alias"]),
        ("listen: [a\nb: c\n", ["c.yaml:2: not valid YAML: did not find expected ',' or ']'"]),
        ("\n\tdurability: none\n", ["c.yaml:2: not valid YAML: found character that cannot start any token"]),
        ("log-level: info\ndurability: \u{1}\n", ["c.yaml:2: not valid YAML: control characters are not allowed"]),
        ("\r\nlog-level: info\r\ndurability: \u{1}\r\n", ["c.yaml:3: not valid YAML: control characters are not allowed"]),
        (
            "log-lvel: info\ndurability: never\n\nbody-limit: 1\n",
            [
                #"c.yaml:1: unknown key "log-lvel"; did you mean log-level?"#,
                #"c.yaml:2: durability: "never" is not one of the choices; expected always or none"#,
                #"c.yaml:4: body-limit: "1" is too small; expected 1KiB to 1GiB (a body is held in memory until it is durable)"#,
            ]
        ),
    ]

    @Test(arguments: texts) func reports(_ text: String, _ expected: [String]) {
        #expect(Self.problems(Array(text.utf8)) == expected)
    }

    static let bytes: [([UInt8], String)] = [
        ([0xff], "c.yaml:1: not UTF-8; expected a YAML file in UTF-8"),
        (Array("a: b\nc: ".utf8) + [0xc3] + Array("\nd: e\n".utf8), "c.yaml:2: not UTF-8; expected a YAML file in UTF-8"),
        (Array("a: b\n\n".utf8) + [0xed, 0xa0, 0x80], "c.yaml:3: not UTF-8; expected a YAML file in UTF-8"),
        ([0xff, 0xfe, 0x61, 0x00], "c.yaml:1: not UTF-8; expected a YAML file in UTF-8"),
    ]

    @Test(arguments: bytes) func refusesWhatIsNotUTF8(_ bytes: [UInt8], _ message: String) {
        #expect(Self.problems(bytes) == [message])
    }

    @Test func placesAreLines() {
        var problems: [SettingProblem] = []
        let file = ConfigurationFile(Array("# x\nlisten:\n  - :80\n\nlog-level: debug\n".utf8), path: "/etc/c", problems: &problems)
        #expect(file.layer.origins == ["listen": .file("/etc/c", line: 2), "log-level": .file("/etc/c", line: 5)])
    }

    @Test func filesThatCannotBeRead() {
        var problems: [SettingProblem] = []
        #expect(ConfigurationFile.read("/nonexistent/c", mustExist: false, named: .standard, problems: &problems) == nil)
        #expect(problems.isEmpty)
        #expect(ConfigurationFile.read("/nonexistent/c", mustExist: true, named: .flag("--config"), problems: &problems) == nil)
        #expect(ConfigurationFile.read("/", mustExist: false, named: .standard, problems: &problems) == nil)
        #expect(ConfigurationFile.read("/dev/zero", mustExist: true, named: .flag("--config"), problems: &problems) == nil)
        #expect(
            problems.map(\.description) == [
                "--config: /nonexistent/c: No such file or directory", "default: /: Is a directory", "/dev/zero: larger than 1MiB",
            ])
    }
}
