/* What the files of rollouts share. `lock` guards all that is in memory: it is taken for moments, also on loop threads, and nobody blocks
 * or calls out under it. `change` serialises changes (start, halt, ..., tick), which hold it across commits. */
#ifndef HAECHI_ROLLOUT_INTERNAL_H
#define HAECHI_ROLLOUT_INTERNAL_H

#include "fleet.h"
#include "fleetdb.h"
#include "rollout.h"

#include <uv.h>

#define ROLLOUT_TEXT_MAX 200 /* bytes kept of what a host says of Sysmon, each */
#define ROLLOUT_REASON_MAX 1000
#define ROLLOUT_WORDS_SHORT 1024u /* of Sysmon's words, when the rules are loaded */

struct revision_ref {
    char ruleset[RULEBOOK_NAME_MAX + 1]; /* empty: none */
    uint32_t revision;
};

struct rollout {
    uint64_t id;
    struct rollout_plan plan; /* its strings are the two below */
    char group[RULEBOOK_NAME_MAX + 1];
    struct revision_ref gives, before; /* before: what the group had; a rollback's aim */
    struct rollout_progress at;
    uint64_t created, changed; /* FILETIME */
    char *actor, *why;         /* why: of the state it is in */
    uint64_t serial;           /* of its order */
    uint64_t keep_from;  /* hosts with a serial from this one to `serial` keep what they have until reached; 0: none */
    struct buf manifest; /* of its order, so that it is signed again under the same serial */
    const struct order *order;
    struct rollout_tally last; /* when it ended */
    size_t n_hosts;            /* of the group then */
};

struct team { /* a group, in the order in which groups count */
    char name[RULEBOOK_NAME_MAX + 1];
    struct revision_ref has;   /* assigned */
    uint64_t serial;           /* of the order that assigned it */
    const struct order *order; /* that one, or the same revision signed anew for hosts that have had a higher serial */
    struct rollout *rollout;   /* the newest of this group; NULL */
    bool sign_own, sign_rollout; /* a host needs it under a new serial */
};

struct member { /* a host */
    uint32_t id;
    bool active, dirty, said; /* active: may connect; said: it has reported rules or Sysmon */
    struct team *own,
        *rolling;        /* whose ruleset counts; whose rollout counts, when it has reached the host. NULL: none */
    uint64_t connection; /* 0: not connected */
    uint64_t gone_ms;
    uint64_t sent;    /* serial of the last order on this connection */
    uint64_t highest; /* serial it has had or may have had */
    uint64_t asked;   /* serial of the order that was too low for it, on this connection: a higher one was asked for */
    /* as it says */
    struct revision_ref has;
    uint64_t serial, since;
    uint32_t state, evidence;
    uint8_t digest[RULES_DIGEST_LEN];
    bool has_digest, refused; /* refused: what was sent on this connection */
    char *reason, *words;     /* NULL: empty */
    bool has_sysmon, inbox;
    uint32_t sysmon_state;
    char *version, *schema, *service, *driver, *config_hash, *cannot_apply;
    uint64_t event_16;
    /* of the rollout with this id */
    uint64_t rollout, offered_at, exposed_ms, hash;
    bool offered, excused, sysmon_ran, event_255;
    unsigned restarts;
    uint64_t event_4;         /* the last one counted */
    double rate, rate_before; /* means: since the offer or since it loaded; before the offer */
    unsigned n_rate, n_before;
};

struct rollouts {
    struct rollouts_options o;
    void (*offer)(void *ctx);
    void *offer_ctx;
    uv_mutex_t lock, change, waking; /* waking: while `offer` is called or changed */
    struct member **members;         /* by id */
    size_t n_members, cap_members;
    struct team **teams;
    size_t n_teams;
    struct rollout **rollouts; /* by id */
    size_t n_rollouts, cap_rollouts;
    uint64_t next_connection, ticked, refreshed, flushed; /* FILETIME */
    bool stale, orders_wanted;
};

/* ---- rollout_members.c: callers hold the lock ---- */
struct member *member_get(const struct rollouts *r, uint32_t id);
struct member *member_make(struct rollouts *r, uint32_t id);
void member_free(struct member *m);
/* What the member shall have: the order (NULL: it has to be signed first), and the lowest serial that will do. False: nothing. */
struct want {
    const struct revision_ref *what;
    const struct order *order;
    uint64_t serial;
    struct team *team;
    bool by_rollout, keeps; /* keeps: it stays with what it has, for now */
};
bool member_wants(const struct member *m, struct want *ret);
bool member_has(const struct member *m, const struct want *w);
/* The member as the rollout of its team sees it. */
void member_view(const struct member *m, const struct rollout *ro, struct rollout_host *ret);
/* Places of all members in the groups. Not under the lock. */
void members_refresh(struct rollouts *r);
void members_tick(struct rollouts *r, uint64_t dt_ms);
/* Those of the rollout's group; *ret_members may be NULL. */
size_t members_of(struct rollouts *r, const struct rollout *ro, struct rollout_host **ret,
                  struct member ***ret_members);
/* Writes what is dirty. Not under the lock. */
MUST_USE enum status members_flush(struct rollouts *r, struct error *err);
struct team *team_get(const struct rollouts *r, const char *name);
static inline bool rollout_is_active(const struct rollout *ro) {
    return ro && ro->at.state <= ROLLOUT_HALTED;
}

/* ---- rollout.c ---- */
struct rollout *rollout_get(const struct rollouts *r, uint64_t id);

/* ---- rollout_rows.c: pure ---- */
void row_member(const struct member *m, struct buf *out);
struct member *row_member_parse(struct slice key, struct slice json); /* NULL: not a row of ours */
void row_rollout(const struct rollout *ro, struct buf *out);
struct rollout *row_rollout_parse(struct slice key, struct slice json);
void rollout_free(struct rollout *ro);
struct slice member_key(uint32_t id, uint8_t out[4]);
struct slice rollout_key(uint64_t id, uint8_t out[8]);

#endif
