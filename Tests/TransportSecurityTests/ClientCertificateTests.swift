import COpenSSL
import Testing

@testable import TransportSecurity

@Suite("TLS client certificates")
struct ClientCertificateTests {
    enum Shown: CaseIterable { case none, good, selfSigned, otherAuthority, serverUse, expired }

    @Test("are asked for, required and verified", arguments: Shown.allCases, [TLS1_2_VERSION, TLS1_3_VERSION])
    func verification(shown: Shown, version: Int32) throws {
        let authority = try Fixture.make(["authority"], use: .authority)
        let other = try Fixture.make(["authority"], use: .authority)
        let certificate: MadeCertificate? =
            switch shown {
            case .none: nil
            case .good: try Fixture.make(["client"], use: .client, issuer: authority)
            case .selfSigned: try Fixture.make(["client"], use: .client)
            case .otherAuthority: try Fixture.make(["client"], use: .client, issuer: other)
            case .serverUse: try Fixture.make(["client"], use: .server, issuer: authority)
            case .expired:
                try SelfSignedCertificate.make(
                    names: ["client"], use: .client, validFrom: Fixture.now - 7200, validTo: Fixture.now - 3600, issuer: authority)
            }
        let authorities = try ClientAuthorities(certificates: authority.certificate, file: "ca.pem")
        for isRequired in [true, false] {
            var settings = TLSSettings()
            settings.clientCertificates = isRequired ? .required(authorities) : .optional(authorities)
            let ends = try Ends(
                Fixture.context(nil, settings), .init(lowest: version, highest: version, certificate: certificate))
            let result = ends.shakeHands()
            switch shown {
            case .good:
                #expect(result.server == .complete && ends.server.clientSubject == "CN=client")
            case .none where !isRequired:
                #expect(result.server == .complete && ends.server.clientSubject == nil)
            default:
                guard case .failed(let failure) = result.server else {
                    Issue.record("\(shown) was accepted")
                    return
                }
                #expect(failure.kind == .handshake)
                // Of an authority with the right name and another key OpenSSL says more than that.
                #expect(failure.reason.hasSuffix(shown == .none ? "peer did not return a certificate" : "certificate verify failed"))
            }
        }
    }
}
