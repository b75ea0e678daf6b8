// Reading: which bytes answer a request, and where they are.
//
//     0 ………… sealed segments ………… active.base ……… flushed ……… durableTail
//                                             tail buffer: start ……………… end
//
// An answer runs from the wanted position to the next cut or the durable tail (ChunkRule). A part that is only in a segment needs the
// segment open; opening is a disk worker's job, after which the request is answered through its requester.
//
// A fork's bytes before its start are its source's, whose own may begin later still: the streams of that line each give their part.
//
//     root    0 ───────────────── a ┄┄┄┄┄┄
//     fork                        a ──────── b ┄┄┄┄┄┄      an answer from before a to behind b has a part of each
//     fork of the fork                       b ─────── tail

import Reactor
import StreamRules
import StreamStore
import SystemCalls
import SystemPackage

/// A call that waits for a segment, of its own stream or of one that it was forked from. A read goes on at its stream; a create is executed anew.
struct SegmentWait: Sendable {
    var call: StreamCall
    /// Whose call it is.
    let stream: StreamActor
}

/// The byte before a position of a stream.
struct ReadByte: Sendable {
    let stream: UInt64
    let position: UInt64
    /// nil: it could not be read.
    let byte: UInt8?
}

extension StreamActor {
    /// Reads from the durable part; a live read at the tail of an open stream waits.
    public func read(_ request: ReadRequest, _ call: StreamCall) -> Outcome? {
        if life.isGone { return .refused(.notFound) }
        if life.isSeenAsRetained { return .refused(.retained) }
        let wait = SegmentWait(call: call, stream: self)
        let position: UInt64
        switch request.start {
        case .beginning: position = 0
        case .now: position = durable.tail
        case .position(let wanted): position = wanted
        }
        if position > durable.tail { return .refused(.offsetBeyondTail(tail: durable.tail)) }
        if position == durable.tail {
            if let reader = call.reader, !durable.closed {
                self.wait(reader, at: position)
                return .waiting(facts)
            }
            return .read(ReadResult(facts: facts, from: position, to: position, pieces: []))
        }
        var pieces: [ReadPiece] = []
        var at = position
        var limit = durable.tail
        if position < image.start {
            for (owner, end) in line(downTo: position).reversed() {
                let part = context.loop.isolated(owner) { owner -> Part in
                    if owner.life.isGone { return .ended }
                    if at > position, owner.image.cutsAtStart { return .reached(at, isCut: true) }
                    return owner.part(
                        from: at, to: min(end, limit), isFirst: at == position && !request.isInsideMessage, &pieces, wait)
                }
                switch part {
                case .waits: return nil
                // The whole line is ending; the stream's own end is about to be told.
                case .ended: return .refused(.notFound)
                case .notAtMessage: return .refused(.offsetNotAtMessage)
                case .unreadable(let position): return .refused(unreadable(at: position))
                case .damaged(let range): return .refused(.damaged(range))
                case .reached(let reached, let isCut):
                    at = reached
                    // A cut exactly where the next stream begins is that one's to tell: the owner may have made it later.
                    if isCut, at < end { limit = at }
                }
                if at == limit { break }
            }
        } else {
            switch part(from: at, to: durable.tail, isFirst: !request.isInsideMessage, &pieces, wait) {
            case .waits: return nil
            case .ended: return .refused(.notFound)
            case .notAtMessage: return .refused(.offsetNotAtMessage)
            case .unreadable(let position): return .refused(unreadable(at: position))
            case .damaged(let range): return .refused(.damaged(range))
            case .reached(let reached, _): at = reached
            }
        }
        return .read(ReadResult(facts: facts, from: position, to: at, pieces: pieces))
    }

    /// The streams that have this stream's bytes, from itself up to the one that has the byte at `position`, and where the part of each
    /// ends. A source of which the fork has only what the source itself has from above has no part (`owner`).
    func line(downTo position: UInt64) -> [(stream: StreamActor, end: UInt64)] {
        var line = [(stream: self, end: UInt64.max)]
        var start = image.start
        var next = owner
        while start > position, let stream = next {
            line.append((stream, start))
            start = context.loop.isolated(stream) { $0.image.start }
            next = stream.owner
        }
        return line
    }

    private enum Part {
        /// The next cut, or the end of the range.
        case reached(UInt64, isCut: Bool)
        case waits
        case ended
        case notAtMessage
        case unreadable(at: UInt64)
        case damaged(String)
    }

    /// Appends this stream's own bytes from `position` to the next cut or `limit`, whichever comes first.
    private func part(
        from position: UInt64, to limit: UInt64, isFirst: Bool, _ pieces: inout [ReadPiece], _ wait: SegmentWait
    ) -> Part {
        if position == limit { return .reached(position, isCut: false) }
        let inMemory = position >= image.tail.start
        var end = limit
        var cut: UInt64?
        var handle: SegmentHandle?
        var base = image.active.base
        if position >= image.active.base {
            cut = image.active.nextCut(after: position)
            if !inMemory {
                guard let found = find(base, wait) else {
                    open(base, image.active, wait)
                    return .waits
                }
                handle = found
            }
        } else {
            let segment = sealedSegment(holding: position)
            base = segment.base
            guard let found = find(base, wait) else {
                open(base, unsaved.sealed.first { $0.base == base }, wait)
                return .waits
            }
            handle = found
            cut = found.meta.nextCut(after: position) ?? segment.end
        }
        if let cut, cut <= end { end = cut }
        if isFirst, contentType.isJSON, position > image.start {
            switch isMessageBoundary(position, handle, base: base, wait) {
            case .yes: break
            case .no: return .notAtMessage
            case .unreadable: return .unreadable(at: position)
            case .unknown:
                readByte(before: position, handle!, base: base, wait)
                return .waits
            }
        }
        if inMemory {
            appendMemory(from: position, to: end, &pieces)
        } else {
            let split = min(end, max(position, image.tail.start))
            if !context.damaged.isEmpty, let range = context.damaged[id]?.first(where: { $0.overlaps(position..<split) }) {
                return .damaged("stream \(StreamLabel.text(name)), bytes \(range.lowerBound) to \(range.upperBound)")
            }
            pieces.append(.file(handle!, offset: Int(position - base), count: Int(split - position)))
            if split < end { appendMemory(from: split, to: end, &pieces) }
        }
        return .reached(end, isCut: end == cut)
    }

    private func appendMemory(from: UInt64, to: UInt64, _ pieces: inout [ReadPiece]) {
        if let slice = image.tail.lastSlice(from: from, to: to) {
            pieces.append(.memory(slice))
        } else {
            pieces += image.tail.slices(from: from, to: to).map { .memory($0) }
        }
    }

    func find(_ base: UInt64, _ wait: SegmentWait) -> SegmentHandle? {
        wait.call.held.first { $0.stream == id && $0.meta.base == base } ?? context.descriptors.find(stream: id, base: base)
    }

    func sealedSegment(holding position: UInt64) -> StreamImage.SealedSegment {
        var low = 0
        var high = image.sealed.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if image.sealed[middle].base <= position { low = middle } else { high = middle - 1 }
        }
        let segment = image.sealed[low]
        precondition(segment.base <= position && position < segment.end, "segments leave no gap")
        return segment
    }

    enum Boundary {
        case yes, no
        /// A disk has to be asked.
        case unknown
        /// It has been, and said nothing.
        case unreadable
    }

    /// The answer when a byte that has to be looked at cannot be read: nothing is said about what was asked.
    func unreadable(at position: UInt64) -> Refusal {
        context.onNote("stream \(StreamLabel.text(name)): the segment with byte \(position - 1) cannot be read")
        return .unavailable("a segment of the stream cannot be read")
    }

    /// A message ends with `,\n`, and a newline stands nowhere else (StoredJSON). `handle` is the segment that begins at `base`.
    func isMessageBoundary(_ position: UInt64, _ handle: SegmentHandle?, base: UInt64, _ wait: SegmentWait) -> Boundary {
        if position == image.tail.start || position == base { return .yes }
        if position > image.tail.start { return image.tail.byte(at: position - 1) == 0x0A ? .yes : .no }
        if let known = wait.call.byte, known.stream == id, known.position == position {
            guard let byte = known.byte else { return .unreadable }
            return byte == 0x0A ? .yes : .no
        }
        guard let handle else { preconditionFailure("what is not in memory is in a segment") }
        var byte: UInt8 = 0
        let offset = Int(position - base) - 1
        let got = withUnsafeMutableBytes(of: &byte) { buffer -> Int? in
            guard let descriptor = handle.file.descriptor else { return try? handle.file.read(into: buffer, at: offset) }
            return FileCalls.readIfCached(descriptor, into: buffer, at: offset)
        }
        guard let got else { return .unknown }
        return got == 0 ? .unreadable : byte == 0x0A ? .yes : .no
    }

    // MARK: Opening segments

    /// Opens a segment of this stream for a call; its metadata comes from the catalog, unless it is not there yet.
    func open(_ base: UInt64, _ meta: SegmentMeta?, _ wait: SegmentWait) {
        let isFirst = openings[base] == nil
        openings[base, default: []].append(wait)
        context.loop.isolated(wait.stream) { $0.holds += 1 }
        if !isFirst { return }
        let (context, id) = (context, id)
        context.dispatcher.work(.read) {
            let opened = Self.open(context, id) { try meta ?? context.catalog.segment(stream: id, base: base) }
            context.dispatcher.post { context.loop.isolated(self) { $0.opened(base, opened) } }
        }
    }

    private static func open(
        _ context: StreamContext, _ id: UInt64, _ find: () throws -> SegmentMeta?
    ) -> Result<SegmentHandle, CatalogFault> {
        do {
            guard let meta = try find() else { return .failure(CatalogFault("the catalog does not know the segment")) }
            let path = context.streamsDirectory + "/" + SegmentFile.directory(stream: id) + "/" + SegmentFile.name(base: meta.base)
            let file = try context.disk.open(path, .readOnly)
            return .success(SegmentHandle(file: file, stream: id, meta: meta, dispatcher: context.dispatcher))
        } catch let error as Errno {
            return .failure(CatalogFault(error.text))
        } catch {
            return .failure(CatalogFault("\(error)"))
        }
    }

    private func opened(_ base: UInt64, _ result: Result<SegmentHandle, CatalogFault>) {
        let waiting = openings.removeValue(forKey: base) ?? []
        switch result {
        case .success(let handle):
            // A handle of a segment that was sealed while it was being opened does not know all its cuts.
            let isCurrent = handle.meta.sealed || base == image.active.base
            if isCurrent, !life.isGone { context.descriptors.insert(handle, stream: id, base: base) }
            for var wait in waiting {
                if isCurrent { wait.call.held.append(handle) }
                resume(wait)
            }
        case .failure(let fault):
            if life.isGone {
                for wait in waiting { resume(wait) }
                return
            }
            context.onNote("stream \(StreamLabel.text(name)): segment \(base) cannot be opened: \(fault)")
            for wait in waiting {
                context.loop.isolated(wait.stream) { $0.holds -= 1 }
                wait.call.answer(.refused(.unavailable("a segment of the stream cannot be opened: \(fault)")), from: wait.stream)
            }
        }
    }

    private func resume(_ wait: SegmentWait) {
        context.loop.isolated(wait.stream) { $0.holds -= 1 }
        guard case .read(let request) = wait.call.verb else {
            executeAnew(wait.call)
            return
        }
        if let outcome = context.loop.isolated(wait.stream, { $0.read(request, wait.call) }) {
            wait.call.answer(outcome, from: wait.stream)
        }
    }

    /// Reads one byte on a disk worker, then goes on with the call.
    func readByte(before position: UInt64, _ handle: SegmentHandle, base: UInt64, _ wait: SegmentWait) {
        let (context, id) = (context, id)
        context.loop.isolated(wait.stream) { $0.holds += 1 }
        context.dispatcher.work(.read) {
            var byte: UInt8 = 0
            let got = withUnsafeMutableBytes(of: &byte) { try? handle.file.read(into: $0, at: Int(position - base) - 1) }
            let read = ReadByte(stream: id, position: position, byte: got == 1 ? byte : nil)
            context.dispatcher.post {
                var wait = wait
                wait.call.byte = read
                context.loop.isolated(self) { [wait] in $0.resume(wait) }
            }
        }
    }
}
