/* The certificate authority: bytes in, PEM out. It keeps no files and no state beyond its key; who may have a
 * certificate, and what was revoked, is the registry's. One of the two owners of mbedTLS (the other is proto/tls).
 *
 * Every certificate: SHA-256, serial of 16 random bytes (top bit clear), not before = now - 1 h (agents' clocks differ),
 * X.509 v3 with key identifiers. Times are FILETIME. Signing is thread-safe (the key is not changed by it); each call
 * costs about 1 ms, so work threads only. tls_global_init comes first. */
#ifndef HAECHI_CA_H
#define HAECHI_CA_H

#include "tls.h"

#define CA_VALID_DAYS 3650
#define CA_SERVER_DAYS 365
#define CA_NAMES_MAX 64        /* names in a server certificate */
#define CA_CSR_MAX (16 * 1024) /* bytes of a CSR */

struct ca;

/* A new authority: P-256, CN `name` ("Haechi CA 3f9c..."), path length 0. The key PEM is not encrypted: wipe the buffer
 * (mem_wipe), keep it in a file of mode 0600. */
MUST_USE enum status ca_make(const char *name, uint64_t now, struct buf *ret_certificate_pem, struct buf *ret_key_pem,
                             struct error *err);

/* Takes an authority into use, ours or a supplied one (ECDSA P-256/P-384, RSA of 2,048 bits or more; certificate first,
 * the chain above it may follow). Refused, with a sentence: a key that does not belong to it, no CA certificate, not
 * allowed to sign certificates, expired or not yet valid, weak. */
MUST_USE enum status ca_load(struct slice certificate_pem, struct slice key_pem, uint64_t now, struct ca **ret,
                             struct error *err);
void ca_free(struct ca **ca);

struct slice ca_certificate_pem(const struct ca *ca); /* as given to ca_load; lives as long as ca */
const uint8_t *ca_pin(const struct ca *ca);           /* TLS_PIN_LEN: of the topmost certificate, as agents see it */
uint64_t ca_not_after(const struct ca *ca);

/* What a CSR asks for. Its subject is a wish: only common_name is read, for people; nothing of it gets into a
 * certificate. */
struct ca_csr {
    char common_name[128]; /* sanitised, empty when there is none */
    uint8_t spki[TLS_PIN_LEN];
};

/* Parses a CSR (DER or PEM) and verifies that it is signed by the key that it carries: SHA-256, -384 or -512; P-256,
 * P-384 or RSA of 2,048 to 8,192 bits. Pure. ST_FORMAT, ST_TOOBIG, ST_INVALID (weak or unknown key), ST_AUTH
 * (signature). */
MUST_USE enum status ca_check_csr(struct slice csr, struct ca_csr *ret, struct error *err);

/* A certificate for an agent (clientAuth): checks the CSR as above, takes its key and nothing else. common_name: the
 * host's identity. valid_s: seconds from now (cut to the authority's own end). Appends the certificate to *ret_pem
 * (and the authority's own, where that is not the top of its chain). *ret_facts (may be NULL): serial, SPKI, ... */
MUST_USE enum status ca_issue_agent(struct ca *ca, struct slice csr, const char *common_name, uint64_t now,
                                    uint64_t valid_s, struct buf *ret_pem, struct tls_peer *ret_facts,
                                    struct error *err);

/* A key and a certificate for the collector (serverAuth). names: DNS names and addresses, NULL-terminated, at least
 * one; the first is the CN. *ret_pem holds the certificate and then the authority's whole chain, so that a client that
 * has the pin only can verify it. valid_s as above. */
MUST_USE enum status ca_issue_server(struct ca *ca, const char *const *names, uint64_t now, uint64_t valid_s,
                                     struct buf *ret_pem, struct buf *ret_key_pem, struct error *err);

/* Appends the authority's signature over the SHA-256 of the bytes: ECDSA in ASN.1 DER, of an RSA key PKCS#1 v1.5. Who
 * signs more than certificates puts a prefix of its own before the bytes, so that none can be taken for another. */
MUST_USE enum status ca_sign(struct ca *ca, struct slice bytes, struct buf *ret_signature, struct error *err);

/* True when a server certificate (PEM) was issued by this authority, serves all the names, its key is `key_pem`, and it
 * is good until `until`: else make a new one. */
bool ca_server_is_fit(const struct ca *ca, struct slice certificate_pem, struct slice key_pem, const char *const *names,
                      uint64_t until);

#endif
