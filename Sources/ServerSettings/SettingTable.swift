// The table of all settings. One entry is the whole description of a setting; add a field to `Settings`, an entry here and a flag
// in `SettingsOptions`, and everything else follows. `.onReload` stands behind those that take effect on SIGHUP. The bounds keep a slip
// of the pen (a unit too many) from becoming an outage.

import Logging

extension SettingKey {
    // MARK: Network

    static let listen = list(
        "listen", \.listen, .network, "ADDRESS", ["127.0.0.1:4437"],
        allowed: "host:port, [v6]:port, :port (all addresses), unix:/path; port 0: the kernel chooses",
        "Addresses to accept connections on.",
        read: { texts throws(ValueFault) in
            if texts.isEmpty { throw ValueFault("[]", "is empty", expected: ListenAddress.expected) }
            return try addresses(texts)
        },
        write: { $0.map(\.description) })

    private static func addresses(_ texts: [String]) throws(ValueFault) -> [ListenAddress] {
        var addresses: [ListenAddress] = []
        for text in texts {
            let address = try ListenAddress(text)
            if address.port != 0, addresses.contains(address) {
                throw ValueFault(text, "is listed twice", expected: "each address once")
            }
            addresses.append(address)
        }
        return addresses
    }
    static let portFile = path(
        "port-file", \.portFile, .network, "FILE", "File that receives the bound TCP port once the server accepts connections.")
    static let corsOrigins = list(
        "cors-origins", \.corsOrigins, .network, "ORIGIN", ["*"], allowed: "* or origins such as https://app.example.com",
        "Origins whose pages may use the server (CORS).",
        read: { texts throws(ValueFault) in try CORSOrigins(texts) }, write: { $0.texts }
    ).onReload
    static let cacheVisibility = choice(
        "cache-visibility", \.cacheVisibility, .network, .public, "Whether shared caches may keep what was read."
    ).onReload

    static let trustedProxies = list(
        "trusted-proxies", \.trustedProxies, .network, "NETWORK", ["127.0.0.0/8", "::1/128", "unix"],
        allowed: "addresses, networks such as 10.0.0.0/8, unix",
        "Proxies whose X-Forwarded-For, -Host and -Proto count.",
        read: { texts throws(ValueFault) in try TrustedProxies(texts) }, write: { $0.texts }
    ).onReload
    static let allowedHosts = list(
        "allowed-hosts", \.allowedHosts, .network, "HOST", [], dev: ["localhost", "*.localhost", "address"],
        allowed: "host names, *.name, address (every literal address); * or none: all",
        "Hosts that requests may name; others are answered 421.",
        read: { texts throws(ValueFault) in try AllowedHosts(texts) }, write: { $0.texts }
    ).onReload
    static let forkScope = choice(
        "fork-scope", \.forkScope, .network, ForkScope.any,
        "Whether a fork may have a source whose name begins with another path segment."
    ).onReload

    // MARK: TLS

    static let listenTLS = list(
        "listen-tls", \.listenTLS, .tls, "ADDRESS", [], allowed: "as for listen",
        "Addresses to accept HTTPS on; with them alone, nothing is spoken in clear.",
        read: { texts throws(ValueFault) in try addresses(texts) }, write: { $0.map(\.description) })
    static let tlsCertificates = list(
        "tls-certificate", \.tlsCertificates, .tls, "FILE", [], allowed: "PEM files, or credential:NAME for a credential of the unit",
        "Certificate chains, the first for clients that name no other server.",
        read: { texts throws(ValueFault) in try files(texts) }, write: { $0 }
    ).onReload
    static let tlsKeys = list(
        "tls-key", \.tlsKeys, .tls, "FILE", [], allowed: "PEM files, one for each tls-certificate, in the same order",
        "Private keys of the certificates.",
        read: { texts throws(ValueFault) in try files(texts) }, write: { $0 }
    ).onReload
    static let tlsMinimum = choice(
        "tls-minimum", \.tlsMinimum, .tls, TLSMinimum.version12, "Oldest version of TLS that is spoken."
    ).onReload
    static let tlsClientCA = path(
        "tls-client-ca", \.tlsClientCA, .tls, "FILE", "Authorities whose client certificates are good."
    ).onReload
    static let tlsClientCertificates = choice(
        "tls-client-auth", \.tlsClientCertificates, .tls, ClientCertificatePolicy.off, "Whether clients show certificates."
    ).onReload
    static let listenRedirect = list(
        "listen-redirect", \.listenRedirect, .tls, "ADDRESS", [], allowed: "as for listen",
        "Addresses where each request is answered with its https URL.",
        read: { texts throws(ValueFault) in try addresses(texts) }, write: { $0.map(\.description) })
    static let strictTransport = duration(
        "strict-transport", \.strictTransport, .tls, "0s", .zero...(.seconds(2 * 366 * 86400)),
        because: "0s: not sent; browsers keep it for so long", "Time for which browsers shall use nothing but HTTPS (HSTS)."
    ).onReload

    private static func files(_ texts: [String]) throws(ValueFault) -> [String] {
        for text in texts where text.isEmpty || text.utf8.contains(0) { throw ValueFault(text, "is not a path", expected: "a path") }
        return texts
    }

    // MARK: Storage

    static let dataDirectory = path(
        "data-dir", \.dataDirectory, .storage, "DIR", "Directory of all data; serve needs one, dev uses a temporary one without it.")
    static let durability = choice(
        "durability", \.durability, .storage, .always, dev: Durability.none,
        "When an append is acknowledged: after the sync that covers it, or without one.")
    static let segmentSize = size(
        "segment-size", \.segmentSize, .storage, "64MiB", (4 << 10)...(16 << 30),
        because: "small ones make many files, large ones are given back late",
        "Size at which a stream's segment file is followed by the next.")
    static let journalSize = size(
        "journal-size", \.journalSize, .storage, "256MiB", dev: "32MiB", (1 << 20)...(64 << 30),
        because: "recovery replays it; it is allocated in advance", "Space for the journal that all streams share.")
    static let tailBufferBudget = size(
        "tail-buffer-budget", \.tailBufferBudget, .storage, "256MiB", (1 << 20)...(1 << 40), because: "it is held in memory",
        "Memory for all bytes that are not in segments yet, together.")
    static let descriptorCache = count(
        "descriptor-cache", \.descriptorCache, .storage, "512", 8...1_000_000, because: "each is a file descriptor",
        "Segment files kept open.")
    static let checkpointInterval = duration(
        "checkpoint-interval", \.checkpointInterval, .storage, "30s", .milliseconds(100)...(.seconds(3600)),
        because: "what lies behind it is replayed at start", "Longest time between checkpoints.")
    static let diskWorkers = count(
        "disk-workers", \.diskWorkers, .storage, "4", 1...64, because: "each is a thread", "Threads for file operations that may block.")

    static let scrubRate = rate(
        "scrub-rate", \.scrubRate, .storage, "4MiB/s", 0...(16 << 30), because: "0 is off",
        "Bytes of segments that are checked against their checksums per second, in the background."
    ).onReload
    static let scrubPause = duration(
        "scrub-pause", \.scrubPause, .storage, "1d", .milliseconds(1)...(.seconds(366 * 86400)),
        because: "every byte is read once in a pass", "Time between two passes of the scrub."
    ).onReload

    // MARK: Reading

    static let longPollTimeout = duration(
        "long-poll-timeout", \.longPollTimeout, .reading, "30s", .milliseconds(1)...(.seconds(3600)),
        because: "proxies cut silent requests off", "Time a long-poll waits for data before it is answered 204."
    ).onReload
    static let sseInterval = duration(
        "sse-interval", \.sseInterval, .reading, "60s", .milliseconds(10)...(.seconds(86400)),
        because: "caches collapse requests by interval", "Time after which an SSE connection is ended, to be resumed by the client."
    ).onReload
    static let sseHeartbeat = duration(
        "sse-heartbeat", \.sseHeartbeat, .reading, "20s", .zero...(.seconds(3600)), because: "0s: off; proxies cut silent connections off",
        "Time without an event after which an SSE connection gets a comment."
    ).onReload
    static let chunkSize = size(
        "chunk-size", \.chunkSize, .reading, "1MiB", (4 << 10)...(64 << 20),
        because: "small ones cost a request each, large ones cannot be resumed within",
        "Most bytes of one catch-up response.")

    // MARK: Limits

    static let bodyLimit = size(
        "body-limit", \.bodyLimit, .limits, "64MiB", (1 << 10)...(1 << 30), because: "a body is held in memory until it is durable",
        "Largest request body; larger ones are answered 413."
    ).onReload
    static let headLimit = size(
        "head-limit", \.headLimit, .limits, "32KiB", (4 << 10)...(1 << 20), because: "a head is held in memory",
        "Largest request line and header fields together; larger ones are answered 431."
    ).onReload
    static let targetLimit = size(
        "target-limit", \.targetLimit, .limits, "8KiB", (4 << 10)...(64 << 10),
        because: "a stream name of 1024 bytes, percent-encoded, has to fit", "Longest request target; longer ones are answered 414."
    ).onReload
    static let connectionLimit = count(
        "connection-limit", \.connectionLimit, .limits, "automatic", 1...10_000_000, zero: "automatic",
        because: "automatic: what the limit of open files allows", "Most connections at once; further ones are refused."
    ).onReload

    static let connectionsPerAddress = count(
        "connections-per-address", \.connectionsPerAddress, .limits, "automatic", 1...10_000_000, zero: "automatic",
        because: "automatic: a quarter of connection-limit", "Most connections of one address, trusted proxies excepted."
    ).onReload
    static let peerMemory = size(
        "peer-memory", \.peerMemory, .limits, "1GiB", (64 << 20)...(1 << 40), because: "it is held in memory",
        "Memory for what is held for clients, together: bodies that arrive, requests and answers that wait."
    ).onReload
    static let producerRetention = duration(
        "producer-retention", \.producerRetention, .limits, "7d", .seconds(1)...(.seconds(10 * 366 * 86400)),
        because: "a forgotten producer may store a retry twice", "Time without an append after which a producer may be forgotten."
    ).onReload

    // MARK: Timeouts

    static let idleTimeout = duration(
        "idle-timeout", \.idleTimeout, .timeouts, "75s", .milliseconds(10)...(.seconds(86400)), because: "an idle connection costs a slot",
        "Time without a request after which a kept-alive connection is closed."
    ).onReload
    static let headerTimeout = duration(
        "header-timeout", \.headerTimeout, .timeouts, "10s", .milliseconds(10)...(.seconds(600)),
        because: "slow senders would take all connections", "Time in which a request's head has to arrive."
    ).onReload
    static let peerTimeout = duration(
        "peer-timeout", \.peerTimeout, .timeouts, "30s", .seconds(1)...(.seconds(3600)), because: "whoever is gone costs a slot",
        "Time after which a peer that takes nothing, or does not answer any more, is cut off."
    ).onReload
    static let bodyTimeout = duration(
        "body-timeout", \.bodyTimeout, .timeouts, "30s", .milliseconds(10)...(.seconds(86400)),
        because: "a body that stops costs a slot", "Time without a byte after which a request's body is given up."
    ).onReload
    static let bodyGrace = duration(
        "body-grace", \.bodyGrace, .timeouts, "10s", .zero...(.seconds(3600)), because: "slow senders would take all memory",
        "Time before the rate of a body that holds much memory is measured."
    ).onReload
    static let bodyMinimumRate = rate(
        "body-minimum-rate", \.bodyMinimumRate, .timeouts, "1KiB/s", 0...(1 << 30), because: "0: no floor",
        "Rate below which a body that holds much memory is cut off."
    ).onReload
    static let drainTimeout = duration(
        "drain-timeout", \.drainTimeout, .timeouts, "10s", .zero...(.seconds(3600)), because: "service managers wait 90s and kill",
        "Time that open requests have to finish when the server stops."
    ).onReload

    // MARK: Logging

    static let logLevel = choice(
        "log-level", \.logLevel, .logging, Logger.Level.info, "Least severe events that are logged, from trace to critical."
    ).onReload
    static let logFormat = choice("log-format", \.logFormat, .logging, .text, "Form of a log line.")
    static let accessLog = onOff("access-log", \.accessLog, .logging, false, "Log one line per request.").onReload

    /// Every setting, in the order in which they are printed.
    public static let all: [SettingKey] = [
        listen, portFile, corsOrigins, cacheVisibility, trustedProxies, allowedHosts, forkScope,
        listenTLS, tlsCertificates, tlsKeys, tlsMinimum, tlsClientCA, tlsClientCertificates, listenRedirect, strictTransport,
        dataDirectory, durability, segmentSize, journalSize, tailBufferBudget, descriptorCache, checkpointInterval, diskWorkers,
        scrubRate, scrubPause,
        longPollTimeout, sseInterval, sseHeartbeat, chunkSize,
        bodyLimit, headLimit, targetLimit, connectionLimit, connectionsPerAddress, peerMemory, producerRetention,
        idleTimeout, headerTimeout, peerTimeout, bodyTimeout, bodyGrace, bodyMinimumRate, drainTimeout,
        logLevel, logFormat, accessLog,
    ]

    private static let byName = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    /// The setting with a name; nil: there is none.
    public static func named(_ name: String) -> SettingKey? { byName[name] }
}
