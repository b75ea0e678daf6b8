// The lines that `systemctl status` shows: what the server does now, in words and numbers that a person reads.
//
//     recovering 43 %
//     serving 1,204 streams, 18,311 live readers

enum StatusText {
    static func recovering(_ fraction: Double) -> String { "recovering \(Int(max(0, min(1, fraction)) * 100)) %" }

    static func serving(streams: Int, liveReaders: Int) -> String {
        "serving \(count(streams, "stream")), \(count(liveReaders, "live reader"))"
    }

    static func draining(connections: Int) -> String { "draining, \(count(connections, "connection")) left" }

    static func count(_ number: Int, _ noun: String) -> String { grouped(number) + " " + noun + (number == 1 ? "" : "s") }

    /// Digits in groups of three.
    static func grouped(_ number: Int) -> String {
        let digits = Array(String(number.magnitude))
        var text = number < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return text
    }
}
