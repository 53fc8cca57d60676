/* TLS 1.3 connections over mbedTLS, from memory to memory.
 *
 * The handshake is driven step by step: so that a peer without ALPN is refused before any key is made, and so that a bad
 * certificate is refused also where a certificate is optional (mbedTLS would let it pass). A connection that failed stays
 * failed, with the same sentence. One struct tls belongs to one thread; configurations are read only once made. */
#include "tls_internal.h"
#include "mem.h"
#include "tls_slots.h"

#include <mbedtls/platform.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <psa/crypto.h>

#include <stdio.h>
#include <stdlib.h>

struct tls {
    mbedtls_ssl_context ssl;
    struct tls_config *config;
    struct tls_verify verify;
    char *server_name;
    struct buf in; /* cipher bytes from the network, read up to in_at */
    size_t in_at;
    struct buf out;
    bool open, closed;   /* handshake done; our close_notify was sent */
    struct error failed; /* code ST_OK: not */
};

static const int suites[] = {MBEDTLS_TLS1_3_AES_128_GCM_SHA256, MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
                             MBEDTLS_TLS1_3_AES_256_GCM_SHA384, 0};
static const uint16_t groups[] = {MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
                                  MBEDTLS_SSL_IANA_TLS_GROUP_NONE};

void tls_global_init(void) {
    static bool done;
    if (done) return;
    done = true;
    tls_slots_init();
    mbedtls_platform_set_calloc_free(tls_slots_calloc, tls_slots_free);
    if (psa_crypto_init() != PSA_SUCCESS) {
        fprintf(stderr, "haechi: the system's random source does not work\n");
        abort();
    }
}

/* ---- configurations ---- */

static struct tls_config *config_new(bool is_client) {
    struct tls_config *c = mem_zalloc(sizeof *c);
    c->is_client = is_client;
    mbedtls_ssl_config_init(&c->ssl);
    mbedtls_x509_crt_init(&c->own);
    mbedtls_x509_crt_init(&c->ca);
    mbedtls_pk_init(&c->key);
    return c;
}

void tls_config_free(struct tls_config **pc) {
    struct tls_config *c = *pc;
    if (!c) return;
    mbedtls_ssl_config_free(&c->ssl);
    mbedtls_x509_crt_free(&c->own);
    mbedtls_x509_crt_free(&c->ca);
    mbedtls_pk_free(&c->key);
    for (size_t i = 0; i < TLS_ALPN_MAX; i++) mem_free(c->alpn[i]);
    mem_free(c);
    *pc = NULL;
}

static enum status set_own(struct tls_config *c, struct slice certificate_pem, struct slice key_pem,
                           struct error *err) {
    enum status st = tls_parse_chain(certificate_pem, "our certificate", &c->own, err);
    if (!st) st = tls_parse_key(key_pem, &c->key, err);
    if (st) return st;
    int rc = mbedtls_pk_check_pair(&c->own.pk, &c->key, tls_rng, NULL);
    if (rc) return error_set(err, ST_INVALID, "our private key does not belong to our certificate");
    rc = mbedtls_ssl_conf_own_cert(&c->ssl, &c->own, &c->key);
    if (rc) return tls_error(err, ST_TLS, rc, "cannot use our certificate");
    c->has_own = true;
    return ST_OK;
}

static enum status set_basics(struct tls_config *c, const char *const *alpn, struct error *err) {
    int rc = mbedtls_ssl_config_defaults(&c->ssl, c->is_client ? MBEDTLS_SSL_IS_CLIENT : MBEDTLS_SSL_IS_SERVER,
                                         MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc) return tls_error(err, ST_TLS, rc, "cannot set up TLS");
    mbedtls_ssl_conf_rng(&c->ssl, tls_rng, NULL);
    mbedtls_ssl_conf_min_tls_version(&c->ssl, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_max_tls_version(&c->ssl, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_ciphersuites(&c->ssl, suites);
    mbedtls_ssl_conf_groups(&c->ssl, groups);
    mbedtls_ssl_conf_tls13_key_exchange_modes(&c->ssl, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL);
    /* mbedTLS wants anchors before it verifies at all; an empty certificate is parent to nothing (no pin, no way in) */
    mbedtls_ssl_conf_ca_chain(&c->ssl, &c->ca, NULL);
    size_t n = 0;
    for (; alpn && alpn[n]; n++) {
        if (n == TLS_ALPN_MAX) return error_set(err, ST_TOOBIG, "more than %d ALPN names", TLS_ALPN_MAX);
        c->alpn[n] = mem_strdup(alpn[n]);
    }
    rc = n ? mbedtls_ssl_conf_alpn_protocols(&c->ssl, (const char **)c->alpn) : 0;
    return rc ? tls_error(err, ST_INVALID, rc, "ALPN") : ST_OK;
}

MUST_USE enum status tls_server_config(const struct tls_server_options *o, struct tls_config **ret, struct error *err) {
    struct tls_config *c = config_new(false);
    enum status st = set_basics(c, o->alpn, err);
    if (!st) st = set_own(c, o->certificate_pem, o->key_pem, err);
    if (!st && o->client_ca_pem.len) {
        st = tls_parse_chain(o->client_ca_pem, "the CA certificate for clients", &c->ca, err);
        c->has_ca = true;
    } else if (!st && o->client_required) {
        st = error_set(err, ST_INVALID, "client certificates are required, but no CA for them is given");
    }
    mbedtls_ssl_conf_authmode(&c->ssl, !c->has_ca           ? MBEDTLS_SSL_VERIFY_NONE
                                       : o->client_required ? MBEDTLS_SSL_VERIFY_REQUIRED
                                                            : MBEDTLS_SSL_VERIFY_OPTIONAL);
    c->alpn_required = o->alpn_required;
    c->admit = o->admit;
    c->admit_ctx = o->admit_ctx;
    if (st) {
        tls_config_free(&c);
        return st;
    }
    *ret = c;
    return ST_OK;
}

MUST_USE enum status tls_client_config(const struct tls_client_options *o, struct tls_config **ret, struct error *err) {
    struct tls_config *c = config_new(true);
    const char *alpn[] = {o->alpn, NULL};
    enum status st = set_basics(c, o->alpn ? alpn : NULL, err);
    if (!st && o->ca_pem.len) {
        st = tls_parse_chain(o->ca_pem, "the collector's CA certificate", &c->ca, err);
        c->has_ca = true;
    }
    if (!st && o->ca_pin) {
        memcpy(c->pin, o->ca_pin, TLS_PIN_LEN);
        c->has_pin = true;
    }
    if (!st && !c->has_ca && !c->has_pin) {
        st = error_set(err, ST_INVALID, "neither a CA nor a pin is given: the collector could be anyone");
    }
    if (!st && o->certificate_pem.len) st = set_own(c, o->certificate_pem, o->key_pem, err);
    mbedtls_ssl_conf_authmode(&c->ssl, MBEDTLS_SSL_VERIFY_REQUIRED);
    c->alpn_required = o->alpn != NULL;
    c->check_name = o->check_name;
    if (st) {
        tls_config_free(&c);
        return st;
    }
    *ret = c;
    return ST_OK;
}

bool tls_config_checks_name(const struct tls_config *c) {
    return c->check_name;
}

/* ---- bytes in and out ---- */

static int send_cb(void *ctx, const unsigned char *p, size_t len) {
    struct tls *t = ctx;
    buf_append(&t->out, p, len);
    return (int)len;
}

static int recv_cb(void *ctx, unsigned char *p, size_t len) {
    struct tls *t = ctx;
    size_t n = t->in.len - t->in_at;
    if (!n) return MBEDTLS_ERR_SSL_WANT_READ;
    if (n > len) n = len;
    memcpy(p, t->in.p + t->in_at, n);
    t->in_at += n;
    if (t->in_at == t->in.len) t->in_at = t->in.len = 0;
    return (int)n;
}

struct tls *tls_new(struct tls_config *c, const char *server_name) {
    struct tls *t = mem_zalloc(sizeof *t);
    t->config = c;
    t->verify.config = c;
    mbedtls_ssl_init(&t->ssl);
    int rc = mbedtls_ssl_setup(&t->ssl, &c->ssl);
    if (!rc && c->is_client) {
        if (server_name) t->server_name = mem_strdup(server_name);
        t->verify.server_name = t->server_name;
        rc = mbedtls_ssl_set_hostname(&t->ssl, server_name); /* NULL: said on purpose, no name check */
    }
    mbedtls_ssl_set_verify(&t->ssl, tls_verify_certificate, &t->verify);
    mbedtls_ssl_set_bio(&t->ssl, t, send_cb, recv_cb, NULL);
    if (rc)
        tls_error(&t->failed, rc == MBEDTLS_ERR_SSL_ALLOC_FAILED ? ST_NOMEM : ST_TLS, rc,
                  "cannot begin a TLS connection");
    return t;
}

void tls_free(struct tls **pt) {
    struct tls *t = *pt;
    if (!t) return;
    mbedtls_ssl_free(&t->ssl);
    buf_free(&t->in);
    buf_free(&t->out);
    mem_free(t->server_name);
    mem_free(t);
    *pt = NULL;
}

MUST_USE enum status tls_feed(struct tls *t, struct slice cipher) {
    if (t->in_at) {
        buf_consume(&t->in, t->in_at);
        t->in_at = 0;
    }
    return buf_try_append(&t->in, cipher.p, cipher.len, TLS_FEED_MAX);
}

void tls_take_output(struct tls *t, struct buf *out) {
    if (out->len) {
        buf_append(out, t->out.p, t->out.len);
        buf_clear(&t->out);
        return;
    }
    struct buf taken = t->out;
    t->out = *out;
    *out = taken;
}

size_t tls_output_len(const struct tls *t) {
    return t->out.len;
}

bool tls_has_output(const struct tls *t) {
    return t->out.len > 0;
}

/* ---- states ---- */

static enum status fail_again(const struct tls *t, struct error *err) {
    if (err) *err = t->failed;
    return t->failed.code;
}

/* mbedTLS's client, when it refuses the server's certificate, sends the alert in clear at a point where the server expects
 * it encrypted, and the server finds a bad record. The alert is in that record; -1: it holds none. (Anyone on the path
 * could have put it there: it chooses the sentence of a handshake that failed, no more.) */
static int plain_alert(const struct tls *t) {
    const unsigned char *record = t->ssl.MBEDTLS_PRIVATE(in_hdr);
    bool is_alert = record && record[0] == MBEDTLS_SSL_MSG_ALERT && record[3] == 0 && record[4] == 2;
    return is_alert ? record[6] : -1;
}

static enum status fail_with(struct tls *t, int rc, struct error *err) {
    struct error *f = &t->failed;
    int alert = t->open ? -1 : plain_alert(t);
    if (alert >= 0 && (rc == MBEDTLS_ERR_SSL_INVALID_MAC || rc == MBEDTLS_ERR_SSL_INVALID_RECORD)) {
        tls_alert_received(t->config, alert, false, f);
        return fail_again(t, err);
    }
    switch (rc) {
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        /* the alert's two bytes are still in the record buffer: no function of mbedTLS tells which alert it was */
        if (t->ssl.MBEDTLS_PRIVATE(in_msg) && t->ssl.MBEDTLS_PRIVATE(in_msgtype) == MBEDTLS_SSL_MSG_ALERT) {
            tls_alert_received(t->config, t->ssl.MBEDTLS_PRIVATE(in_msg)[1], t->open, f);
        } else {
            tls_error(f, ST_TLS, rc, "TLS");
        }
        break;
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
        error_set(f, t->open ? ST_END : ST_CLOSED, "the peer closed the connection%s",
                  t->open ? "" : " during the handshake");
        break;
    case MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL:
        error_set(f, ST_PROTO, "no ALPN name in common: the peer wants to speak another protocol");
        break;
    case MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE:
        error_set(f, ST_AUTH, "the peer has no certificate, and one is required: it has to be enrolled first");
        break;
    case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION: error_set(f, ST_VERSION, "the peer does not speak TLS 1.3"); break;
    case MBEDTLS_ERR_SSL_ALLOC_FAILED: error_set(f, ST_NOMEM, "no memory for TLS"); break;
    case MBEDTLS_ERR_SSL_INVALID_RECORD:
        tls_error(f, ST_TLS, rc, t->open ? "a damaged TLS record" : "what the peer sends is not TLS");
        break;
    case MBEDTLS_ERR_SSL_INVALID_MAC:
        error_set(f, ST_TLS, "a TLS record was damaged or forged on its way");
        (void)!mbedtls_ssl_send_alert_message(&t->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                              MBEDTLS_SSL_ALERT_MSG_BAD_RECORD_MAC);
        break;
    default: tls_error(f, ST_TLS, rc, t->open ? "TLS" : "TLS handshake"); break;
    }
    return fail_again(t, err);
}

/* Sends a fatal alert and fails with what t->failed says already. */
static enum status refuse_peer(struct tls *t, unsigned char alert, struct error *err) {
    (void)!mbedtls_ssl_send_alert_message(&t->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, alert);
    return fail_again(t, err);
}

static unsigned char alert_of(uint32_t flags) {
    if (flags & MBEDTLS_X509_BADCERT_OTHER) return MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED;
    if (flags & MBEDTLS_X509_BADCERT_REVOKED) return MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED;
    if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) return MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA;
    if (flags & MBEDTLS_X509_BADCERT_EXPIRED) return MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED;
    if (flags & (MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE))
        return MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT;
    return MBEDTLS_SSL_ALERT_MSG_BAD_CERT;
}

/* What mbedTLS leaves to its caller, after each step. */
static enum status check_step(struct tls *t, struct error *err) {
    if (!t->config->is_client && t->config->alpn_required &&
        t->ssl.MBEDTLS_PRIVATE(state) == MBEDTLS_SSL_SERVER_HELLO && !mbedtls_ssl_get_alpn_protocol(&t->ssl)) {
        error_set(&t->failed, ST_PROTO, "the peer offers no ALPN: it is no Haechi agent");
        return refuse_peer(t, MBEDTLS_SSL_ALERT_MSG_NO_APPLICATION_PROTOCOL, err);
    }
    uint32_t flags = t->verify.done ? mbedtls_ssl_get_verify_result(&t->ssl) : 0;
    if (t->verify.done &&
        (flags || t->verify.refused)) { /* only where a certificate is optional: else the step failed */
        tls_verify_finish(&t->verify, flags);
        t->failed = t->verify.why;
        return refuse_peer(t, alert_of(flags), err);
    }
    return ST_OK;
}

/* After its Finished a server writes with the application keys (RFC 8446 section 4.4.4); mbedTLS's keeps the handshake
 * keys until the client's Finished has come, so that a client could not read the alert that refuses its certificate.
 * Nothing but such an alert is written in between; the sequence number begins at 0 again when mbedTLS does the same. */
static void use_application_keys(struct tls *t) {
    mbedtls_ssl_context *s = &t->ssl;
    if (!s->MBEDTLS_PRIVATE(transform_application)) return;
    if (s->MBEDTLS_PRIVATE(transform_out) == s->MBEDTLS_PRIVATE(transform_application)) return;
    s->MBEDTLS_PRIVATE(transform_out) = s->MBEDTLS_PRIVATE(transform_application);
    memset(s->MBEDTLS_PRIVATE(cur_out_ctr), 0, sizeof s->MBEDTLS_PRIVATE(cur_out_ctr));
}

MUST_USE enum status tls_handshake(struct tls *t, struct error *err) {
    if (t->failed.code) return fail_again(t, err);
    while (!t->open) {
        if (mbedtls_ssl_is_handshake_over(&t->ssl)) {
            t->open = true;
            break;
        }
        if (!t->config->is_client) use_application_keys(t);
        int rc = mbedtls_ssl_handshake_step(&t->ssl);
        if (rc == MBEDTLS_ERR_SSL_WANT_READ) {
            if (t->in.len) continue; /* there is more to look at */
            return ST_AGAIN;
        }
        if (rc && t->verify.began && rc != MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
            uint32_t flags = t->verify.done ? mbedtls_ssl_get_verify_result(&t->ssl) : 0;
            if (flags != UINT32_MAX) tls_verify_finish(&t->verify, flags);
            if (t->verify.refused) {
                t->failed = t->verify.why;
                return fail_again(t, err);
            }
        }
        if (rc) return fail_with(t, rc, err);
        enum status st = check_step(t, err);
        if (st) return st;
    }
    if (t->config->is_client && t->config->alpn_required && !mbedtls_ssl_get_alpn_protocol(&t->ssl)) {
        error_set(&t->failed, ST_PROTO, "what listens there did not agree to \"%s\": it is no Haechi collector",
                  t->config->alpn[0]);
        return refuse_peer(t, MBEDTLS_SSL_ALERT_MSG_NO_APPLICATION_PROTOCOL, err);
    }
    t->verify.peer.verified = t->verify.done;
    return ST_OK;
}

MUST_USE enum status tls_read(struct tls *t, void *into, size_t cap, size_t *ret_len, struct error *err) {
    if (t->failed.code) return fail_again(t, err);
    for (;;) {
        size_t before = t->in.len - t->in_at;
        int rc = mbedtls_ssl_read(&t->ssl, into, cap);
        if (rc > 0) {
            *ret_len = (size_t)rc;
            return ST_OK;
        }
        if (rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            size_t after = t->in.len - t->in_at;
            if (after && after < before) continue; /* it took a message that is not data */
            return ST_AGAIN;
        }
        return fail_with(t, rc ? rc : MBEDTLS_ERR_SSL_INVALID_RECORD, err);
    }
}

MUST_USE enum status tls_write(struct tls *t, struct slice plain, struct error *err) {
    if (t->failed.code && t->failed.code != ST_END) return fail_again(t, err);
    if (t->closed) return error_set(err, ST_CLOSED, "the connection was closed by this end");
    while (plain.len) {
        int rc = mbedtls_ssl_write(&t->ssl, plain.p, plain.len);
        if (rc > 0) {
            plain = slice_from(plain, (size_t)rc);
        } else if (rc != MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            return fail_with(t, rc, err);
        }
    }
    return ST_OK;
}

void tls_close_notify(struct tls *t) {
    if (!t->open || t->closed || (t->failed.code && t->failed.code != ST_END)) return;
    t->closed = true;
    (void)!mbedtls_ssl_close_notify(&t->ssl);
}

const struct tls_peer *tls_get_peer(const struct tls *t) {
    return &t->verify.peer;
}

const char *tls_get_alpn(const struct tls *t) {
    return mbedtls_ssl_get_alpn_protocol(&t->ssl);
}

MUST_USE enum status tls_export(struct tls *t, const char *label, uint8_t *out, size_t len) {
    if (!t->open) return ST_INVALID;
    int rc = mbedtls_ssl_export_keying_material(&t->ssl, out, len, label, strlen(label), NULL, 0, 0);
    return rc ? ST_TLS : ST_OK;
}

void tls_idle(struct tls *t) {
    if (!t->open || t->in.len || t->out.len) return;
    buf_free(&t->in);
    buf_free(&t->out);
    if (mbedtls_ssl_check_pending(&t->ssl) || mbedtls_ssl_get_bytes_avail(&t->ssl) || t->ssl.MBEDTLS_PRIVATE(in_left))
        return;
    tls_slots_idle(t->ssl.MBEDTLS_PRIVATE(in_buf));
    if (t->ssl.MBEDTLS_PRIVATE(out_left) == 0) tls_slots_idle(t->ssl.MBEDTLS_PRIVATE(out_buf));
}
