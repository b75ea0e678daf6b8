// What the service manager is told and asks (sd_notify(3)). Outside systemd every call does nothing.

import CSystemd

public enum ServiceManager {
    /// Recovery is done and the listeners accept.
    public static func ready(status: String) { notify("READY=1\nSTATUS=\(status)") }
    public static func status(_ text: String) { notify("STATUS=\(text)") }
    public static func stopping() { notify("STOPPING=1\nSTATUS=draining") }
    public static func failed(_ text: String, errno: Int32) { notify("STATUS=\(text)\nERRNO=\(errno)") }
    /// The start takes longer than the unit allows; asks for more time from now, microseconds.
    public static func extendTimeout(microseconds: UInt64, status: String) {
        notify("EXTEND_TIMEOUT_USEC=\(microseconds)\nSTATUS=\(status)")
    }

    private static func notify(_ state: String) { _ = sd_notify(0, state) }
}
