/* What rules.c (orders, jobs, what Sysmon answers) and rules_watch.c (proof, drift, what the host lacks) share. */
#ifndef HAECHI_RULES_INTERNAL_H
#define HAECHI_RULES_INTERNAL_H

#include "log.h"
#include "rules.h"
#include "rules_proof.h"

#define AREA "rules"
#define RULES_TRIES 3u            /* after which a Sysmon that hangs or crashes is let alone */
#define RULES_TRY_AGAIN_MS 60000u /* and twice, thrice as long */
#define RULES_PROVE_LOOK_MS 1000u /* between looks while proof is awaited */
#define RULES_CANARY_AGAIN_MS 15000u
#define RULES_HEAL_FIRST_MS 2000u  /* so that event 16 may tell who it was */
#define RULES_HEAL_MAX_MS 3600000u /* the pause doubles up to this; whoever fights us is told of, not fought */
#define RULES_CALM_MS 3600000u     /* loaded for so long: the next drift is healed at once again */

struct rules {
    struct rules_options o;
    struct rules_io io;
    struct rules_kept kept;
    bool dirty; /* kept is not on disk */
    struct rules_job *busy;
    bool stopping;

    /* The next order, verified, until it is on disk: then it becomes `kept`. */
    bool has_next, keeping_next;
    struct rules_kept next;
    struct buf next_xml;
    uint64_t keep_at, keeping_serial;

    /* Told instead of `kept`: an offer that was not accepted, or could not be kept. */
    bool told;
    enum rules_state told_state;
    struct rules_order told_order;
    uint64_t told_since;
    char told_reason[RULES_REASON_MAX];

    bool want_apply, file_lost; /* file_lost: what lies on disk is not what was ordered */
    uint64_t apply_at;
    unsigned tries;

    bool proving; /* Sysmon was run with the order; late proof counts too */
    struct rules_proof proof;
    uint64_t prove_until, canary_at;
    char canary[CANARY_MAX]; /* "": none is waited for */

    struct sysmon sysmon;
    bool looked;
    uint64_t look_at;
    unsigned heals;                  /* in a row */
    uint64_t loaded_at, loaded_wall; /* monotonic; FILETIME */
    struct sysmon_note culprit;      /* the last event 16 with another file; event 0: none */
};

/* rules.c */
uint64_t rules_now(const struct rules *r);
/* The only writer of kept.state: keeps, says and tells it. */
void rules_enter(struct rules *r, enum rules_state next, const char *reason);
void rules_apply_in(struct rules *r, uint64_t ms);
void rules_start(struct rules *r, enum rules_work work);

/* rules_watch.c */
/* Why this Sysmon cannot be asked now; "": it can. cap RULES_REASON_MAX. */
void rules_host_lacks(const struct sysmon *s, char *out);
void rules_on_look(struct rules *r);    /* r->sysmon is fresh */
void rules_prove(struct rules *r);      /* LOADED when the proof holds, FAILED when its time is over */
void rules_watch_tick(struct rules *r); /* looks and canaries that are due */

#endif
