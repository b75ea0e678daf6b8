// Outcomes to answers: heads by the responder, bodies from memory and from segment files.

import HTTPWire
import Logging
import Reactor
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls

/// Memory of so many bytes is given back by a worker.
private let largeBlock = 1 << 20

extension Exchange {
    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {
        guard tag == self.tag, phase == .executing || phase == .streaming else {
            if phase == .closed { endRequest() }
            return
        }
        if phase == .streaming {
            continueEvents(outcome)
            return
        }
        switch outcome {
        case .created(let facts, let new):
            server.responder.created(facts, new: new, context, &server.head)
            respond(nil)
        case .appended(let tail, let closed, let producer, let stored, let hadContent):
            server.responder.appended(
                tail: tail, closed: closed, producer: producer, stored: stored, hadContent: hadContent, context, &server.head)
            respond(nil)
        case .deleted:
            server.responder.deleted(context, &server.head)
            respond(nil)
        case .metadata(let facts):
            server.responder.metadata(facts, context, &server.head)
            respond(nil)
        case .read(let result):
            switch mode {
            case .catchUp: send(result)
            case .longPoll: answerPoll(result)
            case .events: beginEvents(result, stream)
            }
        case .waiting(let facts): waits(facts, stream)
        case .refused(let refusal):
            let body = server.responder.refuse(refusal, context, &server.head)
            respond(body)
        }
    }

    func awaits(_ tag: UInt32) -> Bool { tag == self.tag && phase == .executing }

    /// How it reads. Only a long-poll outlives its request, and is answered when it is woken.
    var mode: ReadRequest.Mode {
        guard let request else { return .longPoll }
        guard let asked = request.asked, case .read(let read) = asked.verb else {
            preconditionFailure("only a read is answered with bytes")
        }
        return read.mode
    }

    /// A read's answer: the head and the pieces.
    func send(_ result: ReadResult) {
        let context = context
        let range = RangeFacts(facts: result.facts, from: result.from, to: result.to)
        switch server.responder.read(range, context, &server.head) {
        case .content: break
        case .notModified:
            respond(nil)
            return
        case .conditionFailed:
            let body = server.responder.refuse(.conditionFailed, context, &server.head)
            respond(body)
            return
        }
        beginOutput()
        if context.headOnly {
            finishResponse(nil)
            return
        }
        let isJSON = result.facts.contentType.isJSON
        if result.pieces.isEmpty {
            if isJSON { server.output += [UInt8(ascii: "["), UInt8(ascii: "]")] }
            finishResponse(nil)
            return
        }
        if isJSON { server.output.append(UInt8(ascii: "[")) }
        var items: [SendItem] = []
        var total = 0
        // Of JSON the last `,\n` is not sent.
        var left = Int(result.to - result.from) - (isJSON ? 2 : 0)
        for piece in result.pieces {
            let count = min(left, piece.count)
            if count <= 0 { break }
            left -= count
            total += count
            switch piece {
            case .memory(let slice): items.append(.memory(ByteSlice(block: slice.block, offset: slice.offset, count: count)))
            case .file(let handle, let offset, _): items.append(.file(handle, offset: offset, count: count))
            }
        }
        if total <= ServerCore.copyLimit, inlined(items) {
            if isJSON { server.output.append(UInt8(ascii: "]")) }
            finishResponse(nil)
            return
        }
        if isJSON { items.append(.memory(ServerCore.closingBracket)) }
        finishResponse(items)
    }

    /// Copies a small body behind the head, so that both go with one call; false when a part would have to wait for the disk.
    private func inlined(_ items: [SendItem]) -> Bool {
        let mark = server.output.count
        for item in items {
            switch item {
            case .memory(let slice): server.output.append(contentsOf: slice.bytes)
            case .file(let handle, let offset, let count):
                guard let file = handle.file.descriptor else { return false }
                let start = server.output.count
                server.output.append(contentsOf: repeatElement(0, count: count))
                let got = server.output.withUnsafeMutableBytes {
                    FileCalls.readIfCached(file, into: UnsafeMutableRawBufferPointer(rebasing: $0[start..<start + count]), at: offset)
                }
                if got != count {
                    server.output.removeSubrange(mark...)
                    return false
                }
            }
        }
        return true
    }

    /// Sends the response whose head is in `server.head`.
    func respond(_ body: [UInt8]?) {
        beginOutput()
        if let body, !(request?.context.headOnly ?? false) { server.output += body }
        finishResponse(nil)
    }

    private func finishResponse(_ items: [SendItem]?) {
        logAccess(server.head.status)
        endRequest()
        if reader != nil { leaveStream() }
        phase = .sending
        phaseEnd = .max
        transmit(items)
    }

    func queueRest(_ slice: ByteSlice, from offset: Int) {
        let queue = SendQueue(server.pinned, client)
        queue.append(.memory(ByteSlice(block: slice.block, offset: slice.offset + offset, count: slice.count - offset)))
        self.queue = queue
        outputIsBlocked()
    }

    func endRequest() {
        guard let request else { return }
        request.held.end()
        self.request = nil
        // Many that stop at the same time end in the same turn, and each page of theirs takes its time to give back.
        if let block = request.body.block, block.capacity >= largeBlock {
            request.body = .nothing
            server.dispatcher.work(.compute) { withExtendedLifetime(block) {} }
        }
    }

    func logAccess(_ status: Int) {
        guard let request, let line = request.accessLine else { return }
        request.accessLine = nil
        var metadata: Logger.Metadata = ["status": "\(status)", "ms": "\(server.loop.now - request.began)"]
        if let asked = request.asked { metadata["STREAM"] = "\(StreamLabel.text(asked.name))" }
        server.logger.info("\(line)", metadata: metadata)
    }

    /// A disk worker has read the range that the queue waits for.
    func warmed(to end: Int) {
        guard phase != .closed else { return }
        warming = false
        queue?.warmed(to: end)
        continueSending()
    }

    /// A disk worker has read what the queue waits for, for a transport that takes no files; nil: it could not.
    func loaded(_ block: OwnedBytes?) {
        guard phase != .closed else { return }
        warming = false
        guard let block else {
            server.log("a segment ended before its stream, or could not be read", name: nil)
            close()
            return
        }
        queue?.supply(block)
        continueSending()
    }

    /// The journal has failed: what is being executed will not be acknowledged.
    func failPending() {
        guard phase == .executing else { return }
        tag &+= 1
        refuse(
            Problem(503, "The server's journal has failed; it is unknown whether this was stored. Ask again after the restart."),
            keepAlive: false)
    }
}
