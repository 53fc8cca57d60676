/* Signatures over bytes, by a CA's key: what the collector orders of an agent outside a connection. No state. */
#include "tls_internal.h"

#include <mbedtls/pk.h>

MUST_USE enum status tls_sign(struct slice key_pem, struct slice bytes, struct buf *ret_der, struct error *err) {
    mbedtls_pk_context key;
    unsigned char sig[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
    uint8_t hash[32];
    size_t len = 0;
    mbedtls_pk_init(&key);
    tls_sha256(bytes, hash);
    enum status st = tls_parse_key(key_pem, &key, err);
    if (!st) {
        int rc = mbedtls_pk_sign(&key, MBEDTLS_MD_SHA256, hash, sizeof hash, sig, sizeof sig, &len, tls_rng, NULL);
        if (rc) st = tls_error(err, ST_TLS, rc, "cannot sign");
    }
    if (!st) buf_append(ret_der, sig, len);
    mbedtls_pk_free(&key);
    return st;
}

MUST_USE enum status tls_verify_signature(struct slice ca_pem, struct slice bytes, struct slice signature,
                                          struct error *err) {
    mbedtls_x509_crt list;
    uint8_t hash[32];
    mbedtls_x509_crt_init(&list);
    tls_sha256(bytes, hash);
    enum status st = tls_parse_chain(ca_pem, "the list of trusted CAs", &list, err);
    if (!st) {
        st = error_set(err, ST_AUTH, "no CA that this host trusts has signed it");
        for (mbedtls_x509_crt *c = &list; c; c = c->next) {
            if (mbedtls_x509_crt_get_ca_istrue(c) != 1) continue;
            if (mbedtls_pk_verify(&c->pk, MBEDTLS_MD_SHA256, hash, sizeof hash, signature.p, signature.len) == 0) {
                st = ST_OK;
                break;
            }
        }
    }
    mbedtls_x509_crt_free(&list);
    return st;
}
