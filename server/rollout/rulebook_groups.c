/* Groups: which ruleset counts for which hosts. In memory they stand in the order in which they count: by precedence,
 * the highest first, equal ones by name, the default group last. */
#include "fleet.h"
#include "log.h"
#include "mem.h"
#include "rulebook_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_default(const char *name) {
    return strcmp(name, RULEBOOK_DEFAULT_GROUP) == 0;
}

static bool name_is_fit(const char *name) { /* as tags are */
    size_t n = strlen(name);
    return n && n <= RULEBOOK_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == n;
}

static enum status check_name(const char *name, struct error *err) {
    if (name_is_fit(name)) return ST_OK;
    return error_set(err, ST_INVALID,
                     "'%s' is no name for a group with rules: letters, digits and - _ . : only, at most %d",
                     log_peer(slice_str(name)), RULEBOOK_NAME_MAX);
}

static int compare(const char *name, int32_t precedence, const char *other, int32_t its_precedence) {
    if (is_default(name) != is_default(other)) return is_default(name) ? 1 : -1;
    if (precedence != its_precedence) return precedence > its_precedence ? -1 : 1;
    return strcmp(name, other);
}

bool rulebook_is_member(const char *name, const char *host_group, char *const *tags, size_t n_tags) {
    if (is_default(name) || (host_group && strcmp(name, host_group) == 0)) return true;
    for (size_t i = 0; i < n_tags; i++) {
        if (strcmp(name, tags[i]) == 0) return true;
    }
    return false;
}

/* ---- in memory ---- */

void book_group_free(struct book_group *g) {
    buf_free(&g->manifest);
    order_release(&g->order);
    mem_free(g);
}

struct book_group *groups_get(const struct rulebook *b, const char *name) {
    for (size_t i = 0; i < b->n_groups; i++) {
        if (strcmp(b->groups[i]->name, name) == 0) return b->groups[i];
    }
    return NULL;
}

void groups_insert(struct rulebook *b, struct book_group *g) {
    mem_grow((void **)&b->groups, b->n_groups, &b->cap_groups, sizeof(struct book_group *));
    size_t at = b->n_groups++;
    for (; at && compare(b->groups[at - 1]->name, b->groups[at - 1]->precedence, g->name, g->precedence) > 0; at--) {
        b->groups[at] = b->groups[at - 1];
    }
    b->groups[at] = g;
}

static void take_out(struct rulebook *b, const struct book_group *g) {
    size_t at = 0;
    while (b->groups[at] != g) at++;
    b->n_groups--;
    memmove(b->groups + at, b->groups + at + 1, (b->n_groups - at) * sizeof(struct book_group *));
}

/* ---- snapshots ---- */

void group_free(struct group *g) {
    mem_free(g->name);
    *g = (struct group){0};
}

void groups_free(struct group *g, size_t n) {
    for (size_t i = 0; i < n; i++) group_free(&g[i]);
    mem_free(g);
}

static void copy(const struct book_group *from, const char *name, struct group *to) {
    *to = (struct group){.name = mem_strdup(name)};
    if (!from) return;
    to->precedence = from->precedence;
    to->heal = from->heal;
    to->revision = from->revision;
    to->serial = from->serial;
    memcpy(to->ruleset, from->ruleset, sizeof to->ruleset);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Every word that a host bears, once for each host that bears it, sorted. The strings are the hosts'. */
static size_t words_of(const struct fleet_host *hosts, size_t n_hosts, const char ***ret) {
    const char **words = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < n_hosts; i++) {
        const struct fleet_host *h = &hosts[i];
        mem_grow((void **)&words, n, &cap, sizeof *words);
        words[n++] = RULEBOOK_DEFAULT_GROUP;
        for (size_t k = 0; k <= h->n_tags; k++) {
            const char *word = k < h->n_tags ? h->tags[k] : h->group;
            if (!word || is_default(word) || !name_is_fit(word)) continue;
            if (k == h->n_tags && rulebook_is_member(word, NULL, h->tags, h->n_tags)) continue; /* a tag too */
            mem_grow((void **)&words, n, &cap, sizeof *words);
            words[n++] = word;
        }
    }
    if (n) qsort(words, n, sizeof *words, by_name);
    *ret = words;
    return n;
}

static int by_order(const void *a, const void *b) {
    const struct group *x = a, *y = b;
    return compare(x->name, x->precedence, y->name, y->precedence);
}

static struct group *find(struct group *list, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].name, name) == 0) return &list[i];
    }
    return NULL;
}

size_t rulebook_groups(struct rulebook *b, struct group **ret) {
    struct fleet_host *hosts;
    const char **words;
    size_t n_hosts = fleet_hosts(b->fleet, &hosts), n_words = words_of(hosts, n_hosts, &words), n = 0, n_own, cap = 0;
    struct group *list = NULL;
    uv_rwlock_rdlock(&b->lock);
    for (; n < b->n_groups; n++) {
        mem_grow((void **)&list, n, &cap, sizeof *list);
        copy(b->groups[n], b->groups[n]->name, &list[n]);
    }
    uv_rwlock_rdunlock(&b->lock);
    n_own = n;
    for (size_t i = 0, end; i < n_words; i = end) {
        for (end = i + 1; end < n_words && strcmp(words[i], words[end]) == 0;) end++;
        struct group *g = find(list, n_own, words[i]);
        if (!g) {
            mem_grow((void **)&list, n, &cap, sizeof *list);
            g = &list[n++];
            copy(NULL, words[i], g);
        }
        g->n_hosts = end - i;
    }
    if (!find(list, n, RULEBOOK_DEFAULT_GROUP)) {
        mem_grow((void **)&list, n, &cap, sizeof *list);
        copy(NULL, RULEBOOK_DEFAULT_GROUP, &list[n++]);
    }
    assert(list); /* the default group is in it */
    qsort(list, n, sizeof *list, by_order);
    mem_free(words);
    fleet_hosts_free(hosts, n_hosts);
    *ret = list;
    return n;
}

/* A copy of the group of that name, or one with nothing of its own, unless it is in the list. Under the lock. */
static void add_word(const struct rulebook *b, const char *word, struct group **list, size_t *n, size_t *cap) {
    if (!word || !name_is_fit(word) || find(*list, *n, word)) return;
    mem_grow((void **)list, *n, cap, sizeof **list);
    copy(groups_get(b, word), word, &(*list)[(*n)++]);
}

size_t rulebook_groups_of(struct rulebook *b, const char *host_group, char *const *tags, size_t n_tags,
                          struct group **ret) {
    size_t n = 0, cap = 0;
    struct group *list = NULL;
    uv_rwlock_rdlock(&b->lock);
    add_word(b, RULEBOOK_DEFAULT_GROUP, &list, &n, &cap);
    add_word(b, host_group, &list, &n, &cap);
    for (size_t i = 0; i < n_tags; i++) add_word(b, tags[i], &list, &n, &cap);
    uv_rwlock_rdunlock(&b->lock);
    assert(list); /* the default group is in it */
    qsort(list, n, sizeof *list, by_order);
    *ret = list;
    return n;
}

MUST_USE enum status rulebook_group_get(struct rulebook *b, const char *name, struct group *ret, struct error *err) {
    struct fleet_host *hosts;
    enum status st = check_name(name, err);
    if (st) return st;
    uv_rwlock_rdlock(&b->lock);
    copy(groups_get(b, name), name, ret);
    uv_rwlock_rdunlock(&b->lock);
    size_t n = fleet_hosts(b->fleet, &hosts);
    for (size_t i = 0; i < n; i++) {
        ret->n_hosts += rulebook_is_member(name, hosts[i].group, hosts[i].tags, hosts[i].n_tags);
    }
    fleet_hosts_free(hosts, n);
    return ST_OK;
}

bool rulebook_group_of(struct rulebook *b, const char *host_group, char *const *tags, size_t n_tags,
                       struct group *ret) {
    bool found = false;
    uv_rwlock_rdlock(&b->lock);
    for (size_t i = 0; i < b->n_groups && !found; i++) {
        const struct book_group *g = b->groups[i];
        if (!g->ruleset[0] || !rulebook_is_member(g->name, host_group, tags, n_tags)) continue;
        copy(g, g->name, ret);
        found = true;
    }
    uv_rwlock_rdunlock(&b->lock);
    return found;
}

const struct order *rulebook_order(struct rulebook *b, const char *group) {
    uv_rwlock_rdlock(&b->lock);
    const struct book_group *g = groups_get(b, group);
    const struct order *o = g ? order_hold(g->order) : NULL;
    uv_rwlock_rdunlock(&b->lock);
    return o;
}

/* ---- changes ---- */

/* A copy of the group, or a new one, that a change works on. Under `change`. */
static enum status begin(struct rulebook *b, const char *name, struct book_group **ret, struct error *err) {
    enum status st = check_name(name, err);
    if (st) return st;
    const struct book_group *old = groups_get(b, name);
    if (!old && b->n_groups >= RULEBOOK_MAX_NAMES) {
        return error_set(err, ST_TOOBIG, "there are %d groups with something of their own already", RULEBOOK_MAX_NAMES);
    }
    struct book_group *g = mem_zalloc(sizeof *g);
    if (old) *g = *old;
    g->manifest = (struct buf){0};
    if (old) buf_slice_append(&g->manifest, buf_slice(&old->manifest));
    g->order = old ? order_hold(old->order) : NULL;
    snprintf(g->name, sizeof g->name, "%s", name);
    *ret = g;
    return ST_OK;
}

static void give(struct book_group *g, const struct order *o) {
    order_release(&g->order);
    g->order = order_hold(o);
    buf_clear(&g->manifest);
    g->revision = o ? o->revision : 0;
    g->serial = o ? o->serial : 0;
    snprintf(g->ruleset, sizeof g->ruleset, "%s", o ? o->ruleset : "");
    if (o) buf_slice_append(&g->manifest, buf_slice(&o->manifest));
}

static enum status put(struct rulebook *b, struct fleet_txn **t, const char *actor, const char *action,
                       const struct book_group *g, const char *detail, struct error *err) {
    struct buf row = {0};
    book_row_group(g, &row);
    enum status st = fleet_txn_put(*t, FLEET_GROUPS, slice_str(g->name), buf_slice(&row), err);
    if (!st) st = fleet_audit_in(b->fleet, *t, actor, action, g->name, detail, err);
    if (!st) st = fleet_commit(t, err);
    buf_free(&row);
    return st;
}

/* Committed: the changed group takes the old one's place. Takes g in any case. */
static void finish(struct rulebook *b, struct book_group *g, enum status st, struct group *ret) {
    if (st) {
        if (g) book_group_free(g);
        return;
    }
    if (ret) copy(g, g->name, ret);
    uv_rwlock_wrlock(&b->lock);
    struct book_group *old = groups_get(b, g->name);
    if (old) take_out(b, old);
    groups_insert(b, g);
    uv_rwlock_wrunlock(&b->lock);
    if (old) book_group_free(old);
}

/* The order is made anew, for the group's flag is in what is signed. */
static enum status order_anew(struct rulebook *b, struct fleet_txn *t, struct book_group *g, const struct revision *r,
                              struct slice zstd, struct error *err) {
    const struct order *o = NULL;
    enum status st = order_make(b, t, g->name, g->heal, r, zstd, &o, err);
    if (!st) give(g, o);
    order_release(&o);
    return st;
}

MUST_USE enum status rulebook_group_set(struct rulebook *b, const char *actor, const char *name,
                                        const int32_t *precedence, const bool *heal, struct error *err) {
    struct book_group *g = NULL;
    struct revision r = {0};
    struct buf zstd = {0}, detail = {0};
    struct fleet_txn *t = NULL;
    uv_mutex_lock(&b->change);
    enum status st = begin(b, name, &g, err);
    bool anew = !st && heal && *heal != g->heal && g->ruleset[0];
    if (!st && precedence && is_default(name) && *precedence) {
        st = error_set(err, ST_INVALID, "the group '%s' always comes last: its precedence is 0", name);
    }
    if (!st && precedence) g->precedence = *precedence;
    if (!st && heal) g->heal = *heal;
    if (!st && anew) st = rulebook_get(b, g->ruleset, g->revision, &r, err);
    if (!st && anew) st = revision_read(b, &r, &zstd, NULL, err);
    if (!st) st = fleet_begin(b->db, &t, err);
    if (!st && anew) st = order_anew(b, t, g, &r, buf_slice(&zstd), err);
    if (!st) {
        buf_printf(&detail, "precedence %ld, heal %s", (long)g->precedence, g->heal ? "yes" : "no");
        if (anew) buf_printf(&detail, ", order %llu", (unsigned long long)g->serial);
        st = put(b, &t, actor, "group set", g, buf_cstr(&detail), err);
    }
    fleet_abort(&t);
    finish(b, g, st, NULL);
    uv_mutex_unlock(&b->change);
    buf_free(&zstd);
    buf_free(&detail);
    revision_free(&r);
    return st;
}

static enum status put_order(struct rulebook *b, struct fleet_txn **t, const char *actor, const struct book_group *g,
                             struct error *err) {
    char detail[RULEBOOK_NAME_MAX + 64];
    snprintf(detail, sizeof detail, "%s@%lu, order %llu", g->ruleset, (unsigned long)g->revision,
             (unsigned long long)g->serial);
    return put(b, t, actor, "rules assign", g, detail, err);
}

MUST_USE enum status rulebook_assign_order(struct rulebook *b, const char *actor, const struct order *o,
                                           struct group *ret, struct error *err) {
    struct book_group *g = NULL;
    struct fleet_txn *t = NULL;
    uv_mutex_lock(&b->change);
    enum status st = begin(b, o->group, &g, err);
    if (!st && o->serial < g->serial) {
        st = error_set(err, ST_EXISTS, "group %s has a later order, %llu, already", g->name,
                       (unsigned long long)g->serial);
    }
    if (!st) st = fleet_begin(b->db, &t, err);
    if (!st) {
        give(g, o);
        st = put_order(b, &t, actor, g, err);
    }
    fleet_abort(&t);
    finish(b, g, st, ret);
    uv_mutex_unlock(&b->change);
    return st;
}

MUST_USE enum status rulebook_assign(struct rulebook *b, const char *actor, const char *group, const char *ruleset,
                                     uint32_t revision, struct group *ret, struct error *err) {
    struct book_group *g = NULL;
    struct revision r = {0};
    struct buf zstd = {0};
    struct fleet_txn *t = NULL;
    enum status st = rulebook_get(b, ruleset, revision, &r, err);
    if (!st) st = revision_read(b, &r, &zstd, NULL, err);
    uv_mutex_lock(&b->change);
    if (!st) st = begin(b, group, &g, err);
    if (!st) st = fleet_begin(b->db, &t, err);
    if (!st) st = order_anew(b, t, g, &r, buf_slice(&zstd), err);
    if (!st) st = put_order(b, &t, actor, g, err);
    fleet_abort(&t);
    finish(b, g, st, ret);
    uv_mutex_unlock(&b->change);
    revision_free(&r);
    buf_free(&zstd);
    return st;
}

MUST_USE enum status rulebook_unassign(struct rulebook *b, const char *actor, const char *group, struct error *err) {
    struct book_group *g = NULL;
    struct fleet_txn *t = NULL;
    uv_mutex_lock(&b->change);
    enum status st = begin(b, group, &g, err);
    if (!st && !g->ruleset[0]) st = error_set(err, ST_NOTFOUND, "group %s has no ruleset", g->name);
    if (!st) st = fleet_begin(b->db, &t, err);
    if (!st) {
        char detail[RULEBOOK_NAME_MAX + 32];
        snprintf(detail, sizeof detail, "%s@%lu", g->ruleset, (unsigned long)g->revision);
        give(g, NULL);
        st = put(b, &t, actor, "rules unassign", g, detail, err);
    }
    fleet_abort(&t);
    finish(b, g, st, NULL);
    uv_mutex_unlock(&b->change);
    return st;
}
