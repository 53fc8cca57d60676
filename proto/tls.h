/* TLS 1.3 as a byte pipe, with the peer's identity. mbedTLS stays inside tls.c (and server/fleet/ca.c); no sockets, no
 * loop: cipher bytes in, cipher bytes out.
 *
 * Suites: AES-128-GCM, ChaCha20-Poly1305, AES-256-GCM; groups secp256r1, x25519; ECDSA P-256 (a supplied RSA CA is
 * verified). No TLS 1.2, no tickets (a resumed server sees no peer certificate), no renegotiation, no early data.
 *
 * One struct tls belongs to one thread. Contexts (struct tls_config) are immutable once made and may be shared. */
#ifndef HAECHI_TLS_H
#define HAECHI_TLS_H

#include "buf.h"

#define TLS_ALPN_AGENT "haechi/1"
#define TLS_ALPN_ENROLL "haechi-enroll/1"
#define TLS_PIN_LEN 32 /* SHA-256 of a certificate's SubjectPublicKeyInfo */

struct tls_config;
struct tls;

/* Once, before any thread. Aborts when the random source does not work. */
void tls_global_init(void);

/* Who is at the other end, from its verified certificate. Empty strings when it has none. */
struct tls_peer {
    char common_name[128]; /* of agents: the host id, "host:17" (server/fleet) */
    char serial[48];       /* lower-case hex of the certificate's serial number */
    uint8_t spki[TLS_PIN_LEN];
    uint8_t ca_spki[TLS_PIN_LEN]; /* of the topmost certificate it was verified by */
    uint64_t not_after;           /* FILETIME */
    bool verified;
};

/* The collector's last word on a peer certificate that the CA vouches for (revoked? unknown?): ST_OK, ST_REVOKED,
 * ST_EXPIRED, ST_AUTH ... Called inside the handshake on the thread of the connection; must not block. The peer has not
 * proved yet that it has the key: decide here, but raise no alarm and change nothing before the handshake is done. */
typedef enum status (*tls_admit_fn)(void *ctx, const struct tls_peer *peer);

struct tls_server_options {
    struct slice
        certificate_pem; /* chain, own first; with the CA's certificate, else clients with a pin only refuse it */
    struct slice key_pem;
    struct slice client_ca_pem; /* empty: no client certificate is asked for (API) */
    bool client_required;       /* false: asked for, not required (agents that enrol have none) */
    const char *const *alpn;    /* NULL-terminated; NULL: any or none */
    bool alpn_required;         /* a peer that offers no ALPN is refused */
    tls_admit_fn admit;         /* may be NULL */
    void *admit_ctx;
};
MUST_USE enum status tls_server_config(const struct tls_server_options *o, struct tls_config **ret, struct error *err);

struct tls_client_options {
    struct slice ca_pem;          /* trusted CAs; empty when only the pin decides */
    const uint8_t *ca_pin;        /* TLS_PIN_LEN bytes: the SPKI of the topmost certificate must have it; NULL: none */
    struct slice certificate_pem; /* own chain; empty: none */
    struct slice key_pem;
    const char *alpn;
    bool
        check_name; /* conn_connect passes the host's name to tls_new: for a CA that issues to others than collectors */
};
MUST_USE enum status tls_client_config(const struct tls_client_options *o, struct tls_config **ret, struct error *err);
bool tls_config_checks_name(const struct tls_config *c);
void tls_config_free(struct tls_config **c); /* its connections must be gone */

/* server_name (client; may be NULL): for SNI and the certificate's name check; NULL: the CA alone decides. */
struct tls *tls_new(struct tls_config *c, const char *server_name);
void tls_free(struct tls **t);

/* Takes cipher bytes from the network; all of them are kept until read: read until ST_AGAIN before you feed again.
 * ST_TOOBIG when TLS_FEED_MAX bytes wait already. */
#define TLS_FEED_MAX (1024 * 1024)
MUST_USE enum status tls_feed(struct tls *t, struct slice cipher);
/* Advances the handshake: ST_OK when it is done, ST_AGAIN when it needs more from the network, else what went wrong:
 * ST_AUTH, ST_EXPIRED (a certificate's time; also "not yet valid"), ST_REVOKED, ST_TLS. *err says it for people of
 * this end: which certificate, which dates, which clock. */
MUST_USE enum status tls_handshake(struct tls *t, struct error *err);
/* Decrypts up to cap bytes: ST_OK with *ret_len > 0, ST_AGAIN, ST_END (close_notify), ST_TLS. In TLS 1.3 a server refuses
 * a client certificate after the client's handshake is done: ST_REVOKED, ST_EXPIRED, ST_AUTH then come from here. */
MUST_USE enum status tls_read(struct tls *t, void *into, size_t cap, size_t *ret_len, struct error *err);
/* Encrypts all of it into the outgoing buffer. */
MUST_USE enum status tls_write(struct tls *t, struct slice plain, struct error *err);
void tls_close_notify(struct tls *t);
/* What has to go to the network: swapped with *out when that is empty (its storage is used again), else appended. An
 * alert waits there also after an error: send it before closing. */
void tls_take_output(struct tls *t, struct buf *out);
bool tls_has_output(const struct tls *t);
size_t tls_output_len(const struct tls *t);

const struct tls_peer *tls_get_peer(const struct tls *t); /* after the handshake */
const char *tls_get_alpn(const struct tls *t);            /* NULL: none was agreed */
/* RFC 8446 exporter: the same bytes on both ends of one connection, on no other. */
MUST_USE enum status tls_export(struct tls *t, const char *label, uint8_t *out, size_t len);
/* An idle connection gives the memory of its record buffers back to the system (nothing happens when it is not idle). */
void tls_idle(struct tls *t);

/* ---- keys, for agents (the CA is server/fleet/ca.h) ---- */

/* A new P-256 key as PEM (wipe it), and a CSR (DER) for it with subject CN. */
MUST_USE enum status tls_make_key(struct buf *ret_pem, struct error *err);
MUST_USE enum status tls_make_csr(struct slice key_pem, const char *common_name, struct buf *ret_der,
                                  struct error *err);
/* Facts of the first certificate in a PEM: common_name, serial, spki, not_after, and not_before. */
MUST_USE enum status tls_certificate_facts(struct slice pem, struct tls_peer *ret, uint64_t *ret_not_before,
                                           struct error *err);
/* ECDSA (of an RSA key: PKCS #1 v1.5) over the SHA-256 of bytes, in DER: server/fleet/ca.h makes them. ST_AUTH unless the key of one of the
 * CAs in ca_pem did; their dates do not matter. */
MUST_USE enum status tls_verify_signature(struct slice ca_pem, struct slice bytes, struct slice signature,
                                          struct error *err);
void tls_random(void *out, size_t len); /* from the CSPRNG; aborts when it fails */
void tls_sha256(struct slice s, uint8_t out[32]);
bool tls_equal(const void *a, const void *b, size_t len); /* in constant time */

#endif
