// A small file in PEM form, read whole, and the certificates in it.

import COpenSSL
import SystemCalls
import SystemPackage

enum PEMFile {
    /// A chain has a few certificates of 2 KB; a bundle of authorities as large as Debian's has 220 KB.
    static let sizeLimit = 1 << 20

    /// - Parameter isSecret: refuse a file that every user of this machine can read or change.
    static func read(_ path: String, isSecret: Bool) throws(TLSLoadFailure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: sizeLimit + 1)
        let isOpen: Bool
        do throws(Errno) {
            let descriptor = try FileCalls.open(path, .readOnly)
            isOpen = isSecret ? try FileCalls.isOpenToOthers(descriptor.number) : false
            let count = try bytes.withUnsafeMutableBufferPointer { (buffer) throws(Errno) -> Int in
                try FileCalls.read(descriptor.number, into: UnsafeMutableRawBufferPointer(buffer), at: 0)
            }
            bytes.removeSubrange(count...)
        } catch {
            throw .unreadable(file: path, reason: "\(error)")
        }
        if isOpen { throw .keyOpenToOthers(file: path) }
        if bytes.count > sizeLimit { throw .tooLarge(file: path, limit: sizeLimit) }
        return bytes
    }

    /// All certificates of a PEM text, in its order; the caller owns them. Empty when the text is malformed or has none: the error queue
    /// then says why.
    static func certificates(_ text: [UInt8]) -> [OpaquePointer] {
        ErrorQueue.clear()
        let bio = BIO_new_mem_buf(text, Int32(text.count))
        defer { BIO_free(bio) }
        var found: [OpaquePointer] = []
        while let certificate = PEM_read_bio_X509(bio, nil, nil, nil) { found.append(certificate) }
        // The end is reported as a missing begin; anything else is damage.
        if !found.isEmpty, !ErrorQueue.lastIsPEM(PEM_R_NO_START_LINE) {
            for certificate in found { X509_free(certificate) }
            return []
        }
        if !found.isEmpty { ErrorQueue.clear() }
        return found
    }
}
