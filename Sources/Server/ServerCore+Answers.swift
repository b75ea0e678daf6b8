// Heads in HTTP/1.1's form, and the bytes of what a read has given: from memory and the page cache at once, by a worker where a disk has to be asked.

import HTTPWire
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore
import SystemCalls

extension ServerCore {
    // MARK: Responses

    /// Writes `head` in HTTP/1.1 form to `output`, which it replaces.
    func serializeHead(keepAlive: Bool, minorVersion: Int, isChunked: Bool = false) {
        Self.serialize(head, to: &output, keepAlive: keepAlive, minorVersion: minorVersion, isChunked: isChunked)
    }

    private static func serialize(_ head: ResponseHead, to output: inout [UInt8], keepAlive: Bool, minorVersion: Int, isChunked: Bool) {
        output.removeAll(keepingCapacity: true)
        ResponseLine.statusLine(head.status).withUTF8Buffer { output.append(contentsOf: $0) }
        head.withLines { output.append(contentsOf: $0) }
        if let length = head.contentLength, head.status != 204, head.status != 304 { HeadEnding.contentLength(length, &output) }
        if isChunked { HeadEnding.chunked.withUTF8Buffer { output.append(contentsOf: $0) } }
        if !keepAlive {
            HeadEnding.close.withUTF8Buffer { output.append(contentsOf: $0) }
        } else if minorVersion == 0 {
            HeadEnding.keepAlive.withUTF8Buffer { output.append(contentsOf: $0) }
        } else {
            output.append(0x0D)
            output.append(0x0A)
        }
    }

    // MARK: Bytes of results

    /// The pieces as memory; nil when a part has to be read from a disk. Parts in files are read into memory that lives until the next call.
    func memory(of result: ReadResult) -> [UnsafeRawBufferPointer]? {
        var buffers: [UnsafeRawBufferPointer] = []
        scratch = []
        for piece in result.pieces {
            switch piece {
            case .memory(let slice): buffers.append(slice.bytes)
            case .file(let handle, let offset, let count):
                guard let file = handle.file.descriptor else { return nil }
                let block = OwnedBytes(capacity: count)
                guard
                    FileCalls.readIfCached(file, into: UnsafeMutableRawBufferPointer(start: block.base, count: count), at: offset) == count
                else { return nil }
                block.count = count
                scratch.append(block)
                buffers.append(block.bytes)
            }
        }
        return buffers
    }

    /// What `encode` writes to the sink, as a piece of an event stream; nil if it writes nothing.
    ///
    /// - Parameter limit: of the payload's bytes in it; nil: as many as there is room for.
    func encodeEvents(limit: Int? = nil, _ encode: (inout ByteSink) -> Void) -> EventFrames? {
        var sink = ByteSink(eventBuffer, limit: limit)
        encode(&sink)
        return sink.count == 0 ? nil : EventFrames(sink.bytes)
    }

    /// Reads a result's pieces on a disk worker and gives them to the connection as events.
    func loadEvents(_ result: ReadResult, for reader: any Exchange, tag: UInt32) {
        dispatcher.work(.read) { [dispatcher] in
            var slices: [ByteSlice]? = []
            for piece in result.pieces {
                switch piece {
                case .memory(let slice): slices?.append(slice)
                case .file(let handle, let offset, let count):
                    let block = OwnedBytes(capacity: count)
                    let got = try? handle.file.read(into: UnsafeMutableRawBufferPointer(start: block.base, count: count), at: offset)
                    if got != count {
                        slices = nil
                    } else {
                        block.count = count
                        slices?.append(ByteSlice(block: block, offset: 0, count: count))
                    }
                }
            }
            let loaded = slices
            dispatcher.post { reader.loadedEvents(result, loaded, tag: tag) }
        }
    }

    /// Brings a range of a file into the page cache.
    func warm(_ handle: SegmentHandle, offset: Int, count: Int, for exchange: any Exchange) {
        dispatcher.work(.read) { [dispatcher] in
            let block = OwnedBytes(capacity: count)
            _ = try? handle.file.read(into: UnsafeMutableRawBufferPointer(start: block.base, count: count), at: offset)
            dispatcher.post { exchange.warmed(to: offset + count) }
        }
    }

    /// Reads a range of a file for a transport that takes no files.
    func load(_ handle: SegmentHandle, offset: Int, count: Int, for exchange: any Exchange) {
        dispatcher.work(.read) { [dispatcher] in
            let block = OwnedBytes(capacity: count)
            let got = try? handle.file.read(into: UnsafeMutableRawBufferPointer(start: block.base, count: count), at: offset)
            block.count = got ?? 0
            dispatcher.post { exchange.loaded(got == count ? block : nil) }
        }
    }
}

/// How a head ends on HTTP/1.1.
enum HeadEnding {
    static let chunked: StaticString = "Transfer-Encoding: chunked\r\n"
    static let close: StaticString = "Connection: close\r\n\r\n"
    static let keepAlive: StaticString = "Connection: keep-alive\r\n\r\n"

    static func contentLength(_ length: Int, _ output: inout [UInt8]) {
        let name: StaticString = "Content-Length: "
        withUnsafeTemporaryAllocation(byteCount: name.utf8CodeUnitCount + 22, alignment: 1) { line in
            let place = line.baseAddress!
            place.copyMemory(from: name.utf8Start, byteCount: name.utf8CodeUnitCount)
            let end = name.utf8CodeUnitCount + DecimalText.write(UInt64(length), to: place + name.utf8CodeUnitCount)
            place.storeBytes(of: UInt16(0x0A0D).littleEndian, toByteOffset: end, as: UInt16.self)
            output.append(contentsOf: UnsafeRawBufferPointer(start: place, count: end + 2))
        }
    }
}
