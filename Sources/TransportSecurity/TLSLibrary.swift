// OpenSSL's own beginning and end.
//
// By default the library takes itself apart when the process calls `exit`. A worker that reads certificates at that moment would go on with memory
// that has been given back. The process's end gives everything back anyway, so the library stays as it is.

import COpenSSL

public enum TLSLibrary {
    /// To be called before anything else of the library is; later calls do nothing.
    public static func prepare() { _ = OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil) }
}
