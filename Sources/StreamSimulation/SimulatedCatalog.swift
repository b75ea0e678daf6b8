// The catalog in memory, through the same codecs as LMDBCatalog and with the same tables; a commit is atomic and durable.
//
//     names      name → entry          ids        id → name
//     segments   id → base → segment   deadlines  (deadline, id) → name
//
// @unchecked Sendable: confined to the simulation's thread.

import StreamRules
import StreamStore

public final class SimulatedCatalog: Catalog, @unchecked Sendable {
    private struct Entry {
        let id: UInt64
        let deadline: Int64?
        let bytes: [UInt8]
    }

    private struct Tables {
        var names: [[UInt8]: Entry] = [:]
        var ids: [UInt64: [UInt8]] = [:]
        var segments: [UInt64: [UInt64: [UInt8]]] = [:]
        var producers: [UInt64: [[UInt8]: ProducerState]] = [:]
        var mark = CatalogMark()
    }

    private var tables = Tables()
    private let disk: SimulatedDisk?
    /// What a call fails with, instead of doing anything.
    public var fault: () -> CatalogFault? = { nil }

    /// `disk`: what ends together with the catalog's process.
    public init(_ disk: SimulatedDisk? = nil) { self.disk = disk }

    /// The catalog as the next process finds it.
    public func reopened(with disk: SimulatedDisk) -> SimulatedCatalog {
        let catalog = SimulatedCatalog(disk)
        catalog.tables = tables
        return catalog
    }

    /// Ids and encoded entries of all streams.
    public var entries: [UInt64: [UInt8]] { Dictionary(uniqueKeysWithValues: tables.names.values.map { ($0.id, $0.bytes) }) }

    private func check() throws(CatalogFault) {
        if disk?.isDead ?? false { throw CatalogFault("the process has ended") }
        if let fault = fault() { throw fault }
    }

    public func mark() throws(CatalogFault) -> CatalogMark {
        try check()
        return tables.mark
    }

    public func image(named name: [UInt8]) throws(CatalogFault) -> StreamImage? {
        try check()
        guard let entry = tables.names[name] else { return nil }
        do throws(CodingFault) {
            var metas: [SegmentMeta] = []
            for (_, bytes) in (tables.segments[entry.id] ?? [:]).sorted(by: { $0.key < $1.key }) { metas.append(try Self.segment(bytes)) }
            return try StreamEntry.decode(bytes: entry.bytes, segments: metas, producers: tables.producers[entry.id] ?? [:])
        } catch { throw CatalogFault("the entry of stream \(entry.id): \(error)") }
    }

    public func image(id: UInt64) throws(CatalogFault) -> StreamImage? {
        try check()
        guard let name = tables.ids[id] else { return nil }
        return try image(named: name)
    }

    public func segment(stream: UInt64, base: UInt64) throws(CatalogFault) -> SegmentMeta? {
        try check()
        guard let bytes = tables.segments[stream]?[base] else { return nil }
        do throws(CodingFault) { return try Self.segment(bytes) } catch {
            throw CatalogFault("segment \(base) of stream \(stream): \(error)")
        }
    }

    public func nextSegment(after stream: UInt64, _ base: UInt64?) throws(CatalogFault) -> (stream: UInt64, meta: SegmentMeta)? {
        try check()
        for id in tables.segments.keys.sorted() where id >= stream {
            let rest = tables.segments[id]!.filter { id > stream || base == nil || $0.key > base! }
            guard let first = rest.min(by: { $0.key < $1.key }) else { continue }
            do throws(CodingFault) { return (id, try Self.segment(first.value)) } catch {
                throw CatalogFault("segment \(first.key) of stream \(id): \(error)")
            }
        }
        return nil
    }

    private static func segment(_ bytes: [UInt8]) throws(CodingFault) -> SegmentMeta {
        let block = OwnedBytes(copying: bytes)
        defer { withExtendedLifetime(block) {} }
        return try SegmentMeta(decoding: block.bytes)
    }

    public func due(before moment: Int64, after: DueStream?, limit: Int) throws(CatalogFault) -> [DueStream] {
        try check()
        let due = tables.names.compactMap { name, entry in entry.deadline.map { DueStream(deadline: $0, id: entry.id, name: name) } }
            .filter { item in item.deadline < moment && after.map { ($0.deadline, $0.id) < (item.deadline, item.id) } ?? true }
            .sorted { ($0.deadline, $0.id) < ($1.deadline, $1.id) }
        return Array(due.prefix(limit))
    }

    public func commit(_ changes: [CatalogChange], mark: CatalogMark?) throws(CatalogFault) {
        try check()
        if disk?.isLastCall() ?? false {
            if disk?.dice?.chance(50) ?? false { tables = changed(changes, mark) }
            throw CatalogFault("the process has ended")
        }
        tables = changed(changes, mark)
    }

    private func changed(_ changes: [CatalogChange], _ mark: CatalogMark?) -> Tables {
        var tables = tables
        for change in changes {
            switch change {
            case .put(let image, let inline, let sealed):
                if let before = tables.names[image.name] {
                    // An older stream of this name whose removal comes in the same checkpoint or has been overtaken.
                    if before.id != image.id { Self.remove(before.id, &tables) }
                } else {
                    tables.mark.streamCount += 1
                }
                tables.names[image.name] = Entry(
                    id: image.id, deadline: image.deadline, bytes: StreamEntry.encode(image, inline: inline))
                tables.ids[image.id] = image.name
                for (producer, state) in image.unsavedProducers { tables.producers[image.id, default: [:]][producer] = state }
                for segment in sealed + (image.active.end > image.active.base ? [image.active] : []) {
                    tables.segments[image.id, default: [:]][segment.base] = segment.encode()
                }
            case .remove(let id):
                if Self.remove(id, &tables) { tables.mark.streamCount -= 1 }
            }
        }
        if let mark {
            tables.mark.checkpointLSN = mark.checkpointLSN
            tables.mark.nextStreamID = mark.nextStreamID
            tables.mark.clock = mark.clock ?? tables.mark.clock
        }
        return tables
    }

    /// true when there was an entry.
    @discardableResult
    private static func remove(_ id: UInt64, _ tables: inout Tables) -> Bool {
        guard let name = tables.ids.removeValue(forKey: id) else { return false }
        tables.segments[id] = nil
        tables.producers[id] = nil
        guard tables.names[name]?.id == id else { return false }
        tables.names[name] = nil
        return true
    }

    public func close() {}
}

extension StreamEntry {
    static func decode(
        bytes: [UInt8], segments: [SegmentMeta], producers: [[UInt8]: ProducerState]
    ) throws(CodingFault) -> StreamImage {
        let block = OwnedBytes(copying: bytes)
        defer { withExtendedLifetime(block) {} }
        return try decode(block.bytes, segments: segments, producers: producers)
    }
}
