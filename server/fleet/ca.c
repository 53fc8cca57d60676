/* The certificate authority over mbedTLS' X.509 writer. No files, no clock, no globals: times come in as arguments.
 * A struct ca does not change once loaded. */
#include "ca.h"
#include "clock.h"
#include "mem.h"
#include "text.h"
#include "tls_internal.h"

#include <mbedtls/asn1write.h>
#include <mbedtls/ecp.h>
#include <mbedtls/md.h>
#include <mbedtls/oid.h>
#include <mbedtls/platform.h>
#include <mbedtls/rsa.h>
#include <mbedtls/x509_csr.h>

#include <stdio.h>

#define SERIAL_LEN 16
#define EARLIER (FILETIME_SECOND * 3600) /* certificates are good from an hour ago */
#define PEM_MAX (16 * 1024)

struct ca {
    mbedtls_x509_crt chain; /* our own first, then what is above it */
    mbedtls_pk_context key;
    struct buf pem;
    uint8_t pin[TLS_PIN_LEN];
    uint64_t not_before, not_after;
};

/* ---- what every certificate has ---- */

enum kind { KIND_CA, KIND_SERVER, KIND_AGENT };

struct wanted {
    enum kind kind;
    const char *common_name;
    const struct ca *issuer; /* NULL: itself */
    mbedtls_pk_context *key; /* public part of the subject */
    const char *const *names;
    uint64_t from, until;
};

static void x509_time(uint64_t ft, char out[15]) {
    char t[FILETIME_TEXT_MAX];
    filetime_format(ft, 0, t); /* 2026-11-24T23:47:04Z */
    snprintf(out, 15, "%.4s%.2s%.2s%.2s%.2s%.2s", t, t + 5, t + 8, t + 11, t + 14, t + 17);
}

static int set_serial(mbedtls_x509write_cert *w) {
    unsigned char serial[SERIAL_LEN];
    tls_random(serial, sizeof serial);
    serial[0] &= 0x7f;
    if (!serial[0]) serial[0] = 1; /* so that its length never differs */
    return mbedtls_x509write_crt_set_serial_raw(w, serial, sizeof serial);
}

static int set_usage(mbedtls_x509write_cert *w, enum kind kind) {
    if (kind == KIND_CA) {
        int rc = mbedtls_x509write_crt_set_basic_constraints(w, 1, 0);
        return rc ? rc
                  : mbedtls_x509write_crt_set_key_usage(w, MBEDTLS_X509_KU_KEY_CERT_SIGN | MBEDTLS_X509_KU_CRL_SIGN);
    }
    int rc = mbedtls_x509write_crt_set_basic_constraints(w, 0, -1);
    if (!rc) rc = mbedtls_x509write_crt_set_key_usage(w, MBEDTLS_X509_KU_DIGITAL_SIGNATURE);
    if (rc) return rc;
    mbedtls_asn1_sequence eku = {0};
    eku.buf.tag = MBEDTLS_ASN1_OID;
    eku.buf.p = (unsigned char *)(uintptr_t)(kind == KIND_SERVER ? MBEDTLS_OID_SERVER_AUTH : MBEDTLS_OID_CLIENT_AUTH);
    eku.buf.len = MBEDTLS_OID_SIZE(MBEDTLS_OID_SERVER_AUTH);
    return mbedtls_x509write_crt_set_ext_key_usage(w, &eku);
}

/* Key identifiers (RFC 7093 method 1: the first 20 bytes of the SHA-256 of the public key; the writer's own functions are
 * bound to SHA-1). */
static int set_key_ids(mbedtls_x509write_cert *w, mbedtls_pk_context *key, const struct ca *issuer) {
    unsigned char der[1200], *p = der + sizeof der, hash[32];
    int n = mbedtls_pk_write_pubkey(&p, der, key);
    if (n < 0) return n;
    tls_sha256(slice_of(p, (size_t)n), hash);
    unsigned char ski[22] = {MBEDTLS_ASN1_OCTET_STRING, 20};
    memcpy(ski + 2, hash, 20);
    int rc =
        mbedtls_x509write_crt_set_extension(w, MBEDTLS_OID_SUBJECT_KEY_IDENTIFIER,
                                            MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_KEY_IDENTIFIER), 0, ski, sizeof ski);
    const mbedtls_x509_buf *above = issuer ? &issuer->chain.subject_key_id : NULL;
    if (rc || !above || !above->len || above->len > 64) return rc;
    unsigned char aki[4 + 64] = {MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE, (unsigned char)(above->len + 2),
                                 MBEDTLS_ASN1_CONTEXT_SPECIFIC, (unsigned char)above->len};
    memcpy(aki + 4, above->p, above->len);
    return mbedtls_x509write_crt_set_extension(w, MBEDTLS_OID_AUTHORITY_KEY_IDENTIFIER,
                                               MBEDTLS_OID_SIZE(MBEDTLS_OID_AUTHORITY_KEY_IDENTIFIER), 0, aki,
                                               above->len + 4);
}

/* A DNS name, or an address as 4 or 16 bytes. */
struct san {
    bool is_address;
    unsigned char address[16];
    size_t len;
};

static bool parse_v4(const char *s, unsigned char out[4]) {
    for (int i = 0; i < 4; i++) {
        unsigned v = 0;
        int digits = 0;
        for (; *s >= '0' && *s <= '9' && digits < 4; s++, digits++) v = v * 10 + (unsigned)(*s - '0');
        if (!digits || digits > 3 || v > 255 || *s != (i < 3 ? '.' : 0)) return false;
        out[i] = (unsigned char)v;
        s++;
    }
    return true;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* RFC 4291: eight groups, one run of zeros as "::", the last two groups perhaps as IPv4. */
static bool parse_v6(const char *s, unsigned char out[16]) {
    unsigned char got[16];
    size_t n = 0;
    int gap = -1;
    if (*s == ':') {
        if (s[1] != ':') return false;
        gap = 0;
        s += 2;
    }
    while (*s) {
        if (n <= 12 && strchr(s, '.') && !strchr(s, ':')) {
            if (!parse_v4(s, got + n)) return false;
            n += 4;
            break;
        }
        unsigned v = 0;
        int digits = 0;
        for (; hex_digit(*s) >= 0 && digits < 5; s++, digits++) v = v << 4 | (unsigned)hex_digit(*s);
        if (!digits || digits > 4 || n > 14) return false;
        got[n++] = (unsigned char)(v >> 8);
        got[n++] = (unsigned char)v;
        if (!*s) break;
        if (*s++ != ':') return false;
        if (*s == ':') {
            if (gap >= 0) return false;
            gap = (int)n;
            s++;
        } else if (!*s) {
            return false;
        }
    }
    if (gap < 0 ? n != 16 : n > 14) return false;
    size_t tail = gap < 0 ? 0 : n - (size_t)gap;
    memset(out, 0, 16);
    memcpy(out, got, n - tail);
    if (tail) memcpy(out + 16 - tail, got + gap, tail);
    return true;
}

static bool dns_name_ok(const char *s) {
    size_t n = strlen(s);
    if (n == 0 || n > 253) return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
                  c == '_' || (c == '*' && i == 0 && s[1] == '.');
        if (!ok) return false;
    }
    return true;
}

static enum status parse_san(const char *name, struct san *ret, struct error *err) {
    *ret = (struct san){0};
    if (parse_v4(name, ret->address)) {
        ret->is_address = true;
        ret->len = 4;
    } else if (parse_v6(name, ret->address)) {
        ret->is_address = true;
        ret->len = 16;
    } else if (!dns_name_ok(name)) {
        struct buf b = {0};
        text_printable(&b, slice_str(name), 80);
        enum status st = error_set(err, ST_INVALID, "\"%s\" is neither a host name nor an address", buf_cstr(&b));
        buf_free(&b);
        return st;
    }
    return ST_OK;
}

static enum status set_names(mbedtls_x509write_cert *w, const char *const *names, struct error *err) {
    mbedtls_x509_san_list list[CA_NAMES_MAX];
    struct san sans[CA_NAMES_MAX];
    memset(list, 0, sizeof list);
    size_t n = 0;
    for (; names[n]; n++) {
        if (n == CA_NAMES_MAX) return error_set(err, ST_TOOBIG, "more than %d names for the collector", CA_NAMES_MAX);
        enum status st = parse_san(names[n], &sans[n], err);
        if (st) return st;
        list[n].node.type = sans[n].is_address ? MBEDTLS_X509_SAN_IP_ADDRESS : MBEDTLS_X509_SAN_DNS_NAME;
        list[n].node.san.unstructured_name.p =
            sans[n].is_address ? sans[n].address : (unsigned char *)(uintptr_t)names[n];
        list[n].node.san.unstructured_name.len = sans[n].is_address ? sans[n].len : strlen(names[n]);
        if (n) list[n - 1].next = &list[n];
    }
    int rc = mbedtls_x509write_crt_set_subject_alternative_name(w, list);
    return rc ? tls_error(err, ST_TLS, rc, "cannot write the names of a certificate") : ST_OK;
}

/* The issuer's name has to be its subject byte for byte; the writer takes text only, which would lose string types. So
 * its list of names is made from the parsed subject. */
static int copy_issuer(mbedtls_x509write_cert *w, const mbedtls_x509_crt *issuer) {
    mbedtls_asn1_named_data **at = &w->MBEDTLS_PRIVATE(issuer);
    /* the writer puts the list out backwards: build it by prepending */
    for (const mbedtls_x509_name *n = &issuer->subject; n; n = n->next) {
        mbedtls_asn1_named_data *d = mbedtls_calloc(1, sizeof *d);
        if (!d) return MBEDTLS_ERR_X509_ALLOC_FAILED;
        d->next = *at;
        *at = d;
        d->oid.tag = n->oid.tag;
        d->oid.len = n->oid.len;
        d->val.tag = n->val.tag;
        d->val.len = n->val.len;
        d->oid.p = mbedtls_calloc(1, n->oid.len ? n->oid.len : 1);
        d->val.p = mbedtls_calloc(1, n->val.len ? n->val.len : 1);
        if (!d->oid.p || !d->val.p) return MBEDTLS_ERR_X509_ALLOC_FAILED;
        memcpy(d->oid.p, n->oid.p, n->oid.len);
        memcpy(d->val.p, n->val.p, n->val.len);
    }
    return 0;
}

static enum status write_certificate(const struct wanted *want, struct buf *ret_pem, struct error *err) {
    char subject[TLS_DN_MAX], from[15], until[15];
    enum status st = tls_dn_of_name(want->common_name, subject, err);
    if (st) return st;
    x509_time(want->from, from);
    x509_time(want->until, until);
    mbedtls_pk_context *signer = want->issuer ? (mbedtls_pk_context *)&want->issuer->key : want->key;

    mbedtls_x509write_cert w;
    mbedtls_x509write_crt_init(&w);
    mbedtls_x509write_crt_set_version(&w, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&w, want->key);
    mbedtls_x509write_crt_set_issuer_key(&w, signer);
    int rc = set_serial(&w);
    if (!rc) rc = mbedtls_x509write_crt_set_validity(&w, from, until);
    if (!rc) rc = mbedtls_x509write_crt_set_subject_name(&w, subject);
    if (!rc)
        rc = want->issuer ? copy_issuer(&w, &want->issuer->chain) : mbedtls_x509write_crt_set_issuer_name(&w, subject);
    if (!rc) rc = set_usage(&w, want->kind);
    if (!rc) rc = set_key_ids(&w, want->key, want->issuer);
    if (!rc && want->names) st = set_names(&w, want->names, err);
    if (!rc && !st) {
        unsigned char *pem = mem_alloc(PEM_MAX);
        rc = mbedtls_x509write_crt_pem(&w, pem, PEM_MAX, tls_rng, NULL);
        if (!rc) buf_str(ret_pem, (const char *)pem);
        mem_free(pem);
    }
    mbedtls_x509write_crt_free(&w);
    return rc ? tls_error(err, ST_TLS, rc, "cannot write a certificate") : st;
}

/* ---- the authority ---- */

MUST_USE enum status ca_make(const char *name, uint64_t now, struct buf *ret_certificate_pem, struct buf *ret_key_pem,
                             struct error *err) {
    struct buf key_pem = {0};
    mbedtls_pk_context key;
    mbedtls_pk_init(&key);
    enum status st = tls_make_key(&key_pem, err);
    if (!st) st = tls_parse_key(buf_slice(&key_pem), &key, err);
    if (!st) {
        struct wanted w = {KIND_CA, name, NULL, &key, NULL, now - EARLIER, now + CA_VALID_DAYS * FILETIME_DAY};
        st = write_certificate(&w, ret_certificate_pem, err);
    }
    if (!st) buf_slice_append(ret_key_pem, buf_slice(&key_pem));
    mbedtls_pk_free(&key);
    if (key_pem.p) mem_wipe(key_pem.p, key_pem.cap);
    buf_free(&key_pem);
    return st;
}

/* Fit to sign, or to be signed. */
static enum status check_key(const mbedtls_pk_context *key, const char *what, struct error *err) {
    size_t bits = mbedtls_pk_get_bitlen(key);
    if (mbedtls_pk_can_do(key, MBEDTLS_PK_RSA)) {
        if (bits >= 2048 && bits <= 8192) return ST_OK;
        return error_set(err, ST_INVALID, "%s is RSA with %zu bits: 2,048 to 8,192 are accepted", what, bits);
    }
    if (mbedtls_pk_can_do(key, MBEDTLS_PK_ECDSA)) {
        mbedtls_ecp_group_id curve = mbedtls_pk_ec(*key)->MBEDTLS_PRIVATE(grp).id;
        if (curve == MBEDTLS_ECP_DP_SECP256R1 || curve == MBEDTLS_ECP_DP_SECP384R1) return ST_OK;
        return error_set(err, ST_INVALID, "%s is on a curve other than P-256 and P-384", what);
    }
    return error_set(err, ST_INVALID, "%s is neither ECDSA nor RSA", what);
}

static enum status check_authority(const struct ca *ca, uint64_t now, struct error *err) {
    const mbedtls_x509_crt *c = &ca->chain;
    char from[FILETIME_TEXT_MAX], until[FILETIME_TEXT_MAX], clock[FILETIME_TEXT_MAX];
    filetime_format(ca->not_before, 0, from);
    filetime_format(ca->not_after, 0, until);
    filetime_format(now, 0, clock);
    if (mbedtls_pk_check_pair(&c->pk, &ca->key, tls_rng, NULL)) {
        return error_set(err, ST_INVALID,
                         "the CA's private key does not belong to its certificate (the CA's own has to be the first)");
    }
    if (!mbedtls_x509_crt_get_ca_istrue(c))
        return error_set(err, ST_INVALID, "the CA's certificate is none of a CA (basicConstraints)");
    if (mbedtls_x509_crt_check_key_usage(c, MBEDTLS_X509_KU_KEY_CERT_SIGN)) {
        return error_set(err, ST_INVALID, "the CA's certificate may not sign certificates (keyUsage)");
    }
    if (now < ca->not_before || now >= ca->not_after) {
        return error_set(err, ST_EXPIRED,
                         "the CA's certificate is good from %s to %s, and the clock of this machine says %s", from,
                         until, clock);
    }
    for (const mbedtls_x509_name *n = &c->subject; n; n = n->next) {
        if (n->MBEDTLS_PRIVATE(next_merged)) {
            return error_set(err, ST_VERSION,
                             "the CA's name has a part with several values: no certificate can be issued in it");
        }
    }
    return check_key(&ca->key, "the CA's key", err);
}

MUST_USE enum status ca_load(struct slice certificate_pem, struct slice key_pem, uint64_t now, struct ca **ret,
                             struct error *err) {
    struct ca *ca = mem_zalloc(sizeof *ca);
    mbedtls_x509_crt_init(&ca->chain);
    mbedtls_pk_init(&ca->key);
    enum status st = tls_parse_chain(certificate_pem, "the CA's certificate", &ca->chain, err);
    if (!st) st = tls_parse_key(key_pem, &ca->key, err);
    if (!st) {
        ca->not_before = tls_x509_time(&ca->chain.valid_from);
        ca->not_after = tls_x509_time(&ca->chain.valid_to);
        st = check_authority(ca, now, err);
    }
    if (st) {
        ca_free(&ca);
        return st;
    }
    const mbedtls_x509_crt *top = &ca->chain;
    while (top->next) top = top->next;
    tls_sha256(slice_of(top->pk_raw.p, top->pk_raw.len), ca->pin);
    buf_slice_append(&ca->pem, certificate_pem);
    if (ca->pem.len && ca->pem.p[ca->pem.len - 1] != '\n') buf_byte(&ca->pem, '\n');
    *ret = ca;
    return ST_OK;
}

void ca_free(struct ca **pca) {
    struct ca *ca = *pca;
    if (!ca) return;
    mbedtls_x509_crt_free(&ca->chain);
    mbedtls_pk_free(&ca->key);
    buf_free(&ca->pem);
    mem_free(ca);
    *pca = NULL;
}

struct slice ca_certificate_pem(const struct ca *ca) {
    return buf_slice(&ca->pem);
}

const uint8_t *ca_pin(const struct ca *ca) {
    return ca->pin;
}

uint64_t ca_not_after(const struct ca *ca) {
    return ca->not_after;
}

/* ---- requests ---- */

static enum status verify_csr(mbedtls_x509_csr *csr, struct error *err) {
    mbedtls_md_type_t md = csr->MBEDTLS_PRIVATE(sig_md);
    if (md != MBEDTLS_MD_SHA256 && md != MBEDTLS_MD_SHA384 && md != MBEDTLS_MD_SHA512) {
        return error_set(err, ST_INVALID,
                         "the certificate request is signed with a digest other than SHA-256, -384 and -512");
    }
    const mbedtls_md_info_t *info = mbedtls_md_info_from_type(md);
    unsigned char hash[MBEDTLS_MD_MAX_SIZE];
    if (mbedtls_md(info, csr->cri.p, csr->cri.len, hash))
        return error_set(err, ST_TLS, "cannot hash a certificate request");
    int rc =
        mbedtls_pk_verify_ext(csr->MBEDTLS_PRIVATE(sig_pk), csr->MBEDTLS_PRIVATE(sig_opts), &csr->pk, md, hash,
                              mbedtls_md_get_size(info), csr->MBEDTLS_PRIVATE(sig).p, csr->MBEDTLS_PRIVATE(sig).len);
    return rc ? error_set(err, ST_AUTH, "the certificate request is not signed by the key that it carries") : ST_OK;
}

static enum status parse_csr(struct slice bytes, mbedtls_x509_csr *into, struct error *err) {
    if (bytes.len > CA_CSR_MAX)
        return error_set(err, ST_TOOBIG, "the certificate request has more than %d bytes", CA_CSR_MAX);
    if (!bytes.len) return error_set(err, ST_FORMAT, "the certificate request is empty");
    int rc;
    if (slice_starts(bytes, SLICE_LIT("-----BEGIN"))) {
        struct buf b = {0};
        buf_slice_append(&b, bytes);
        buf_byte(&b, 0);
        rc = mbedtls_x509_csr_parse(into, b.p, b.len);
        buf_free(&b);
    } else {
        rc = mbedtls_x509_csr_parse_der(into, bytes.p, bytes.len);
    }
    if (rc) return tls_error(err, ST_FORMAT, rc, "the certificate request cannot be read");
    enum status st = check_key(&into->pk, "the key of the certificate request", err);
    return st ? st : verify_csr(into, err);
}

static void describe_csr(mbedtls_x509_csr *csr, struct ca_csr *ret) {
    *ret = (struct ca_csr){0};
    unsigned char der[2048];
    int n = mbedtls_pk_write_pubkey_der(&csr->pk, der, sizeof der);
    if (n > 0) tls_sha256(slice_of(der + sizeof der - n, (size_t)n), ret->spki);
    for (const mbedtls_x509_name *name = &csr->subject; name; name = name->next) {
        if (!name->oid.p || MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &name->oid) != 0) continue;
        struct buf b = {0};
        text_printable(&b, slice_of(name->val.p, name->val.len), 64);
        snprintf(ret->common_name, sizeof ret->common_name, "%s", buf_cstr(&b));
        buf_free(&b);
        return;
    }
}

MUST_USE enum status ca_check_csr(struct slice bytes, struct ca_csr *ret, struct error *err) {
    mbedtls_x509_csr csr;
    mbedtls_x509_csr_init(&csr);
    enum status st = parse_csr(bytes, &csr, err);
    if (!st) describe_csr(&csr, ret);
    mbedtls_x509_csr_free(&csr);
    return st;
}

/* ---- issuing ---- */

static uint64_t end_of(const struct ca *ca, uint64_t now, uint64_t valid_s) {
    uint64_t most = ca->not_after > now ? (ca->not_after - now) / FILETIME_SECOND : 0;
    return valid_s < most ? now + valid_s * FILETIME_SECOND : ca->not_after;
}

static uint64_t start_of(const struct ca *ca, uint64_t now) {
    uint64_t from = now - EARLIER; /* never before the authority itself: some verifiers mind */
    return from < ca->not_before && ca->not_before <= now ? ca->not_before : from;
}

MUST_USE enum status ca_issue_agent(struct ca *ca, struct slice bytes, const char *common_name, uint64_t now,
                                    uint64_t valid_s, struct buf *ret_pem, struct tls_peer *ret_facts,
                                    struct error *err) {
    if (now >= ca->not_after)
        return error_set(err, ST_EXPIRED, "the CA's own certificate has expired: it cannot issue any more");
    struct buf pem = {0};
    mbedtls_x509_csr csr;
    mbedtls_x509_csr_init(&csr);
    enum status st = parse_csr(bytes, &csr, err);
    if (!st) {
        struct wanted w = {KIND_AGENT, common_name, ca, &csr.pk, NULL, start_of(ca, now), end_of(ca, now, valid_s)};
        st = write_certificate(&w, &pem, err);
    }
    mbedtls_x509_csr_free(&csr);
    if (!st && ret_facts) st = tls_certificate_facts(buf_slice(&pem), ret_facts, NULL, err);
    if (!st) {
        buf_slice_append(ret_pem, buf_slice(&pem));
        if (ca->chain.next) buf_slice_append(ret_pem, buf_slice(&ca->pem));
    }
    buf_free(&pem);
    return st;
}

MUST_USE enum status ca_issue_server(struct ca *ca, const char *const *names, uint64_t now, uint64_t valid_s,
                                     struct buf *ret_pem, struct buf *ret_key_pem, struct error *err) {
    if (!names || !names[0]) return error_set(err, ST_INVALID, "the collector's certificate needs at least one name");
    if (now >= ca->not_after)
        return error_set(err, ST_EXPIRED, "the CA's own certificate has expired: it cannot issue any more");
    struct buf key_pem = {0};
    mbedtls_pk_context key;
    mbedtls_pk_init(&key);
    char cn[65];
    snprintf(cn, sizeof cn, "%.64s", names[0]); /* longer DNS names stand in the SAN alone */
    enum status st = tls_make_key(&key_pem, err);
    if (!st) st = tls_parse_key(buf_slice(&key_pem), &key, err);
    if (!st) {
        struct wanted w = {KIND_SERVER, cn, ca, &key, names, start_of(ca, now), end_of(ca, now, valid_s)};
        st = write_certificate(&w, ret_pem, err);
    }
    if (!st) {
        buf_slice_append(ret_pem, buf_slice(&ca->pem));
        buf_slice_append(ret_key_pem, buf_slice(&key_pem));
    }
    mbedtls_pk_free(&key);
    if (key_pem.p) mem_wipe(key_pem.p, key_pem.cap);
    buf_free(&key_pem);
    return st;
}

static bool has_name(const mbedtls_x509_crt *c, const char *name) {
    struct san want;
    if (parse_san(name, &want, NULL)) return false;
    for (const mbedtls_x509_sequence *s = &c->subject_alt_names; s; s = s->next) {
        unsigned tag = s->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK;
        struct slice v = {s->buf.p, s->buf.len};
        if (want.is_address && tag == MBEDTLS_X509_SAN_IP_ADDRESS && slice_eq(v, slice_of(want.address, want.len)))
            return true;
        if (!want.is_address && tag == MBEDTLS_X509_SAN_DNS_NAME && slice_eq_nocase(v, slice_str(name))) return true;
    }
    return false;
}

/* The key is the certificate's, the authority signed it, and the chain above it is as it is now. */
static bool is_ours(const struct ca *ca, mbedtls_x509_crt *c, mbedtls_pk_context *key) {
    if (mbedtls_pk_check_pair(&c->pk, key, tls_rng, NULL)) return false;
    if (c->issuer_raw.len != ca->chain.subject_raw.len ||
        memcmp(c->issuer_raw.p, ca->chain.subject_raw.p, c->issuer_raw.len) != 0) {
        return false;
    }
    const mbedtls_md_info_t *info = mbedtls_md_info_from_type(c->MBEDTLS_PRIVATE(sig_md));
    unsigned char hash[MBEDTLS_MD_MAX_SIZE];
    if (!info || mbedtls_md(info, c->tbs.p, c->tbs.len, hash)) return false;
    if (mbedtls_pk_verify_ext(c->MBEDTLS_PRIVATE(sig_pk), c->MBEDTLS_PRIVATE(sig_opts),
                              (mbedtls_pk_context *)&ca->chain.pk, c->MBEDTLS_PRIVATE(sig_md), hash,
                              mbedtls_md_get_size(info), c->MBEDTLS_PRIVATE(sig).p, c->MBEDTLS_PRIVATE(sig).len)) {
        return false;
    }
    const mbedtls_x509_crt *above = &ca->chain, *sent = c->next;
    for (; above; above = above->next, sent = sent->next) {
        if (!sent || sent->raw.len != above->raw.len || memcmp(sent->raw.p, above->raw.p, sent->raw.len) != 0)
            return false;
    }
    return true;
}

bool ca_server_is_fit(const struct ca *ca, struct slice certificate_pem, struct slice key_pem, const char *const *names,
                      uint64_t until) {
    mbedtls_x509_crt c;
    mbedtls_pk_context key;
    mbedtls_x509_crt_init(&c);
    mbedtls_pk_init(&key);
    bool fit = !tls_parse_chain(certificate_pem, "", &c, NULL) && !tls_parse_key(key_pem, &key, NULL);
    fit = fit && tls_x509_time(&c.valid_to) >= until && is_ours(ca, &c, &key);
    for (size_t i = 0; fit && names[i]; i++) fit = has_name(&c, names[i]);
    mbedtls_x509_crt_free(&c);
    mbedtls_pk_free(&key);
    return fit;
}

/* ---- signing ---- */

MUST_USE enum status ca_sign(struct ca *ca, struct slice bytes, struct buf *ret_signature, struct error *err) {
    unsigned char hash[32], signature[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
    size_t len = 0;
    tls_sha256(bytes, hash);
    int rc = mbedtls_pk_sign(&ca->key, MBEDTLS_MD_SHA256, hash, sizeof hash, signature, sizeof signature, &len, tls_rng,
                             NULL);
    if (rc) return tls_error(err, ST_TLS, rc, "the authority's key cannot sign");
    buf_append(ret_signature, signature, len);
    return ST_OK;
}
