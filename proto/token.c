/* The enrolment token's text, both ways. Pure. */
#include "token.h"
#include "crc32.h"
#include "mem.h"

#define FIXED_LEN (TOKEN_PIN_LEN + TOKEN_ID_LEN + TOKEN_SECRET_LEN)
#define CRC_LEN 4
#define RAW_MAX (FIXED_LEN + TOKEN_ADDRESS_MAX + CRC_LEN)

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int digit_value(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

static void base64url_put(struct slice s, struct buf *out) {
    uint32_t bits = 0;
    unsigned n = 0;
    for (size_t i = 0; i < s.len; i++) {
        bits = bits << 8 | s.p[i];
        for (n += 8; n >= 6; n -= 6) buf_byte(out, (uint8_t)digits[bits >> (n - 6) & 63]);
    }
    if (n) buf_byte(out, (uint8_t)digits[bits << (6 - n) & 63]);
}

/* False: a character that is none, more than cap bytes, or a last character that says more than it should. */
static bool base64url_get(struct slice s, uint8_t *out, size_t cap, size_t *ret_len) {
    uint32_t bits = 0;
    unsigned n = 0;
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        int v = digit_value(s.p[i]);
        if (v < 0) return false;
        bits = (bits << 6 | (uint32_t)v) & 0xffff;
        n += 6;
        if (n < 8) continue;
        if (len == cap) return false;
        n -= 8;
        out[len++] = (uint8_t)(bits >> n);
    }
    *ret_len = len;
    return n < 6 && (bits & ((1u << n) - 1)) == 0;
}

static struct slice trim(struct slice s) {
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\r' || s.p[0] == '\n')) s = slice_from(s, 1);
    while (s.len &&
           (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t' || s.p[s.len - 1] == '\r' || s.p[s.len - 1] == '\n')) {
        s.len--;
    }
    return s;
}

static bool is_host_char(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == ':' || c == '%';
}

enum status address_split(struct slice address, uint16_t default_port, char *ret_host, uint16_t *ret_port,
                          struct error *err) {
    struct slice host = address, port = {NULL, 0};
    bool bracket = address.len && address.p[0] == '[';
    size_t colon = address.len;
    for (size_t i = address.len; i-- > 0;) {
        if (address.p[i] == ']') break;
        if (address.p[i] == ':') {
            colon = i;
            break;
        }
    }
    if (colon < address.len) {
        host = slice_head(address, colon);
        port = slice_from(address, colon + 1);
    }
    if (bracket) {
        if (host.len < 3 || host.p[host.len - 1] != ']')
            return error_set(err, ST_INVALID, "an address without its closing ]");
        host = slice_of(host.p + 1, host.len - 2);
    }
    if (!host.len || host.len >= ADDRESS_HOST_MAX) {
        return error_set(err, ST_INVALID,
                         "a collector's address is HOST:PORT, with a host name of at most 253 characters");
    }
    for (size_t i = 0; i < host.len; i++) {
        if (!is_host_char(host.p[i]) || (!bracket && host.p[i] == ':')) {
            return error_set(err, ST_INVALID,
                             "a collector's address is HOST:PORT; an IPv6 address is written [ADDRESS]:PORT");
        }
    }
    uint32_t v = 0;
    if (colon < address.len) {
        if (!port.len || port.len > 5)
            return error_set(err, ST_INVALID, "the port of a collector's address is 1 to 65535");
        for (size_t i = 0; i < port.len; i++) {
            if (port.p[i] < '0' || port.p[i] > '9') v = 65536;
            if (v < 65536) v = v * 10 + (port.p[i] - '0');
        }
    } else {
        v = default_port;
        if (!v) return error_set(err, ST_INVALID, "a collector's address is HOST:PORT; the port is missing");
    }
    if (v == 0 || v > 65535) return error_set(err, ST_INVALID, "the port of a collector's address is 1 to 65535");
    memcpy(ret_host, host.p, host.len);
    ret_host[host.len] = 0;
    *ret_port = (uint16_t)v;
    return ST_OK;
}

enum status token_encode(const struct token *t, struct buf *out, struct error *err) {
    char host[ADDRESS_HOST_MAX];
    uint16_t port;
    enum status st = address_split(slice_str(t->address), 0, host, &port, err);
    if (st) return st;
    struct buf raw = {0};
    buf_reserve(&raw, RAW_MAX); /* no copies of the secret left behind by growing */
    buf_append(&raw, t->pin, sizeof t->pin);
    buf_append(&raw, t->id, sizeof t->id);
    buf_append(&raw, t->secret, sizeof t->secret);
    buf_str(&raw, t->address);
    buf_u32le(&raw, crc32_add(0, buf_slice(&raw)));
    buf_str(out, TOKEN_PREFIX);
    base64url_put(buf_slice(&raw), out);
    mem_wipe(raw.p, raw.len);
    buf_free(&raw);
    return ST_OK;
}

enum status token_decode(struct slice text, struct token *ret, struct error *err) {
    text = trim(text);
    if (slice_starts(text, SLICE_LIT("haechi-api."))) {
        return error_set(err, ST_INVALID,
                         "this is a token for the API, not for enrolment: make one with `haechi token create`");
    }
    if (!slice_starts(text, SLICE_LIT(TOKEN_PREFIX))) {
        if (slice_starts(text, SLICE_LIT("haechi-enroll."))) {
            return error_set(err, ST_VERSION, "the token is of a later form than this program knows: update the agent");
        }
        return error_set(err, ST_FORMAT, "not an enrolment token: it begins with \"" TOKEN_PREFIX "\"");
    }
    uint8_t raw[RAW_MAX];
    size_t len = 0;
    enum status st = ST_OK;
    text = slice_from(text, sizeof TOKEN_PREFIX - 1);
    if (!base64url_get(text, raw, sizeof raw, &len) || len <= FIXED_LEN + CRC_LEN) {
        st = error_set(err, ST_CORRUPT, "the token is cut off or mistyped: copy it again, all of it, on one line");
        goto out;
    }
    len -= CRC_LEN;
    uint32_t crc = raw[len] | (uint32_t)raw[len + 1] << 8 | (uint32_t)raw[len + 2] << 16 | (uint32_t)raw[len + 3] << 24;
    if (crc != crc32_add(0, slice_of(raw, len))) {
        st = error_set(err, ST_CORRUPT, "the token is cut off or mistyped: copy it again, all of it, on one line");
        goto out;
    }
    char host[ADDRESS_HOST_MAX];
    uint16_t port;
    struct slice address = slice_of(raw + FIXED_LEN, len - FIXED_LEN);
    st = address_split(address, 0, host, &port, err);
    if (st) {
        st = error_prefix(err, ST_FORMAT, "the token holds no good address");
        goto out;
    }
    struct reader r = reader_of(slice_of(raw, FIXED_LEN));
    memcpy(ret->pin, reader_bytes(&r, TOKEN_PIN_LEN).p, TOKEN_PIN_LEN);
    memcpy(ret->id, reader_bytes(&r, TOKEN_ID_LEN).p, TOKEN_ID_LEN);
    memcpy(ret->secret, reader_bytes(&r, TOKEN_SECRET_LEN).p, TOKEN_SECRET_LEN);
    memcpy(ret->address, address.p, address.len);
    ret->address[address.len] = 0;
out:
    mem_wipe(raw, sizeof raw);
    return st;
}
