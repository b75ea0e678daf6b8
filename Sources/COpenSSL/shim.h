// OpenSSL 3 as Swift can call it. Much of its interface is macros over SSL_ctrl, which Swift does not import; there is one function here for
// each of those that this project uses (man SSL_CTX_ctrl). Nothing else belongs here.

#ifndef COPENSSL_SHIM_H
#define COPENSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static inline int copenssl_set_versions(SSL_CTX *context, int lowest, int highest) {
    return SSL_CTX_set_min_proto_version(context, lowest) && SSL_CTX_set_max_proto_version(context, highest);
}

static inline void copenssl_set_server_options(SSL_CTX *context, int kernel_tls) {
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | (kernel_tls ? SSL_OP_ENABLE_KTLS : 0));
}

static inline void copenssl_set_mode(SSL_CTX *context, long mode) { SSL_CTX_set_mode(context, mode); }

static inline int copenssl_set_groups(SSL_CTX *context, const char *list) { return (int)SSL_CTX_set1_groups_list(context, list); }

static inline void copenssl_set_session_cache_mode(SSL_CTX *context, long mode) { SSL_CTX_set_session_cache_mode(context, mode); }

static inline void copenssl_set_read_ahead(SSL_CTX *context, int on) { SSL_CTX_set_read_ahead(context, on); }

static inline int copenssl_add_chain_certificate(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}

static inline void copenssl_set_server_name_callback(SSL_CTX *context, int (*call)(SSL *, int *, void *), void *argument) {
    SSL_CTX_set_tlsext_servername_callback(context, call);
    SSL_CTX_set_tlsext_servername_arg(context, argument);
}

static inline int copenssl_set_server_name(SSL *session, const char *name) { return (int)SSL_set_tlsext_host_name(session, name); }

static inline int copenssl_kernel_sends(SSL *session) {
    BIO *out = SSL_get_wbio(session);
    return out != NULL && BIO_get_ktls_send(out) ? 1 : 0;
}

static inline long copenssl_memory(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }

static inline EVP_PKEY *copenssl_make_p256_key(void) { return EVP_EC_gen("P-256"); }

static inline int copenssl_reason(unsigned long code) { return ERR_GET_REASON(code); }

static inline int copenssl_library(unsigned long code) { return ERR_GET_LIB(code); }

static inline int copenssl_name_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }

static inline int copenssl_print_name(BIO *out, const X509_NAME *name) { return X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253); }

// Swift's strings do not live as long as the parameters point to them. The key is copied.
static inline int copenssl_set_hmac_sha256(EVP_MAC_CTX *context, const unsigned char *key, size_t count) {
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key, count),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(context, parameters);
}

// The text of a dNSName, NULL for any other kind; not terminated, its length goes to `count`.
static inline const unsigned char *copenssl_dns_name(const GENERAL_NAMES *names, int index, int *count) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    if (name->type != GEN_DNS) return NULL;
    *count = ASN1_STRING_length(name->d.dNSName);
    return ASN1_STRING_get0_data(name->d.dNSName);
}

#endif
