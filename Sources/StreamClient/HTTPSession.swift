// HTTPSession: one HTTP request at a time over libcurl, connections kept between them.
//
//     perform ──▶ curl_multi_perform ⇄ curl_multi_poll(sockets, interruption) ──▶ Exchange
//                     │ header lines ▶ HTTPAnswer
//                     │ body of a 2xx ▶ sink        of any other ▶ HTTPAnswer.textBytes
//
// One easy handle is reused, on a multi handle because that one can wait for Ctrl-C too and resolves names without blocking. The HTTP
// version is libcurl's to negotiate. `Exchange` tells a complete answer from a lost one; only faults on our side of the wire are thrown.

import CCurl
import Glibc

/// How one request ended.
public enum Exchange: Equatable, Sendable {
    /// Head and body came whole.
    case answered(HTTPAnswer)
    /// The sink had enough; the rest was not awaited.
    case stopped(HTTPAnswer)
    /// No complete answer. The request may or may not have taken effect.
    case lost(Loss)

    public struct Loss: Equatable, Sendable {
        /// In libcurl's words.
        public var reason: String
        /// Whether the same request may fare better later.
        public var isTransient: Bool
        /// Whether the server was silent for the request's patience.
        public var isTimeout: Bool
        /// The head, if one had come.
        public var answer: HTTPAnswer?
    }
}

public final class HTTPSession {
    /// Whether to go on receiving.
    public enum Appetite: Sendable { case more, enough }
    /// Receives the body of a 2xx answer in pieces.
    public typealias Sink = (HTTPAnswer, UnsafeRawBufferPointer) throws(ClientFailure) -> Appetite

    /// Milliseconds for resolving, connecting and the TLS handshake together.
    static let connectPatience = 10_000
    static let mostRedirects = 5

    public let time: Timekeeper
    public let interruption: Int32?
    /// Receives lines meant for the user; false: only of interest with `-v`.
    let note: (_ line: String, _ isImportant: Bool) -> Void

    private let fields: [HeaderField]
    private let easy: UnsafeMutableRawPointer
    private let multi: UnsafeMutableRawPointer
    private let errorText: UnsafeMutablePointer<CChar>

    private static let isInitialised: Bool = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    /// - Parameters:
    ///   - fields: sent with every request; one of a request's own of the same name takes precedence.
    ///   - interruption: a descriptor whose readiness ends any request.
    public init(
        fields: [HeaderField] = [], interruption: Int32? = nil, time: Timekeeper = .system,
        note: @escaping (_ line: String, _ isImportant: Bool) -> Void = { _, _ in }
    ) {
        guard Self.isInitialised, let easy = curl_easy_init(), let multi = curl_multi_init() else { fatalError("libcurl: out of memory") }
        self.easy = easy
        self.multi = multi
        self.fields = fields
        self.interruption = interruption
        self.time = time
        self.note = note
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_multi_cleanup(multi)
        errorText.deallocate()
    }

    /// - Throws: what `sink` throws; `interrupted`.
    public func perform(_ request: HTTPRequest, sink: @escaping Sink = { _, _ in .more }) throws(ClientFailure) -> Exchange {
        let began = time.now()
        let list = headerList(request)
        defer { curl_slist_free_all(list) }
        let transfer = Transfer(sink: sink)
        let code = try request.body.withUnsafeBytesTyped { body throws(ClientFailure) in
            configure(request, body: body, list: list, transfer: transfer)
            return try drive()
        }
        if let failure = transfer.failure { throw failure }
        var retryAfter: curl_off_t = 0
        if ccurl_get_offset(easy, CURLINFO_RETRY_AFTER, &retryAfter) == CURLE_OK, retryAfter > 0 {
            transfer.answer.retryAfter = retryAfter.multipliedReportingOverflow(by: 1000).overflow ? Int.max : retryAfter * 1000
        }
        let exchange = exchange(code, transfer)
        let end: String =
            switch exchange {
            case .answered(let answer), .stopped(let answer): "\(answer.status)"
            case .lost(let loss): loss.reason
            }
        note("\(request.method.rawValue) \(request.url): \(end) (\(time.now() - began) ms)", false)
        return exchange
    }

    /// Waits; for what comes between two attempts.
    /// - Throws: `interrupted`.
    func pause(milliseconds: Int) throws(ClientFailure) {
        if time.wait(milliseconds, interruption) { throw .interrupted }
    }

    private func exchange(_ code: CURLcode, _ transfer: Transfer) -> Exchange {
        if transfer.isSated { return .stopped(transfer.answer) }
        if code == CURLE_OK, transfer.answer.isHeadComplete { return .answered(transfer.answer) }
        // A refusal whose explanation was cut off is a refusal all the same.
        if transfer.answer.isHeadComplete, transfer.answer.status >= 400, !transfer.answer.isTransient { return .answered(transfer.answer) }
        let detail = String(cString: errorText)
        let reason = detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail
        return .lost(
            Exchange.Loss(
                reason: code == CURLE_OK ? "the connection was closed in the middle of an answer" : reason,
                isTransient: Self.isTransient(code),
                isTimeout: code == CURLE_OPERATION_TIMEDOUT,
                answer: transfer.answer.isHeadComplete ? transfer.answer : nil))
    }

    /// What waiting cannot mend: a URL that is none, a certificate that does not match, a library without the feature.
    private static func isTransient(_ code: CURLcode) -> Bool {
        switch code {
        case CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM,
            CURLE_SSL_CACERT_BADFILE,
            CURLE_SSL_CIPHER, CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_TOO_MANY_REDIRECTS, CURLE_OUT_OF_MEMORY, CURLE_BAD_FUNCTION_ARGUMENT,
            CURLE_NOT_BUILT_IN, CURLE_UNKNOWN_OPTION:
            false
        default: true
        }
    }

    /// What libcurl would add by itself (`Expect`, a form's content type) is switched off with a bare `Name:`.
    private func headerList(_ request: HTTPRequest) -> UnsafeMutablePointer<curl_slist>? {
        var list: UnsafeMutablePointer<curl_slist>?
        let general = fields.filter { field in !request.fields.contains { $0.isNamed(field.name) } }
        for field in general + request.fields { list = curl_slist_append(list, field.curlLine) }
        for name in ["Expect", "Content-Type"] where !(general + request.fields).contains(where: { $0.isNamed(name) }) {
            list = curl_slist_append(list, "\(name):")
        }
        return list
    }

    private func configure(
        _ request: HTTPRequest, body: UnsafeRawBufferPointer, list: UnsafeMutablePointer<curl_slist>?, transfer: Transfer
    ) {
        curl_easy_reset(easy)
        errorText[0] = 0
        func set(_ option: CURLoption, _ value: Int) { precondition(ccurl_set_long(easy, option, value) == CURLE_OK) }
        func set(_ option: CURLoption, _ value: String) { precondition(ccurl_set_string(easy, option, value) == CURLE_OK) }
        set(CURLOPT_URL, request.url)
        set(CURLOPT_PROTOCOLS_STR, "http,https")
        set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https")
        set(CURLOPT_PATH_AS_IS, 1)
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_BUFFERSIZE, 256 * 1024)
        set(CURLOPT_USERAGENT, "durable-streams")
        set(CURLOPT_CONNECTTIMEOUT_MS, Self.connectPatience)
        set(CURLOPT_LOW_SPEED_LIMIT, 1)
        set(CURLOPT_LOW_SPEED_TIME, request.patience)
        set(CURLOPT_FOLLOWLOCATION, 1)
        set(CURLOPT_MAXREDIRS, Self.mostRedirects)
        // Method and body stay as they are whatever the redirect: a POST without its body could be a close.
        set(CURLOPT_POSTREDIR, Int(CURL_REDIR_POST_301 | CURL_REDIR_POST_302 | CURL_REDIR_POST_303))
        switch request.method {
        case .get: set(CURLOPT_HTTPGET, 1)
        case .head: set(CURLOPT_NOBODY, 1)
        case .delete: set(CURLOPT_CUSTOMREQUEST, request.method.rawValue)
        case .put, .post:
            precondition(ccurl_set_post_fields(easy, body.baseAddress ?? UnsafeRawPointer(errorText), curl_off_t(body.count)) == CURLE_OK)
            set(CURLOPT_CUSTOMREQUEST, request.method.rawValue)
        }
        let context = Unmanaged.passUnretained(transfer).toOpaque()
        precondition(ccurl_set_list(easy, CURLOPT_HTTPHEADER, list) == CURLE_OK)
        precondition(ccurl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText) == CURLE_OK)
        precondition(ccurl_set_pointer(easy, CURLOPT_HEADERDATA, context) == CURLE_OK)
        precondition(ccurl_set_pointer(easy, CURLOPT_WRITEDATA, context) == CURLE_OK)
        let onHeader: curl_write_callback = { bytes, size, count, context in
            Unmanaged<Transfer>.fromOpaque(context!).takeUnretainedValue().header(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        let onBody: curl_write_callback = { bytes, size, count, context in
            Unmanaged<Transfer>.fromOpaque(context!).takeUnretainedValue().body(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        precondition(ccurl_set_write_callback(easy, CURLOPT_HEADERFUNCTION, onHeader) == CURLE_OK)
        precondition(ccurl_set_write_callback(easy, CURLOPT_WRITEFUNCTION, onBody) == CURLE_OK)
    }

    /// Runs the configured transfer to its end.
    private func drive() throws(ClientFailure) -> CURLcode {
        precondition(curl_multi_add_handle(multi, easy) == CURLM_OK)
        defer { curl_multi_remove_handle(multi, easy) }
        var running: Int32 = 0
        while true {
            guard curl_multi_perform(multi, &running) == CURLM_OK else { return CURLE_FAILED_INIT }
            if running == 0 { break }
            var extra = curl_waitfd(fd: interruption ?? -1, events: Int16(CURL_WAIT_POLLIN), revents: 0)
            guard curl_multi_poll(multi, &extra, interruption == nil ? 0 : 1, 1000, nil) == CURLM_OK else { return CURLE_FAILED_INIT }
            if extra.revents != 0 { throw .interrupted }
        }
        var queued: Int32 = 0
        while let message = curl_multi_info_read(multi, &queued) {
            if message.pointee.msg == CURLMSG_DONE { return message.pointee.data.result }
        }
        return CURLE_FAILED_INIT
    }
}

/// What libcurl's callbacks fill while a request runs. Alive for the length of `HTTPSession.perform`.
private final class Transfer {
    let sink: HTTPSession.Sink
    var answer = HTTPAnswer()
    var failure: ClientFailure?
    var isSated = false

    init(sink: @escaping HTTPSession.Sink) { self.sink = sink }

    func header(_ bytes: UnsafeRawBufferPointer) -> Int {
        answer.addHeadLine(bytes)
        return bytes.count
    }

    /// Any count but the one given makes libcurl end the transfer.
    func body(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard answer.isSuccess else {
            answer.textBytes.append(contentsOf: bytes.prefix(HTTPAnswer.longestText - answer.textBytes.count))
            return bytes.count
        }
        do throws(ClientFailure) {
            if try sink(answer, bytes) == .more { return bytes.count }
            isSated = true
        } catch {
            failure = error
        }
        return bytes.isEmpty ? 1 : 0
    }
}

extension Array where Element == UInt8 {
    /// `withUnsafeBytes` that keeps the error's type.
    func withUnsafeBytesTyped<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        let result: Result<R, E> = withUnsafeBytes { bytes in
            do throws(E) { return .success(try body(bytes)) } catch { return .failure(error) }
        }
        return try result.get()
    }
}
