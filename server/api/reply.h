/* The head of an answer, problem documents, chunks. Pure. */
#ifndef HAECHI_REPLY_H
#define HAECHI_REPLY_H

#include "buf.h"

struct reply_head {
    int http;
    const char *type;
    uint64_t length; /* when not chunked */
    bool chunked, close;
    const char *trailer; /* name of the trailer that may follow; NULL: none */
    const char *allow;   /* of 405 */
    bool ask_token;      /* 401 */
    unsigned retry_after_s;
    uint64_t now; /* FILETIME, for Date */
};
void reply_head(struct buf *out, const struct reply_head *h);
void reply_chunk(struct buf *out, struct slice bytes);                       /* nothing when empty */
void reply_last_chunk(struct buf *out, const char *trailer, uint64_t value); /* trailer NULL: none */

#define REPLY_PROBLEM "application/problem+json"
/* RFC 9457: {"type":"about:blank","title":...,"status":...,"detail":...} and a newline. */
void reply_problem(struct buf *out, int http, const char *detail);
/* The same, open for more members: the caller ends the object and the line. */
void reply_problem_begin(struct buf *out, int http, const char *detail);
int reply_http_of(enum status st); /* 400, 404, 409, 503, ... 500 */

#endif
