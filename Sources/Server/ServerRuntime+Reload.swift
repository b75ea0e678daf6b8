// The configuration: what of it goes to the router and the responder, and what happens when it is read again.
//
//     SIGHUP ─▶ RELOADING ─▶ the configuration is read on a disk worker ─▶ taken over, or refused as a whole ─▶ READY

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
    /// Drawn once for the process (ResponderSettings.tagLife).
    private static let tagLife = UInt64.random(in: 1 ... .max)

    static func router(_ settings: Settings) -> RouterSettings {
        var router = RouterSettings()
        router.origins = responder(settings).origins
        router.strictTransport = settings.strictTransport > .zero
        if !settings.allowedHosts.allowsAll { router.allowsHost = { settings.allowedHosts.allow($0) } }
        router.forksStayInSegment = settings.forkScope == .segment
        return router
    }

    static func responder(_ settings: Settings) -> ResponderSettings {
        var responder = ResponderSettings()
        if case .only(let origins) = settings.corsOrigins { responder.origins = origins.map { Array($0.utf8) } }
        responder.tagLife = tagLife
        responder.publicCache = settings.cacheVisibility == .public
        responder.strictTransportSeconds = UInt64(settings.strictTransport.milliseconds / 1000)
        return responder
    }

    func readConfigurationAgain() {
        guard let reread else { return }
        if draining { return }
        if case .reading = reload {
            reload = .reading(again: true)
            return
        }
        reload = .reading(again: false)
        manager.reloading()
        let confined = Confined(self)
        let dispatcher = context.dispatcher
        dispatcher.work(.background) {
            let result = Result { () throws(SettingsFailure) in try reread() }
            dispatcher.post { confined.value.hasReadConfiguration(result) }
        }
    }

    private func hasReadConfiguration(_ result: Result<Settings, SettingsFailure>) {
        guard case .reading(let again) = reload else { preconditionFailure("nobody reads the configuration") }
        reload = .none
        switch result {
        case .success(let new): adopt(SettingsChange(from: settings, to: new))
        case .failure(let failure):
            for problem in failure.problems { logger.error("configuration: \(problem)") }
            logger.log(.error, .reloadRefused, "the configuration was read again and has faults; the former one stays in force")
            reloadFault = "the configuration file has faults, the former configuration is in force"
        }
        if draining { return }
        status = servingText
        statusToldAt = loop.now
        manager.ready(status: status)
        if again { readConfigurationAgain() }
    }

    func adopt(_ change: SettingsChange) {
        reloadFault = nil
        settings = change.settings
        let budget = DescriptorBudget(settings: settings, descriptors: descriptors)
        context.producerRetention = settings.producerRetention.milliseconds
        core.adopt(
            ServerLimits(settings, connections: budget.connections), Self.responder(settings), Self.router(settings),
            isTrustedProxy: settings.trustedProxies.contains, logsAccess: settings.accessLog)
        for listener in listeners { listener.prepareConnections() }
        reloadTLS(onlyIfChanged: false)
        scrubber.rate = settings.scrubRate
        scrubber.pause = settings.scrubPause.milliseconds
        LogOutput.changeLevel(to: settings.logLevel)
        for setting in change.applied {
            logger.notice("changed", metadata: ["setting": "\(setting.name)", "from": "\(setting.old)", "to": "\(setting.new)"])
        }
        if !change.waiting.isEmpty {
            logger.warning(
                "changed settings take effect at the next start only", metadata: ["settings": "\(change.waiting.joined(separator: " "))"])
        }
        logger.notice("the configuration was read again", metadata: ["changed": "\(change.applied.count)"])
    }

    // MARK: The service manager

    var servingText: String {
        StatusText.serving(streams: registry.streamCount, liveReaders: core.liveReaders) + (reloadFault.map { "; \($0)" } ?? "")
    }

    /// Tells what has changed, now and then.
    func tellStatus() {
        guard manager.isPresent, loop.now - statusToldAt >= Self.statusMilliseconds else { return }
        let text = draining ? StatusText.draining(connections: core.connectionCount) : servingText
        if text == status { return }
        status = text
        statusToldAt = loop.now
        manager.status(text)
    }
}
