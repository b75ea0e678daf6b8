// Reading: which bytes answer a request, and where they are.
//
//     0 ………… sealed segments ………… active.base ……… flushed ……… durableTail
//                                             tail buffer: start ……………… end
//
// An answer runs from the wanted position to the next cut or the durable tail (ChunkRule). A part that is only in a segment needs the
// segment open; opening is a disk worker's job, after which the request is answered through its requester.

import Reactor
import StreamRules
import StreamStore
import SystemCalls
import SystemPackage

extension StreamActor {
    public func read(_ request: ReadRequest, _ requester: any Requester, _ tag: UInt32) -> Outcome? {
        if life == .gone { return .refused(.notFound) }
        let position: UInt64
        switch request.start {
        case .beginning: position = 0
        case .now: position = durableTail
        case .position(let wanted): position = wanted
        }
        if position > durableTail { return .refused(.offsetBeyondTail(tail: durableTail)) }
        if position == durableTail {
            if request.mode != .catchUp, !durableClosed {
                guard let reader = requester as? any LiveReader else { preconditionFailure("a live read comes from a live reader") }
                join(reader, mode: request.mode, at: position)
                return .waiting(facts)
            }
            return .read(ReadResult(facts: facts, from: position, to: position, pieces: []))
        }
        let inMemory = position >= image.tail.start
        var end = durableTail
        var cut: UInt64?
        var handle: SegmentHandle?
        var base = image.active.base
        if position >= image.active.base {
            cut = image.active.nextCut(after: position)
            if !inMemory {
                handle = context.descriptors.find(stream: id, base: base)
                if handle == nil { return open(image.active, request, requester, tag) }
            }
        } else {
            let segment = sealedSegment(holding: position)
            base = segment.base
            handle = context.descriptors.find(stream: id, base: base)
            guard let handle else {
                if let unsaved = unsavedSealed.first(where: { $0.base == base }) { return open(unsaved, request, requester, tag) }
                return open(base: base, request, requester, tag)
            }
            cut = handle.meta.nextCut(after: position) ?? segment.end
        }
        if let cut, cut < end { end = cut }
        if contentType.isJSON, position > 0 {
            switch isMessageBoundary(position, handle, base: base) {
            case .yes: break
            case .no: return .refused(.offsetNotAtMessage)
            case .unknown:
                warm(handle!, offset: Int(position - base) - 2, count: 2, request, requester, tag, base)
                return nil
            }
        }
        var pieces: [ReadPiece] = []
        if inMemory {
            if let slice = image.tail.lastSlice(from: position, to: end) {
                pieces = [.memory(slice)]
            } else {
                pieces = image.tail.slices(from: position, to: end).map { .memory($0) }
            }
        } else {
            let split = min(end, max(position, image.tail.start))
            pieces.append(.file(handle!, offset: Int(position - base), count: Int(split - position)))
            if split < end { pieces += image.tail.slices(from: split, to: end).map { .memory($0) } }
        }
        return .read(ReadResult(facts: facts, from: position, to: end, pieces: pieces))
    }

    private func sealedSegment(holding position: UInt64) -> StreamImage.SealedSegment {
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

    private enum Boundary { case yes, no, unknown }

    /// A message ends with `,\n`, and a newline stands nowhere else (StoredJSON).
    private func isMessageBoundary(_ position: UInt64, _ handle: SegmentHandle?, base: UInt64) -> Boundary {
        if position == image.tail.start || position == base { return .yes }
        if position > image.tail.start { return image.tail.byte(at: position - 1) == 0x0A ? .yes : .no }
        guard let handle, let descriptor = handle.file.descriptor else { return .yes }
        var byte: UInt8 = 0
        let offset = Int(position - base) - 1
        let got = withUnsafeMutableBytes(of: &byte) { FileCalls.readIfCached(descriptor, into: $0, at: offset) }
        guard let got else { return .unknown }
        return got == 1 && byte == 0x0A ? .yes : .no
    }

    // MARK: Opening segments

    private func open(base: UInt64, _ request: ReadRequest, _ requester: any Requester, _ tag: UInt32) -> Outcome? {
        if !join(opening: base, request, requester, tag) { return nil }
        let (context, id) = (context, id)
        context.dispatcher.work {
            let opened = Self.open(context, id) { try context.catalog.segment(stream: id, base: base) }
            context.dispatcher.post { context.loop.isolated(self) { $0.opened(base, opened) } }
        }
        return nil
    }

    private func open(_ meta: SegmentMeta, _ request: ReadRequest, _ requester: any Requester, _ tag: UInt32) -> Outcome? {
        if !join(opening: meta.base, request, requester, tag) { return nil }
        let (context, id) = (context, id)
        context.dispatcher.work {
            let opened = Self.open(context, id) { meta }
            context.dispatcher.post { context.loop.isolated(self) { $0.opened(meta.base, opened) } }
        }
        return nil
    }

    /// true for the first who waits for this segment.
    private func join(opening base: UInt64, _ request: ReadRequest, _ requester: any Requester, _ tag: UInt32) -> Bool {
        let first = openings[base] == nil
        openings[base, default: []].append((request, requester, tag))
        return first
    }

    private static func open(
        _ context: StreamContext, _ id: UInt64, _ find: () throws -> SegmentMeta?
    ) -> Result<SegmentHandle, CatalogFault> {
        do {
            guard let meta = try find() else { return .failure(CatalogFault("the catalog does not know the segment")) }
            let path = context.streamsDirectory + "/" + SegmentFile.directory(stream: id) + "/" + SegmentFile.name(base: meta.base)
            let file = try context.disk.open(path, .readOnly)
            return .success(SegmentHandle(file: file, meta: meta, dispatcher: context.dispatcher))
        } catch let error as Errno {
            return .failure(CatalogFault(error.text))
        } catch {
            return .failure(CatalogFault("\(error)"))
        }
    }

    private func opened(_ base: UInt64, _ result: Result<SegmentHandle, CatalogFault>) {
        let waiting = openings.removeValue(forKey: base) ?? []
        if case .success(let handle) = result, !handle.meta.sealed, base != image.active.base {
            // Sealed while it was being opened: the handle does not know all its cuts.
            for (request, requester, tag) in waiting {
                if let outcome = read(request, requester, tag) { requester.answer(outcome, from: self, tag: tag) }
            }
            return
        }
        if case .success(let handle) = result, life != .gone { context.descriptors.insert(handle, stream: id, base: base) }
        for (request, requester, tag) in waiting {
            switch result {
            case .success:
                if let outcome = read(request, requester, tag) { requester.answer(outcome, from: self, tag: tag) }
            case .failure(let fault):
                context.onNote("stream \(StreamLabel.text(name)): segment \(base) cannot be opened: \(fault)")
                requester.answer(
                    .refused(.unavailable("a segment of the stream cannot be opened: \(fault)")), from: self, tag: tag)
            }
        }
    }

    /// Brings a range into the page cache on a disk worker, then reads again.
    private func warm(
        _ handle: SegmentHandle, offset: Int, count: Int, _ request: ReadRequest, _ requester: any Requester, _ tag: UInt32, _ base: UInt64
    ) {
        let context = context
        warmings += 1
        context.dispatcher.work {
            let scratch = OwnedBytes(capacity: count)
            _ = try? handle.file.read(into: UnsafeMutableRawBufferPointer(start: scratch.base, count: count), at: offset)
            context.dispatcher.post {
                context.loop.isolated(self) {
                    $0.warmings -= 1
                    if let outcome = $0.read(request, requester, tag) { requester.answer(outcome, from: self, tag: tag) }
                }
            }
        }
    }
}
