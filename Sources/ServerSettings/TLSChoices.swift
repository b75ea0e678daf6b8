// Choices for connections with TLS.

/// Whether clients show certificates of their own.
public enum ClientCertificatePolicy: String, Sendable, CaseIterable {
    /// They are not asked.
    case off
    /// One that is shown has to be good; none is good too.
    case optional
    /// Without a good one there is no connection.
    case required
}

/// The oldest version of TLS that is spoken.
public enum TLSMinimum: String, Sendable, CaseIterable {
    case version12 = "1.2"
    case version13 = "1.3"
}
