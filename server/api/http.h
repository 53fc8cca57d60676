/* HTTP/1.1 requests from a byte stream: llhttp, and the limits that it does not have. Pure. Owner of <llhttp.h>.
 *
 * Strict: HTTP/1.1 only, exactly one Host, Content-Length or "chunked" and never both, no folded lines, no bare LF, no
 * chunk extensions, no other transfer coding. A request that is refused ends its stream: what follows it cannot be
 * told apart from its rest. */
#ifndef HAECHI_HTTP_H
#define HAECHI_HTTP_H

#include "buf.h"

#define HTTP_MAX_TARGET (8u * 1024)        /* 414 beyond */
#define HTTP_MAX_HEADER_BYTES (32u * 1024) /* 431 beyond */
#define HTTP_MAX_HEADERS 100u

struct http_request {
    char method[16];
    struct buf target; /* as sent: begins with '/', printable ASCII */
    struct buf host, authorization, content_type, accept;
    bool has_length, chunked, expect_continue, keep_alive;
    uint64_t content_length;
};

enum http_event {
    HTTP_EVENT_MORE, /* *in is used up */
    HTTP_EVENT_HEAD, /* a request's head is complete: http_request */
    HTTP_EVENT_BODY, /* *ret_body: the next piece of its body; valid until the next call */
    HTTP_EVENT_END,  /* the request is complete; the next call begins another */
    HTTP_EVENT_BAD   /* refused: http_refusal; and so for ever */
};

struct http_parser;

struct http_parser *http_parser_new(void);
void http_parser_free(struct http_parser **p);
/* Takes bytes from *in (moving it forward) until something has happened. */
enum http_event http_next(struct http_parser *p, struct slice *in, struct slice *ret_body);
const struct http_request *http_request(const struct http_parser *p); /* after HTTP_EVENT_HEAD, until the next one */
bool http_is_idle(const struct http_parser *p);                      /* between requests: no byte of the next one yet */
int http_refusal(const struct http_parser *p, const char **ret_why); /* 400, 414, ...; after HTTP_EVENT_BAD */

#endif
