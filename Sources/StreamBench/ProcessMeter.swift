// What a process has used, from /proc: processor time (utime and stime of all its threads, in ticks of mostly 10 ms), resident memory, open
// descriptors (proc(5)).

import Glibc
import SystemCalls

public struct ProcessUse: Sendable {
    /// Seconds of user and system time since the process began.
    public var cpu = 0.0
    /// Resident bytes.
    public var resident = 0
    /// Nil when this user may not look.
    public var descriptors: Int?

    /// - Returns: nil when there is no such process.
    public static func of(_ pid: Int32) -> ProcessUse? {
        guard let text = read("/proc/\(pid)/stat"), let name = text.lastIndex(of: UInt8(ascii: ")")) else { return nil }
        // The name in parentheses may hold anything; the fields from the third on follow it.
        let fields = text[(name + 1)...].split(separator: UInt8(ascii: " "))
        func number(_ field: Int) -> Int { fields.count > field - 3 ? Int(String(decoding: fields[field - 3], as: UTF8.self)) ?? 0 : 0 }
        var use = ProcessUse()
        use.cpu = Double(number(14) + number(15)) / Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
        use.resident = number(24) * Int(getpagesize())
        use.descriptors = try? FileCalls.list("/proc/\(pid)/fd").count
        return use
    }

    /// Processor seconds of this process, to the microsecond.
    static func ownCPU() -> Double {
        var usage = rusage()
        getrusage(RUSAGE_SELF.rawValue, &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    private static func read(_ path: String) -> [UInt8]? {
        guard let file = try? FileCalls.open(path, .readOnly) else { return nil }
        var text = [UInt8](repeating: 0, count: 4096)
        let count = text.withUnsafeMutableBytes { (try? FileCalls.read(file.number, into: $0, at: 0)) ?? 0 }
        return Array(text.prefix(count))
    }
}
