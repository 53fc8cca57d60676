/* What api.c and peer.c share. Only they include this. */
#ifndef HAECHI_API_INTERNAL_H
#define HAECHI_API_INTERNAL_H

#include "address.h"
#include "call.h"
#include "conn.h"
#include "list.h"

#define API_MAX_LISTENERS 8
#define API_MAX_CONNECTIONS 512
#define API_MAX_REMOTE 448 /* of them over TCP: the rest is kept for the unix socket */
#define API_MAX_PER_ADDRESS 64
#define API_MAX_QUERIES 32   /* that run; more are told to come again */
#define API_MAX_FOLLOWERS 64 /* that wait for events; they are queries no more once they have caught up */

#define API_HEAD_MS 10000 /* from the first byte of a request to the end of its head */
#define API_IDLE_MS 60000 /* between requests */
#define API_BODY_MS 30000 /* a small body; a large one without a byte */

#define API_PACE_MS 100 /* followers look for events at most so often */

#ifdef HAECHI_TEST_HOOKS
extern unsigned api_speed;
#define API_MS(ms) ((ms) / api_speed)
#else
#define API_MS(ms) (ms)
#endif

struct peer;

struct listening {
    struct api *api;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } h;
    bool is_pipe, waits; /* waits: a connection that limits keep out for now */
};

struct api {
    struct api_common common;
    struct api_options o;
    uv_loop_t *loop;
    struct tls_config *tls;
    struct listening listeners[API_MAX_LISTENERS];
    size_t n_listeners;
    uv_async_t committed;
    uv_timer_t pace; /* followers are woken at most so often */
    struct ingest_door *door;
    struct list peers;
    size_t n_peers, n_remote, n_queries, n_followers;
    uint64_t n_commits; /* seen on the loop */
    struct address_table addresses;
    size_t n_handles; /* not closed yet */
    bool quiet, stopping, door_closing;
};

/* peer.c */
void peer_accept(struct api *a, struct listening *l);
void peer_poke(struct peer *p); /* an import may go on */
void peer_wake(struct peer *p); /* there was a commit */
void peer_close(struct peer *p);
struct peer *peer_of(struct list *link);
/* api.c */
void api_peer_gone(struct api *a, bool remote);

#endif
