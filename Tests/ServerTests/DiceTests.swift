// The loop under dice: the server's own connections, TLS and HTTP/2 on a scheduler that a seed drives.
//
//     each step:  a peer asks │ a peer gives n bytes │ a peer takes n bytes │ a worker's job │ the journal's job │ a turn │ time passes
//     then calm:  everybody gives and takes, every question is answered, streams are closed, every reader comes to the end
//     then over:  all peers go, and every account is back at zero
//
// Budgets are anything from a byte up. What was answered is compared with the streams' content, which at the end is read once more: each
// acknowledged append stands where its answer said, each answer to a read and all events of a reader are the bytes of their range.
//
// Beside the honest peers there may be: some who announce large bodies and send little of them, one who takes a byte now and then, and a reader
// of a stream with a short TTL who takes nothing. They must not be able to refuse, delay or end anything of the others'.
//
// DS_DICE_SEEDS=FROM..<TO runs other seeds than those of every test run.

import COpenSSL
import Foundation
import HTTP2SessionTesting
import Reactor
import StreamHTTP
import StreamRules
import StreamSimulation
import StreamStore
import SystemCalls
import Testing
import TransportSecurity

@testable import Server
@testable import StreamActors

extension Dice {
    /// Spread over orders of magnitude: as often about 10 as about 10,000.
    fileprivate func size(_ most: Int) -> Int {
        let bits = number(0, Int.bitWidth - most.leadingZeroBitCount)
        return min(most, number(0, 1 << bits) + 1)
    }
}

/// What is known of one stream's content.
private final class Content {
    let name: String
    let type: String
    let form: EventEncoder.Form
    /// Positions that answers have named.
    var offsets = [0]
    /// Acknowledged appends in stored form and where they end.
    var appends: [(bytes: [UInt8], end: Int)] = []
    var reads: [(from: Int, bytes: [UInt8], what: String)] = []

    init(_ name: String, _ type: String) {
        self.name = name
        self.type = type
        form = EventEncoder.Form(ContentType(type))
    }

    /// A body as a client sees it, in stored form.
    func stored(_ body: [UInt8]) -> [UInt8] {
        guard form == .json else { return body }
        let inner = body.dropFirst().dropLast()
        return inner.isEmpty ? [] : inner + [0x2C, 0x0A]
    }
}

private final class Question {
    enum Kind {
        case read(from: Int)
        case poll(from: Int)
        case append([UInt8])
        case events(from: Int)
        case head, create
    }
    let kind: Kind
    let content: Content
    var stream: Int32 = 0
    var events: [UInt8] = []
    var hasHead = false
    init(_ kind: Kind, _ content: Content) {
        self.kind = kind
        self.content = content
    }
    var isEvents: Bool { if case .events = kind { true } else { false } }
}

private final class DiceRun {
    let seed: UInt64
    var random: Dice
    let bench: ServerBench
    let clock = VirtualClock()
    var contents: [Content] = []
    var peers: [(peer: DicePeer, questions: [Question])] = []
    var faults: [String] = []
    var jsonSent = 0
    var nextTick: Int64
    let spender: Int
    private var payloadNumber = 0

    init(_ seed: UInt64) throws {
        self.seed = seed
        Processes.ignoreSignals()
        var random = Dice(seed: seed)
        let disk = MemoryDisk()
        var sizes = Journal.Sizes()
        sizes.firstFile = 16 << 10
        sizes.smallestFile = 16 << 10
        sizes.urgentRoom = 512
        let journalSize = [64 << 10, 128 << 10, 4 << 20].randomElement(using: &random)!
        let chunk = UInt32(random.size(8_192) + 16)
        let prepared = [1, 200, 64 << 10].randomElement(using: &random)!
        let flush = [100, 3_000, 1 << 20].randomElement(using: &random)!
        let segment = [500, 20_000].randomElement(using: &random)!
        var limits: [Int] = []
        for most in [200_000, 200_000, 40_000, 40_000, 5_000] { limits.append(random.size(most)) }
        let pipeline = Int.random(in: 1...64, using: &random)
        let catchUp = limits
        let requests = [1, random.size(20), 512].randomElement(using: &random)!
        let perAddress = [1, random.size(10), 256].randomElement(using: &random)!
        let receive = [2_000, 2_000 + random.size(40_000), 1 << 20].randomElement(using: &random)!
        bench = try ServerBench(
            {
                $0.sendBytesPerTurn = catchUp[0]
                $0.sendBudget = catchUp[1]
                $0.sendBytesBeyond = max(1, catchUp[0] / 2)
                $0.liveBytesPerTurn = catchUp[2]
                $0.catchUpBytesPerTurn = catchUp[3]
                $0.eventsPieceBytes = catchUp[4]
                $0.pipelineBudget = pipeline
                $0.requestsPerTurn = requests
                $0.requestsPerAddress = perAddress
                $0.receiveBytesPerTurn = receive
                $0.receiveBudget = max(1, receive / 2)
                $0.smallReceive = max(1, receive / 10)
                $0.peerBytes = 2 << 20
                $0.connectionsPerAddress = 1_000
            },
            store: {
                $0.chunkSize = chunk
                $0.segmentSize = segment
                $0.flushThreshold = flush
                $0.inlineLimit = 64
                $0.journalSize = journalSize
                $0.preparedBytes = prepared
                $0.checkpointMilliseconds = 400
            },
            sizes: sizes, disk: disk, catalog: SimulatedCatalog(), clocks: clock.clocks)
        self.random = random
        spender = journalSize
        nextTick = bench.loop.now + 1_000
        bench.workers.isHeld = true
        bench.journalLane.isHeld = true
        if let (chain, key) = TestCertificate.pair {
            let identity = try TLSIdentity(
                certificates: chain, key: key, certificateFile: "c.pem", keyFile: "c.key", now: Int64(time(nil)))
            bench.core.tls = try TLSContext([identity], TLSSettings(), ticketKeys: SessionTicketKeys(now: 0))
        }
    }

    func fail(_ text: String) { faults.append("seed \(seed): \(text)") }

    // MARK: Questions

    private func head(_ method: String, _ content: Content, _ query: String, _ fields: [String], _ body: [UInt8]?) -> [UInt8] {
        var text = "\(method) /v1/stream/\(content.name)\(query) HTTP/1.1\r\nHost: a\r\n" + fields.map { $0 + "\r\n" }.joined()
        if let body { text += "Content-Length: \(body.count)\r\n" }
        return Array((text + "\r\n").utf8) + (body ?? [])
    }

    func ask(_ index: Int, _ question: Question) {
        let peer = peers[index].peer
        var (method, query, fields): (String, String, [String]) = ("GET", "", [])
        var body: [UInt8]?
        func token(_ position: Int) -> String { StreamOffset(position: UInt64(position)).description }
        switch question.kind {
        case .read(let from): query = "?offset=\(token(from))"
        case .poll(let from): query = "?offset=\(token(from))&live=long-poll"
        case .events(let from): query = "?offset=\(token(from))&live=sse"
        case .head: method = "HEAD"
        case .create:
            (method, body, fields) = ("PUT", [], ["Content-Type: \(question.content.type)"])
        case .append(let bytes):
            (method, body, fields) = ("POST", bytes, ["Content-Type: \(question.content.type)"])
            if question.content.form == .json { jsonSent += bytes.count }
        }
        if let client = peer.client {
            let pairs = fields.map { field -> (String, String) in
                let parts = field.split(separator: ":", maxSplits: 1)
                return (parts[0].lowercased(), parts[1].trimmingCharacters(in: .whitespaces))
            }
            question.stream = client.request("/v1/stream/\(question.content.name)\(query)", method: method, pairs, body: body)
        } else {
            peer.send(head(method, question.content, query, fields, body))
        }
        peers[index].questions.append(question)
    }

    private func payload(_ content: Content) -> [UInt8] {
        payloadNumber += 1
        let size = random.size(random.chance(10) ? 24_000 : 600)
        switch content.form {
        case .json:
            let count = Int.random(in: 1...4, using: &random)
            let elements = (0..<count).map {
                "{\"n\":\(payloadNumber).\($0),\"x\":\"" + String(repeating: "é", count: size / count / 2) + "\"}"
            }
            return Array(("[" + elements.joined(separator: random.chance(50) ? "," : " ,\n ") + "]").utf8)
        case .text:
            return Array("<\(seed).\(payloadNumber)>".utf8) + Array(String(repeating: "aé\n漢 😀", count: size / 14 + 1).utf8)
        case .base64: return Array("\(payloadNumber):".utf8) + (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
        }
    }

    private func askSomething(_ index: Int) {
        let (peer, questions) = peers[index]
        if peer.ended || peer.fault != nil || questions.contains(where: \.isEvents) && !peer.transport.isHTTP2 { return }
        if questions.count >= (peer.transport.isHTTP2 ? 6 : 3) { return }
        let content = contents.randomElement(using: &random)!
        let from = content.offsets.randomElement(using: &random)!
        switch Int.random(in: 0..<12, using: &random) {
        case 0..<5: ask(index, Question(.append(payload(content)), content))
        case 5..<8: ask(index, Question(.read(from: from), content))
        case 8: ask(index, Question(.poll(from: from), content))
        case 9: ask(index, Question(.head, content))
        default: if questions.isEmpty || peer.transport.isHTTP2 { ask(index, Question(.events(from: from), content)) }
        }
    }

    // MARK: Answers

    private func answered(_ question: Question, status: Int, fields: (String) -> String?, body: [UInt8]) {
        let content = question.content
        let what = "\(question.content.name): \(question.kind)".prefix(60)
        func offset() -> Int? { fields("stream-next-offset").flatMap { Int($0.split(separator: "_").last ?? "") } }
        switch question.kind {
        case .create: if status != 201 { fail("\(what) is answered \(status)") }
        case .head: if status != 200 { fail("\(what) is answered \(status)") }
        case .append(let bytes):
            guard status == 204, let end = offset() else {
                return fail("\(what) is answered \(status): \(String(decoding: body, as: UTF8.self))")
            }
            let stored: [UInt8]
            if content.form == .json {
                // The stored form is what a read gives; its length is the distance.
                stored = []
            } else {
                stored = bytes
            }
            content.appends.append((content.form == .json ? bytes : stored, end))
            content.offsets.append(end)
        case .read(let from), .poll(let from):
            if case .poll = question.kind, status == 204 { return }
            guard status == 200, let to = offset() else {
                return fail("\(what) is answered \(status): \(String(decoding: body, as: UTF8.self))")
            }
            let bytes = content.stored(body)
            if bytes.count != to - from { fail("\(what): \(bytes.count) bytes from \(from) to \(to)") }
            content.reads.append((from, bytes, String(what)))
            content.offsets.append(to)
        case .events: break
        }
    }

    /// All events that have come, checked as far as they go.
    private func eventsEnded(_ question: Question, isWhole: Bool) {
        guard case .events(let from) = question.kind else { return }
        let content = question.content
        var bytes: [UInt8] = []
        var position = from
        var inEvent = false
        let text = String(decoding: question.events, as: UTF8.self)
        var events = text.components(separatedBy: "\n\n")
        if events.last != "" { inEvent = true }
        events.removeLast()
        for event in events {
            let lines = event.components(separatedBy: "\n").filter { !$0.hasPrefix(":") }
            if lines.isEmpty || lines == [""] { continue }
            let data = lines.filter { $0.hasPrefix("data:") }.map { line -> String in
                let rest = line.dropFirst(5)
                return String(rest.hasPrefix(" ") ? rest.dropFirst() : rest)
            }.joined(separator: "\n")
            guard let id = lines.last, id.hasPrefix("id:"), let offset = Int(id.split(separator: "_").last ?? "") else {
                fail("an event without its id: \(event.prefix(80))")
                return
            }
            if lines[0] == "event: control" {
                position = offset
                continue
            }
            switch content.form {
            case .text: bytes += Array(data.utf8)
            case .json: bytes += content.stored(Array(data.utf8))
            case .base64:
                guard let decoded = Data(base64Encoded: data) else { return fail("no base64: \(data.prefix(80))") }
                bytes += decoded
            }
            if from + bytes.count != offset { fail("events of \(content.name) from \(from): id \(offset) behind \(bytes.count) bytes") }
        }
        if inEvent, isWhole { fail("an event stream of \(content.name) ends inside an event, and is told to be whole") }
        if from + bytes.count != position, !inEvent, position != from || !bytes.isEmpty {
            fail("events of \(content.name): \(bytes.count) bytes from \(from), told \(position)")
        }
        content.reads.append((from, bytes, "events from \(from)"))
    }

    func collect(_ index: Int) {
        let peer = peers[index].peer
        if let fault = peer.fault { fail("\(peer.transport): \(fault)") }
        if let client = peer.client {
            peers[index].questions.removeAll { question in
                guard let answer = client.answers[question.stream] else { return false }
                if question.isEvents {
                    question.events = answer.body
                    guard answer.hasEnded || answer.closedWith != nil else { return false }
                    if answer.status != 200 { fail("events are answered \(answer.status)") }
                    eventsEnded(question, isWhole: answer.hasEnded)
                    return true
                }
                guard answer.hasEnded else {
                    if let code = answer.closedWith { fail("a stream is reset with \(code): \(question.kind)") }
                    return answer.closedWith != nil
                }
                answered(question, status: answer.status, fields: { answer.value($0) }, body: answer.body)
                return true
            }
            return
        }
        while let question = peers[index].questions.first {
            if question.isEvents {
                if !question.hasHead {
                    guard let (status, _, end) = Self.head(peer.inbox) else { break }
                    if status != 200 { fail("events are answered \(status)") }
                    peer.inbox.removeFirst(end)
                    question.hasHead = true
                }
                guard peer.ended else { break }
                let body = Dechunked(peer.inbox)
                question.events = body.content
                eventsEnded(question, isWhole: body.isComplete)
                peers[index].questions.removeFirst()
                continue
            }
            guard let (status, fields, end) = Self.head(peer.inbox) else { break }
            var length = 0
            if status != 204, status != 304, !{ if case .head = question.kind { true } else { false } }() {
                guard let text = fields["content-length"], let count = Int(text) else { return fail("no length: \(fields)") }
                length = count
            }
            guard peer.inbox.count >= end + length else { break }
            let body = Array(peer.inbox[end..<end + length])
            peer.inbox.removeFirst(end + length)
            peers[index].questions.removeFirst()
            answered(question, status: status, fields: { fields[$0] }, body: body)
        }
    }

    private static func head(_ bytes: [UInt8]) -> (Int, [String: String], Int)? {
        guard let range = bytes.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
        let lines = String(decoding: bytes[..<range.lowerBound], as: UTF8.self).split(separator: "\r\n")
        var fields: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            fields[parts[0].lowercased()] = parts.count > 1 ? parts[1].trimmingCharacters(in: .whitespaces) : ""
        }
        return (Int(lines[0].split(separator: " ")[1]) ?? 0, fields, range.upperBound)
    }

    // MARK: Steps

    func pass(_ milliseconds: Int64) {
        clock.advance(milliseconds)
        bench.loop.runTurn(waiting: false)
        if bench.loop.now >= nextTick {
            nextTick = bench.loop.now + 1_000
            bench.registry.tick()
            bench.context.journal.trim()
        }
    }

    private func step() {
        let index = Int.random(in: 0..<peers.count, using: &random)
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<3: askSomething(index)
        case 3..<7: peers[index].peer.give(random.size(30_000))
        case 7..<11:
            peers[index].peer.take(random.size(30_000))
            collect(index)
        case 11..<13:
            let count = bench.workers.heldCount
            if count > 0 { bench.workers.release(at: Int.random(in: 0..<count, using: &random)) }
        case 13..<15: if bench.journalLane.heldCount > 0 { bench.journalLane.release(at: 0) }
        case 15: pass(Int64(Int.random(in: 1...60, using: &random)))
        default: bench.loop.runTurn(waiting: false)
        }
    }

    /// Everybody gives and takes, and all work is done, until nothing is open but what `stays` says, or nothing helps.
    func calm(_ rounds: Int, until isDone: () -> Bool) {
        for _ in 0..<rounds {
            for index in peers.indices {
                peers[index].peer.give(.max)
                while peers[index].peer.take(1 << 16) > 0 {}
                collect(index)
            }
            while bench.workers.heldCount > 0 { bench.workers.release(at: 0) }
            while bench.journalLane.heldCount > 0 { bench.journalLane.release(at: 0) }
            pass(3)
            if isDone() { return }
        }
    }

    func run() throws {
        let types = ["text/plain", "application/json", "application/octet-stream"]
        contents = (0..<3).map { Content("s\($0)", types[($0 + Int(seed % 3)) % 3]) }
        let mortal = Content("mortal", "text/plain")
        func connect(_ transport: DicePeer.Transport? = nil) throws {
            let buffer: Int32? = random.chance(50) ? Int32(random.size(60_000)) : nil
            peers.append(
                (
                    try DicePeer(
                        bench, transport ?? DicePeer.Transport.allCases.randomElement(using: &random)!, buffer: buffer,
                        address: UInt128(peers.count)), []
                ))
        }
        try connect(.http1)
        for content in contents { ask(0, Question(.create, content)) }
        calm(200) { peers[0].questions.isEmpty }
        for _ in 0..<Int.random(in: 2...6, using: &random) { try connect() }

        // A reader of a stream with a short TTL who takes nothing for far longer than that.
        let hasMortal = random.chance(40)
        if hasMortal {
            peers[0].peer.send(
                head("PUT", mortal, "", ["Content-Type: text/plain", "Stream-TTL: 1"], Array(repeating: 0x78, count: 300_000)))
            calm(400) { Self.head(peers[0].peer.inbox) != nil }
            peers[0].peer.inbox = []
            mortal.offsets = [0]
        }
        let sleeper = hasMortal ? try DicePeer(bench, .http1, buffer: 4_096) : nil
        sleeper?.send(head("GET", mortal, "?offset=-1&live=sse", [], nil))
        // Until it is one, a disk that takes longer than the TTL may end its stream.
        for _ in 0..<12 {
            sleeper?.give(.max)
            while bench.journalLane.heldCount > 0 { bench.journalLane.release(at: 0) }
            while bench.workers.heldCount > 0 { bench.workers.release(at: 0) }
            bench.loop.runTurn(waiting: false)
        }
        // Some who announce much, all together more than there is room for, and send little.
        let hoarders = random.chance(40) ? try (0..<36).map { try DicePeer(bench, .http1, buffer: nil, address: 200 + $0) } : []
        for hoarder in hoarders {
            hoarder.send(Array("POST /v1/stream/s0 HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 60000\r\n\r\n".utf8))
            hoarder.give(.max)
        }

        for _ in 0..<Int.random(in: 50...400, using: &random) where faults.isEmpty { step() }

        if hasMortal, faults.isEmpty {
            for _ in 0..<4 {
                pass(1_000)
                while bench.workers.heldCount > 0 { bench.workers.release(at: 0) }
                while bench.journalLane.heldCount > 0 { bench.journalLane.release(at: 0) }
            }
            let index = peers.count
            try connect(.http1)
            ask(index, Question(.head, mortal))
        }
        // A budget of a byte would make the rest long.
        var limits = bench.core.limits
        (limits.sendBytesPerTurn, limits.sendBudget, limits.sendBytesBeyond) = (1 << 20, 1 << 19, 1 << 14)
        (limits.liveBytesPerTurn, limits.catchUpBytesPerTurn, limits.eventsPieceBytes) = (1 << 20, 1 << 18, 1 << 16)
        (limits.requestsPerTurn, limits.requestsPerAddress, limits.receiveBytesPerTurn) = (256, 256, 1 << 20)
        bench.core.adopt(limits, ResponderSettings(), RouterSettings(), isTrustedProxy: bench.core.peers.isTrusted, logsAccess: false)
        // Long-polls end by their time.
        calm(1_500) {
            if bench.loop.now % 7 == 0 { clock.advance(400) }
            return peers.allSatisfy { $0.questions.allSatisfy(\.isEvents) }
        }
        for (peer, questions) in peers {
            for question in questions where !question.isEvents {
                fail("\(peer.transport): never answered: \("\(question.kind)".prefix(50))")
            }
        }
        try checkContents()
        if faults.isEmpty { try tricklerIsCutOff() }
        // All go, and nothing is left of them.
        for (peer, _) in peers { peer.close() }
        sleeper?.close()
        for hoarder in hoarders { hoarder.close() }
        for _ in 0..<60 {
            while bench.workers.heldCount > 0 { bench.workers.release(at: 0) }
            while bench.journalLane.heldCount > 0 { bench.journalLane.release(at: 0) }
            pass(40)
        }
        let core = bench.core
        if core.connectionCount != 0 { fail("\(core.connectionCount) connections are left") }
        if core.peers.held != 0 { fail("\(core.peers.held) bytes are charged to peers that have gone") }
        if core.pinned.bytes != 0 { fail("\(core.pinned.bytes) bytes wait for peers that have gone") }
        if core.sharedEvents.held != 0 { fail("\(core.sharedEvents.held) bytes of shared events are left") }
        if core.handshakes.count != 0 { fail("\(core.handshakes.count) handshakes are left") }
        if core.liveReaders != 0 { fail("\(core.liveReaders) live readers are left") }
        for stream in bench.registry.loaded {
            let readers = bench.loop.isolated(stream) { $0.readers.count }
            if readers != 0 { fail("a stream counts \(readers) readers that have gone") }
        }
        if bench.context.bytesPrepared > jsonSent {
            fail("\(bench.context.bytesPrepared) bytes of JSON were validated, of \(jsonSent) sent")
        }
    }

    /// The parts of a server hold each other until it ends.
    func end() {
        bench.registry.abandon()
        for _ in 0..<20 {
            while bench.workers.heldCount > 0 { bench.workers.release(at: 0) }
            while bench.journalLane.heldCount > 0 { bench.journalLane.release(at: 0) }
            pass(40)
        }
    }

    /// Closes the streams, and compares all that was read with what is there now.
    private func checkContents() throws {
        let index = peers.count
        peers.append((try DicePeer(bench, .http1, buffer: nil), []))
        for content in contents {
            peers[index].peer.send(head("POST", content, "", ["Stream-Closed: true"], nil))
            var isClosed = false
            calm(300) {
                if let (status, _, end) = Self.head(peers[index].peer.inbox) {
                    if status != 204 { fail("closing is answered \(status)") }
                    peers[index].peer.inbox.removeFirst(end)
                    isClosed = true
                }
                return isClosed
            }
            if !isClosed { fail("a close is not answered") }
        }
        calm(1_500) { peers.allSatisfy(\.questions.isEmpty) }
        for (peer, questions) in peers where !questions.isEmpty {
            fail("\(peer.transport): \(questions.count) readers of events did not come to the end of their closed stream")
        }
        for content in contents where faults.isEmpty {
            var whole: [UInt8] = []
            for _ in 0..<20_000 {
                let before = content.reads.count
                ask(index, Question(.read(from: whole.count), content))
                calm(400) { peers[index].questions.isEmpty }
                guard content.reads.count == before + 1, faults.isEmpty else { break }
                let piece = content.reads.removeLast().bytes
                if piece.isEmpty { break }
                whole += piece
            }
            for (from, bytes, what) in content.reads {
                if from + bytes.count > whole.count || Array(whole[from..<from + bytes.count]) != bytes {
                    fail(
                        "\(content.name): \(what): \(bytes.count) bytes from \(from) are not those of the stream, which has \(whole.count)")
                    break
                }
            }
            for (bytes, end) in content.appends where content.form != .json {
                if end > whole.count || Array(whole[(end - bytes.count)..<end]) != bytes {
                    fail(
                        "\(content.name): an append of \(bytes.count) bytes that was acknowledged at \(end) is not there, of \(whole.count)"
                    )
                }
            }
        }
    }

    /// A peer that takes a byte now and then loses its place, and what waits for it.
    private func tricklerIsCutOff() throws {
        let big = Content("big", "text/plain")
        let index = peers.count
        peers.append((try DicePeer(bench, .http1, buffer: nil), []))
        peers[index].peer.send(head("PUT", big, "", ["Content-Type: text/plain"], [UInt8](repeating: 0x79, count: 12_000)))
        calm(300) { Self.head(peers[index].peer.inbox) != nil }
        let transport = DicePeer.Transport.allCases[Int(seed / 4 % 4)]
        let trickler = try DicePeer(bench, transport, buffer: 4_096)
        defer { trickler.close() }
        for _ in 0..<60 {
            if let client = trickler.client {
                _ = client.request("/v1/stream/big?offset=-1", method: "GET", [], body: nil)
            } else {
                trickler.send(head("GET", big, "?offset=-1", [], nil))
            }
        }
        for _ in 0..<40 {
            trickler.give(.max)
            if transport != .http1 { trickler.take(600) }
            calm(1) { true }
        }
        let limits = bench.core.limits
        let steps = Int(limits.peerMilliseconds) / 200
        for _ in 0..<3 * steps {
            trickler.take(limits.peerFloorBytes * 3 / 5 / steps)
            pass(200)
            while bench.workers.heldCount > 0 { bench.workers.release(at: 0) }
            while bench.journalLane.heldCount > 0 { bench.journalLane.release(at: 0) }
            bench.loop.runTurn(waiting: false)
        }
        while trickler.take(1 << 16) > 0 {}
        if !trickler.ended { fail("who takes a byte now and then keeps the place") }
    }
}

@Suite("The loop under dice") struct DiceTests {
    private static let seeds: Range<UInt64> = {
        guard let text = ProcessInfo.processInfo.environment["DS_DICE_SEEDS"] else { return 0..<2_000 }
        let bounds = text.components(separatedBy: "..<").compactMap { UInt64($0) }
        return bounds.count == 2 && bounds[0] < bounds[1] ? bounds[0]..<bounds[1] : 0..<2_000
    }()

    @Test(arguments: 0..<4) func everyPeerGetsItsDue(part: Int) throws {
        var faults: [String] = []
        for seed in Self.seeds where seed % 4 == UInt64(part) && faults.count < 5 {
            let run = try DiceRun(seed)
            try run.run()
            faults += run.faults.prefix(2)
            run.end()
        }
        for fault in faults { Issue.record("\(fault)") }
    }
}
