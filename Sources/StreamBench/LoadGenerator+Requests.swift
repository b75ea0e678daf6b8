// The requests of the load generator, each put together in the one buffer and sent at once.

import SystemCalls

extension LoadGenerator {
    /// What is sent as content from now on, and the heads that depend on it.
    func setContent(_ bytes: [UInt8]) {
        content.deallocate()
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 16)
        memory.copyBytes(from: bytes)
        content = UnsafeRawBufferPointer(rebasing: memory[..<bytes.count])
        let head = "\(typeField)Content-Length: \(bytes.count)\r\n"
        createHead = Array((head + "\r\n").utf8)
        appendHead = Array(head.utf8)
    }

    /// The request line and the fields that all requests have.
    func address(_ method: StaticString, _ stream: Int, query: StaticString? = nil) {
        request.clear()
        request.append(method)
        request.append(prefix)
        request.append(stream)
        if let query { request.append(query) } else { request.append(common) }
    }

    func finishHead(_ connection: BenchConnection) {
        request.append(common)
        request.append("\r\n")
        connection.send(request.bytes, content: 0..<0)
    }

    /// A small content goes out in one piece with its head.
    func sendWithContent(_ connection: BenchConnection) {
        if content.count <= request.room {
            request.append(content)
            connection.send(request.bytes, content: 0..<0)
        } else {
            connection.send(request.bytes, content: 0..<content.count)
        }
    }

    func create(_ connection: BenchConnection, stream: Int) {
        connection.operation = .create
        connection.stream = stream
        streamCount = max(streamCount, stream + 1)
        address("PUT ", stream)
        // In the mixture, the content is that of the appends, which is a good first content too.
        request.append(createHead)
        sendWithContent(connection)
    }

    /// To the stream that is set, or, in a run, to the next one of the connection's share: with as many streams as connections, or more, no
    /// two connections write to the same.
    func append(_ connection: BenchConnection) {
        var slot = 0
        if connection.operation == .append, !plan.workload.isLive {
            let share = plan.streams > connection.index ? (plan.streams - connection.index - 1) / writers.count + 1 : 0
            if share > 0 {
                slot = connection.turn
                connection.turn = slot + 1 < share ? slot + 1 : 0
                connection.stream = connection.index + slot * writers.count
            } else {
                connection.stream = connection.index % plan.streams
            }
        }
        address("POST ", connection.stream)
        request.append(appendHead)
        if plan.producers, connection.operation == .append {
            while connection.sequences.count <= slot { connection.sequences.append(0) }
            request.append("Producer-Id: ")
            request.append(connection.index)
            request.append("\r\nProducer-Epoch: ")
            request.append(connection.epoch)
            request.append("\r\nProducer-Seq: ")
            request.append(connection.sequences[slot])
            request.append("\r\n")
            connection.sequences[slot] += 1
        }
        request.append("\r\n")
        sendWithContent(connection)
    }

    func read(_ connection: BenchConnection, stream: Int) {
        connection.operation = .read
        connection.stream = stream
        address("GET ", stream, query: "?offset=")
        request.append(readOffsets[stream])
        finishHead(connection)
    }

    func catchUp(_ connection: BenchConnection) {
        connection.operation = .catchUp
        address("GET ", connection.stream, query: "?offset=")
        request.append(connection.offset)
        finishHead(connection)
    }

    /// A reader asks for what comes next.
    func listen(_ connection: BenchConnection) {
        let isEvents = plan.liveMode == .sse
        connection.operation = isEvents ? .sse : .longPoll
        if isEvents, !connection.events.nextOffset.isEmpty { connection.offset = connection.events.nextOffset }
        address("GET ", connection.stream, query: isEvents ? "?live=sse&offset=" : "?live=long-poll&offset=")
        request.append(connection.offset)
        if !isEvents, !connection.cursor.isEmpty {
            request.append("&cursor=")
            request.append(connection.cursor)
        }
        finishHead(connection)
    }
}
