/* Requests by llhttp. Its callbacks gather the head into struct http_request and check each limit before a byte is kept;
 * it is paused after the head and after the end, so that the caller decides before anything else is read. */
#include "http.h"
#include "mem.h"

#include <llhttp.h>
#include <stdio.h>

#define HEAD_BYTES_MAX (HTTP_MAX_TARGET + HTTP_MAX_HEADER_BYTES + 4096) /* white space and all */
#define NAME_MAX_LEN 256u

struct http_parser {
    llhttp_t ll;
    struct http_request r;
    struct buf name, value; /* the header being read */
    struct buf body;        /* of this call */
    bool in_message, in_body, head_due, end_due, body_out, paused;
    unsigned n_headers, n_hosts, n_authorizations, n_codings;
    size_t header_bytes, head_bytes;
    int bad;
    char why[160];
};

static int refuse(struct http_parser *p, int status, const char *why) {
    if (!p->bad) {
        p->bad = status;
        snprintf(p->why, sizeof p->why, "%s", why);
    }
    return HPE_USER;
}

/* ---- one header ---- */

static struct slice trimmed(const struct buf *b) {
    struct slice s = buf_slice(b);
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t')) s.len--;
    while (s.len && (*s.p == ' ' || *s.p == '\t')) s = slice_from(s, 1);
    return s;
}

static bool is_host(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && !memchr("-._~:[]%", c, 8)) return false;
    }
    return s.len > 0 && s.len <= 262;
}

static int on_host(struct http_parser *p, struct slice v) {
    if (p->n_hosts++) return refuse(p, 400, "more than one Host header");
    if (!is_host(v)) return refuse(p, 400, "the Host header is no host name");
    buf_slice_append(&p->r.host, v);
    return 0;
}

static int on_authorization(struct http_parser *p, struct slice v) {
    if (p->n_authorizations++) return refuse(p, 400, "more than one Authorization header");
    buf_slice_append(&p->r.authorization, v);
    return 0;
}

static int on_coding(struct http_parser *p, struct slice v) {
    if (p->n_codings++ || !slice_eq_nocase(v, SLICE_LIT("chunked"))) {
        return refuse(p, 501, "the only transfer coding that is understood is: chunked");
    }
    p->r.chunked = true;
    return 0;
}

static int on_content_coding(struct http_parser *p, struct slice v) {
    return slice_eq_nocase(v, SLICE_LIT("identity")) ? 0 : refuse(p, 415, "bodies are taken as they are, not encoded");
}

static int on_length(struct http_parser *p, struct slice v) {
    (void)v; /* llhttp has checked it */
    p->r.has_length = true;
    return 0;
}

static int on_expect(struct http_parser *p, struct slice v) {
    if (!slice_eq_nocase(v, SLICE_LIT("100-continue")))
        return refuse(p, 417, "the only expectation known is 100-continue");
    p->r.expect_continue = true;
    return 0;
}

static int on_content_type(struct http_parser *p, struct slice v) {
    if (p->r.content_type.len) return refuse(p, 400, "more than one Content-Type header");
    buf_slice_append(&p->r.content_type, v);
    return 0;
}

static int on_accept(struct http_parser *p, struct slice v) {
    if (p->r.accept.len) buf_str(&p->r.accept, ",");
    buf_slice_append(&p->r.accept, v);
    return 0;
}

static int on_header(struct http_parser *p) {
    static const struct {
        const char *name;
        int (*fn)(struct http_parser *p, struct slice v);
    } known[] = {{"host", on_host},
                 {"authorization", on_authorization},
                 {"transfer-encoding", on_coding},
                 {"content-encoding", on_content_coding},
                 {"content-length", on_length},
                 {"content-type", on_content_type},
                 {"expect", on_expect},
                 {"accept", on_accept}};
    int rc = 0;
    if (++p->n_headers > HTTP_MAX_HEADERS) return refuse(p, 431, "more than 100 headers");
    for (size_t i = 0; i < sizeof known / sizeof *known && !p->in_body && !rc; i++) { /* trailers say nothing */
        if (slice_eq_nocase(buf_slice(&p->name), slice_str(known[i].name))) rc = known[i].fn(p, trimmed(&p->value));
    }
    buf_clear(&p->name);
    buf_clear(&p->value);
    return rc;
}

/* ---- llhttp's callbacks ---- */

static struct http_parser *self(llhttp_t *ll) {
    return ll->data;
}

static void request_clear(struct http_request *r) {
    if (r->authorization.p) mem_wipe(r->authorization.p, r->authorization.cap);
    buf_free(&r->target);
    buf_free(&r->host);
    buf_free(&r->authorization);
    buf_free(&r->content_type);
    buf_free(&r->accept);
    *r = (struct http_request){0};
}

static int on_message_begin(llhttp_t *ll) {
    struct http_parser *p = self(ll);
    request_clear(&p->r);
    buf_clear(&p->name);
    buf_clear(&p->value);
    p->n_headers = p->n_hosts = p->n_authorizations = p->n_codings = 0;
    p->header_bytes = p->head_bytes = 0;
    p->in_message = true;
    return 0;
}

static int on_method(llhttp_t *ll, const char *at, size_t len) {
    struct http_parser *p = self(ll);
    size_t have = strlen(p->r.method);
    if (len >= sizeof p->r.method - have) return refuse(p, 400, "no such method");
    memcpy(p->r.method + have, at, len);
    p->r.method[have + len] = 0;
    return 0;
}

static int on_url(llhttp_t *ll, const char *at, size_t len) {
    struct http_parser *p = self(ll);
    if (len > HTTP_MAX_TARGET - p->r.target.len) return refuse(p, 414, "the request's target is longer than 8 KiB");
    for (size_t i = 0; i < len; i++) {
        if (at[i] <= 0x20 || at[i] >= 0x7f || at[i] == '#')
            return refuse(p, 400, "the request's target has a bad character");
    }
    buf_append(&p->r.target, at, len);
    return p->r.target.len && p->r.target.p[0] != '/' ? refuse(p, 400, "the request's target is no path") : 0;
}

static int gather(struct http_parser *p, struct buf *into, const char *at, size_t len) {
    p->header_bytes += len;
    if (p->header_bytes > HTTP_MAX_HEADER_BYTES) return refuse(p, 431, "the headers are longer than 32 KiB");
    buf_append(into, at, len);
    return 0;
}

static int on_field(llhttp_t *ll, const char *at, size_t len) {
    struct http_parser *p = self(ll);
    if (len > NAME_MAX_LEN - p->name.len) return refuse(p, 431, "a header's name is longer than 256 bytes");
    return gather(p, &p->name, at, len);
}

static int on_value(llhttp_t *ll, const char *at, size_t len) {
    return gather(self(ll), &self(ll)->value, at, len);
}

static int on_value_complete(llhttp_t *ll) {
    return on_header(self(ll));
}

static int on_headers_complete(llhttp_t *ll) {
    struct http_parser *p = self(ll);
    if (llhttp_get_http_major(ll) != 1 || llhttp_get_http_minor(ll) != 1)
        return refuse(p, 505, "HTTP/1.1 is spoken here");
    if (!p->n_hosts) return refuse(p, 400, "no Host header");
    if (p->r.chunked && p->r.has_length) return refuse(p, 400, "both Content-Length and Transfer-Encoding");
    if (!p->r.target.len) return refuse(p, 400, "no path");
    ll->upgrade = 0; /* an offer to change the protocol is not taken up */
    p->r.content_length = p->r.has_length ? ll->content_length : 0;
    p->r.keep_alive = llhttp_should_keep_alive(ll) != 0;
    p->in_body = p->head_due = true;
    p->header_bytes = 0;
    p->n_headers = 0;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *ll, const char *at, size_t len) {
    buf_append(&self(ll)->body, at, len);
    return 0;
}

static int on_extension(llhttp_t *ll, const char *at, size_t len) {
    (void)at;
    (void)len;
    return refuse(self(ll), 400, "chunk extensions are not taken");
}

static int on_message_complete(llhttp_t *ll) {
    self(ll)->end_due = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t callbacks = {.on_message_begin = on_message_begin,
                                            .on_method = on_method,
                                            .on_url = on_url,
                                            .on_header_field = on_field,
                                            .on_header_value = on_value,
                                            .on_header_value_complete = on_value_complete,
                                            .on_headers_complete = on_headers_complete,
                                            .on_body = on_body,
                                            .on_chunk_extension_name = on_extension,
                                            .on_chunk_extension_value = on_extension,
                                            .on_message_complete = on_message_complete};

/* ---- */

struct http_parser *http_parser_new(void) {
    struct http_parser *p = mem_zalloc(sizeof *p);
    llhttp_init(&p->ll, HTTP_REQUEST, &callbacks);
    p->ll.data = p;
    return p;
}

void http_parser_free(struct http_parser **pp) {
    struct http_parser *p = *pp;
    if (!p) return;
    request_clear(&p->r);
    if (p->value.p) mem_wipe(p->value.p, p->value.cap);
    buf_free(&p->name);
    buf_free(&p->value);
    buf_free(&p->body);
    mem_free(p);
    *pp = NULL;
}

static enum http_event end(struct http_parser *p) {
    p->end_due = p->in_message = p->in_body = false;
    return HTTP_EVENT_END;
}

static void execute(struct http_parser *p, struct slice *in) {
    if (!in->p) *in = SLICE_LIT("");
    llhttp_errno_t rc = llhttp_execute(&p->ll, (const char *)in->p, in->len);
    size_t used = rc ? (size_t)(llhttp_get_error_pos(&p->ll) - (const char *)in->p) : in->len;
    if (used > in->len) used = in->len;
    if (!p->in_body) p->head_bytes += used;
    *in = slice_from(*in, used);
    p->paused = rc == HPE_PAUSED;
    if (rc == HPE_PAUSED) {
        llhttp_resume(&p->ll);
    } else if (rc == HPE_INVALID_VERSION &&
               (llhttp_get_http_major(&p->ll) != 1 || llhttp_get_http_minor(&p->ll) != 1)) {
        refuse(p, 505, "HTTP/1.1 is spoken here");
    } else if (rc) {
        char why[160];
        snprintf(why, sizeof why, "the request is malformed: %s", llhttp_get_error_reason(&p->ll));
        refuse(p, 400, why);
    } else if (!p->in_body && p->in_message && p->head_bytes > HEAD_BYTES_MAX) {
        refuse(p, 431, "the request's head is too long");
    }
}

enum http_event http_next(struct http_parser *p, struct slice *in, struct slice *ret_body) {
    if (p->body_out) buf_clear(&p->body);
    p->body_out = false;
    if (p->end_due) return end(p);
    if (!p->bad && (in->len || p->paused)) execute(p, in); /* a pause may end without more bytes */
    if (p->head_due) {
        p->head_due = false;
        return HTTP_EVENT_HEAD;
    }
    if (p->body.len) {
        p->body_out = true;
        *ret_body = buf_slice(&p->body);
        return HTTP_EVENT_BODY;
    }
    if (p->bad) return HTTP_EVENT_BAD;
    return p->end_due ? end(p) : HTTP_EVENT_MORE;
}

const struct http_request *http_request(const struct http_parser *p) {
    return &p->r;
}

bool http_is_idle(const struct http_parser *p) {
    return !p->in_message;
}

int http_refusal(const struct http_parser *p, const char **ret_why) {
    *ret_why = p->why;
    return p->bad;
}
