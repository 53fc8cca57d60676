/* Signatures of a CA over bytes: what a collector orders of an agent, whoever carries it. No state. */
#include "tls_internal.h"

#include <mbedtls/pk.h>

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
