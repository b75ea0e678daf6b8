// The result for people (a table) and for machines (one JSON object). Both say the same; times are in microseconds in JSON, memory in bytes.

public enum BenchReport {
    private static let percentiles: [(name: String, json: String, fraction: Double)] = [
        ("p50", "p50", 0.5), ("p90", "p90", 0.9), ("p99", "p99", 0.99), ("p99.9", "p999", 0.999),
    ]

    // MARK: The table

    public static func table(_ result: BenchResult) -> String {
        let plan = result.plan
        var lines = [headline(plan)]
        for opening in result.opening {
            lines.append(
                "\(opening.count) \(opening.what) up in \(time(opening.seconds * 1e9)), the slowest in \(time(opening.slowest * 1e9))")
        }
        if let before = result.withoutReaders, let with = result.withReaders, plan.readerCount > 0 {
            lines.append(
                "server: \(size(before.resident)) resident without readers, \(size(with.resident)) with them: "
                    + "\((with.resident - before.resident) / plan.readerCount) B each")
        }
        lines.append("")
        lines += align(rows(result))
        let errors = allErrors(result)
        if !errors.counts.isEmpty {
            lines.append("")
            for kind in errors.kinds {
                lines.append("error: \(errors.counts[kind]!) × \(kind.text): \(errors.examples[kind] ?? "")")
            }
        }
        let reconnects = result.runs.reduce(0) { $0 + $1.reconnects }
        if reconnects > 0 { lines.append("\(reconnects) connections were ended by the server between two answers and made again") }
        if let busiest = result.runs.map({ $0.seconds > 0 ? $0.clientCPU / $0.seconds : 0 }).max(), busiest > 0.95 {
            lines.append(
                "note: bench itself used \(fixed(busiest * 100, 0)) % of a processor; the rate may be its limit and not the server's")
        }
        return lines.joined(separator: "\n")
    }

    private static func headline(_ plan: BenchPlan) -> String {
        var parts = ["\(plan.workload.rawValue) \(plan.target.authority)\(plan.target.path)"]
        parts.append(plan.workload.isLive ? "\(plan.readerCount) \(plan.liveMode.rawValue) readers" : "\(plan.connectionCount) connections")
        if plan.workload != .create, plan.workload != .get { parts.append("\(plan.streams) stream\(plan.streams == 1 ? "" : "s")") }
        if plan.workload != .get { parts.append(size(plan.messageSize) + (plan.batch > 1 ? " × \(plan.batch)" : "")) }
        if plan.jsonMessages { parts.append("JSON") }
        if plan.producers { parts.append("producers") }
        parts.append(plan.rate.map { "open loop, \(fixed($0, 0))/s" } ?? "closed loop")
        return parts.joined(separator: ", ")
    }

    private static func measures(_ result: BenchResult) -> [Measure] {
        Measure.allCases.filter { measure in result.runs.contains { $0.latencies[measure] != nil } }
    }

    private static func rows(_ result: BenchResult) -> [[String]] {
        let measures = measures(result)
        let hasServer = result.runs.contains { $0.serverCPU != nil }
        var head = ["run", "ops/s", "MB/s"]
        for measure in measures {
            head +=
                percentiles.map { measures.count > 1 ? "\(measure.rawValue) \($0.name)" : $0.name } + [
                    measures.count > 1 ? "\(measure.rawValue) max" : "max"
                ]
        }
        head += ["errors", "bench CPU/op"]
        if hasServer { head += ["server CPU/op", "RSS", "fds"] }
        // With several measures a row would be too wide: each has a line of its own.
        guard measures.count > 1 else {
            var rows = [head]
            for (number, run) in result.runs.enumerated() { rows.append(row(run, "\(number + 1)", measures, hasServer)) }
            return rows + summaryRows(result, measures, hasServer)
        }
        var rows = [["run", "of", "count"] + percentiles.map(\.name) + ["max"]]
        for (number, run) in result.runs.enumerated() {
            for measure in measures {
                guard let histogram = run.latencies[measure], histogram.count > 0 else { continue }
                rows.append(["\(number + 1)", measure.rawValue, "\(histogram.count)"] + cells(histogram))
            }
        }
        rows.append([])
        rows.append(["run", "ops/s", "MB/s", "errors", "bench CPU/op"] + (hasServer ? ["server CPU/op", "RSS", "fds"] : []))
        for (number, run) in result.runs.enumerated() { rows.append(row(run, "\(number + 1)", [], hasServer)) }
        return rows + summaryRows(result, [], hasServer)
    }

    private static func cells(_ histogram: LatencyHistogram) -> [String] {
        percentiles.map { time(Double(histogram.percentile($0.fraction))) } + [time(Double(histogram.maximum))]
    }

    private static func row(_ run: BenchRun, _ name: String, _ measures: [Measure], _ hasServer: Bool) -> [String] {
        var row = [name, fixed(run.rate, run.rate < 100 ? 1 : 0), fixed(run.bytesPerSecond / 1e6, 1)]
        for measure in measures { row += run.latencies[measure].map(cells) ?? [] }
        row += ["\(run.errors.total)", time(run.perOperation(run.clientCPU) * 1e9)]
        if hasServer {
            row.append(run.serverCPU.map { time(run.perOperation($0) * 1e9) } ?? "-")
            row.append(run.server.map { size($0.resident) } ?? "-")
            row.append(run.server?.descriptors.map { "\($0)" } ?? "-")
        }
        return row
    }

    private static func summaryRows(_ result: BenchResult, _ measures: [Measure], _ hasServer: Bool) -> [[String]] {
        guard result.runs.count > 1 else { return [] }
        return Summary.allCases.map { summary in
            func of(_ value: (BenchRun) -> Double) -> Double { summary.of(result.runs.map(value)) }
            var row = [summary.rawValue, fixed(of(\.rate), of(\.rate) < 100 ? 1 : 0), fixed(of(\.bytesPerSecond) / 1e6, 1)]
            for measure in measures {
                for percentile in percentiles {
                    row.append(time(of { Double($0.latencies[measure]?.percentile(percentile.fraction) ?? 0) }))
                }
                row.append(time(of { Double($0.latencies[measure]?.maximum ?? 0) }))
            }
            row += [fixed(of { Double($0.errors.total) }, 0), time(of { $0.perOperation($0.clientCPU) } * 1e9)]
            if hasServer {
                row.append(time(of { $0.perOperation($0.serverCPU ?? 0) } * 1e9))
                row.append(size(Int(of { Double($0.server?.resident ?? 0) })))
                row.append(fixed(of { Double($0.server?.descriptors ?? 0) }, 0))
            }
            return row
        }
    }

    private enum Summary: String, CaseIterable {
        case median, min, max

        func of(_ values: [Double]) -> Double {
            let sorted = values.sorted()
            guard let first = sorted.first, let last = sorted.last else { return 0 }
            switch self {
            case .min: return first
            case .max: return last
            case .median:
                let middle = sorted.count / 2
                return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
            }
        }
    }

    private static func allErrors(_ result: BenchResult) -> ErrorTally {
        var all = result.otherErrors
        for run in result.runs { all.merge(run.errors) }
        return all
    }

    /// Columns of equal width, to the right but for the first. An empty row begins another table.
    private static func align(_ rows: [[String]]) -> [String] {
        rows.split(separator: [], omittingEmptySubsequences: true).map { table in
            let columns = table.map(\.count).max() ?? 0
            let widths = (0..<columns).map { column in table.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
            return table.map { row in
                row.enumerated().map { column, cell in
                    let padding = String(repeating: " ", count: widths[column] - cell.count)
                    return column == 0 ? cell + padding : padding + cell
                }.joined(separator: "  ")
            }.joined(separator: "\n")
        }.flatMap { [$0, ""] }.dropLast()
    }

    // MARK: Numbers

    /// With so many digits behind the point.
    static func fixed(_ value: Double, _ digits: Int) -> String {
        guard value.isFinite else { return "-" }
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let whole = Int((value.magnitude * scale).rounded())
        let sign = value < 0 && whole > 0 ? "-" : ""
        guard digits > 0 else { return "\(sign)\(whole)" }
        let text = String(repeating: "0", count: max(0, digits + 1 - "\(whole)".count)) + "\(whole)"
        return sign + text.dropLast(digits) + "." + text.suffix(digits)
    }

    /// Three digits and a unit.
    static func time(_ nanoseconds: Double) -> String {
        for (limit, unit, name) in [(1e6, 1e3, "µs"), (1e9, 1e6, "ms"), (Double.infinity, 1e9, "s")] where nanoseconds < limit {
            let value = nanoseconds / unit
            return fixed(value, value < 10 ? 2 : value < 100 ? 1 : 0) + " " + name
        }
        return "-"
    }

    static func size(_ bytes: Int) -> String {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] where bytes >= unit {
            return bytes % unit == 0 ? "\(bytes / unit) \(name)" : fixed(Double(bytes) / Double(unit), 1) + " " + name
        }
        return "\(bytes) B"
    }

    // MARK: JSON

    public static func json(_ result: BenchResult) -> String {
        let plan = result.plan
        var object = JSONObject()
        object.add("workload", plan.workload.rawValue)
        object.add("url", "http://\(plan.target.authority)\(plan.target.path)")
        object.add("prefix", result.prefix)
        object.add("clean", result.isClean)
        object.add("interrupted", result.wasInterrupted)
        object.add("connections", plan.connectionCount)
        object.add("readers", plan.readerCount)
        object.add("streams", plan.streams)
        object.add("size", plan.messageSize)
        object.add("batch", plan.batch)
        object.add("jsonMessages", plan.jsonMessages)
        object.add("producers", plan.producers)
        if let rate = plan.rate { object.add("targetRate", rate) }
        object.add("acknowledged", result.acknowledged)
        object.add("errors", result.errors)
        object.add("errorKinds", errors(allErrors(result)))
        object.add(
            "opening",
            array: result.opening.map { opening in
                var entry = JSONObject()
                entry.add("what", opening.what)
                entry.add("count", opening.count)
                entry.add("upAfter", opening.seconds)
                entry.add("slowest", opening.slowest)
                return entry
            })
        if let before = result.withoutReaders, let with = result.withReaders {
            var readers = JSONObject()
            readers.add("residentBefore", before.resident)
            readers.add("residentWith", with.resident)
            readers.add("bytesPerReader", Double(with.resident - before.resident) / Double(max(1, plan.readerCount)))
            object.add("serverMemory", readers)
        }
        object.add("runs", array: result.runs.map(run))
        var summary = JSONObject()
        func summarise(_ name: String, _ value: (BenchRun) -> Double) {
            var entry = JSONObject()
            for kind in Summary.allCases { entry.add(kind.rawValue, kind.of(result.runs.map(value))) }
            summary.add(name, entry)
        }
        summarise("rate", \.rate)
        if result.runs.contains(where: { $0.serverCPU != nil }) {
            summarise("serverCPUPerOperation") { $0.perOperation($0.serverCPU ?? 0) * 1e6 }
        }
        summarise("clientCPUPerOperation") { $0.perOperation($0.clientCPU) * 1e6 }
        for measure in measures(result) {
            for percentile in percentiles {
                summarise("\(measure.rawValue)-\(percentile.json)") {
                    Double($0.latencies[measure]?.percentile(percentile.fraction) ?? 0) / 1e3
                }
            }
        }
        object.add("summary", summary)
        return object.text
    }

    private static func run(_ run: BenchRun) -> JSONObject {
        var object = JSONObject()
        object.add("seconds", run.seconds)
        object.add("operations", run.operations)
        object.add("rate", run.rate)
        object.add("bytes", run.bytes)
        object.add("receipts", run.receipts)
        object.add("reconnects", run.reconnects)
        object.add("errors", run.errors.total)
        object.add("errorKinds", errors(run.errors))
        var latencies = JSONObject()
        for measure in Measure.allCases {
            guard let histogram = run.latencies[measure] else { continue }
            var entry = JSONObject()
            entry.add("count", Int(histogram.count))
            entry.add("mean", histogram.mean / 1e3)
            for percentile in percentiles { entry.add(percentile.json, Double(histogram.percentile(percentile.fraction)) / 1e3) }
            entry.add("max", Double(histogram.maximum) / 1e3)
            latencies.add(measure.rawValue, entry)
        }
        object.add("latency", latencies)
        var client = JSONObject()
        client.add("cpuSeconds", run.clientCPU)
        client.add("cpuPerOperation", run.perOperation(run.clientCPU) * 1e6)
        object.add("client", client)
        if let use = run.server {
            var server = JSONObject()
            if let cpu = run.serverCPU {
                server.add("cpuSeconds", cpu)
                server.add("cpuPerOperation", run.perOperation(cpu) * 1e6)
            }
            server.add("resident", use.resident)
            if let count = use.descriptors { server.add("descriptors", count) }
            object.add("server", server)
        }
        return object
    }

    private static func errors(_ tally: ErrorTally) -> JSONObject {
        var object = JSONObject()
        for kind in tally.kinds { object.add(kind.text, tally.counts[kind]!) }
        return object
    }
}

/// A JSON object being written. Names and texts are printable ASCII (RFC 8259 7).
private struct JSONObject {
    private var members: [String] = []

    var text: String { "{" + members.joined(separator: ",") + "}" }

    mutating func add(_ name: String, literal: String) { members.append("\"\(name)\":\(literal)") }

    mutating func add(_ name: String, _ value: String) {
        let escaped = value.unicodeScalars.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : "\($0)" }.joined()
        add(name, literal: "\"\(escaped)\"")
    }

    mutating func add(_ name: String, _ value: Int) { add(name, literal: "\(value)") }
    mutating func add(_ name: String, _ value: Bool) { add(name, literal: "\(value)") }
    /// Three digits behind the point, which is a nanosecond where the value is microseconds; more where it is seconds.
    mutating func add(_ name: String, _ value: Double) {
        add(name, literal: BenchReport.fixed(value.isFinite ? value : 0, value.magnitude < 100 ? 6 : 3))
    }
    mutating func add(_ name: String, _ value: JSONObject) { add(name, literal: value.text) }
    mutating func add(_ name: String, array: [JSONObject]) { add(name, literal: "[" + array.map(\.text).joined(separator: ",") + "]") }
}
