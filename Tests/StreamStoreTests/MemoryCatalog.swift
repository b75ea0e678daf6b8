// A catalog in memory, through the same entry codec as the real one.

import StreamStore

@testable import StreamStore

final class MemoryCatalog: Catalog, @unchecked Sendable {
    private(set) var entries: [UInt64: [UInt8]] = [:]
    private var segments: [UInt64: [SegmentMeta]] = [:]
    private var current = CatalogMark()

    func mark() -> CatalogMark { current }

    func image(id: UInt64) throws(CatalogFault) -> StreamImage? {
        guard let entry = entries[id] else { return nil }
        do {
            return try entry.withUnsafeBytes { try StreamEntry.decode($0, segments: segments[id] ?? []) }
        } catch { throw CatalogFault("\(error)") }
    }

    func image(named name: [UInt8]) throws(CatalogFault) -> StreamImage? {
        for id in entries.keys.sorted() {
            if let image = try image(id: id), image.name == name { return image }
        }
        return nil
    }

    func segment(stream: UInt64, base: UInt64) -> SegmentMeta? { segments[stream]?.first { $0.base == base } }

    func nextSegment(after stream: UInt64, _ base: UInt64?) -> (stream: UInt64, meta: SegmentMeta)? {
        for id in segments.keys.sorted() where id >= stream {
            let rest = segments[id]!.sorted { $0.base < $1.base }.filter { id > stream || base == nil || $0.base > base! }
            if let first = rest.first { return (id, first) }
        }
        return nil
    }

    func commit(_ changes: [CatalogChange], mark: CatalogMark?) {
        for change in changes {
            switch change {
            case .put(let image, let inline, let sealed):
                if entries[image.id] == nil { current.streamCount += 1 }
                entries[image.id] = StreamEntry.encode(image, inline: inline)
                for segment in sealed + (image.active.end > image.active.base ? [image.active] : []) {
                    segments[image.id, default: []].removeAll { $0.base == segment.base }
                    segments[image.id, default: []].append(segment)
                }
            case .remove(let id):
                if entries.removeValue(forKey: id) != nil { current.streamCount -= 1 }
                segments[id] = nil
            }
        }
        if let mark {
            current.checkpointLSN = mark.checkpointLSN
            current.nextStreamID = mark.nextStreamID
        }
    }

    func due(before moment: Int64, after: DueStream?, limit: Int) -> [DueStream] { [] }
    func close() {}
}
