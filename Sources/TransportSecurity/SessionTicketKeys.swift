// The keys that session tickets are sealed with (RFC 5077 4): a client keeps the ticket, the server keeps nothing but these.
//
//     key name (16) │ IV (16) │ AES-256-CBC of the session │ HMAC-SHA-256
//
//     time  ──────────▶      rotation           rotation           rotation
//     current   A               │ B                │ C                │ D
//     previous                  │ A                │ B                │ C
//
// A ticket of the current key is taken; one of the previous key is taken and replaced by a new one; older ones mean a full handshake. So a ticket
// lives one to two intervals, and whoever steals the keys from memory can read no session older than that. Keys are made at random in each
// process and written nowhere: after a restart there are full handshakes.
//
// Confined to the reactor; contexts that are loaded anew share the keys of the old ones, so that a reload loses no ticket.

import COpenSSL

/// Rotating keys for session tickets. The owner calls ``advance(to:)`` from time to time; nothing else looks at a clock.
public final class SessionTicketKeys {
    struct Key {
        var name = [UInt8](repeating: 0, count: 16)
        var cipher = [UInt8](repeating: 0, count: 32)
        var authentication = [UInt8](repeating: 0, count: 32)

        init() throws(TLSLoadFailure) {
            ErrorQueue.clear()
            guard RAND_bytes(&name, 16) == 1, RAND_priv_bytes(&cipher, 32) == 1, RAND_priv_bytes(&authentication, 32) == 1 else {
                throw .library(reason: ErrorQueue.takeText())
            }
        }

        mutating func erase() {
            cipher.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
            authentication.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
        }
    }

    /// Milliseconds for which a key seals new tickets.
    public let interval: Int64
    private var current: Key
    private var previous: Key?
    private var since: Int64

    /// - Parameters:
    ///   - now: milliseconds of any clock that only goes forward, the same as later for ``advance(to:)``.
    ///   - interval: milliseconds between rotations; RFC 5077 5.5 recommends changing keys, and 12 hours are usual.
    public init(now: Int64, interval: Int64 = 12 * 3600 * 1000) throws(TLSLoadFailure) {
        precondition(interval > 0)
        current = try Key()
        since = now
        self.interval = interval
    }

    deinit {
        current.erase()
        previous?.erase()
    }

    /// Rotates if it is time; after two intervals without a call no earlier key is left.
    public func advance(to now: Int64) throws(TLSLoadFailure) {
        let passed = (now - since) / interval
        if passed <= 0 { return }
        let next = try Key()
        previous?.erase()
        previous = nil
        if passed == 1 { previous = current } else { current.erase() }
        current = next
        since += passed * interval
    }

    /// OpenSSL seals or opens a ticket (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)): 1 use it, 2 use it and send a new one, 0 not known, -1 error.
    func prepare(
        _ name: UnsafeMutablePointer<UInt8>, _ iv: UnsafeMutablePointer<UInt8>, _ cipher: OpaquePointer, _ authentication: OpaquePointer,
        sealing: Bool
    ) -> Int32 {
        var answer: Int32 = 1
        let key: Key
        if sealing {
            guard RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 else { return -1 }
            for index in 0..<16 { name[index] = current.name[index] }
            key = current
        } else if current.name.elementsEqual(UnsafeBufferPointer(start: name, count: 16)) {
            key = current
        } else if let previous, previous.name.elementsEqual(UnsafeBufferPointer(start: name, count: 16)) {
            key = previous
            answer = 2
        } else {
            return 0
        }
        let isSet = copenssl_set_hmac_sha256(authentication, key.authentication, key.authentication.count)
        let isReady =
            sealing
            ? EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nil, key.cipher, iv)
            : EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nil, key.cipher, iv)
        return isSet == 1 && isReady == 1 ? answer : -1
    }
}
