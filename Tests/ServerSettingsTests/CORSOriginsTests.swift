import Testing

@testable import ServerSettings

struct CORSOriginsTests {
    static let accepted: [([String], CORSOrigins)] = [
        (["*"], .any),
        ([], .only([])),
        (["https://app.example.com"], .only(["https://app.example.com"])),
        (["HTTPS://App.Example.COM"], .only(["https://app.example.com"])),
        (["http://localhost:5173", "http://[::1]:80"], .only(["http://localhost:5173", "http://[::1]"])),
        (["https://a:443", "https://a", "http://a:443"], .only(["https://a", "http://a:443"])),
        (["chrome-extension://abc"], .only(["chrome-extension://abc"])),
    ]

    @Test(arguments: accepted) func accepts(_ texts: [String], _ origins: CORSOrigins) throws {
        #expect(try CORSOrigins(texts) == origins)
        #expect(try CORSOrigins(origins.texts) == origins)
    }

    static let form = "* or an origin such as https://app.example.com or http://localhost:5173 (scheme, host, port; no path)"
    static let refused: [([String], String)] = [
        (["*", "https://a"], #""*" stands beside other origins; expected either * alone or a list of origins"#),
        (["*", "*"], #""*" stands beside other origins; expected either * alone or a list of origins"#),
        ([""], #""" is not an origin; expected \#(form)"#),
        (["app.example.com"], #""app.example.com" is not an origin; expected \#(form)"#),
        (["https://a/"], #""https://a/" is not an origin; expected \#(form)"#),
        (["https://a/b"], #""https://a/b" is not an origin; expected \#(form)"#),
        (["https://"], #""https://" is not an origin; expected \#(form)"#),
        (["://a"], #""://a" is not an origin; expected \#(form)"#),
        (["https://*.a"], #""https://*.a" is not an origin; expected \#(form)"#),
        (["https://u@a"], #""https://u@a" is not an origin; expected \#(form)"#),
        (["https://a b"], #""https://a b" is not an origin; expected \#(form)"#),
        (["https://a\r\nX: y"], #""https://a\r\nX: y" is not an origin; expected \#(form)"#),
        (["null"], #""null" is not an origin; expected \#(form)"#),
    ]

    @Test(arguments: refused) func refuses(_ texts: [String], _ message: String) {
        let fault = #expect(throws: ValueFault.self) { try CORSOrigins(texts) }
        #expect(fault?.description == message)
    }
}
