// Entries in the order of their streams' whole names, whatever the length of a name: LMDB's keys end at 511 bytes, so a longer name is split.
//
//     names                                        long
//     [name ≤ 480 bytes]        → entry            [u64 table][rest ≤ 480 bytes]       → entry
//     [first 480 bytes][00]     → u64 table ─────▶ [u64 table][next 480 bytes][00]     → u64 table ─▶ [u64 table][rest]
//
// A name has no zero byte, so a key that ends with one is the way to a table: all names that go on behind those 480 bytes are in it, and it
// stands where they would stand. Nothing is hashed, so no choice of names makes a look-up longer than three steps.
// Invariant: a table has an entry, or is the way to one; the last one that leaves takes the way with it.

import CLMDB
import StreamRules

extension LMDBCatalog {
    static let partLength = 480
    /// Of the ways in `names`, and of those in `long`.
    private static let wayLength = partLength + 1
    private static let longWayLength = 8 + partLength + 1

    /// Where an entry stands.
    struct Place: Equatable {
        let database: MDB_dbi
        let key: [UInt8]
    }

    /// Where the entry of a name would stand, with the ways there; nil: it has none, because one of the ways is not there.
    ///
    /// - Parameter making: ways are made where there are none.
    func place(
        of name: [UInt8], _ transaction: OpaquePointer, making: Bool = false
    ) throws(CatalogFault) -> (place: Place, ways: [Place])? {
        var database = names
        var prefix: [UInt8] = []
        var rest = name[...]
        var ways: [Place] = []
        while rest.count > Self.partLength {
            let way = Place(database: database, key: prefix + rest.prefix(Self.partLength) + [0])
            var table = try Self.get(transaction, way.database, way.key, { Array($0) })
            if table == nil, making {
                table = Self.bigEndian(try takeTable(transaction))
                try Self.put(transaction, way.database, way.key, table!)
            }
            guard let table else { return nil }
            guard table.count == 8 else { throw CatalogFault("the way to long names is damaged") }
            ways.append(way)
            (database, prefix, rest) = (long, table, rest.dropFirst(Self.partLength))
        }
        return (Place(database: database, key: prefix + rest), ways)
    }

    /// The same, with ways made where there are none.
    func makePlace(for name: [UInt8], _ transaction: OpaquePointer) throws(CatalogFault) -> Place {
        guard let (place, _) = try place(of: name, transaction, making: true) else { preconditionFailure("the ways are there") }
        return place
    }

    private func takeTable(_ transaction: OpaquePointer) throws(CatalogFault) -> UInt64 {
        let key = Array("next table".utf8)
        let found = try Self.get(transaction, meta, key) { bytes in
            bytes.count == 8 ? UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)) : 1
        }
        let table = found ?? 1
        try Self.put(transaction, meta, key, Self.bigEndian(table &+ 1))
        return table
    }

    /// The bytes of a name's entry.
    func entry(named name: [UInt8], _ transaction: OpaquePointer) throws(CatalogFault) -> [UInt8]? {
        guard let (place, _) = try place(of: name, transaction) else { return nil }
        return try Self.get(transaction, place.database, place.key, { Array($0) })
    }

    /// Removes an entry and the ways that lead nowhere without it.
    func removeEntry(named name: [UInt8], _ transaction: OpaquePointer) throws(CatalogFault) {
        guard let (place, ways) = try place(of: name, transaction) else { return }
        try Self.delete(transaction, place.database, place.key)
        for way in ways.reversed() {
            guard let table = try Self.get(transaction, way.database, way.key, { Array($0) }) else { return }
            var isUsed = false
            try Self.scan(transaction, long, from: table) { key, _ in
                isUsed = key.starts(with: table)
                return false
            }
            if isUsed { return }
            try Self.delete(transaction, way.database, way.key)
        }
    }

    /// Visits entries in the order of their names, from behind `after` on, until `visit` returns false.
    ///
    /// - Parameter visit: gets the name as it is spelled by the keys, and the entry's bytes.
    func scanEntries(
        _ transaction: OpaquePointer, after: [UInt8]?, _ visit: (_ name: [UInt8], _ entry: UnsafeRawBufferPointer) -> Bool
    ) throws(CatalogFault) {
        _ = try scanTable(transaction, names, prefix: [], spelled: [], after: after.map { $0[...] }, visit)
    }

    /// false: the visitor has had enough. `after`: what is behind the part that is spelled already.
    private func scanTable(
        _ transaction: OpaquePointer, _ database: MDB_dbi, prefix: [UInt8], spelled: [UInt8], after: ArraySlice<UInt8>?,
        _ visit: (_ name: [UInt8], _ entry: UnsafeRawBufferPointer) -> Bool
    ) throws(CatalogFault) -> Bool {
        var goesOn = true
        var fault: CatalogFault?
        let wayLength = prefix.isEmpty ? Self.wayLength : Self.longWayLength
        let start = prefix + (after?.prefix(Self.partLength) ?? [])
        try Self.scan(transaction, database, from: start) { key, value in
            guard key.starts(with: prefix) else { return false }
            let part = Array(key[prefix.count...])
            if key.count == wayLength, key[key.count - 1] == 0 {
                let name = spelled + part.dropLast()
                // Of the names behind this part those that are not behind `after` are passed over.
                let rest = after.flatMap {
                    $0.count > Self.partLength && $0.starts(with: part.dropLast()) ? $0.dropFirst(Self.partLength) : nil
                }
                guard value.count == 8 else { return true }
                do throws(CatalogFault) {
                    goesOn = try scanTable(transaction, long, prefix: Array(value), spelled: name, after: rest, visit)
                } catch {
                    fault = error
                    goesOn = false
                }
                return goesOn
            }
            if let after, !after.lexicographicallyPrecedes(part) { return true }
            goesOn = visit(spelled + part, value)
            return goesOn
        }
        if let fault { throw fault }
        return goesOn
    }

    // MARK: Form

    private static let formKey = Array("form".utf8)
    private static let form: UInt64 = 2

    /// Brings a catalog of an older form to the present one, in one transaction: names beyond 480 bytes stood under a part of them and a hash.
    func migrate() throws(CatalogFault) {
        let found = try read { (transaction) throws(CatalogFault) in
            try Self.get(transaction, self.meta, Self.formKey) { $0.count == 8 ? UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)) : 0 }
        }
        if found == Self.form { return }
        if let found, found > Self.form {
            throw CatalogFault("its form is \(found); this version knows forms up to \(Self.form)")
        }
        try write { (transaction) throws(CatalogFault) in
            var old: [(key: [UInt8], entry: [UInt8])] = []
            try Self.scan(transaction, self.names, from: []) { key, value in
                if key.count == Self.hashedKeyLength, key[Self.hashedPrefixLength] == 0 { old.append((Array(key), Array(value))) }
                return true
            }
            for (key, entry) in old {
                guard let name = Self.name(ofEntry: entry), let id = Self.id(ofEntry: entry) else {
                    throw CatalogFault("the entry of \(StreamLabel.text(key)) is damaged")
                }
                try Self.delete(transaction, self.names, key)
                let place = try self.makePlace(for: name, transaction)
                try Self.put(transaction, place.database, place.key, entry)
                try Self.put(transaction, self.ids, Self.bigEndian(id), name)
            }
            try Self.put(transaction, self.meta, Self.formKey, Self.bigEndian(Self.form))
        }
    }

    /// Form 1: 440 bytes of the name, a zero, a hash and the stream's id.
    private static let hashedPrefixLength = 440
    private static let hashedKeyLength = 457
}
