/* The first bytes of a peer: a server-side handshake, fed in pieces of the size that the first byte says. */
// links: server rules storage proto base
// fuzz: -max_len=4096
#include "ca.h"
#include "clock.h"
#include "mem.h"

#include <stdlib.h>

static struct tls_config *cfg;

static void set_up(void) {
    static const char *const names[] = {"c", NULL}, *const alpn[] = {TLS_ALPN_AGENT, NULL};
    struct buf pem = {0}, key = {0}, server = {0}, server_key = {0};
    struct ca *ca = NULL;
    uint64_t now = clock_wall();
    tls_global_init();
    if (ca_make("fuzz", now, &pem, &key, NULL) || ca_load(buf_slice(&pem), buf_slice(&key), now, &ca, NULL) ||
        ca_issue_server(ca, names, now, 86400, &server, &server_key, NULL)) {
        abort();
    }
    struct tls_server_options o = {.certificate_pem = buf_slice(&server),
                                   .key_pem = buf_slice(&server_key),
                                   .client_ca_pem = buf_slice(&pem),
                                   .alpn = alpn,
                                   .alpn_required = true};
    if (tls_server_config(&o, &cfg, NULL)) abort();
    ca_free(&ca);
    buf_free(&pem);
    buf_free(&key);
    buf_free(&server);
    buf_free(&server_key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    if (!cfg) set_up();
    if (!len) return 0;
    size_t step = data[0] ? (size_t)data[0] * 8 : len;
    struct slice left = slice_of(data + 1, len - 1);
    struct tls *t = tls_new(cfg, NULL);
    struct buf out = {0};
    struct error err;
    enum status st = ST_AGAIN;
    while (left.len && st == ST_AGAIN) {
        struct slice part = slice_head(left, step);
        left = slice_from(left, part.len);
        if (tls_feed(t, part)) break;
        st = tls_handshake(t, &err);
        tls_take_output(t, &out);
        buf_clear(&out);
    }
    if (st == ST_OK) abort(); /* nobody completes a handshake by chance */
    tls_free(&t);
    buf_free(&out);
    return 0;
}
