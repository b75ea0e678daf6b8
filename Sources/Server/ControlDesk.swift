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
        case .health: then(ControlAnswer(200, json: #"{"status":"ok"}"#))
        case .readiness:
            if let problem = unreadiness { then(ControlAnswer(problem)) } else { then(ControlAnswer(200, json: #"{"status":"ready"}"#)) }
        }
    }

    /// Why the server would not serve an append now.
    private var unreadiness: Problem? {
        if server.isDraining { return Problem(503, "The server is draining: it is about to end.") }
        guard let refusal = server.registry.unreadiness else { return nil }
        return Problem(503, RefusalTable.problem(refusal).text)
    }
}
