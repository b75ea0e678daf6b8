// OpenSSL reports into a queue of each thread's own. It is emptied before every call that may fail and read after one that has, so that an
// error is never taken for a later call's (SSL_get_error(3)).

import COpenSSL

enum ErrorQueue {
    static func clear() { ERR_clear_error() }

    static var isEmpty: Bool { ERR_peek_error() == 0 }

    /// The last error's reason, 0 for none; it stays in the queue.
    static var lastReason: Int32 {
        let code = ERR_peek_last_error()
        return copenssl_library(code) == ERR_LIB_SSL ? copenssl_reason(code) : 0
    }

    /// Whether the last error is `reason` of the PEM library.
    static func lastIsPEM(_ reason: Int32) -> Bool {
        let code = ERR_peek_last_error()
        return copenssl_library(code) == ERR_LIB_PEM && copenssl_reason(code) == reason
    }

    /// What has gone wrong, first things first, at most four; the queue is empty afterwards.
    static func takeText() -> String {
        var parts: [String] = []
        while true {
            let code = ERR_get_error()
            if code == 0 { break }
            if parts.count == 4 { continue }
            if let reason = ERR_reason_error_string(code) {
                parts.append(String(cString: reason))
            } else {
                parts.append("error \(String(code, radix: 16))")
            }
        }
        return parts.isEmpty ? "no reason given" : parts.joined(separator: ", ")
    }
}
