/// Where a connection comes from.
public enum PeerAddress: Sendable, Hashable {
    case unix
    /// IPv6, or IPv4 mapped into it (RFC 4291 2.5.5.2), most significant octet first.
    case internet(UInt128)
}
