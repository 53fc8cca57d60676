/* What tls.c, tls_verify.c, tls_keys.c and server/fleet/ca.c share. Only they include this. */
#ifndef HAECHI_TLS_INTERNAL_H
#define HAECHI_TLS_INTERNAL_H

#include "tls.h"

#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#define TLS_ALPN_MAX 8

struct tls_config {
    mbedtls_ssl_config ssl;
    mbedtls_x509_crt own, ca; /* ca may be empty: then nothing but the pin is trusted */
    mbedtls_pk_context key;
    bool is_client, has_own, has_pin, has_ca, alpn_required, check_name;
    uint8_t pin[TLS_PIN_LEN];
    char *alpn[TLS_ALPN_MAX + 1];
    tls_admit_fn admit;
    void *admit_ctx;
};

/* The state of one verification of a peer's chain, called from the top certificate down to the peer's own. */
struct tls_verify {
    const struct tls_config *config;
    const char *server_name; /* as asked for, for sentences */
    struct tls_peer peer;
    bool began, done; /* saw the top; saw the peer's own certificate */
    bool refused;
    struct error why;
};

/* mbedTLS's verify callback; ctx is a struct tls_verify. */
int tls_verify_certificate(void *ctx, mbedtls_x509_crt *crt, int depth, uint32_t *flags);
/* What mbedTLS found after the callbacks (usage extensions): turns flags into *why if nothing else did. */
void tls_verify_finish(struct tls_verify *v, uint32_t flags);

/* An alert (RFC 8446 section 6) that the peer sent: what it means for this end. */
enum status tls_alert_received(const struct tls_config *c, int alert, bool after_handshake, struct error *err);

uint64_t tls_x509_time(const mbedtls_x509_time *t); /* FILETIME; 0 when it is no time */
/* False when the certificate has facts that do not fit (a CN with control characters, an overlong serial). */
bool tls_x509_facts(const mbedtls_x509_crt *crt, struct tls_peer *ret);
int tls_rng(void *ctx, unsigned char *out, size_t len);
/* "certificate: ... (-0x2180)" from an mbedTLS number. */
enum status tls_error(struct error *err, enum status st, int rc, const char *what);
MUST_USE enum status tls_parse_chain(struct slice pem, const char *what, mbedtls_x509_crt *into, struct error *err);
MUST_USE enum status tls_parse_key(struct slice pem, mbedtls_pk_context *into, struct error *err);
/* "CN=" and the name, escaped for mbedTLS's parser of distinguished names; out has TLS_DN_MAX bytes. ST_INVALID unless it
 * has 1 to 64 bytes of UTF-8. */
#define TLS_DN_MAX 256
MUST_USE enum status tls_dn_of_name(const char *name, char *out, struct error *err);

#endif
