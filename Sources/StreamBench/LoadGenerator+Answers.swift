// What answers and events mean: right or wrong, how long they took, and what comes next.

import SystemCalls

extension LoadGenerator {
    /// The answer to the connection's request is complete.
    func finished(_ connection: BenchConnection, keepsAlive: Bool) {
        if connection.isReader { return readerFinished(connection, keepsAlive) }
        guard phase != nil else { return connection.close() }
        let now = AlarmTimer.now()
        let isContinued = judge(connection, now)
        if connection.state == .idle, !keepsAlive {
            connection.close()
            if isContinued {
                phase!.failed += 1
                phase!.errors.add(.closed, "the server ended the connection between the parts of a catch-up")
            }
            return connect(connection)
        }
        if isContinued { catchUp(connection) } else { proceed(connection) }
    }

    /// - Returns: true when the operation goes on with another request.
    func judge(_ connection: BenchConnection, _ now: Int64) -> Bool {
        let status = connection.status
        let isRight: Bool
        switch connection.operation {
        case .create: isRight = status == 201
        case .append: isRight = plan.producers ? status == 200 : status == 200 || status == 204
        case .preload: isRight = status == 200 || status == 204
        // One that could not be created is not there.
        case .delete: isRight = status == 204 || status == 200 || status == 404
        case .read, .catchUp, .get, .longPoll, .sse: isRight = status == 200
        }
        phase!.lastAnswer = now
        guard isRight else {
            phase!.failed += 1
            phase!.errors.add(.status(status), "\(connection.operation) was answered \(status)")
            giveUp(connection)
            return false
        }
        let bytes = connection.contentBytes
        var fault: String?
        switch connection.operation {
        case .create where phase!.work == .create || plan.workload == .mixed:
            if phase!.work == .create {
                tails[connection.stream] = connection.offset
                readOffsets[connection.stream] = connection.offset
            }
        case .append where plan.workload == .mixed:
            // A read from the last tail but one finds the last append. Offsets order as strings; answers may come in another order.
            if tails[connection.stream].lexicographicallyPrecedes(connection.offset) {
                swap(&readOffsets[connection.stream], &tails[connection.stream])
                tails[connection.stream].replaceSubrange(0..., with: connection.offset)
            }
        case .preload: tails[connection.stream] = connection.offset
        case .read where !isJSON:
            if plan.workload == .read ? bytes != plan.messageSize : bytes == 0 || bytes % plan.messageSize != 0 {
                fault = "\(bytes) bytes were read where messages of \(plan.messageSize) should be"
            }
        case .catchUp:
            let all = connection.earlierBytes + bytes
            if !connection.isUpToDate {
                if bytes == 0 || connection.offset.isEmpty {
                    fault = "a part of a catch-up is empty or says no next offset"
                } else {
                    connection.earlierBytes = all
                    return true
                }
            } else if !isJSON, all != plan.messageSize {
                fault = "a catch-up gave \(all) bytes of \(plan.messageSize)"
            }
        default: break
        }
        if let fault {
            phase!.failed += 1
            phase!.errors.add(.malformed, fault)
            return false
        }
        phase!.succeeded += 1
        if phase!.work == .measured { record(connection, now, bytes) }
        return false
    }

    @inline(__always)
    func record(_ connection: BenchConnection, _ now: Int64, _ bytes: Int) {
        let measure: Measure
        switch connection.operation {
        case .append: measure = .append
        case .create: measure = .create
        case .read: measure = .read
        case .catchUp: measure = .catchUp
        default: measure = .get
        }
        phase!.histograms[measure]!.add(now - connection.intended)
        phase!.bytes += measure == .append || measure == .create ? content.count : connection.earlierBytes + bytes
        if plan.workload == .fanOut {
            round.acknowledged = now
            closeRound()
        }
    }

    // MARK: Readers

    func readerFinished(_ connection: BenchConnection, _ keepsAlive: Bool) {
        let isEvents = connection.operation == .sse
        let status = connection.status
        guard status == 200 || !isEvents && status == 204 else {
            note(.status(status), "\(isEvents ? "an event stream" : "a long-poll") was answered \(status)")
            connection.close()
            return broken.append((AlarmTimer.now() + 100_000_000, connection))
        }
        if !isEvents {
            connection.earlierBytes += connection.contentBytes
            received(connection, bytes: connection.earlierBytes)
        }
        guard connection.state == .idle else { return }
        if keepsAlive { return listen(connection) }
        phase?.reconnects += 1
        connection.close()
        connect(connection)
    }

    func eventsCame(_ connection: BenchConnection) {
        received(connection, bytes: connection.events.payloadBytes)
    }

    /// - Parameter bytes: all that this reader has received since it began.
    @inline(__always)
    func received(_ reader: BenchConnection, bytes: Int) {
        let count = bytes / plan.messageSize
        guard count > reader.received else { return }
        guard count <= sent[reader.stream].count, phase != nil else {
            reader.received = min(count, sent[reader.stream].count)
            return note(.malformed, "a reader was sent more than was appended")
        }
        let now = AlarmTimer.now()
        phase!.lastAnswer = now
        phase!.receipts += count - reader.received
        if plan.workload == .fanOut {
            round.receipts.append(now)
            reader.received = count
            return closeRound()
        }
        let times = sent[reader.stream]
        for index in reader.received..<count { phase!.histograms[.receipt]!.add(now - times[index]) }
        reader.received = count
    }

    /// Fan-out: when the append is acknowledged and everybody has it, its times are recorded; after the pause comes the next.
    func closeRound() {
        guard let acknowledged = round.acknowledged, round.receipts.count == readers.count, phase != nil else { return }
        phase!.histograms[.first]!.add(round.receipts.min()! - acknowledged)
        phase!.histograms[.last]!.add(round.receipts.max()! - acknowledged)
        for time in round.receipts { phase!.histograms[.all]!.add(time - acknowledged) }
        round.acknowledged = nil
        round.receipts.removeAll(keepingCapacity: true)
        loop.schedule(after: Int64(plan.pauseMilliseconds)) { [unowned self] in
            round.isOpen = false
            for writer in writers { proceed(writer) }
        }
    }
}
