import Testing

@testable import ServerSettings

struct ListenAddressTests {
    static let accepted: [(String, ListenAddress, String)] = [
        ("127.0.0.1:4437", .ipv4(0x7f00_0001, port: 4437), "127.0.0.1:4437"),
        ("0.0.0.0:80", .ipv4(0, port: 80), "0.0.0.0:80"),
        ("255.1.2.254:65535", .ipv4(0xff01_02fe, port: 65535), "255.1.2.254:65535"),
        ("127.0.0.1:0", .ipv4(0x7f00_0001, port: 0), "127.0.0.1:0"),
        ("127.0.0.1:0080", .ipv4(0x7f00_0001, port: 80), "127.0.0.1:80"),
        ("localhost:4437", .ipv4(0x7f00_0001, port: 4437), "127.0.0.1:4437"),
        (":4437", .all(port: 4437), ":4437"),
        (":0", .all(port: 0), ":0"),
        ("[::1]:4437", .ipv6(1, port: 4437), "[::1]:4437"),
        ("[::]:1", .ipv6(0, port: 1), "[::]:1"),
        ("[2001:DB8:0:0::1]:80", .ipv6(0x2001_0db8_0000_0000_0000_0000_0000_0001, port: 80), "[2001:db8::1]:80"),
        ("[::ffff:1.2.3.4]:80", .ipv6(0xffff_0102_0304, port: 80), "[::ffff:1.2.3.4]:80"),
        ("unix:/run/x.sock", .unix("/run/x.sock"), "unix:/run/x.sock"),
        ("unix:/a:b c", .unix("/a:b c"), "unix:/a:b c"),
        (
            "unix:/" + String(repeating: "x", count: 106), .unix("/" + String(repeating: "x", count: 106)),
            "unix:/" + String(repeating: "x", count: 106)
        ),
    ]

    @Test(arguments: accepted) func accepts(_ text: String, _ address: ListenAddress, _ written: String) throws {
        #expect(try ListenAddress(text) == address)
        #expect(address.description == written)
        #expect(try ListenAddress(written) == address)
    }

    static let example = "an address such as 127.0.0.1:4437, [::1]:4437, :4437 (all addresses) or unix:/run/durable-streams.sock"
    static let refused: [(String, String)] = [
        ("", #""" has no port; expected \#(example)"#),
        ("127.0.0.1", #""127.0.0.1" has no port; expected \#(example)"#),
        ("localhost", #""localhost" has no port; expected \#(example)"#),
        ("4437", #""4437" is a port alone; expected 127.0.0.1:4437, or :4437 for all addresses"#),
        ("127.0.0.1:", #""127.0.0.1:" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#),
        (":", #"":" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#),
        ("127.0.0.1:65536", #""127.0.0.1:65536" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#),
        ("127.0.0.1:+80", #""127.0.0.1:+80" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#),
        ("127.0.0.1:-1", #""127.0.0.1:-1" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#),
        ("127.0.0.1:80/", #""127.0.0.1:80/" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#),
        ("127.0.0.1: 80", #""127.0.0.1: 80" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#),
        ("127.0.0.1:٤", #""127.0.0.1:٤" has no valid port; expected a port from 0 to 65535 (0: the kernel chooses)"#),
        ("127.0.0:80", #""127.0.0:80" is not an IP address and port (host names are not looked up); expected \#(example)"#),
        ("127.0.0.256:80", #""127.0.0.256:80" is not an IP address and port (host names are not looked up); expected \#(example)"#),
        ("1.2.3.4\0:80", #""1.2.3.4\x00:80" is not an IP address and port (host names are not looked up); expected \#(example)"#),
        ("example.com:80", #""example.com:80" is not an IP address and port (host names are not looked up); expected \#(example)"#),
        (" :80", #"" :80" is not an IP address and port (host names are not looked up); expected \#(example)"#),
        ("::1:4437", #""::1:4437" is an IPv6 address without brackets; expected [::1]:4437"#),
        ("[::1", #""[::1" has no closing bracket; expected [::1]:4437"#),
        ("[::1]", #""[::1]" has no port; expected [::1]:4437"#),
        ("[::1]4437", #""[::1]4437" has no port; expected [::1]:4437"#),
        ("[]:80", #""[]:80" is not an IPv6 address and port; expected [::1]:4437"#),
        ("[127.0.0.1]:80", #""[127.0.0.1]:80" is not an IPv6 address and port; expected [::1]:4437"#),
        ("[fe80::1%eth0]:80", #""[fe80::1%eth0]:80" is not an IPv6 address and port; expected [::1]:4437"#),
        ("http://127.0.0.1:80", #""http://127.0.0.1:80" is a URL; expected an address without scheme and path, such as 127.0.0.1:4437"#),
        ("/run/x.sock", #""/run/x.sock" is a path; expected unix:/run/x.sock for a Unix-domain socket"#),
        ("unix:", #""unix:" has no absolute path; expected unix:/run/durable-streams.sock"#),
        ("unix:x.sock", #""unix:x.sock" has no absolute path; expected unix:/run/durable-streams.sock"#),
        ("unix://run/x", #""unix://run/x" has no absolute path; expected unix:/run/durable-streams.sock"#),
        ("unix:/run/", #""unix:/run/" has no absolute path; expected unix:/run/durable-streams.sock"#),
        ("unix:@name", #""unix:@name" has no absolute path; expected unix:/run/durable-streams.sock"#),
        ("unix:/a\0b", #""unix:/a\x00b" contains a NUL byte; expected a path"#),
        (
            "unix:/" + String(repeating: "x", count: 107),
            #""unix:/\#(String(repeating: "x", count: 107))" is too long; expected a path of at most 107 bytes (the kernel's limit)"#
        ),
    ]

    @Test(arguments: refused) func refuses(_ text: String, _ message: String) {
        let fault = #expect(throws: ValueFault.self) { try ListenAddress(text) }
        #expect(fault?.description == message)
    }
}
