import COpenSSL
import Testing

@testable import TransportSecurity

@Suite("TLS session tickets")
struct ResumptionTests {
    private static let hour: Int64 = 3600 * 1000

    /// Connects, with a ticket if there is one; whether it was resumed, and the newest ticket afterwards.
    private func connect(
        _ context: TLSContext, _ version: Int32, ticket: OpaquePointer? = nil, name: String = "localhost",
        certificate: MadeCertificate? = nil
    ) throws -> (resumed: Bool, ticket: OpaquePointer?) {
        let settings = TLSClient.Settings(lowest: version, highest: version, serverName: name, certificate: certificate)
        let ends = try Ends(context, settings, ticket: ticket)
        try ends.connect()
        #expect(Array("x".utf8).withUnsafeBytes { ends.server.write($0) } == .bytes(1))
        #expect(ends.client.read() == Array("x".utf8))
        #expect(ends.server.isResumed == ends.client.isResumed)
        // A client that does not say goodbye has its session taken for a broken one.
        SSL_shutdown(ends.client.session)
        return (ends.server.isResumed, ends.client.takeTicket())
    }

    @Test("resume with the current key and with the one before, and not with an older one", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func rotation(version: Int32) throws {
        let keys = try SessionTicketKeys(now: 0, interval: 12 * Self.hour)
        let context = try Fixture.context(keys: keys)
        let first = try connect(context, version)
        #expect(!first.resumed)
        let ticket = try #require(first.ticket)
        defer { SSL_SESSION_free(ticket) }
        try keys.advance(to: 12 * Self.hour - 1)
        #expect(try connect(context, version, ticket: ticket).resumed, "within the interval")
        #expect(try connect(context, version, ticket: ticket).resumed, "within the interval again")

        try keys.advance(to: 12 * Self.hour)
        let renewed = try connect(context, version, ticket: ticket)
        #expect(renewed.resumed, "after one rotation")
        let newTicket = try #require(renewed.ticket, "and a new ticket comes with it")
        defer { SSL_SESSION_free(newTicket) }

        try keys.advance(to: 24 * Self.hour)
        #expect(try !connect(context, version, ticket: ticket).resumed, "after two rotations")
        #expect(try connect(context, version, ticket: newTicket).resumed, "the new one is one rotation old")
        try keys.advance(to: 48 * Self.hour)
        #expect(try !connect(context, version, ticket: newTicket).resumed, "two rotations at once")
        try keys.advance(to: 40 * Self.hour)
        #expect(try !connect(context, version).resumed, "a clock that goes back changes nothing")
    }

    @Test("survive a reload that shares the keys, and no restart", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func reload(version: Int32) throws {
        let keys = try SessionTicketKeys(now: 0)
        let ticket = try #require(try connect(Fixture.context(keys: keys), version).ticket)
        defer { SSL_SESSION_free(ticket) }
        #expect(try connect(Fixture.context(keys: keys), version, ticket: ticket).resumed)
        #expect(try !connect(Fixture.context(), version, ticket: ticket).resumed)
    }

    @Test("do not stand in for a client certificate that was never shown", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func scope(version: Int32) throws {
        let keys = try SessionTicketKeys(now: 0)
        let open = try connect(Fixture.context(keys: keys), version)
        let ticket = try #require(open.ticket)
        defer { SSL_SESSION_free(ticket) }
        let authority = try Fixture.make(["authority"], use: .authority)
        var settings = TLSSettings()
        settings.clientCertificates = .required(try ClientAuthorities(certificates: authority.certificate, file: "ca.pem"))
        let strict = try Fixture.context(nil, settings, keys: keys)
        let client = try Fixture.make(["client"], use: .client, issuer: authority)
        let ends = try Ends(strict, .init(lowest: version, highest: version), ticket: ticket)
        let result = ends.shakeHands()
        if case .complete = result.server { Issue.record("the ticket was taken for a certificate") }
        // With one, tickets work there as well, and the subject comes with the ticket.
        let shown = try #require(try connect(strict, version, certificate: client).ticket)
        defer { SSL_SESSION_free(shown) }
        let again = try Ends(strict, .init(lowest: version, highest: version), ticket: shown)
        try again.connect()
        #expect(again.server.isResumed && again.server.clientSubject == "CN=client")
    }
}
