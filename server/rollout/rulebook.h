/* The rulebook: named rulesets with immutable revisions, and which group of hosts has which. Kept in the fleet environment,
 * mirrored in memory. A group is a word that hosts bear: the group of their enrolment token, and their tags; every host is in
 * RULEBOOK_DEFAULT_GROUP.
 *
 * One ruleset a host: of its groups that have one assigned, the group of highest precedence counts (groups of equal precedence by name; the
 * default group's is 0 and it always comes last). Look-ups are in memory, thread-safe, fit for loop threads; changes block on a synced
 * commit, write their audit record in the same transaction, and belong on work threads. */
#ifndef HAECHI_RULEBOOK_H
#define HAECHI_RULEBOOK_H

#include "check.h"
#include "fleet.h"
#include "ref.h"

#define RULEBOOK_DEFAULT_GROUP "default"
#define RULEBOOK_NAME_MAX RULESET_NAME_MAX

#define RULEBOOK_COMMENT_MAX 1000 /* bytes of UTF-8 */
#define RULEBOOK_CANARY_MAX 255
#define RULEBOOK_MAX_NAMES 1000 /* rulesets; groups with something of their own */

struct rulebook;
MUST_USE enum status rulebook_open(struct db *db, struct fleet *fleet, struct rulebook **ret, struct error *err);
void rulebook_close(struct rulebook **b);

/* ---- revisions ---- */

struct revision { /* a snapshot; strings owned, revision_free */
    char name[RULEBOOK_NAME_MAX + 1];
    uint32_t revision; /* from 1 */
    char *author, *comment;
    uint64_t time; /* FILETIME */
    uint8_t digest[RULES_DIGEST_LEN];
    uint64_t len;
    uint32_t schema; /* hundredths */
    char *canary;    /* the RuleName of its canary rule; NULL: it has none */
};
void revision_free(struct revision *r);
void revisions_free(struct revision *r, size_t n);

/* A new revision with exactly these bytes, which the caller has checked. The same bytes as the newest revision's: that one again (no new
 * row). canary: the RuleName that is in them, or NULL; one of ours (ruleset_canary_name) that names another revision than this
 * becomes is ST_EXISTS. */
MUST_USE enum status rulebook_add(struct rulebook *b, const char *actor, const char *name, const char *comment,
                                  struct slice xml, uint32_t schema, const char *canary, struct revision *ret,
                                  struct error *err);
/* revision 0: the newest. ST_NOTFOUND says which ones there are. */
MUST_USE enum status rulebook_get(struct rulebook *b, const char *name, uint32_t revision, struct revision *ret,
                                  struct error *err);
MUST_USE enum status rulebook_xml(struct rulebook *b, const char *name, uint32_t revision, struct buf *ret_xml,
                                  struct error *err);
size_t rulebook_list(struct rulebook *b, const char *name /* NULL: all */, struct revision **ret);

/* ---- groups ---- */

struct group { /* a snapshot; group_free */
    char *name;
    int32_t precedence;
    bool heal;
    char ruleset[RULEBOOK_NAME_MAX + 1]; /* empty: none assigned */
    uint32_t revision;
    uint64_t serial; /* of the order that assigned it: RulesManifest.serial */
    size_t n_hosts;  /* counted by rulebook_groups and rulebook_group_get only */
};
void group_free(struct group *g);
void groups_free(struct group *g, size_t n);
/* By precedence, the highest first: those that have something of their own, and every word that a host bears. */
size_t rulebook_groups(struct rulebook *b, struct group **ret);
/* A group that is not known yet has no hosts, precedence 0 and no ruleset. ST_INVALID: no name for a group. */
/* Of a host: all groups it is in, default too, in the order in which they count. */
size_t rulebook_groups_of(struct rulebook *b, const char *host_group, char *const *tags, size_t n_tags,
                          struct group **ret);
MUST_USE enum status rulebook_group_get(struct rulebook *b, const char *name, struct group *ret, struct error *err);
/* NULL: stays as it is. Heal is part of what is signed: where a ruleset is assigned, its order is made anew. */
MUST_USE enum status rulebook_group_set(struct rulebook *b, const char *actor, const char *name,
                                        const int32_t *precedence, const bool *heal, struct error *err);
/* Is a host of that group and these tags in the group `name`? */
bool rulebook_is_member(const char *name, const char *host_group, char *const *tags, size_t n_tags);

/* ---- orders: a revision for a group, under a serial, signed ---- */

struct order { /* one signed order, shared by its hosts; immutable, counted */
    uint64_t serial;
    char group[RULEBOOK_NAME_MAX + 1], ruleset[RULEBOOK_NAME_MAX + 1];
    uint32_t revision;
    uint8_t digest[RULES_DIGEST_LEN];
    struct buf manifest; /* RulesManifest, the bytes that were signed */
    struct buf frame;    /* a whole RULES_OFFER frame, ready to be sent */
};
/* A host says that it has had this serial: what is signed from now on has a higher one, also where the store is an older
 * copy. In memory, any thread. What lies far over all that was given out is a lie, and ignored. */
void rulebook_heard_serial(struct rulebook *b, uint64_t serial);
void order_release(const struct order **o); /* NULLs; fine on NULL */
const struct order *order_hold(const struct order *o);

/* Signs a revision under the next serial without assigning it: for the hosts that a rollout has reached. */
MUST_USE enum status rulebook_sign(struct rulebook *b, const char *group, const char *ruleset, uint32_t revision,
                                   const struct order **ret, struct error *err);
/* An order that was made before, from the manifest that somebody kept: the same serial, the signature anew. ST_FORMAT;
 * ST_NOTFOUND: its revision is not here; ST_CORRUPT: its bytes are damaged. */
MUST_USE enum status rulebook_sign_again(struct rulebook *b, const char *group, struct slice manifest,
                                         const struct order **ret, struct error *err);

/* The group has that order from the commit on: what was signed for the first waves is then everybody's. */
MUST_USE enum status rulebook_assign_order(struct rulebook *b, const char *actor, const struct order *o,
                                           struct group *ret, struct error *err);
/* Both in one: takes the next serial, signs, assigns. */
MUST_USE enum status rulebook_assign(struct rulebook *b, const char *actor, const char *group, const char *ruleset,
                                     uint32_t revision, struct group *ret, struct error *err);
MUST_USE enum status rulebook_unassign(struct rulebook *b, const char *actor, const char *group, struct error *err);

/* The group whose ruleset counts for a host of these groups; false: none of them has one. */
bool rulebook_group_of(struct rulebook *b, const char *host_group, char *const *tags, size_t n_tags, struct group *ret);
/* That group's order, after a restart under the same serial; NULL: none. order_release. */
const struct order *rulebook_order(struct rulebook *b, const char *group);

#endif
