/* The enrolment token: one line that a person carries from the collector to a new host. Pure.
 *
 *     haechi-enroll.v1.<base64url without padding of>
 *
 *     0         32      40         72                len-4
 *     +---------+-------+----------+---- - - - ------+--------+
 *     | pin     | id    | secret   | HOST:PORT       | CRC-32 |   of all bytes before it, little-endian
 *     +---------+-------+----------+---- - - - ------+--------+
 *
 * pin: SHA-256 of the CA's SubjectPublicKeyInfo. The checksum tells a cut or mistyped token from a refused one. */
#ifndef HAECHI_TOKEN_H
#define HAECHI_TOKEN_H

#include "buf.h"

#define TOKEN_PREFIX "haechi-enroll.v1."
#define TOKEN_PIN_LEN 32
#define TOKEN_ID_LEN 8
#define TOKEN_SECRET_LEN 32
#define TOKEN_ADDRESS_MAX 261 /* a host name of 253, or [address], a colon and a port */
#define TOKEN_TEXT_MAX 512    /* any token is shorter, with NUL */

struct token {
    char address[TOKEN_ADDRESS_MAX + 1]; /* "collector.example:7443", "[2001:db8::1]:7443" */
    uint8_t pin[TOKEN_PIN_LEN];
    uint8_t id[TOKEN_ID_LEN];
    uint8_t secret[TOKEN_SECRET_LEN];
};

/* Appends the text. ST_INVALID when the address is none. */
MUST_USE enum status token_encode(const struct token *t, struct buf *out, struct error *err);

/* White space around the text is ignored. ST_FORMAT, ST_CORRUPT (cut or mistyped), ST_VERSION: the sentence says what to
 * do. Wipe *ret (mem_wipe) when done: it holds the secret. */
MUST_USE enum status token_decode(struct slice text, struct token *ret, struct error *err);

#define ADDRESS_HOST_MAX 254 /* with NUL */

/* HOST:PORT, ADDRESS:PORT or [ADDRESS]:PORT into its parts; a missing port is default_port (0: it must be there).
 * ret_host has room for ADDRESS_HOST_MAX bytes and gets no brackets. ST_INVALID with a sentence. */
MUST_USE enum status address_split(struct slice address, uint16_t default_port, char *ret_host, uint16_t *ret_port,
                                   struct error *err);

#endif
