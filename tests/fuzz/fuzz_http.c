/* Requests from hostile bytes: all at once and byte by byte must be told apart alike; then target, route and parameters. */
/* fuzz: -max_len=4096 */
// links: server rules storage proto base
#include "http.h"
#include "router.h"

#include <stdio.h>
#include <stdlib.h>

/* What happened, as text: bodies joined, so that it does not depend on how the bytes came. A request that breaks two
 * rules is refused for whichever shows first, so a refusal's status is left out. */
static void trace(struct slice all, size_t step, struct buf *out) {
    struct http_parser *p = http_parser_new();
    struct slice body;
    bool alive = true;
    while (alive) {
        struct slice in = slice_head(all, step);
        bool empty = in.len == 0;
        all = slice_from(all, in.len);
        for (bool more = true; more && alive;) {
            const char *why;
            switch (http_next(p, &in, &body)) {
            case HTTP_EVENT_MORE:
                if (in.len) abort();
                more = false;
                break;
            case HTTP_EVENT_HEAD: {
                const struct http_request *r = http_request(p);
                buf_printf(out, "\nHEAD %s %zu %zu %d %llu %d ", r->method, r->target.len, r->host.len, r->chunked,
                           (unsigned long long)r->content_length, r->keep_alive);
                if (r->target.len > HTTP_MAX_TARGET || !r->host.len || (r->chunked && r->has_length)) abort();
                break;
            }
            case HTTP_EVENT_BODY:
                if (!body.len) abort();
                buf_slice_append(out, body);
                break;
            case HTTP_EVENT_END: buf_str(out, "\nEND"); break;
            case HTTP_EVENT_BAD:
                if (http_refusal(p, &why) < 400 || !*why) abort();
                buf_str(out, "\nBAD");
                alive = false;
                break;
            }
        }
        alive = alive && !empty;
    }
    http_parser_free(&p);
}

static void route(struct slice text) {
    struct target t;
    const char *words[2];
    char allow[32];
    struct error err;
    if (target_parse(text, &t, &err)) return;
    const struct route *r = route_find("GET", &t, words, allow);
    if (r && route_check_params(r, &t, &err) && !err.msg[0]) abort();
    if (r) (void)route_is_acceptable(r, text);
    target_deinit(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf whole = {0}, bytewise = {0}, pieces = {0};
    struct slice all = slice_of(data, size);
    trace(all, size ? size : 1, &whole);
    trace(all, 1, &bytewise);
    trace(all, 7, &pieces);
    if (!slice_eq(buf_slice(&whole), buf_slice(&bytewise)) || !slice_eq(buf_slice(&whole), buf_slice(&pieces))) {
        fprintf(stderr, "%s\n-- but --\n%s\n", buf_cstr(&whole), buf_cstr(&bytewise));
        abort();
    }
    buf_free(&whole);
    buf_free(&bytewise);
    buf_free(&pieces);
    route(all);
    return 0;
}
