import Glibc
import Testing

@testable import Systemd

@Suite struct JournalSocketTests {
    static let names: [(String, String)] = [
        ("stream", "STREAM"), ("data-dir", "DATA_DIR"), ("MESSAGE_ID", "MESSAGE_ID"), ("_x", "X_X"), ("", "X"), ("9lives", "X9LIVES"),
        ("ü", "X__"), (String(repeating: "a", count: 70), String(repeating: "A", count: 64)),
    ]

    @Test(arguments: names) func fieldNames(_ key: String, _ name: String) { #expect(JournalSocket.fieldName(key) == name) }

    /// The two forms of a value, byte for byte as the protocol has them.
    @Test func datagrams() throws {
        let slot = try Mailslot()
        let journal = try #require(JournalSocket(path: slot.name))
        #expect(journal.send([("PRIORITY", "4"), ("MESSAGE", "two\nlines"), ("EMPTY", "")]))
        let expected =
            Array("PRIORITY=4\nMESSAGE\n".utf8) + [9, 0, 0, 0, 0, 0, 0, 0] + Array("two\nlines\nEMPTY=\n".utf8)
        #expect(slot.take() == expected)
        #expect(slot.take() == nil)
    }

    @Test func aLongValueIsCut() throws {
        let slot = try Mailslot()
        let journal = try #require(JournalSocket(path: slot.name))
        #expect(journal.send([("MESSAGE", String(repeating: "x", count: 1 << 20))]))
        #expect(slot.take()?.count == "MESSAGE=\n".utf8.count + JournalSocket.valueLimit)
    }

    /// A journal that does not read: no call waits, and the first event for which there is room again says how many were lost.
    @Test func lostEventsAreCounted() throws {
        let slot = try Mailslot()
        let journal = try #require(JournalSocket(path: slot.name))
        let most = 100_000
        #expect((0..<most).allSatisfy { journal.send([("N", "\($0)")]) })
        let received = slot.takeAll()
        #expect(received.count < most && received.first == "N=0\n")
        #expect(journal.send([("N", "after")]))
        #expect(slot.takeAll() == ["N=after\nLOST=\(most - received.count)\n"])
        #expect(journal.send([("N", "again")]))
        #expect(slot.takeAll() == ["N=again\n"])
    }

    @Test func aJournalThatIsNotThere() throws {
        #expect(JournalSocket(path: "/nonexistent/journal") == nil)
        #expect(JournalSocket(path: String(repeating: "/x", count: 100)) == nil)
        var slot: Mailslot? = try Mailslot()
        let journal = try #require(JournalSocket(path: slot!.name))
        slot = nil
        #expect(!journal.send([("MESSAGE", "told in another way")]))
    }
}
