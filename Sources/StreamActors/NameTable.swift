// A dictionary by the names of streams. An array of bytes as a key is hashed and compared byte by byte; this hashes and compares it whole, which
// each request does.

import Glibc

struct NameTable<Value> {
    private struct Key: Hashable {
        let name: [UInt8]

        func hash(into hasher: inout Hasher) { name.withUnsafeBytes { hasher.combine(bytes: $0) } }

        static func == (one: Key, other: Key) -> Bool {
            one.name.count == other.name.count
                && one.name.withUnsafeBytes { bytes in
                    other.name.withUnsafeBytes { bytes.isEmpty || memcmp(bytes.baseAddress!, $0.baseAddress!, bytes.count) == 0 }
                }
        }
    }

    private var entries: [Key: Value] = [:]

    var count: Int { entries.count }
    var values: [Value] { Array(entries.values) }

    subscript(name: [UInt8]) -> Value? {
        get { entries[Key(name: name)] }
        _modify { yield &entries[Key(name: name)] }
    }

    subscript(name: [UInt8], default value: @autoclosure () -> Value) -> Value {
        get { entries[Key(name: name), default: value()] }
        _modify { yield &entries[Key(name: name), default: value()] }
    }

    mutating func removeValue(forName name: [UInt8]) -> Value? { entries.removeValue(forKey: Key(name: name)) }
}
