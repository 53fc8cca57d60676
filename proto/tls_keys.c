/* Keys, certificate requests, certificate facts, hashes and random bytes: the part of TLS that has no connection.
 * No state; thread-safe after tls_global_init (mbedTLS's random generator has its own lock). */
#include "tls_internal.h"
#include "clock.h"
#include "mem.h"
#include "text.h"

#include <mbedtls/ecp.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/sha256.h>
#include <mbedtls/x509_csr.h>

#include <stdio.h>
#include <stdlib.h>

int tls_rng(void *ctx, unsigned char *out, size_t len) {
    (void)ctx;
    /* PSA gives at most 1,024 bytes at a time */
    while (len) {
        size_t n = len < 1024 ? len : 1024;
        int rc = mbedtls_psa_get_random(MBEDTLS_PSA_RANDOM_STATE, out, n);
        if (rc) return rc;
        out += n;
        len -= n;
    }
    return 0;
}

void tls_random(void *out, size_t len) {
    if (tls_rng(NULL, out, len)) {
        fprintf(stderr, "haechi: the system's random source failed\n");
        abort();
    }
}

void tls_sha256(struct slice s, uint8_t out[32]) {
    if (mbedtls_sha256(s.p, s.len, out, 0)) abort(); /* cannot fail in software */
}

bool tls_equal(const void *a, const void *b, size_t len) {
    const volatile uint8_t *x = a, *y = b;
    uint8_t diff = 0;
    while (len--) diff |= *x++ ^ *y++;
    return diff == 0;
}

enum status tls_error(struct error *err, enum status st, int rc, const char *what) {
    char text[160];
    mbedtls_strerror(rc, text, sizeof text);
    return error_set(err, st, "%s: %s (-0x%04x)", what, text, (unsigned)-rc);
}

/* PEM parsers want the NUL counted; the copy is wiped, it may be a key. */
static struct buf with_nul(struct slice pem) {
    struct buf b = {0};
    buf_reserve(&b, pem.len + 1);
    buf_slice_append(&b, pem);
    buf_byte(&b, 0);
    return b;
}

static void wipe(struct buf *b) {
    if (b->p) mem_wipe(b->p, b->cap);
    buf_free(b);
}

MUST_USE enum status tls_parse_chain(struct slice pem, const char *what, mbedtls_x509_crt *into, struct error *err) {
    if (!pem.len) return error_set(err, ST_INVALID, "%s is empty", what);
    struct buf b = with_nul(pem);
    int rc = mbedtls_x509_crt_parse(into, b.p, b.len);
    wipe(&b);
    if (rc > 0) return error_set(err, ST_FORMAT, "%s: %d of its certificates cannot be read", what, rc);
    if (rc < 0) return tls_error(err, ST_FORMAT, rc, what);
    if (!into->raw.p) return error_set(err, ST_FORMAT, "%s holds no certificate", what);
    return ST_OK;
}

static bool contains(struct slice s, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.len; i++) {
        if (memcmp(s.p + i, word, n) == 0) return true;
    }
    return false;
}

MUST_USE enum status tls_parse_key(struct slice pem, mbedtls_pk_context *into, struct error *err) {
    if (!pem.len) return error_set(err, ST_INVALID, "the private key is empty");
    struct buf b = with_nul(pem);
    int rc = mbedtls_pk_parse_key(into, b.p, b.len, NULL, 0, tls_rng, NULL);
    wipe(&b);
    if (rc && contains(pem, "ENCRYPTED")) {
        return error_set(err, ST_INVALID, "the private key is encrypted: store it without a passphrase, mode 0600");
    }
    return rc ? tls_error(err, ST_FORMAT, rc, "the private key cannot be read") : ST_OK;
}

uint64_t tls_x509_time(const mbedtls_x509_time *t) {
    char text[40];
    int n =
        snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", t->year, t->mon, t->day, t->hour, t->min, t->sec);
    uint64_t ft = 0;
    if (filetime_parse(slice_of(text, (size_t)n), &ft, NULL, NULL)) return 0;
    return ft;
}

/* The one CN of the subject. None, or more than one: no name at all, so that nobody has to choose. */
static bool common_name(const mbedtls_x509_crt *crt, char *out, size_t cap) {
    const mbedtls_x509_buf *found = NULL;
    out[0] = 0;
    for (const mbedtls_x509_name *n = &crt->subject; n; n = n->next) {
        if (!n->oid.p || MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &n->oid) != 0) continue;
        if (found) return true;
        found = &n->val;
    }
    if (!found) return true;
    struct slice cn = {found->p, found->len};
    if (cn.len >= cap || !text_is_utf8(cn)) return false;
    for (size_t i = 0; i < cn.len; i++) {
        if (cn.p[i] < 0x20 || cn.p[i] == 0x7f) return false;
    }
    memcpy(out, cn.p, cn.len);
    out[cn.len] = 0;
    return true;
}

bool tls_x509_facts(const mbedtls_x509_crt *crt, struct tls_peer *ret) {
    bool fits = common_name(crt, ret->common_name, sizeof ret->common_name);
    struct slice serial = {crt->serial.p, crt->serial.len};
    while (serial.len > 1 && serial.p[0] == 0) serial = slice_from(serial, 1);
    if (serial.len * 2 >= sizeof ret->serial) {
        serial.len = 0;
        fits = false;
    }
    ret->serial[0] = 0;
    for (size_t i = 0; i < serial.len; i++) snprintf(ret->serial + 2 * i, 3, "%02x", serial.p[i]);
    tls_sha256(slice_of(crt->pk_raw.p, crt->pk_raw.len), ret->spki);
    ret->not_after = tls_x509_time(&crt->valid_to);
    return fits;
}

MUST_USE enum status tls_certificate_facts(struct slice pem, struct tls_peer *ret, uint64_t *ret_not_before,
                                           struct error *err) {
    mbedtls_x509_crt crt;
    mbedtls_x509_crt_init(&crt);
    enum status st = tls_parse_chain(pem, "the certificate", &crt, err);
    if (!st) {
        struct tls_peer p = {0};
        if (tls_x509_facts(&crt, &p)) {
            *ret = p;
            if (ret_not_before) *ret_not_before = tls_x509_time(&crt.valid_from);
        } else {
            st = error_set(err, ST_FORMAT, "the certificate's common name or serial number is malformed or too long");
        }
    }
    mbedtls_x509_crt_free(&crt);
    return st;
}

MUST_USE enum status tls_make_key(struct buf *ret_pem, struct error *err) {
    mbedtls_pk_context key;
    mbedtls_pk_init(&key);
    unsigned char pem[512];
    int rc = mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
    if (!rc) rc = mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key), tls_rng, NULL);
    if (!rc) rc = mbedtls_pk_write_key_pem(&key, pem, sizeof pem);
    mbedtls_pk_free(&key);
    if (rc) return tls_error(err, ST_TLS, rc, "cannot make a key");
    buf_str(ret_pem, (const char *)pem);
    mem_wipe(pem, sizeof pem);
    return ST_OK;
}

MUST_USE enum status tls_dn_of_name(const char *name, char *out, struct error *err) {
    size_t n = strlen(name), at = 3;
    if (n == 0 || n > 64 || !text_is_utf8(slice_str(name))) { /* ub-common-name */
        return error_set(err, ST_INVALID, "a certificate's name has to have 1 to 64 bytes of UTF-8");
    }
    memcpy(out, "CN=", 3);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        at += (size_t)snprintf(out + at, TLS_DN_MAX - at, plain ? "%c" : "\\%02X", c);
    }
    return ST_OK;
}

MUST_USE enum status tls_make_csr(struct slice key_pem, const char *name, struct buf *ret_der, struct error *err) {
    char dn[TLS_DN_MAX];
    enum status st = tls_dn_of_name(name, dn, err);
    if (st) return st;
    mbedtls_pk_context key;
    mbedtls_pk_init(&key);
    st = tls_parse_key(key_pem, &key, err);
    if (!st) {
        mbedtls_x509write_csr csr;
        unsigned char der[4096];
        mbedtls_x509write_csr_init(&csr);
        mbedtls_x509write_csr_set_md_alg(&csr, MBEDTLS_MD_SHA256);
        mbedtls_x509write_csr_set_key(&csr, &key);
        int rc = mbedtls_x509write_csr_set_subject_name(&csr, dn);
        if (!rc) rc = mbedtls_x509write_csr_der(&csr, der, sizeof der, tls_rng, NULL);
        if (rc > 0) { /* written at the end */
            buf_append(ret_der, der + sizeof der - rc, (size_t)rc);
        } else {
            st = tls_error(err, ST_TLS, rc, "cannot make a certificate request");
        }
        mbedtls_x509write_csr_free(&csr);
    }
    mbedtls_pk_free(&key);
    return st;
}
