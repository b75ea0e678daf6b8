// What a control event tells a live reader (PROTOCOL.md section 4, SSE):
//
//     behind     {"streamNextOffset":"…","streamCursor":"…"}
//     upToDate   {"streamNextOffset":"…","streamCursor":"…","upToDate":true}
//     closed     {"streamNextOffset":"…","upToDate":true,"streamClosed":true}
//
// There is no fourth form: at the end of a closed stream a reader is up to date, and has no cursor because it need not come back.
// The bytes are written by EventStream.swift.

/// What a control event says.
public struct EventStreamControl: Sendable, Equatable {
    /// Where the reader stands.
    public enum Progress: Sendable, Equatable {
        /// More is stored than has been sent.
        case behind(cursor: UInt64)
        /// At the tail of an open stream.
        case upToDate(cursor: UInt64)
        /// At the end of a closed stream; the connection ends after the event.
        case closed
    }

    /// Where to read on.
    public let nextOffset: StreamOffset
    public let progress: Progress

    public init(nextOffset: StreamOffset, progress: Progress) {
        self.nextOffset = nextOffset
        self.progress = progress
    }
}
