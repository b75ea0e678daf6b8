// The catalog: one entry per stream as of the last checkpoint. An interface, because the simulation keeps it in memory.

import StreamRules
import SystemPackage

public struct CatalogFault: Error, Sendable, CustomStringConvertible {
    public let description: String
    /// The disk is full: nothing was changed, and a later try may succeed.
    public let isNoSpace: Bool
    public init(_ description: String, isNoSpace: Bool = false) {
        self.description = description
        self.isNoSpace = isNoSpace
    }
}

/// What the catalog knows about the store as a whole.
public struct CatalogMark: Sendable, Equatable {
    /// Every record up to this LSN is contained in the entries.
    public var checkpointLSN: UInt64
    /// No stream has had this id or a higher one, as of the checkpoint.
    public var nextStreamID: UInt64
    public var streamCount: Int
    /// The clocks at the checkpoint.
    public var clock: ExpiryClock.Reading?

    public init(checkpointLSN: UInt64 = 0, nextStreamID: UInt64 = 1, streamCount: Int = 0, clock: ExpiryClock.Reading? = nil) {
        self.clock = clock
        self.checkpointLSN = checkpointLSN
        self.nextStreamID = nextStreamID
        self.streamCount = streamCount
    }
}

public enum CatalogChange: Sendable {
    /// Entry and changed segments of one stream, and its bytes that are in no segment.
    case put(StreamImage, inline: [ByteSlice], sealed: [SegmentMeta])
    /// Removes the entry of a stream, if it is there, with its segments. The name may belong to a later stream by now, which stays.
    case remove(id: UInt64)
}

public struct DueStream: Sendable {
    public let deadline: Int64
    public let id: UInt64
    public let name: [UInt8]

    public init(deadline: Int64, id: UInt64, name: [UInt8]) {
        self.deadline = deadline
        self.id = id
        self.name = name
    }
}

/// Every call may wait for the disk. Reads may run beside each other and beside one commit.
public protocol Catalog: Sendable {
    func mark() throws(CatalogFault) -> CatalogMark
    func image(named name: [UInt8]) throws(CatalogFault) -> StreamImage?
    func image(id: UInt64) throws(CatalogFault) -> StreamImage?
    func segment(stream: UInt64, base: UInt64) throws(CatalogFault) -> SegmentMeta?
    /// The segment behind `base` of `stream` (nil: its first), or else the first of the streams with higher ids.
    func nextSegment(after stream: UInt64, _ base: UInt64?) throws(CatalogFault) -> (stream: UInt64, meta: SegmentMeta)?
    /// All changes and the mark, or nothing. Durable when it returns.
    func commit(_ changes: [CatalogChange], mark: CatalogMark?) throws(CatalogFault)
    /// Streams whose deadline lies before `moment`, earliest first, from behind `after` on.
    func due(before moment: Int64, after: DueStream?, limit: Int) throws(CatalogFault) -> [DueStream]
    func close()
}
