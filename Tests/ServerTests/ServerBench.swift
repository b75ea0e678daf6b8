// A server without threads: real connections over socket pairs, a real loop whose turns the test runs, and a disk that is always ready.
//
//     peer ── socketpair ── Connection ── ServerCore ── StreamRegistry ── Journal ── (disk that keeps nothing)
//
// What a disk worker or the journal's thread would do is done in one of the next turns, or waits while it is held back. Nothing sleeps:
// deadlines are tested by visiting a connection with a later time.

import Glibc
import HTTPWire
import Logging
import Reactor
import ServerSettings
import StreamHTTP
import StreamRules
import SystemCalls
import SystemPackage
import Testing

@testable import Server
@testable import StreamActors
@testable import StreamStore

/// @unchecked Sendable: used by one test on one thread.
final class HeldJobs: Dispatcher, JournalLane, @unchecked Sendable {
    let loop: EventLoop
    var isHeld = false
    private var held: [@Sendable () -> Void] = []

    init(_ loop: EventLoop) { self.loop = loop }

    func work(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
        if isHeld { held.append(job) } else { loop.post(job) }
    }
    func run(_ job: @escaping @Sendable () -> Void) { work(.journal, job) }
    func post(_ job: @escaping @Sendable () -> Void) { loop.post(job) }

    var heldCount: Int { held.count }

    /// Does one of the jobs that are held.
    func release(at index: Int) { loop.post(held.remove(at: index)) }

    func release() {
        isHeld = false
        let jobs = held
        held = []
        for job in jobs { loop.post(job) }
    }
}

final class EmptyFile: DiskFile {
    let descriptor: Int32? = nil
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int { 0 }
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {}
    func write(vectors: inout [iovec], at offset: Int) throws(Errno) {}
    func syncData() throws(Errno) {}
    func allocate(size: Int) throws(Errno) {}
    func truncate(size: Int) throws(Errno) {}
    func size() throws(Errno) -> Int { 0 }
}

struct EmptyDisk: Disk {
    func open(_ path: String, _ access: FileCalls.Access) throws(Errno) -> any DiskFile { EmptyFile() }
    func makeDirectory(_ path: String) throws(Errno) {}
    func syncDirectory(_ path: String) throws(Errno) {}
    func rename(_ from: String, to: String) throws(Errno) {}
    func unlink(_ path: String) throws(Errno) {}
    func removeDirectory(_ path: String) throws(Errno) {}
    func list(_ path: String) throws(Errno) -> [String] { [] }
}

struct EmptyCatalog: Catalog {
    func mark() throws(CatalogFault) -> CatalogMark { CatalogMark() }
    func image(named name: [UInt8]) throws(CatalogFault) -> StreamImage? { nil }
    func image(id: UInt64) throws(CatalogFault) -> StreamImage? { nil }
    func segment(stream: UInt64, base: UInt64) throws(CatalogFault) -> SegmentMeta? { nil }
    func commit(_ changes: [CatalogChange], mark: CatalogMark?) throws(CatalogFault) {}
    func due(before moment: Int64, after: DueStream?, limit: Int) throws(CatalogFault) -> [DueStream] { [] }
    func nextSegment(after stream: UInt64, _ base: UInt64?) throws(CatalogFault) -> (stream: UInt64, meta: SegmentMeta)? { nil }
    func close() {}
}

final class ServerBench {
    let loop: EventLoop
    /// What disk workers would do.
    let workers: HeldJobs
    /// What the journal's thread would do.
    let journalLane: HeldJobs
    let core: ServerCore
    let context: StreamContext
    let registry: StreamRegistry

    init(
        _ change: (inout ServerLimits) -> Void = { _ in }, origins: [String]? = nil, store: (inout StoreLimits) -> Void = { _ in },
        sizes: Journal.Sizes = Journal.Sizes(), disk: any Disk = EmptyDisk(), catalog: any Catalog = EmptyCatalog(),
        clocks: Clocks = .system
    ) throws {
        loop = try EventLoop(clocks: clocks)
        loop.adoptCurrentThread()
        workers = HeldJobs(loop)
        journalLane = HeldJobs(loop)
        var storeLimits = StoreLimits()
        storeLimits.journalSize = 64 << 20
        store(&storeLimits)
        let journal = try Journal(
            disk: disk, directory: "journal", lane: journalLane, dispatcher: workers, syncs: false, sizeLimit: storeLimits.journalSize,
            recovered: JournalPosition(), sizes: sizes, clock: clocks.monotonic)
        context = StreamContext(
            loop: loop, dispatcher: workers, disk: disk, catalog: catalog, journal: journal, streamsDirectory: "streams",
            limits: storeLimits, syncs: false, clock: ExpiryClock(wall: loop.wallNow, monotonic: loop.now))
        registry = try StreamRegistry(context: context, recovered: Recovered())
        var limits = ServerLimits(Settings(mode: .dev), connections: 100)
        change(&limits)
        var responder = ResponderSettings()
        responder.origins = origins.map { $0.map { Array($0.utf8) } }
        var router = RouterSettings()
        router.origins = responder.origins
        core = ServerCore(
            loop: loop, limits: limits, registry: registry, checkpointer: Checkpointer(context: context, registry: registry),
            dispatcher: workers, responder: responder, router: router, isTrustedProxy: Settings(mode: .dev).trustedProxies.contains,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            logsAccess: false)
        loop.atEndOfTurn { [unowned core] in core.endTurn() }
    }

    /// Runs turns until all that can happen now has happened.
    func settle() {
        for _ in 0..<12 { loop.runTurn(waiting: false) }
    }

    func connect(from address: PeerAddress = .unix) throws -> Peer {
        var pair: (Int32, Int32) = (-1, -1)
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let status = withUnsafeMutablePointer(to: &pair) {
            $0.withMemoryRebound(to: Int32.self, capacity: 2) { socketpair(AF_UNIX, type, 0, $0) }
        }
        try #require(status == 0)
        core.accept(pair.0, from: address)
        let connection = core.connections.all.first { $0.descriptor == pair.0 }
        return Peer(pair.1, try #require(connection as? Connection), self)
    }

    /// A stream made over a connection of its own.
    func create(_ name: String, type: String = "text/plain", content: String = "", fields: String = "") throws {
        let answer = try once("PUT", name, type: type, content: content, fields: fields)
        try #require(answer.status == 201)
    }

    func append(_ name: String, type: String = "text/plain", _ content: [UInt8], fields: String = "") throws {
        let peer = try connect()
        peer.send(
            Peer.head("POST", name, ["Content-Type: \(type)", "Content-Length: \(content.count)"] + (fields.isEmpty ? [] : [fields])))
        peer.send(content)
        settle()
        let status = try #require(peer.answers().first?.status)
        try #require((200..<300).contains(status))
    }

    func once(_ method: String, _ name: String, type: String = "text/plain", content: String = "", fields: String = "") throws -> Answer {
        let peer = try connect()
        peer.send(
            Peer.head(method, name, ["Content-Type: \(type)", "Content-Length: \(content.utf8.count)"] + (fields.isEmpty ? [] : [fields]))
                + content)
        settle()
        return try #require(peer.answers().first)
    }
}

/// One response, taken apart.
struct Answer {
    var status = 0
    var fields: [String: String] = [:]
    var body = ""
}

/// The other end of a connection.
final class Peer {
    let descriptor: Int32
    let connection: Connection
    let bench: ServerBench
    private(set) var received: [UInt8] = []
    /// The server has ended its side.
    private(set) var ended = false
    private var isOpen = true

    init(_ descriptor: Int32, _ connection: Connection, _ bench: ServerBench) {
        self.descriptor = descriptor
        self.connection = connection
        self.bench = bench
    }

    deinit { close() }

    /// Whether it is a live reader that waits at the tail.
    var isWaiting: Bool {
        guard let reader = connection.reader, let stream = connection.stream else { return false }
        return bench.loop.isolated(stream) { $0.isWaiting(reader) }
    }

    static func head(_ method: String, _ target: String, _ fields: [String] = []) -> String {
        "\(method) /v1/stream/\(target) HTTP/1.1\r\nHost: a\r\n" + fields.map { $0 + "\r\n" }.joined() + "\r\n"
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// Sends all, with turns of the loop while the socket is full.
    func send(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            switch rest.withUnsafeBytes({ SocketCalls.send(descriptor, $0) }) {
            case .bytes(let count): rest = rest.dropFirst(count)
            case .wouldBlock: bench.loop.runTurn(waiting: false)
            case .end, .failed: return
            }
        }
    }

    /// Sends and lets everything happen.
    func say(_ text: String) {
        send(text)
        bench.settle()
    }

    func endSending() { SocketCalls.shutdownWrite(descriptor) }

    func close() {
        if isOpen { _ = Descriptor(owning: descriptor) }
        isOpen = false
    }

    /// Takes what has come, without turns.
    @discardableResult
    func receive() -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 1)
        defer { buffer.deallocate() }
        while !ended {
            switch SocketCalls.receive(descriptor, into: buffer) {
            case .bytes(let count): received += buffer[..<count]
            case .wouldBlock: return received
            case .end, .failed: ended = true
            }
        }
        return received
    }

    /// Takes all that comes, with turns in between.
    func receiveAll() {
        bench.settle()
        var before = -1
        while before != received.count {
            before = received.count
            receive()
            bench.settle()
        }
        receive()
    }

    var text: String { String(decoding: receive(), as: UTF8.self) }

    /// The complete responses that have come and were not asked for before. A body without a length goes on to the end.
    func answers() -> [Answer] {
        receive()
        var answers: [Answer] = []
        while let (answer, length) = Self.parse(received) {
            answers.append(answer)
            received.removeFirst(length)
        }
        return answers
    }

    private static func parse(_ bytes: [UInt8]) -> (Answer, Int)? {
        let end = Array("\r\n\r\n".utf8)
        guard let mark = bytes.indices.first(where: { bytes[$0...].starts(with: end) }) else { return nil }
        let lines = String(decoding: bytes[..<mark], as: UTF8.self).split(separator: "\r\n")
        var answer = Answer(status: Int(lines[0].split(separator: " ")[1])!)
        for line in lines.dropFirst() {
            let colon = line.firstIndex(of: ":")!
            answer.fields[line[..<colon].lowercased()] = String(line[line.index(colon, offsetBy: 2)...])
        }
        let start = mark + 4
        guard ![100, 204, 304].contains(answer.status) else { return (answer, start) }
        let length = answer.fields["content-length"].map { Int($0)! } ?? bytes.count - start
        guard bytes.count >= start + length else { return nil }
        answer.body = String(decoding: bytes[start..<start + length], as: UTF8.self)
        return (answer, start + length)
    }
}

/// A chunked body as far as it has come (RFC 9112 7.1).
struct Dechunked {
    private(set) var content: [UInt8] = []
    /// The last chunk has come: the body is whole.
    private(set) var isComplete = false

    init(_ bytes: some Collection<UInt8>) {
        var rest = Array(bytes)[...]
        while let end = rest.firstIndex(of: 0x0D), let size = Int(String(decoding: rest[..<end], as: UTF8.self), radix: 16) {
            rest = rest[end...].dropFirst(2)
            content += rest.prefix(size)
            if size == 0 {
                isComplete = rest.starts(with: [0x0D, 0x0A])
                return
            }
            if rest.count < size + 2 { return }
            rest = rest.dropFirst(size + 2)
        }
    }
}
