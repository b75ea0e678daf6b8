// Certificates and keys while the server runs.
//
//     start ─▶ loaded, or the server does not start
//     SIGHUP, or other files than before (looked at every ten seconds) ─▶ loaded on a worker ─▶ taken over, or refused: the former ones stay

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
    /// Before the listeners: one that speaks TLS needs a context.
    func startTLS(_ conditions: StartConditions) throws {
        guard !settings.tlsCertificates.isEmpty else {
            if let socket = conditions.sockets.first(where: { $0.name == "https" }) {
                throw StartFault(
                    description:
                        "the passed socket \(socket.name) (descriptor \(socket.descriptor)) speaks TLS, and there is no certificate; expected tls-certificate and tls-key",
                    errno: EINVAL)
            }
            return
        }
        do throws(TLSLoadFailure) {
            let material = try TLSMaterial(settings, now: loop.wallNow / 1000)
            let tickets = try SessionTicketKeys(now: loop.now)
            core.tls = try material.context(settings, tickets)
            (self.material, self.tickets) = (material, tickets)
            logger.notice(
                TLSMaterial.kernelSpeaksTLS
                    ? "TLS: the kernel encrypts what it can" : "TLS: this kernel has none, so that OpenSSL encrypts everything")
            noteTLS(material)
        } catch {
            throw StartFault(description: "TLS: \(error)", errno: nil)
        }
    }

    private func noteTLS(_ material: TLSMaterial) {
        for identity in material.identities {
            let days = (identity.expires - loop.wallNow / 1000) / 86400
            logger.notice(
                "certificate",
                metadata: ["file": "\(identity.certificateFile)", "names": "\(identity.names.joined(separator: " "))", "days": "\(days)"])
        }
    }

    /// Loads the certificates anew on a disk worker; the former ones stay in force if anything is wrong with these.
    func reloadTLS(onlyIfChanged: Bool) {
        guard let former = material else { return }
        // Whoever asks is told, also what has been said before.
        if !onlyIfChanged { tlsFault = nil }
        if isLoadingTLS {
            if !onlyIfChanged { loadsTLSAgain = true }
            return
        }
        isLoadingTLS = true
        let (settings, now) = (settings, loop.wallNow / 1000)
        let confined = Confined(self)
        let dispatcher = context.dispatcher
        dispatcher.work(.background) {
            let result: Result<TLSMaterial, TLSLoadFailure>? =
                if onlyIfChanged && !former.isOutdated {
                    nil
                } else {
                    Result { () throws(TLSLoadFailure) in try TLSMaterial(settings, now: now) }
                }
            dispatcher.post { confined.value.hasLoadedTLS(result) }
        }
    }

    private func hasLoadedTLS(_ result: Result<TLSMaterial, TLSLoadFailure>?) {
        isLoadingTLS = false
        if loadsTLSAgain {
            // These were read before the settings that are in force now.
            loadsTLSAgain = false
            reloadTLS(onlyIfChanged: false)
            return
        }
        guard let result, let tickets else { return }
        do throws(TLSLoadFailure) {
            let material = try result.get()
            core.tls = try material.context(settings, tickets)
            self.material = material
            tlsFault = nil
            logger.notice("certificates loaded again")
            noteTLS(material)
        } catch {
            let text = "\(error)"
            if text == tlsFault { return }
            tlsFault = text
            logger.error(
                "the certificates were read again and cannot be used; the former ones stay in force", metadata: ["error": "\(text)"])
        }
    }

    /// Whether the certificates' files have changed is looked at so often.
    private static let tlsLookMilliseconds: Int64 = 10_000

    func watchTLS() {
        guard let tickets else { return }
        do throws(TLSLoadFailure) {
            try tickets.advance(to: loop.now)
        } catch {
            logger.error("no new key for session tickets", metadata: ["error": "\(error)"])
        }
        if loop.now - tlsLookedAt < Self.tlsLookMilliseconds { return }
        tlsLookedAt = loop.now
        reloadTLS(onlyIfChanged: true)
    }
}
