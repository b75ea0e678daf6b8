// What the control routes answer (CONTROL.md 18.2).
//
// `healthz` is answered by the loop itself: if it comes, the loop turns. `readyz` asks what an append would ask.

import StreamActors
import StreamHTTP

struct ControlDesk {
    unowned let server: ServerCore

    /// Answers at once or later, on the reactor.
    func answer(_ request: ControlRequest, _ then: @escaping @Sendable (ControlAnswer) -> Void) {
        switch request.route {
        case .health: then(.json(#"{"status":"ok"}"#))
        case .readiness:
            then(unreadiness.map { .problem(Problem(503, $0, code: "UNAVAILABLE")) } ?? .json(#"{"status":"ready"}"#))
        }
    }

    /// Why the server would not serve an append now.
    private var unreadiness: String? {
        if server.isDraining { return "The server is draining: it is about to end." }
        return server.registry.unreadiness.map { RefusalTable.problem($0).text }
    }
}
