/* Whether to believe a peer's certificate chain, and the sentence for a person when not.
 *
 * mbedTLS builds the chain and checks signatures, constraints and usage; it calls tls_verify_certificate for each member
 * from the top down. Added here: the pin, the clock (clock_wall, so that tests can turn it), the registry's word, and
 * the flags from which mbedTLS picks the alert for the peer. Runs on the connection's thread. */
#include "tls_internal.h"
#include "clock.h"
#include "text.h"

#include <stdio.h>

#define TIME_FLAGS (MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE)

/* The first reason stays: it is the one nearest to the top of the chain. */
#define refuse(v, st, ...)                                          \
    do {                                                            \
        if (!(v)->refused) error_set(&(v)->why, (st), __VA_ARGS__); \
        (v)->refused = true;                                        \
    } while (0)

static void hex(const uint8_t *p, size_t len, char *out) {
    for (size_t i = 0; i < len; i++) snprintf(out + 2 * i, 3, "%02x", p[i]);
}

/* "the collector's certificate", "the peer's certificate", "the CA certificate" */
static const char *whose(const struct tls_verify *v, int depth) {
    if (depth > 0) return "the CA certificate";
    return v->config->is_client ? "the collector's certificate" : "the peer's certificate";
}

static const char *printable_name(const mbedtls_x509_name *name, char *out, size_t cap) {
    char dn[256];
    int n = mbedtls_x509_dn_gets(dn, sizeof dn, name);
    struct buf b = {0};
    text_printable(&b, slice_of(dn, n > 0 ? (size_t)n : 0), 100);
    snprintf(out, cap, "%s", buf_cstr(&b));
    buf_free(&b);
    return out;
}

static void check_pin(struct tls_verify *v, const mbedtls_x509_crt *top, int depth, uint32_t *flags) {
    if (tls_equal(v->peer.ca_spki, v->config->pin, TLS_PIN_LEN)) {
        /* A presented top that nothing else vouches for is trusted by its key alone: all below it was verified. */
        if (!v->config->has_ca) *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_NOT_TRUSTED;
        return;
    }
    char want[2 * TLS_PIN_LEN + 1], got[2 * TLS_PIN_LEN + 1], name[128];
    hex(v->config->pin, TLS_PIN_LEN, want);
    hex(v->peer.ca_spki, TLS_PIN_LEN, got);
    refuse(v, ST_AUTH,
           "wrong pin: the token or configuration expects a CA key with SHA-256 %s, but \"%s\" at the top of the "
           "collector's chain has %s: this is another collector, or someone in between%s",
           want, printable_name(&top->subject, name, sizeof name), got,
           depth == 0 ? " (it presented no CA certificate)" : "");
    *flags |= MBEDTLS_X509_BADCERT_NOT_TRUSTED;
}

static void check_time(struct tls_verify *v, const mbedtls_x509_crt *crt, int depth, uint32_t *flags) {
    uint64_t now = clock_wall(), from = tls_x509_time(&crt->valid_from), until = tls_x509_time(&crt->valid_to);
    *flags &= ~(uint32_t)TIME_FLAGS;
    if (now >= from && now <= until) return;
    char name[128], a[FILETIME_TEXT_MAX], b[FILETIME_TEXT_MAX], t[FILETIME_TEXT_MAX];
    filetime_format(from, 0, a);
    filetime_format(until, 0, b);
    filetime_format(now, 0, t);
    printable_name(&crt->subject, name, sizeof name);
    *flags |= MBEDTLS_X509_BADCERT_EXPIRED; /* the alert for both is certificate_expired */
    if (now < from) {
        refuse(
            v, ST_EXPIRED,
            "%s \"%s\" is not yet valid: it is good from %s to %s, and the clock of this machine says %s: one of the "
            "two clocks is probably wrong",
            whose(v, depth), name, a, b, t);
    } else {
        refuse(
            v, ST_EXPIRED,
            "%s \"%s\" has expired: it was good from %s to %s, and the clock of this machine says %s: renew it, or set "
            "the clock if that is wrong",
            whose(v, depth), name, a, b, t);
    }
}

/* What mbedTLS found wrong, but for the time. */
static void explain(struct tls_verify *v, const mbedtls_x509_crt *crt, int depth, bool is_top, uint32_t flags) {
    char name[128], issuer[128], key[2 * TLS_PIN_LEN + 1];
    printable_name(&crt->subject, name, sizeof name);
    hex(v->peer.ca_spki, TLS_PIN_LEN, key);
    if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) && is_top && depth > 0) {
        refuse(
            v, ST_AUTH,
            "unknown CA: \"%s\" at the top of the peer's chain is not a CA that is trusted here (its key has SHA-256 %s)",
            name, key);
    } else if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) && is_top) {
        printable_name(&crt->issuer, issuer, sizeof issuer);
        refuse(v, ST_AUTH, "unknown CA: %s \"%s\" was issued by \"%s\", which is not a CA that is trusted here",
               whose(v, depth), name, issuer);
    } else if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) {
        printable_name(&crt->issuer, issuer, sizeof issuer);
        refuse(v, ST_AUTH, "%s \"%s\" claims to be issued by \"%s\", but the signature is not that CA's",
               whose(v, depth), name, issuer);
    } else if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) {
        refuse(v, ST_AUTH, "%s \"%s\" is not made for the name \"%s\" that was asked for", whose(v, depth), name,
               v->server_name ? v->server_name : "");
    } else if (flags & (MBEDTLS_X509_BADCERT_BAD_MD | MBEDTLS_X509_BADCERT_BAD_PK | MBEDTLS_X509_BADCERT_BAD_KEY)) {
        refuse(v, ST_AUTH, "%s \"%s\" uses a digest or a key that is too weak", whose(v, depth), name);
    } else if (flags & (MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE)) {
        refuse(v, ST_AUTH, "%s is not made for a %s (key usage)", whose(v, depth),
               v->config->is_client ? "server" : "client");
    } else if (flags) {
        refuse(v, ST_AUTH, "%s \"%s\" was not accepted (flags 0x%x)", whose(v, depth), name, (unsigned)flags);
    }
}

/* The registry has the last word on a certificate that is good in itself. */
static void ask_registry(struct tls_verify *v, uint32_t *flags) {
    if (!v->config->admit) return;
    enum status st = v->config->admit(v->config->admit_ctx, &v->peer);
    if (st == ST_OK) return;
    const char *cn = v->peer.common_name, *serial = v->peer.serial;
    if (st == ST_REVOKED) {
        *flags |= MBEDTLS_X509_BADCERT_REVOKED;
        refuse(v, st, "the certificate %s of \"%s\" is revoked", serial, cn);
    } else if (st == ST_EXPIRED) {
        *flags |= MBEDTLS_X509_BADCERT_EXPIRED;
        refuse(v, st, "the certificate %s of \"%s\" has expired", serial, cn);
    } else {
        *flags |= MBEDTLS_X509_BADCERT_OTHER; /* access_denied */
        refuse(v, st, "the certificate %s of \"%s\" is not admitted: %s", serial, cn, status_text(st));
    }
}

int tls_verify_certificate(void *ctx, mbedtls_x509_crt *crt, int depth, uint32_t *flags) {
    struct tls_verify *v = ctx;
    bool is_top = !v->began;
    if (is_top) {
        v->began = true;
        tls_sha256(slice_of(crt->pk_raw.p, crt->pk_raw.len), v->peer.ca_spki);
        if (v->config->has_pin) check_pin(v, crt, depth, flags);
    }
    uint32_t other = *flags & ~(uint32_t)TIME_FLAGS;
    if (other) explain(v, crt, depth, is_top, other);
    check_time(v, crt, depth, flags);
    if (depth > 0) return 0;

    v->done = true;
    if (!tls_x509_facts(crt, &v->peer)) {
        *flags |= MBEDTLS_X509_BADCERT_OTHER;
        refuse(v, ST_AUTH, "%s has a common name or a serial number that is malformed or too long", whose(v, 0));
    }
    if (!v->refused) ask_registry(v, flags);
    return 0;
}

void tls_verify_finish(struct tls_verify *v, uint32_t flags) {
    if (v->refused || !flags) return;
    char name[128] = "";
    struct buf b = {0};
    text_printable(&b, slice_str(v->peer.common_name), 100);
    snprintf(name, sizeof name, "%s", buf_cstr(&b));
    buf_free(&b);
    if (flags & (MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE)) {
        refuse(v, ST_AUTH, "%s \"%s\" is not made for a %s (key usage)", whose(v, 0), name,
               v->config->is_client ? "server" : "client");
    } else {
        refuse(v, ST_AUTH, "%s \"%s\" was not accepted (flags 0x%x)", whose(v, 0), name, (unsigned)flags);
    }
}

static const struct {
    int number;
    const char *name;
    enum status status;
    const char *to_client, *to_server; /* NULL: nothing to add */
} alerts[] = {
    {10, "unexpected_message", ST_TLS, NULL, NULL},
    {20, "bad_record_mac", ST_TLS, NULL, NULL},
    {22, "record_overflow", ST_TLS, NULL, NULL},
    {40, "handshake_failure", ST_TLS, "it has no cipher suite, group or signature in common with this end",
     "it has no cipher suite, group or signature in common with this end"},
    {41, "no_certificate", ST_AUTH, "it wants a certificate and we have none: enrol this host first",
     NULL}, /* mbedTLS's 116 */
    {42, "bad_certificate", ST_AUTH, "it did not accept our certificate",
     "it did not accept our certificate (its name?)"},
    {43, "unsupported_certificate", ST_AUTH, "our certificate is not made for a client",
     "our certificate is not made for a server"},
    {44, "certificate_revoked", ST_REVOKED, "our certificate is revoked: enrol this host again",
     "it holds our certificate for revoked"},
    {45, "certificate_expired", ST_EXPIRED,
     "to its clock our certificate has expired or is not yet valid: compare the clocks, or enrol again",
     "to its clock our certificate has expired or is not yet valid: compare the clocks"},
    {46, "certificate_unknown", ST_AUTH, "it did not accept our certificate", "it did not accept our certificate"},
    {47, "illegal_parameter", ST_TLS, NULL, NULL},
    {48, "unknown_ca", ST_AUTH, "it does not trust the CA of our certificate: were we enrolled at another collector?",
     "it does not trust our CA"},
    {49, "access_denied", ST_AUTH, "it does not know this host's certificate: enrol again", "it denied us access"},
    {50, "decode_error", ST_TLS, NULL, NULL},
    {51, "decrypt_error", ST_TLS, NULL, NULL},
    {70, "protocol_version", ST_VERSION, "it does not speak TLS 1.3", "it does not speak TLS 1.3"},
    {71, "insufficient_security", ST_TLS, NULL, NULL},
    {80, "internal_error", ST_TLS, NULL, NULL},
    {86, "inappropriate_fallback", ST_TLS, NULL, NULL},
    {90, "user_canceled", ST_TLS, NULL, NULL},
    {109, "missing_extension", ST_TLS, NULL, NULL},
    {110, "unsupported_extension", ST_TLS, NULL, NULL},
    {112, "unrecognized_name", ST_TLS, NULL, NULL},
    {116, "certificate_required", ST_AUTH, "it wants a certificate and we have none: enrol this host first", NULL},
    {120, "no_application_protocol", ST_PROTO, "what listens there is no Haechi collector port for this purpose", NULL},
};

enum status tls_alert_received(const struct tls_config *c, int alert, bool after_handshake, struct error *err) {
    const char *who = c->is_client ? "the collector" : "the peer",
               *did = after_handshake ? "ended the connection" : "refused the handshake";
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++) {
        if (alerts[i].number != alert) continue;
        const char *hint = c->is_client ? alerts[i].to_client : alerts[i].to_server;
        return error_set(err, alerts[i].status, "%s %s with the TLS alert %s%s%s", who, did, alerts[i].name,
                         hint ? ": " : "", hint ? hint : "");
    }
    return error_set(err, ST_TLS, "%s %s with TLS alert %d", who, did, alert);
}
