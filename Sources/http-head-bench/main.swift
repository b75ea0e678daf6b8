// Measures HeadScanner and RequestHead on a GET of 150 bytes that is in the cache, as a reactor that has just received it would find it.
//
//     swift run -c release http-head-bench
//     http-head-bench ROUNDS        scans and parses so often and measures nothing: for a count of instructions (Tests/Benchmarks/instructions)

import HTTPWire

func run() {
    let request =
        "GET /v1/stream/account-1/chat?offset=-1 HTTP/1.1\r\nHost: localhost:4437\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"
        + "If-None-Match: \"5f-a-0123456789ab\"\r\n\r\n"
    let bytes = Array(request.utf8)
    let limits = WireLimits()
    let rounds = 50_000

    /// Nanoseconds per call of `body`, the best of fifty runs, which on a shared machine is the least disturbed.
    func measure(_ name: String, _ body: (UnsafeRawBufferPointer) -> Int) {
        var best = Double.infinity
        var sum = 0
        for _ in 0..<50 {
            let elapsed = ContinuousClock().measure {
                bytes.withUnsafeBytes { buffer in
                    for _ in 0..<rounds { sum &+= body(buffer) }
                }
            }
            best = min(best, elapsed / .nanoseconds(1) / Double(rounds))
        }
        precondition(sum != 0)
        print(name, Int(best + 0.5), "ns for", bytes.count, "bytes")
    }

    var scanner = HeadScanner()
    var head = RequestHead()
    if CommandLine.arguments.count > 1, let rounds = Int(CommandLine.arguments[1]) {
        bytes.withUnsafeBytes { buffer in
            for _ in 0..<rounds {
                scanner.reset()
                guard let length = try? scanner.scan(buffer, limits: limits) else { continue }
                try? head.parse(UnsafeRawBufferPointer(rebasing: buffer[..<length]), limits: limits)
            }
        }
        return
    }
    measure("scan        ") { buffer in
        scanner.reset()
        return (try? scanner.scan(buffer, limits: limits)) ?? 0
    }
    measure("parse       ") { buffer in
        try? head.parse(buffer, limits: limits)
        return head.fields.count
    }
    measure("scan + parse") { buffer in
        scanner.reset()
        guard let length = try? scanner.scan(buffer, limits: limits) else { return 0 }
        try? head.parse(UnsafeRawBufferPointer(rebasing: buffer[..<length]), limits: limits)
        return head.fields.count
    }
}

run()
