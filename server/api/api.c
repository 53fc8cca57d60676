/* The API's listeners, and who is connected. Everything on main's loop, but for api_committed.
 *
 * Limits come before anything is allocated: beyond API_MAX_CONNECTIONS the kernel's backlog keeps who comes. */
#include "api_internal.h"
#include "file.h"
#include "log.h"
#include "mem.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128
#define PEM_MAX (256u * 1024)

#ifdef HAECHI_TEST_HOOKS
unsigned api_speed = 1;

void api_test_speed(unsigned times) {
    api_speed = times;
}
#endif

/* ---- the end ---- */

static void try_free(struct api *a) {
    if (!a->stopping || a->n_handles || a->n_peers || a->door) return;
    tls_config_free(&a->tls);
    mem_free(a);
}

static void on_handle_closed(uv_handle_t *h) {
    struct api *a = h->data;
    a->n_handles--;
    try_free(a);
}

static void on_listener_closed(uv_handle_t *h) {
    struct listening *l = h->data;
    l->api->n_handles--;
    try_free(l->api);
}

static void on_door_closed(void *ctx) {
    struct api *a = ctx;
    a->door = NULL;
    try_free(a);
}

/* An import's last answers come first. */
static void close_door(struct api *a) {
    if (!a->stopping || !a->door || a->door_closing || a->n_peers || ingest_door_in_flight(a->door)) return;
    a->door_closing = true;
    ingest_door_close(a->door, on_door_closed, a);
}

static bool has_room(const struct api *a, const struct listening *l) {
    return a->n_peers < API_MAX_CONNECTIONS && (l->is_pipe || a->n_remote < API_MAX_REMOTE);
}

void api_peer_gone(struct api *a, bool remote) {
    a->n_peers--;
    a->n_remote -= remote;
    for (size_t i = 0; i < a->n_listeners && !a->quiet; i++) {
        struct listening *l = &a->listeners[i];
        if (!l->waits || !has_room(a, l)) continue;
        l->waits = false;
        peer_accept(a, l);
    }
    close_door(a);
    try_free(a);
}

/* ---- wake-ups ---- */

static void on_door(void *ctx) {
    struct api *a = ctx;
    list_for_each_safe (it, next, &a->peers) peer_poke(peer_of(it));
    close_door(a);
}

static void on_pace(uv_timer_t *t) {
    struct api *a = t->data;
    list_for_each_safe (it, next, &a->peers) peer_wake(peer_of(it));
}

static void on_committed(uv_async_t *h) {
    struct api *a = h->data;
    a->n_commits++;
    if (a->n_followers && !uv_is_active((uv_handle_t *)&a->pace)) uv_timer_start(&a->pace, on_pace, API_PACE_MS, 0);
}

void api_committed(void *api, uint64_t last_seq) {
    struct api *a = api;
    (void)last_seq;
    uv_async_send(&a->committed);
}

/* ---- listeners ---- */

static void on_connection(uv_stream_t *stream, int status) {
    struct listening *l = stream->data;
    struct api *a = l->api;
    if (status < 0) {
        log_warn("api", "a connection could not be accepted: %s", uv_strerror(status));
    } else if (!has_room(a, l)) {
        l->waits = true;
    } else {
        peer_accept(a, l);
    }
}

/* A socket file that nobody listens on is what a killed collector left. */
static enum status clear_path(const char *path, struct error *err) {
    struct stat sb;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path) {
        return error_set(err, ST_INVALID, "%s: the path of a socket has at most %zu bytes", path,
                         sizeof sa.sun_path - 1);
    }
    if (lstat(path, &sb))
        return errno == ENOENT ? ST_OK : error_set(err, status_from_errno(errno), "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(sb.st_mode)) return error_set(err, ST_EXISTS, "%s exists and is no socket; it is left alone", path);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool live = fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
    if (fd >= 0) (void)close(fd);
    if (live) return error_set(err, ST_BUSY, "%s: another program answers there already", path);
    return file_remove(path, err);
}

static enum status make_parent(const char *path, struct error *err) {
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return ST_OK;
    char *dir = mem_strndup(path, (size_t)(slash - path));
    enum status st = file_make_dir(dir, 0755, err);
    mem_free(dir);
    return st;
}

static enum status listen_pipe(struct api *a, struct listening *l, const char *path, struct error *err) {
    enum status st = make_parent(path, err);
    if (!st) st = clear_path(path, err);
    if (st) return st;
    l->is_pipe = true;
    uv_pipe_init(a->loop, &l->h.pipe, 0);
    a->n_handles++;
    l->h.handle.data = l;
    mode_t old = umask(0177);
    int rc = uv_pipe_bind(&l->h.pipe, path);
    (void)umask(old);
    if (!rc && chmod(path, 0600)) rc = -errno;
    if (!rc) rc = uv_listen(&l->h.stream, BACKLOG, on_connection);
    return rc ? error_set(err, ST_IO, "cannot listen on unix:%s: %s", path, uv_strerror(rc)) : ST_OK;
}

static enum status read_pem(const char *path, struct buf *out, struct slice own, struct error *err) {
    if (path) return file_read(path, PEM_MAX, out, err);
    buf_slice_append(out, own);
    return ST_OK;
}

static enum status make_tls(struct api *a, struct error *err) {
    static const char *const alpn[] = {"http/1.1", NULL};
    struct buf certificate = {0}, key = {0};
    if (a->tls) return ST_OK;
    if (!a->o.certificate_file != !a->o.key_file) {
        return error_set(err, ST_INVALID, "api.certificate and api.key go together");
    }
    enum status st = read_pem(a->o.certificate_file, &certificate, fleet_server_certificate(a->o.fleet), err);
    if (!st) st = read_pem(a->o.key_file, &key, fleet_server_key(a->o.fleet), err);
    struct tls_server_options o = {.certificate_pem = buf_slice(&certificate),
                                   .key_pem = buf_slice(&key),
                                   .alpn = alpn};
    if (!st) st = tls_server_config(&o, &a->tls, err);
    if (key.p) mem_wipe(key.p, key.cap);
    buf_free(&key);
    buf_free(&certificate);
    return st;
}

static enum status listen_tcp(struct api *a, struct listening *l, const char *address, struct error *err) {
    struct sockaddr_storage sa;
    enum status st = make_tls(a, err);
    if (!st) st = address_resolve(address, &sa, err);
    if (st) return st;
    uv_tcp_init(a->loop, &l->h.tcp);
    a->n_handles++;
    l->h.handle.data = l;
    int rc = uv_tcp_bind(&l->h.tcp, (struct sockaddr *)&sa, 0);
    if (!rc) rc = uv_listen(&l->h.stream, BACKLOG, on_connection);
    return rc ? error_set(err, rc == UV_EADDRINUSE ? ST_BUSY : ST_IO, "cannot listen on %s: %s", address,
                          uv_strerror(rc))
              : ST_OK;
}

static enum status listen_all(struct api *a, struct error *err) {
    enum status st = ST_OK;
    for (const char *const *at = a->o.addresses; *at && !st; at++) {
        if (a->n_listeners == API_MAX_LISTENERS)
            return error_set(err, ST_INVALID, "more than %d API addresses", API_MAX_LISTENERS);
        struct listening *l = &a->listeners[a->n_listeners];
        size_t handles = a->n_handles;
        l->api = a;
        if (strncmp(*at, "unix:", 5) == 0)
            st = listen_pipe(a, l, *at + 5, err);
        else
            st = listen_tcp(a, l, *at, err);
        if (a->n_handles > handles) a->n_listeners++;
        if (!st) log_info("api", "the API answers on %s", *at);
    }
    return st;
}

/* ---- life ---- */

MUST_USE enum status api_start(uv_loop_t *loop, const struct api_options *o, struct api **ret, struct error *err) {
    struct api *a = mem_zalloc(sizeof *a);
    a->o = *o;
    a->common.o = &a->o;
    a->loop = loop;
    list_init(&a->peers);
    enum status st = ingest_door_open(o->ingest, loop, on_door, a, &a->door, err);
    if (st) {
        mem_free(a);
        return st;
    }
    if (uv_async_init(loop, &a->committed, on_committed)) abort();
    uv_timer_init(loop, &a->pace);
    a->committed.data = a->pace.data = a;
    a->n_handles = 2;
    st = listen_all(a, err);
    if (st) {
        ingest_door_quiet(a->door);
        api_stop(&a);
        return st;
    }
    *ret = a;
    return ST_OK;
}

uint16_t api_port(const struct api *a) {
    for (size_t i = 0; i < a->n_listeners; i++) {
        struct sockaddr_storage sa;
        int len = sizeof sa;
        if (a->listeners[i].is_pipe || uv_tcp_getsockname(&a->listeners[i].h.tcp, (struct sockaddr *)&sa, &len))
            continue;
        return ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                              : ((struct sockaddr_in *)&sa)->sin_port);
    }
    return 0;
}

void api_quiet(struct api *a) {
    if (a->quiet) return;
    a->quiet = true;
    for (size_t i = 0; i < a->n_listeners; i++) uv_close(&a->listeners[i].h.handle, on_listener_closed);
    ingest_door_quiet(a->door);
}

void api_stop(struct api **pa) {
    struct api *a = *pa;
    if (!a) return;
    *pa = NULL;
    api_quiet(a);
    a->stopping = true;
    ingest_door_drain(a->door);
    list_for_each_safe (it, next, &a->peers) peer_close(peer_of(it));
    uv_close((uv_handle_t *)&a->committed, on_handle_closed);
    uv_close((uv_handle_t *)&a->pace, on_handle_closed);
    close_door(a);
}
