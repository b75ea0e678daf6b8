// Answers of an HTTP/1.1 connection on their way to its socket, and its end.
//
//     output ──▶ one send ──(the socket is full)──▶ SendQueue ──(writable, or its share of a turn)──▶ … ──▶ the next request
//                                                                                                └──▶ lingering ──▶ closed

import HTTPWire
import Reactor
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls
import TransportSecurity

extension Connection {
    /// Puts the head's bytes at the beginning of `server.output`.
    func beginOutput() {
        // A wait that goes on without its request is one of a request that keeps the connection alive.
        let keepAlive = request?.keepAlive ?? true
        server.serializeHead(keepAlive: keepAlive, minorVersion: request?.minorVersion ?? 1)
        closesAfterSending = !keepAlive
    }

    func transmit(_ items: [SendItem]?) {
        if let queue {
            // A 100 that has not gone yet: the answer goes behind it.
            queue.append(.memory(ByteSlice(server.output)))
            for item in items ?? [] { queue.append(item) }
            return
        }
        let sent = server.output.withUnsafeBytes { sendNow($0, more: items != nil) }
        guard let sent else {
            close()
            return
        }
        if sent == server.output.count, items == nil {
            responseIsSent()
            return
        }
        let queue = SendQueue(server.pinned, client)
        if sent < server.output.count {
            let block = server.output.withUnsafeBytes { OwnedBytes(copying: UnsafeRawBufferPointer(rebasing: $0[sent...])) }
            queue.append(.memory(ByteSlice(block: block, offset: 0, count: block.count)))
        }
        for item in items ?? [] { queue.append(item) }
        self.queue = queue
        if server.output.capacity > 4 * ServerCore.copyLimit { server.output = [] }
        continueSending()
    }

    func transmit(shared answer: SharedAnswer) {
        push(ByteSlice(block: answer.block, offset: 0, count: answer.block.count))
        if phase == .sending, queue == nil { responseIsSent() }
    }

    var takesChunks: Bool { (request?.minorVersion ?? 1) > 0 }

    func transmitEventsHead() {
        server.serializeHead(keepAlive: false, minorVersion: request?.minorVersion ?? 1, isChunked: takesChunks)
        push(ByteSlice(server.output))
    }

    func transmitContinue() {
        push(ByteSlice(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)))
    }

    func sendNow(_ bytes: UnsafeRawBufferPointer, more: Bool) -> Int? {
        switch channel.send(bytes, more: more) {
        case .bytes(let count): count
        case .wouldBlock: 0
        case .end, .failed: nil
        }
    }

    func outputIsBlocked() {
        if isCutOff(holdsTooMuch) { return }
        peerTook(0)
        updateDeadline()
        updateInterest()
    }

    func continueSending() {
        guard let queue, !warming else { return }
        if sendsLater { return }
        if server.sendBytesLeft <= 0 || server.hasSenders {
            // It waits for us and not for its peer.
            sendsLater = true
            waitsForServer()
            server.sendLater(self)
            updateInterest()
            return
        }
        sendShare(queue)
    }

    private func sendShare(_ queue: SendQueue) {
        var moved = 0
        let budget = min(server.limits.sendBudget, server.sendBytesLeft)
        let progress = queue.flush(channel, budget: budget, moved: &moved, scratch: server.fileBuffer)
        server.sendBytesLeft -= moved
        switch progress {
        case .done:
            self.queue = nil
            floor.tookAll()
            updateInterest()
            if phase == .streaming { pumpEvents() } else if phase == .sending { responseIsSent() }
        case .blocked, .budgetSpent:
            peerTook(moved)
            outputIsBlocked()
        case .cold(let handle, let offset, let count):
            warming = true
            waitsForServer()
            updateInterest()
            if channel.sendsFiles {
                server.warm(handle, offset: offset, count: count, for: self)
            } else {
                server.load(handle, offset: offset, count: count, for: self)
            }
        case .failed: close()
        case .truncated:
            server.log("a segment ended before its stream", name: nil)
            close()
        }
    }

    /// The turn has a share for it.
    func resumeSending() {
        sendsLater = false
        if let queue, !warming { sendShare(queue) }
    }

    private func responseIsSent() {
        if closesAfterSending || server.isDraining {
            linger()
            return
        }
        phase = .head
        endPhase(at: server.loop.now + server.limits.idleMilliseconds)
        if input != nil { resume() } else if peerEnded { close() }
    }

    /// Goes on after the pipeline's budget was spent.
    func resumePostponed(_ share: Int) {
        isPostponed = false
        if phase == .head { resume(share) }
    }

    func eventsEnded() { linger() }

    /// Ends our side and waits a little for the peer to end its own.
    private func linger() {
        phase = .lingering
        input = nil
        inputHeld.end()
        if peerEnded {
            close()
            return
        }
        channel.endSending()
        endPhase(at: server.loop.now + (server.isDraining ? 100 : server.limits.lingerMilliseconds))
        updateInterest()
    }

    func close() {
        if phase == .closed { return }
        // Between answers the end is an orderly one (RFC 8446 6.1); an answer that breaks off must not look complete.
        if let tls, phase == .head || phase == .lingering { _ = tls.sendClose() }
        abandon()
        input = nil
        inputHeld.end()
        server.closed(self)
    }

    /// The server is ending: waits end, idle connections close, answers in progress are finished.
    func drain() {
        switch phase {
        case .head:
            if input != nil { return }
            // A request that is here already is answered; one that a new connection was opened for will be here in a moment.
            if !peerEnded { receive() }
            guard phase == .head, input == nil, !headHasBegun else { return }
            if tag == 0 { endPhase(at: min(phaseEnd, server.loop.now + server.limits.newConnectionMilliseconds)) } else { close() }
        case .polling: pollIsOver()
        case .streaming: endEvents()
        case .body, .executing, .sending, .lingering, .closed: break
        }
    }
}
