/* From a name to a TCP connection: resolved asynchronously, addresses tried one after the other, all within the deadline
 * of the handshake. Loop thread. */
#include "conn_internal.h"
#include "mem.h"

#include <stdio.h>

static void on_connected(uv_connect_t *req, int rc) {
    struct conn *c = req->data;
    if (c->state != CONN_CONNECTING || rc == UV_ECANCELED) return; /* closed, or gone on to the next address */
    if (rc) {
        snprintf(c->text, sizeof c->text, "cannot connect to %s: %s%s", c->address, uv_strerror(rc),
                 rc == UV_ECONNREFUSED ? ": nothing listens there" : "");
        c->why = conn_uv_status(rc);
        conn_try_next_address(c);
        return;
    }
    c->why = ST_OK;
    c->connect_by = 0;
    conn_begin_tls(c, tls_config_checks_name(c->config) ? c->host : NULL);
}

static void connect_now(struct conn *c) {
    const struct sockaddr *sa = (const struct sockaddr *)&c->fixed;
    c->connect_by = 0;
    if (c->addresses) {
        sa = c->next_address->ai_addr;
        c->next_address = c->next_address->ai_next;
    }
    int rc = uv_tcp_init(c->loop, &c->s.tcp);
    if (!rc) {
        c->has_stream = true;
        c->n_handles++;
        c->s.handle.data = c;
        c->connect_req.data = c;
        conn_enter(c, CONN_CONNECTING);
        rc = uv_tcp_connect(&c->connect_req, &c->s.tcp, sa, on_connected);
    }
    if (rc) {
        char text[300];
        snprintf(text, sizeof text, "cannot connect to %.200s: %s", c->address, uv_strerror(rc));
        conn_close(c, conn_uv_status(rc), text);
    } else if (c->next_address) {
        c->connect_by = uv_now(c->loop) + CONN_MS(CONN_CONNECT_MS);
        conn_arm(c, c->connect_by);
    }
}

static void on_address_given_up(uv_handle_t *h) {
    struct conn *c = h->data;
    if (c->state >= CONN_CLOSING) {
        conn_on_handle_closed(h);
        return;
    }
    c->n_handles--;
    c->has_stream = false;
    connect_now(c);
}

/* The next address, or the end. A uv_tcp_t connects once in its life. */
void conn_try_next_address(struct conn *c) {
    if (c->state == CONN_CONNECTING) {
        if (!c->next_address) {
            conn_close_handles(c);
            return;
        }
        conn_enter(c, CONN_RESOLVING);
        uv_close(&c->s.handle, on_address_given_up);
        return;
    }
    connect_now(c);
}

static void on_resolved(uv_getaddrinfo_t *req, int rc, struct addrinfo *list) {
    struct resolve *r = (struct resolve *)req;
    struct conn *c = r->conn;
    mem_free(r);
    if (!c) {
        if (list) uv_freeaddrinfo(list);
        return;
    }
    c->resolve = NULL;
    if (rc || !list) {
        char text[400];
        snprintf(text, sizeof text, "cannot find the address of \"%.253s\": %s", c->host,
                 rc ? uv_strerror(rc) : "it has none");
        if (list) uv_freeaddrinfo(list);
        conn_close(c, rc ? conn_uv_status(rc) : ST_NOTFOUND, text);
        return;
    }
    c->addresses = c->next_address = list;
    conn_try_next_address(c);
}

struct conn *conn_connect(uv_loop_t *loop, struct tls_config *cfg, const char *host, uint16_t port,
                          const struct conn_events *ev, void *owner) {
    struct conn *c = conn_new(loop, cfg, ev, owner);
    c->host = mem_strdup(host);
    snprintf(c->address, sizeof c->address, strchr(host, ':') ? "[%.60s]:%u" : "%.60s:%u", host, port);
    conn_start_deadline(c);
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&c->fixed) == 0 ||
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&c->fixed) == 0) {
        connect_now(c);
        return c;
    }
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    c->resolve = mem_zalloc(sizeof *c->resolve);
    c->resolve->conn = c;
    int rc = uv_getaddrinfo(loop, &c->resolve->req, on_resolved, host, service, &hints);
    if (rc) {
        mem_free(c->resolve);
        c->resolve = NULL;
        char text[400];
        snprintf(text, sizeof text, "cannot look up \"%.253s\": %s", host, uv_strerror(rc));
        conn_keep_reason(c, conn_uv_status(rc), text);
        conn_next_round(c);
    }
    return c;
}
