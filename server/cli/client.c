/* The API client on libcurl. */
#include "client.h"
#include "file.h"
#include "log.h"
#include "mem.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define CONNECT_TIMEOUT_S 10L
#define BODY_MAX (64u * 1024 * 1024)
#define PROBLEM_MAX (1024u * 1024) /* a reply that is not 2xx */

struct client {
    CURL *curl;
    char *base;    /* "http://localhost" over a socket, else "https://HOST:PORT" */
    char *socket;  /* NULL: HTTPS */
    char *display; /* how the user named it */
    struct curl_slist *headers;
    struct buf problem;   /* of the last request */
    struct error refused; /* why the address cannot be used: what the first request fails with */
};

/* ---- addresses ---- */

void url_begin(struct buf *url, const char *path) {
    buf_clear(url);
    buf_str(url, path);
}

static void put_escaped(struct buf *url, const char *text) {
    char *escaped = curl_easy_escape(NULL, text, (int)strlen(text));
    if (escaped) buf_str(url, escaped);
    curl_free(escaped);
}

void url_part(struct buf *url, const char *part) {
    buf_byte(url, '/');
    put_escaped(url, part);
}

void url_param(struct buf *url, const char *key, const char *value) {
    if (!value) return;
    buf_byte(url, memchr(url->p, '?', url->len) ? '&' : '?');
    buf_str(url, key);
    buf_byte(url, '=');
    put_escaped(url, value);
}

void url_param_uint(struct buf *url, const char *key, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    if (value) url_param(url, key, text);
}

void url_param_flag(struct buf *url, const char *key, bool value) {
    if (value) url_param(url, key, "1");
}

/* ---- opening ---- */

static const char *find_socket(void) {
    static const char *const sockets[] = {CLIENT_DEFAULT_SOCKETS};
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
        if (file_exists(sockets[i])) return sockets[i];
    }
    return sockets[0];
}

static enum status open_https(struct client *c, const char *api, struct error *err) {
    const char *token = getenv("HAECHI_TOKEN"), *ca = getenv("HAECHI_CA");
    if (strncmp(api, "http://", 7) == 0) {
        return error_set(err, ST_INVALID, "%s: there is no API without TLS; write https://HOST:PORT or unix:PATH", api);
    }
    if (strstr(api, "://") && strncmp(api, "https://", 8) != 0)
        return error_set(err, ST_INVALID, "%s: write https://HOST:PORT or unix:PATH", api);
    if (!token || !*token) {
        return error_set(err, ST_INVALID,
                         "%s needs a token in HAECHI_TOKEN; on the collector: haechi token create --role viewer", api);
    }
    struct buf base = {0}, header = {0};
    buf_printf(&base, "%s%s", strncmp(api, "https://", 8) == 0 ? "" : "https://", api);
    while (base.len && base.p[base.len - 1] == '/') base.len--;
    c->base = mem_strdup(buf_cstr(&base));
    buf_printf(&header, "Authorization: Bearer %s", token);
    c->headers = curl_slist_append(c->headers, buf_cstr(&header));
    if (ca && *ca) curl_easy_setopt(c->curl, CURLOPT_CAINFO, ca);
    mem_wipe(header.p, header.len);
    buf_free(&base);
    buf_free(&header);
    return ST_OK;
}

MUST_USE enum status client_open(const char *api, struct client **ret, struct error *err) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return error_set(err, ST_IO, "libcurl cannot be started");
    struct client *c = mem_zalloc(sizeof *c);
    c->curl = curl_easy_init();
    if (!c->curl) abort();
    const char *env = getenv("HAECHI_API");
    if (!api && env && *env) api = env;
    if (!api) {
        c->socket = mem_strdup(find_socket());
    } else if (strncmp(api, "unix:", 5) == 0) {
        c->socket = mem_strdup(api + 5);
    } else if (strchr(api, '/') == api) {
        c->socket = mem_strdup(api);
    } else {
        (void)open_https(c, api, &c->refused);
    }
    if (c->socket) c->base = mem_strdup("http://localhost");
    c->display = mem_strdup(api ? api : c->socket);
    *ret = c;
    return ST_OK;
}

void client_close(struct client **pc) {
    struct client *c = *pc;
    if (!c) return;
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    mem_free(c->base);
    mem_free(c->socket);
    mem_free(c->display);
    buf_free(&c->problem);
    mem_free(c);
    *pc = NULL;
}

/* ---- one request ---- */

struct request {
    struct client *c;
    client_bytes_fn on_bytes;
    void *ctx;
    client_more_fn more;
    void *more_ctx;
    struct buf out; /* of the upload: what curl has not taken yet */
    enum status stopped;
    struct error *err;
};

static size_t on_write(char *p, size_t size, size_t n, void *arg) {
    struct request *r = arg;
    long http = 0;
    curl_easy_getinfo(r->c->curl, CURLINFO_RESPONSE_CODE, &http);
    if (http < 200 || http > 299) {
        if (r->c->problem.len + size * n <= PROBLEM_MAX) buf_append(&r->c->problem, p, size * n);
        return size * n;
    }
    r->stopped = r->on_bytes(r->ctx, slice_of(p, size * n));
    return r->stopped ? 0 : size * n;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg) {
    struct request *r = arg;
    if (!r->out.len) {
        r->stopped = r->more(r->more_ctx, &r->out, r->err);
        if (r->stopped) return CURL_READFUNC_ABORT;
    }
    size_t take = r->out.len < size * n ? r->out.len : size * n;
    if (take) memcpy(p, r->out.p, take);
    buf_consume(&r->out, take);
    return take;
}

static enum status unreachable(struct client *c, CURLcode rc, struct error *err) {
    switch (rc) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return error_set(err, ST_IO,
                         "cannot reach the collector at %s; is haechid running? Name its API with --api or HAECHI_API",
                         c->display);
    case CURLE_PEER_FAILED_VERIFICATION:
        return error_set(err, ST_AUTH,
                         "the collector at %s is not trusted: put its CA's file (DATA/ca/ca.pem) into HAECHI_CA",
                         c->display);
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
        return error_set(err, ST_IO, "the collector at %s broke off its answer: what was shown is not complete",
                         c->display);
    default: return error_set(err, ST_IO, "the collector at %s: %s", c->display, curl_easy_strerror(rc));
    }
}

/* The detail of an RFC 9457 document. */
static enum status problem(struct request *r, long http, struct error *err) {
    enum status st = http == 404                                 ? ST_NOTFOUND
                     : http == 401                               ? ST_AUTH
                     : http == 403 || http == 409 || http == 422 ? ST_DENIED
                     : http == 503                               ? ST_BUSY
                     : http < 500                                ? ST_INVALID
                                                                 : ST_IO;
    yyjson_doc *doc = yyjson_read((const char *)r->c->problem.p, r->c->problem.len, 0);
    const char *detail = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "detail"));
    if (detail) {
        error_set(err, st, "%s", log_peer(slice_str(detail)));
    } else {
        error_set(err, st, "the collector answered %ld without saying why", http);
    }
    yyjson_doc_free(doc);
    return st;
}

static enum status perform(struct request *r, const char *method, struct buf *url, const char *content_type,
                           struct error *err) {
    CURL *h = r->c->curl;
    if (r->c->refused.code) return error_set(err, r->c->refused.code, "%s", r->c->refused.msg);
    buf_clear(&r->c->problem);
    struct buf full = {0};
    struct curl_slist *headers = NULL;
    for (struct curl_slist *s = r->c->headers; s; s = s->next) headers = curl_slist_append(headers, s->data);
    if (content_type) headers = curl_slist_append(headers, content_type);
    headers = curl_slist_append(headers, "Expect:");
    buf_printf(&full, "%s%s", r->c->base, buf_cstr(url));
    curl_easy_setopt(h, CURLOPT_URL, buf_cstr(&full));
    curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, r->c->socket);
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(h, CURLOPT_UPLOAD, r->more ? 1L : 0L);
    curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(h, CURLOPT_READDATA, r);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 256L * 1024);
    CURLcode rc = curl_easy_perform(h);
    long http = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &http);
    enum status st = ST_OK;
    if (r->stopped) {
        st = r->stopped;
    } else if (http >= 300) {
        st = problem(r, http, err);
    } else if (rc) {
        st = unreachable(r->c, rc, err);
    }
    curl_slist_free_all(headers);
    buf_free(&full);
    buf_free(&r->out);
    return st;
}

static enum status keep(void *ctx, struct slice bytes) {
    return buf_try_append(ctx, bytes.p, bytes.len, BODY_MAX);
}

MUST_USE enum status client_get(struct client *c, struct buf *url, struct buf *ret_body, struct error *err) {
    return client_stream(c, url, keep, ret_body, err);
}

MUST_USE enum status client_stream(struct client *c, struct buf *url, client_bytes_fn on_bytes, void *ctx,
                                   struct error *err) {
    struct request r = {.c = c, .on_bytes = on_bytes, .ctx = ctx, .err = err};
    return perform(&r, "GET", url, NULL, err);
}

struct whole_body {
    struct slice bytes;
    bool sent;
};

static enum status send_whole(void *ctx, struct buf *out, struct error *err) {
    struct whole_body *b = ctx;
    (void)err;
    if (!b->sent) buf_slice_append(out, b->bytes);
    b->sent = true;
    return ST_OK;
}

static enum status post(struct client *c, struct buf *url, struct slice json, client_bytes_fn on_bytes, void *ctx,
                        struct error *err) {
    struct whole_body body = {json, false};
    struct request r = {.c = c, .on_bytes = on_bytes, .ctx = ctx, .more = send_whole, .more_ctx = &body, .err = err};
    curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)json.len);
    return perform(&r, "POST", url, "Content-Type: application/json", err);
}

MUST_USE enum status client_send(struct client *c, const char *method, struct buf *url, const char *type,
                                 struct slice body, struct buf *ret_body, unsigned *ret_http, struct error *err) {
    struct whole_body whole = {body, false};
    struct request r = {.c = c, .on_bytes = keep, .ctx = ret_body, .more = send_whole, .more_ctx = &whole, .err = err};
    char header[80];
    long http = 0;
    snprintf(header, sizeof header, "Content-Type: %s", type);
    curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)body.len);
    enum status st = perform(&r, method, url, header, err);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &http);
    if (ret_http) *ret_http = (unsigned)http;
    return st;
}

struct slice client_problem(const struct client *c) {
    return buf_slice(&c->problem);
}

MUST_USE enum status client_post(struct client *c, struct buf *url, struct slice json, struct buf *ret_body,
                                 struct error *err) {
    return post(c, url, json, keep, ret_body, err);
}

MUST_USE enum status client_upload(struct client *c, struct buf *url, client_more_fn more, void *ctx,
                                   struct buf *ret_body, struct error *err) {
    struct request r = {.c = c, .on_bytes = keep, .ctx = ret_body, .more = more, .more_ctx = ctx, .err = err};
    curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)-1);
    return perform(&r, "POST", url, "Content-Type: application/x-haechi-batches", err);
}

/* ---- lines ---- */

struct lines {
    client_line_fn on_line;
    void *ctx;
    struct buf rest; /* a line that has not ended yet */
};

static enum status split(void *ctx, struct slice bytes) {
    struct lines *l = ctx;
    while (bytes.len) {
        const uint8_t *newline = memchr(bytes.p, '\n', bytes.len);
        size_t n = newline ? (size_t)(newline - bytes.p) : bytes.len;
        enum status st = buf_try_append(&l->rest, bytes.p, n, BODY_MAX);
        if (!st && newline && l->rest.len) st = l->on_line(l->ctx, buf_slice(&l->rest));
        if (st) return st;
        if (newline) buf_clear(&l->rest);
        bytes = slice_from(bytes, n + (newline != NULL));
    }
    return ST_OK;
}

MUST_USE enum status client_lines(struct client *c, struct buf *url, client_line_fn on_line, void *ctx,
                                  struct error *err) {
    struct lines l = {.on_line = on_line, .ctx = ctx};
    enum status st = client_stream(c, url, split, &l, err);
    buf_free(&l.rest);
    return st;
}

MUST_USE enum status client_post_lines(struct client *c, struct buf *url, struct slice json, client_line_fn on_line,
                                       void *ctx, struct error *err) {
    struct lines l = {.on_line = on_line, .ctx = ctx};
    enum status st = post(c, url, json, split, &l, err);
    buf_free(&l.rest);
    return st;
}

MUST_USE enum status client_upload_lines(struct client *c, struct buf *url, const char *type, client_more_fn more,
                                         void *more_ctx, client_line_fn on_line, void *ctx, struct error *err) {
    struct lines l = {.on_line = on_line, .ctx = ctx};
    struct request r = {.c = c, .on_bytes = split, .ctx = &l, .more = more, .more_ctx = more_ctx, .err = err};
    char header[80];
    snprintf(header, sizeof header, "Content-Type: %s", type);
    curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)-1);
    enum status st = perform(&r, "POST", url, header, err);
    buf_free(&l.rest);
    return st;
}
