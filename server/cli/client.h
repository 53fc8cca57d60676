/* Talking to a collector's HTTP API: over its unix socket, or HTTPS with a bearer token. Owner of <curl/curl.h>.
 * One request at a time; blocking. */
#ifndef HAECHI_CLIENT_H
#define HAECHI_CLIENT_H

#include "buf.h"

#define CLIENT_DEFAULT_SOCKETS "/run/haechi/api.sock", "/var/lib/haechi/api.sock"

struct client;

/* api: "unix:PATH", "https://HOST:PORT" or "HOST:PORT"; NULL: $HAECHI_API, then the first default socket that exists.
 * HTTPS takes its token from $HAECHI_TOKEN and the CA to trust from the file in $HAECHI_CA. Connects to nothing: an
 * address that cannot be used is what the first request fails with (some commands make none). */
MUST_USE enum status client_open(const char *api, struct client **ret, struct error *err);
void client_close(struct client **c);

/* A path with its query: url_begin(&b, "/api/v1/hosts/%s/events", ...) escapes each part. */
void url_begin(struct buf *url, const char *path);
void url_part(struct buf *url, const char *part);                      /* "/" and the escaped part */
void url_param(struct buf *url, const char *key, const char *value);   /* nothing when value is NULL */
void url_param_uint(struct buf *url, const char *key, uint64_t value); /* nothing when 0 */
void url_param_flag(struct buf *url, const char *key, bool value);     /* "1", nothing when false */

/* A reply that is not 2xx becomes an error whose text is the problem document's detail: ST_NOTFOUND, ST_DENIED,
 * ST_INVALID, ST_BUSY or ST_IO. ST_IO too when the collector cannot be reached, with what to do about it. */
MUST_USE enum status client_get(struct client *c, struct buf *url, struct buf *ret_body, struct error *err);
MUST_USE enum status client_post(struct client *c, struct buf *url, struct slice json, struct buf *ret_body,
                                 struct error *err);

/* The same with any method and body. *ret_http (may be NULL): 201, 422 ... */
MUST_USE enum status client_send(struct client *c, const char *method, struct buf *url, const char *type,
                                 struct slice body, struct buf *ret_body, unsigned *ret_http, struct error *err);
/* The whole problem document of the last request that was refused; empty: none. */
struct slice client_problem(const struct client *c);

/* The reply's bytes as they come. on_bytes returns other than ST_OK to stop: that is returned then. A stream that
 * breaks off in the middle is ST_IO, never a short success. */
typedef enum status (*client_bytes_fn)(void *ctx, struct slice bytes);
MUST_USE enum status client_stream(struct client *c, struct buf *url, client_bytes_fn on_bytes, void *ctx,
                                   struct error *err);
/* The same, cut into lines (without the newline). Empty lines are left out. */
typedef enum status (*client_line_fn)(void *ctx, struct slice line);
MUST_USE enum status client_lines(struct client *c, struct buf *url, client_line_fn on_line, void *ctx,
                                  struct error *err);
MUST_USE enum status client_post_lines(struct client *c, struct buf *url, struct slice json, client_line_fn on_line,
                                       void *ctx, struct error *err);

/* Sends what `more` gives (appends to *out; leaves it empty at the end) as the request's body. */
typedef enum status (*client_more_fn)(void *ctx, struct buf *out, struct error *err);
MUST_USE enum status client_upload(struct client *c, struct buf *url, client_more_fn more, void *ctx,
                                   struct buf *ret_body, struct error *err);

/* Sends what `more` gives as a body of that content type; the reply comes as lines. */
MUST_USE enum status client_upload_lines(struct client *c, struct buf *url, const char *type, client_more_fn more,
                                         void *more_ctx, client_line_fn on_line, void *ctx, struct error *err);

#endif
