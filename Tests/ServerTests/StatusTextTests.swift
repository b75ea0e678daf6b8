import Testing

@testable import Server

@Suite struct StatusTextTests {
    static let numbers: [(Int, String)] = [
        (0, "0"), (7, "7"), (999, "999"), (1000, "1,000"), (18_311, "18,311"), (123_456, "123,456"), (1_234_567, "1,234,567"),
        (-1000, "-1,000"),
    ]

    @Test(arguments: numbers) func groups(_ number: Int, _ text: String) { #expect(StatusText.grouped(number) == text) }

    @Test func lines() {
        #expect(StatusText.serving(streams: 1204, liveReaders: 18_311) == "serving 1,204 streams, 18,311 live readers")
        #expect(StatusText.serving(streams: 1, liveReaders: 1) == "serving 1 stream, 1 live reader")
        #expect(StatusText.draining(connections: 12) == "draining, 12 connections left")
        #expect(StatusText.recovering(0.439) == "recovering 43 %")
        #expect(StatusText.recovering(-1) == "recovering 0 %" && StatusText.recovering(2) == "recovering 100 %")
    }
}
