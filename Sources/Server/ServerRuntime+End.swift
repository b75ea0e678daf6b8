// The end of a server.
//
//     SIGTERM/SIGINT ─▶ stop accepting ─▶ end waits, finish answers ─▶ checkpoint ─▶ exit 0
//     an error of the journal ─▶ 503 to whoever waits ─▶ exit 74, so that the next start recovers

import CLinux
import Glibc
import Logging
import Reactor
import ServerSettings
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls
import SystemPackage
import Systemd
import TransportSecurity

extension ServerRuntime {
    func drain() {
        if draining {
            // Asked twice: wait no longer for the peers.
            core.closeAll()
            return
        }
        draining = true
        logger.notice("draining", metadata: ["connections": "\(core.connectionCount)"])
        status = StatusText.draining(connections: core.connectionCount)
        manager.stopping(status: status)
        // The unit's time-out need not know of drain-timeout.
        manager.extendTimeout(
            microseconds: UInt64(core.limits.drainMilliseconds) * 1000 + Self.checkpointMicroseconds, status: status)
        for listener in listeners { listener.close() }
        core.onConnectionsGone = { [self] in finish() }
        loop.schedule(after: core.limits.drainMilliseconds) { [self] in
            core.closeAll()
            finish()
        }
        core.drain()
    }

    func finish() {
        guard !finishing else { return }
        finishing = true
        finishWhenIdle()
    }

    private func finishWhenIdle() {
        if context.journal.failure != nil {
            loop.stop()
            return
        }
        guard context.journal.isIdle else {
            context.journal.submit()
            loop.schedule(after: 1) { [self] in finishWhenIdle() }
            return
        }
        let confined = Confined(self)
        checkpointer.run { success in confined.value.checkpointed(success) }
    }

    private func checkpointed(_ success: Bool) {
        if success, context.journal.isIdle, !checkpointer.hasWork {
            // Every record is in the catalog: the next start replays nothing.
            try? context.journal.removeAllFiles()
        } else if success, context.journal.failure == nil {
            finishWhenIdle()
            return
        } else {
            logger.warning("the last checkpoint did not succeed; the next start replays the journal")
        }
        logger.notice("stopped")
        loop.stop()
    }

    func fatal(_ reason: String) {
        guard exitCode == 0 else { return }
        exitCode = Self.exitIO
        logger.log(.critical, .diskFailed, "\(reason); the server ends, and the next start recovers what was acknowledged")
        core.failPending()
        manager.failed(reason, errno: context.journal.failure?.rawValue ?? EIO)
        for listener in listeners { listener.close() }
        loop.stop()
    }
}
