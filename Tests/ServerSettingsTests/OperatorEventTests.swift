import Foundation
import Testing

@testable import ServerSettings

struct OperatorEventTests {
    /// The catalog that is installed with the units.
    private static func catalog() throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        return try String(contentsOf: root.appendingPathComponent("systemd/durable-streams.catalog"), encoding: .utf8)
    }

    /// Entries of the catalog: an identity, a subject and an explanation each.
    private static func entries() throws -> [String: [Substring]] {
        var entries: [String: [Substring]] = [:]
        var current: String?
        for line in try catalog().split(separator: "\n", omittingEmptySubsequences: false) where !line.hasPrefix("#") {
            if line.hasPrefix("-- ") {
                current = String(line.dropFirst(3))
                #expect(entries[current!] == nil, "twice: \(line)")
                entries[current!] = []
            } else if let current {
                entries[current]!.append(line)
            }
        }
        return entries
    }

    @Test func theCatalogExplainsEachEventAndNothingElse() throws {
        let entries = try Self.entries()
        #expect(Set(entries.keys) == Set(OperatorEvent.allCases.map(\.rawValue)))
        for (identity, lines) in entries {
            #expect(identity.utf8.count == 32 && identity.allSatisfy { $0.isHexDigit && !$0.isUppercase })
            #expect(lines.contains { $0.hasPrefix("Subject: ") } && lines.contains { $0.hasPrefix("Defined-By: Durable Streams") })
            #expect(lines.filter { !$0.isEmpty && !$0.contains(": ") }.count >= 2, "\(identity) is not explained")
        }
    }
}
