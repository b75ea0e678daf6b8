// Signals as ordinary events of the loop (signalfd(2)): no handler ever interrupts the server's code.

import CLinux
import Glibc
import SystemCalls
import SystemPackage

public final class SignalSource: ReadinessHandler {
    private let descriptor: Descriptor
    private let action: (Int32) -> Void

    /// Blocks `signals` for the calling thread (and threads it starts later), so that they arrive here only.
    public init(_ signals: [Int32], on loop: EventLoop, _ action: @escaping (Int32) -> Void) throws(Errno) {
        let number = clinux_signalfd(signals, Int32(signals.count), 1)
        if number < 0 { throw Errno(rawValue: Glibc.errno) }
        descriptor = Descriptor(owning: number)
        self.action = action
        try loop.register(number, self, for: .readable)
    }

    public func ready(_ readiness: Readiness) {
        while true {
            let signal = clinux_signalfd_read(descriptor.number)
            if signal == 0 { return }
            action(signal)
        }
    }
}
