// The catalog as verify and inspect see it: rows with what is wrong with them, and the databases against each other.
//
//     names ──id──▶ ids ──name──▶ names       every entry is found by its id, and no id leads nowhere
//     names ──deadline──▶ deadlines           every deadline that an entry has stands there, and nothing else does
//     segments ──id──▶ ids                    every segment belongs to a stream
//     meta "mark" number of streams = entries
//
// Each call is one read transaction of bounded length, so that a server that is running keeps its pages free for reuse.

import CLMDB

/// One stream's entry with its segments, or what is wrong with it.
public struct CatalogRow: Sendable {
    /// The stream's name.
    public let key: [UInt8]
    public let image: Result<StreamImage, CatalogFault>
    public let segments: [SegmentMeta]
}

extension LMDBCatalog {
    /// Rows in the order of their keys, from behind `after` on, at most `limit`.
    public func rows(after: [UInt8]?, limit: Int) throws(CatalogFault) -> [CatalogRow] {
        try read { (transaction) throws(CatalogFault) in
            var found: [(name: [UInt8], id: UInt64?)] = []
            try self.scanEntries(transaction, after: after) { name, value in
                found.append((name, Self.id(ofEntry: Array(value.prefix(9)))))
                return found.count < limit
            }
            var rows: [CatalogRow] = []
            for (name, id) in found {
                var segments: [SegmentMeta] = []
                if let id { segments = (try? self.segments(of: id, transaction)) ?? [] }
                let image: Result<StreamImage, CatalogFault>
                do throws(CatalogFault) {
                    guard let decoded = try self.image(named: name, transaction) else { continue }
                    image = .success(decoded)
                } catch {
                    image = .failure(error)
                }
                rows.append(CatalogRow(key: name, image: image, segments: segments))
            }
            return rows
        }
    }

    /// The segments of a stream, ascending.
    public func segments(of id: UInt64) throws(CatalogFault) -> [SegmentMeta] {
        try read { (transaction) throws(CatalogFault) in try self.segments(of: id, transaction) }
    }

    /// What the databases say of each other that cannot all be true. `limit` bounds the answers.
    public func contradictions(limit: Int) throws(CatalogFault) -> [String] {
        try read { (transaction) throws(CatalogFault) in
            var found: [String] = []
            func note(_ text: String) { if found.count < limit { found.append(text) } }
            var entries = 0
            var deadlines = 0
            var faults: CatalogFault?
            try self.scanEntries(transaction, after: nil) { name, value in
                entries += 1
                guard let image = try? StreamEntry.decode(value, segments: [], ignoringSegments: true) else { return true }
                do throws(CatalogFault) {
                    let byID = try Self.get(transaction, self.ids, Self.bigEndian(image.id), { Array($0) })
                    if image.name != name || byID != name {
                        note("the entry of \(StreamLabel.text(image.name)) is not found by its id \(image.id)")
                    }
                    if let deadline = image.deadline {
                        deadlines += 1
                        if try Self.get(transaction, self.deadlines, Self.deadlineKey(deadline, image.id), { Array($0) }) != image.name {
                            note("the deadline of \(StreamLabel.text(image.name)) is missing, so it would never be removed")
                        }
                    }
                } catch { faults = error }
                return true
            }
            var ids = 0
            try Self.scan(transaction, self.ids, from: []) { key, value in
                ids += 1
                let id = key.count == 8 ? UInt64(bigEndian: key.loadUnaligned(as: UInt64.self)) : 0
                do throws(CatalogFault) {
                    let entry = try self.entry(named: Array(value), transaction)
                    if entry.flatMap({ Self.id(ofEntry: $0) }) != id { note("id \(id) leads to no entry of its own") }
                } catch { faults = error }
                return true
            }
            var standing = 0
            try Self.scan(transaction, self.deadlines, from: []) { _, _ in
                standing += 1
                return true
            }
            if standing != deadlines { note("\(standing) deadlines stand in the catalog for \(deadlines) streams that have one") }
            for (table, name, isKey) in [
                (self.segments, "segments", { $0 == 16 }), (self.producers, "producers", { $0 > 8 }),
            ] as [(MDB_dbi, String, (Int) -> Bool)] {
                var last: UInt64?
                try Self.scan(transaction, table, from: []) { key, _ in
                    let id = isKey(key.count) ? UInt64(bigEndian: key.loadUnaligned(as: UInt64.self)) : 0
                    if id == last { return true }
                    last = id
                    do throws(CatalogFault) {
                        if try Self.get(transaction, self.ids, Self.bigEndian(id), { _ in true }) == nil {
                            note("\(name) of stream \(id) belong to no entry")
                        }
                    } catch { faults = error }
                    return true
                }
            }
            if let faults { throw faults }
            let counted = try self.mark(transaction).streamCount
            if counted != entries { note("the catalog counts \(counted) streams and has \(entries) entries") }
            if ids != entries { note("\(ids) ids stand in the catalog for \(entries) entries") }
            return found
        }
    }
}
