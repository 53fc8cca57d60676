/* Hosts in memory: what each says of its rules, which groups count for it, what it shall have. Loop threads come here. */
#include "clock.h"
#include "log.h"
#include "mem.h"
#include "rollout_internal.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define RATE_MEMORY 120u /* samples that a mean remembers: an hour of heartbeats */

/* ---- tables ---- */

static size_t position(const struct rollouts *r, uint32_t id) {
    size_t lo = 0, hi = r->n_members;
    if (hi && r->members[hi - 1]->id < id) return hi;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->members[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct member *member_get(const struct rollouts *r, uint32_t id) {
    size_t at = position(r, id);
    return at < r->n_members && r->members[at]->id == id ? r->members[at] : NULL;
}

struct member *member_make(struct rollouts *r, uint32_t id) {
    size_t at = position(r, id);
    if (at < r->n_members && r->members[at]->id == id) return r->members[at];
    struct member *m = mem_zalloc(sizeof *m);
    m->id = id;
    mem_grow((void **)&r->members, r->n_members, &r->cap_members, sizeof(struct member *));
    memmove(r->members + at + 1, r->members + at, (r->n_members - at) * sizeof(struct member *));
    r->members[at] = m;
    r->n_members++;
    return m;
}

void member_free(struct member *m) {
    char *strings[] = {m->reason,  m->words,  m->version,     m->schema,
                       m->service, m->driver, m->config_hash, m->cannot_apply};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) mem_free(strings[i]);
    mem_free(m);
}

struct team *team_get(const struct rollouts *r, const char *name) {
    for (size_t i = 0; i < r->n_teams; i++) {
        if (strcmp(r->teams[i]->name, name) == 0) return r->teams[i];
    }
    return NULL;
}

/* A host's place in a rollout: mixed, so that ids that were given in a row lie apart, and apart anew in the next rollout. */
static uint64_t place_of(uint64_t rollout, uint32_t host) {
    uint64_t h = (rollout << 32 ^ host) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
    return h ^ h >> 31;
}

/* ---- what a host shall have ---- */

static bool is_same(const struct revision_ref *a, const struct revision_ref *b) {
    return a->revision == b->revision && strcmp(a->ruleset, b->ruleset) == 0;
}

bool member_wants(const struct member *m, struct want *ret) {
    struct rollout *ro = m->rolling ? m->rolling->rollout : NULL;
    if (!rollout_is_active(ro)) ro = NULL;
    if (ro && rollout_reaches(&ro->plan, &ro->at, place_of(ro->id, m->id))) {
        *ret = (struct want){.what = &ro->gives,
                             .order = ro->order,
                             .serial = ro->serial,
                             .team = m->rolling,
                             .by_rollout = true,
                             .keeps = ro->at.state == ROLLOUT_HALTED};
        return true;
    }
    struct team *t = m->own;
    if (!t || !t->has.ruleset[0]) return false;
    *ret = (struct want){.what = &t->has, .order = t->order, .serial = t->serial, .team = t};
    ret->keeps = ro && ro->keep_from && m->said && m->serial >= ro->keep_from && m->serial < ro->serial;
    return true;
}

static bool digest_fits(const struct member *m, const struct order *o) {
    return !o || !m->has_digest || memcmp(m->digest, o->digest, RULES_DIGEST_LEN) == 0;
}

bool member_has(const struct member *m, const struct want *w) {
    return m->said && m->state != RULES_NONE && m->serial >= w->serial && is_same(&m->has, w->what) &&
           digest_fits(m, w->order);
}

void member_view(const struct member *m, const struct rollout *ro, struct rollout_host *ret) {
    bool back = ro->at.state == ROLLOUT_ROLLED_BACK, mine = m->rollout == ro->id;
    bool fits = m->said && m->state != RULES_NONE && is_same(&m->has, back ? &ro->before : &ro->gives) &&
                (back || (m->serial >= ro->serial && digest_fits(m, ro->order)));
    *ret = (struct rollout_host){.hash = place_of(ro->id, m->id),
                                 .connected = m->connection != 0,
                                 .offered = fits || (mine && m->offered),
                                 .state = fits ? m->state : RULES_NONE,
                                 .gone_s = m->connection ? 0 : m->gone_ms / 1000};
    if (!mine || back) return;
    if (!fits && m->refused) ret->state = RULES_REFUSED;
    ret->excused = m->excused;
    ret->sysmon_gone =
        m->offered && m->sysmon_ran &&
        (m->sysmon_state == SYSMON_ABSENT || m->sysmon_state == SYSMON_STOPPED || m->sysmon_state == SYSMON_BLIND);
    ret->event_255 = m->event_255;
    ret->restarts = m->restarts;
    ret->exposed_s = m->exposed_ms / 1000;
    ret->rate_before = m->rate_before;
    ret->n_before = m->n_before;
    ret->rate_after = ret->state == RULES_LOADED ? m->rate : 0;
    ret->n_after = ret->state == RULES_LOADED ? m->n_rate : 0;
}

/* The rollout's hosts: while it is active, those for which it counts; then those that shall have what the group has. */
static bool is_of(const struct member *m, const struct rollout *ro, const struct team *t) {
    struct want w;
    if (!m->active || !t) return false;
    return rollout_is_active(ro) ? m->rolling == t : member_wants(m, &w) && w.team == t && !w.by_rollout;
}

size_t members_of(struct rollouts *r, const struct rollout *ro, struct rollout_host **ret,
                  struct member ***ret_members) {
    const struct team *t = team_get(r, ro->group);
    size_t n = 0;
    *ret = mem_alloc(mem_mul(r->n_members + 1, sizeof **ret));
    if (ret_members) *ret_members = mem_alloc(mem_mul(r->n_members + 1, sizeof(struct member *)));
    for (size_t i = 0; i < r->n_members; i++) {
        struct member *m = r->members[i];
        if (!is_of(m, ro, t)) continue;
        if (ret_members) (*ret_members)[n] = m;
        member_view(m, ro, &(*ret)[n++]);
    }
    return n;
}

/* ---- places in groups ---- */

static void place(const struct rollouts *r, struct member *m, const struct fleet_host *h) {
    m->own = m->rolling = NULL;
    m->active = h->state == HOST_ACTIVE;
    for (size_t i = 0; i < r->n_teams && !m->own; i++) {
        struct team *t = r->teams[i];
        bool rolls = rollout_is_active(t->rollout);
        if ((!rolls && !t->has.ruleset[0]) || !rulebook_is_member(t->name, h->group, h->tags, h->n_tags)) continue;
        if (rolls && !m->rolling) m->rolling = t;
        if (t->has.ruleset[0]) m->own = t;
    }
}

static struct team *make_team(struct rollouts *r, struct team **list, size_t *n, const char *name) {
    struct team *t = team_get(r, name);
    if (!t) {
        t = mem_zalloc(sizeof *t);
        snprintf(t->name, sizeof t->name, "%s", name);
    }
    list[(*n)++] = t;
    return t;
}

static bool is_listed(struct team *const *list, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i]->name, name) == 0) return true;
    }
    return false;
}

/* The groups that matter here, in the order in which they count; those that matter no more stay at the end. */
static void order_teams(struct rollouts *r, const struct group *groups, size_t n_groups) {
    struct team **list = mem_zalloc(mem_mul(n_groups + r->n_teams + r->n_rollouts + 1, sizeof *list));
    size_t n = 0;
    for (size_t i = 0; i < n_groups; i++) {
        const struct group *g = &groups[i];
        bool rolls = false;
        for (size_t k = 0; k < r->n_rollouts && !rolls; k++) rolls = strcmp(r->rollouts[k]->group, g->name) == 0;
        if (!g->ruleset[0] && !rolls) continue;
        struct team *t = make_team(r, list, &n, g->name);
        if (t->serial != g->serial || t->has.revision != g->revision || strcmp(t->has.ruleset, g->ruleset) != 0) {
            order_release(&t->order);
            if (g->ruleset[0]) t->order = rulebook_order(r->o.book, g->name);
            memcpy(t->has.ruleset, g->ruleset, sizeof t->has.ruleset);
            t->has.revision = g->revision;
            t->serial = g->serial;
        }
    }
    for (size_t i = 0; i < r->n_rollouts; i++) { /* groups that nobody is in */
        if (!is_listed(list, n, r->rollouts[i]->group)) make_team(r, list, &n, r->rollouts[i]->group);
    }
    for (size_t i = 0; i < r->n_teams; i++) {
        if (is_listed(list, n, r->teams[i]->name)) continue;
        r->teams[i]->has = (struct revision_ref){0};
        r->teams[i]->serial = 0;
        order_release(&r->teams[i]->order);
        list[n++] = r->teams[i];
    }
    mem_free(r->teams);
    r->teams = list;
    r->n_teams = n;
    for (size_t i = 0; i < r->n_rollouts; i++)
        team_get(r, r->rollouts[i]->group)->rollout = r->rollouts[i]; /* by id: the newest stays */
}

void members_refresh(struct rollouts *r) {
    struct group *groups;
    struct fleet_host *hosts;
    size_t n_groups = rulebook_groups(r->o.book, &groups), n_hosts = fleet_hosts(r->o.fleet, &hosts);
    uv_mutex_lock(&r->lock);
    r->stale = false;
    r->refreshed = r->o.now();
    order_teams(r, groups, n_groups);
    for (size_t i = 0; i < n_hosts; i++) place(r, member_make(r, hosts[i].id), &hosts[i]);
    uv_mutex_unlock(&r->lock);
    groups_free(groups, n_groups);
    fleet_hosts_free(hosts, n_hosts);
}

void rollouts_changed(struct rollouts *r) {
    uv_mutex_lock(&r->lock);
    r->stale = true;
    uv_mutex_unlock(&r->lock);
}

void members_tick(struct rollouts *r, uint64_t dt_ms) {
    for (size_t i = 0; i < r->n_members; i++) {
        struct member *m = r->members[i];
        const struct rollout *ro = m->rolling ? m->rolling->rollout : NULL;
        if (!m->connection)
            m->gone_ms += dt_ms;
        else if (m->offered && ro && m->rollout == ro->id && ro->at.state == ROLLOUT_RUNNING)
            m->exposed_ms += dt_ms;
    }
}

/* ---- what hosts say ---- */

static bool moves_cursor(uint32_t cp) {
    return cp < 32 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

/* Peer text as UTF-8 of bounded length: with line ends when asked, without anything else that moves a cursor. */
static void set_text(char **field, const char *text, size_t max, bool lines) {
    struct buf clean = {0};
    struct slice s = slice_head(slice_str(text ? text : ""), max);
    while (s.len) {
        uint32_t cp;
        size_t n = text_next(s, &cp);
        bool line = lines && (*s.p == '\n' || *s.p == '\t');
        if (!n || (cp >= 0xd800 && cp < 0xe000))
            buf_str(&clean, "\xef\xbf\xbd");
        else if (line || !moves_cursor(cp))
            buf_append(&clean, s.p, n);
        s = slice_from(s, n ? n : 1);
    }
    if (!clean.len) {
        mem_free(*field);
        *field = NULL;
    } else if (!*field || strcmp(*field, buf_cstr(&clean)) != 0) {
        mem_free(*field);
        *field = mem_strdup(buf_cstr(&clean));
    }
    buf_free(&clean);
}

static void hear_sysmon(struct member *m, const Haechi__Sysmon *s) {
    m->has_sysmon = m->said = true;
    m->sysmon_state = s->state;
    m->inbox = s->inbox;
    set_text(&m->version, s->version, ROLLOUT_TEXT_MAX, false);
    set_text(&m->schema, s->schema, ROLLOUT_TEXT_MAX, false);
    set_text(&m->service, s->service, ROLLOUT_TEXT_MAX, false);
    set_text(&m->driver, s->driver, ROLLOUT_TEXT_MAX, false);
    set_text(&m->config_hash, s->config_hash, ROLLOUT_TEXT_MAX, false);
    set_text(&m->cannot_apply, s->cannot_apply, ROLLOUT_TEXT_MAX, false);
}

/* This member is the rollout's from now on. */
static void track(struct member *m, const struct rollout *ro, uint64_t now) {
    if (m->rollout == ro->id && m->offered) return;
    m->rollout = ro->id;
    m->offered = true;
    m->offered_at = now;
    m->exposed_ms = 0;
    m->excused = m->event_255 = false;
    m->restarts = 0;
    m->sysmon_ran = m->has_sysmon && m->sysmon_state == SYSMON_RUNNING;
    m->rate_before = m->rate;
    m->n_before = m->n_rate;
    m->rate = 0;
    m->n_rate = 0;
    m->dirty = true;
}

static void hear_rules(struct member *m, struct rulebook *book, const Haechi__RulesStatus *s, uint64_t now) {
    char *name = NULL;
    struct revision_ref was = m->has;
    uint32_t was_state = m->state;
    set_text(&name, s->ruleset, RULEBOOK_NAME_MAX, false);
    m->said = true;
    snprintf(m->has.ruleset, sizeof m->has.ruleset, "%s", name ? name : "");
    m->has.revision = s->revision;
    m->serial = s->serial;
    m->state = s->state <= RULES_DRIFTED ? s->state : RULES_NONE;
    m->evidence = s->evidence;
    m->since = s->time;
    m->has_digest = s->digest.len == RULES_DIGEST_LEN;
    if (m->has_digest) memcpy(m->digest, s->digest.data, RULES_DIGEST_LEN);
    if (s->serial > m->highest) m->highest = s->serial;
    rulebook_heard_serial(book, s->serial);
    set_text(&m->reason, s->reason, ROLLOUT_REASON_MAX, false);
    set_text(&m->words, s->words, m->state == RULES_LOADED ? ROLLOUT_WORDS_SHORT : RULES_WORDS_MAX, true);
    mem_free(name);
    bool moved = was_state != m->state || !is_same(&was, &m->has);
    m->dirty |= moved;
    if (moved && m->state == RULES_LOADED) { /* the rate is looked at anew */
        m->rate = 0;
        m->n_rate = 0;
    }
    const struct rollout *ro = m->rolling ? m->rolling->rollout : NULL;
    struct want w;
    if (rollout_is_active(ro) && member_wants(m, &w) && w.by_rollout && member_has(m, &w)) track(m, ro, now);
}

static void hear(struct rollouts *r, struct member *m, const struct rules_report *says, bool hello) {
    if (says->sysmon) hear_sysmon(m, says->sysmon);
    if (says->has_rate && says->events_per_s >= 0 && says->events_per_s < 1e9) {
        if (m->n_rate < RATE_MEMORY) m->n_rate++;
        m->rate += (says->events_per_s - m->rate) / m->n_rate;
    }
    if (!says->rules) return;
    hear_rules(m, r->o.book, says->rules, r->o.now());
    if (!hello && m->sent && m->state == RULES_REFUSED && m->rollout && m->offered) m->refused = true;
    if (m->state == RULES_LOADED) m->refused = false;
}

uint64_t rollouts_came(struct rollouts *r, uint32_t host, const struct rules_report *says) {
    struct fleet_host h = {0};
    bool known = fleet_host_get(r->o.fleet, host, &h) == ST_OK;
    uv_mutex_lock(&r->lock);
    struct member *m = member_make(r, host);
    if (known) place(r, m, &h);
    m->connection = ++r->next_connection;
    m->gone_ms = 0;
    m->sent = m->asked = 0;
    if (!says->rules) { /* never had any, or has lost its memory of them */
        m->has = (struct revision_ref){0};
        m->serial = 0;
        m->state = RULES_NONE;
        m->evidence = 0;
        m->has_digest = false;
        set_text(&m->reason, NULL, 0, false);
        set_text(&m->words, NULL, 0, false);
    }
    hear(r, m, says, true);
    uint64_t connection = m->connection;
    uv_mutex_unlock(&r->lock);
    if (known) fleet_host_free(&h);
    return connection;
}

void rollouts_heard(struct rollouts *r, uint32_t host, const struct rules_report *says) {
    uv_mutex_lock(&r->lock);
    hear(r, member_make(r, host), says, false);
    uv_mutex_unlock(&r->lock);
}

void rollouts_gone(struct rollouts *r, uint32_t host, uint64_t connection) {
    uv_mutex_lock(&r->lock);
    struct member *m = member_get(r, host);
    if (m && m->connection == connection) {
        m->connection = 0;
        m->gone_ms = 0;
        m->dirty = true;
    }
    uv_mutex_unlock(&r->lock);
}

void rollouts_on_event(struct rollouts *r, uint32_t host, uint32_t event_id, uint64_t time) {
    uv_mutex_lock(&r->lock);
    struct member *m = member_get(r, host);
    if (m && event_id == 16 && time > m->event_16) m->event_16 = time;
    if (m && m->offered && time > m->offered_at) {
        if (event_id == 255) m->event_255 = true;
        if (event_id == 4 && time > m->event_4) { /* after a restart of ours, events come again */
            m->restarts++;
            m->event_4 = time;
        }
        m->dirty = true;
    }
    uv_mutex_unlock(&r->lock);
}

/* ---- offers ---- */

static bool is_under_way(const struct member *m) {
    return m->state == RULES_RECEIVED || m->state == RULES_APPLIED;
}

static const struct order *due(struct rollouts *r, struct member *m) {
    struct want w;
    if (!m->active || !member_wants(m, &w) || w.keeps) return NULL;
    if (member_has(m, &w) && !(is_under_way(m) && !m->sent))
        return NULL; /* its answer may have been lost with the connection */
    if (!w.order || w.order->serial < m->highest) {
        if (w.order && m->asked && w.order->serial > m->asked)
            return NULL; /* one was signed, and is too low again: it lies */
        m->asked = w.order ? w.order->serial : 0;
        if (w.by_rollout)
            w.team->sign_rollout = true;
        else
            w.team->sign_own = true;
        r->orders_wanted = true;
        return NULL;
    }
    if (m->sent == w.order->serial) return NULL;
    m->sent = m->highest = w.order->serial;
    m->asked = 0;
    m->refused = false;
    m->dirty = true;
    if (w.by_rollout) track(m, w.team->rollout, r->o.now());
    return order_hold(w.order);
}

const struct order *rollouts_due(struct rollouts *r, uint32_t host, uint64_t connection) {
    const struct order *o = NULL;
    uv_mutex_lock(&r->lock);
    struct member *m = member_get(r, host);
    if (m && m->connection == connection) o = due(r, m);
    uv_mutex_unlock(&r->lock);
    return o;
}

/* ---- to disk ---- */

MUST_USE enum status members_flush(struct rollouts *r, struct error *err) {
    struct dirty {
        uint32_t id;
        struct buf row;
    } *list = NULL;
    size_t n = 0, cap = 0;
    struct fleet_txn *t = NULL;
    uv_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n_members; i++) {
        struct member *m = r->members[i];
        if (!m->dirty) continue;
        m->dirty = false;
        mem_grow((void **)&list, n, &cap, sizeof *list);
        list[n] = (struct dirty){.id = m->id};
        row_member(m, &list[n++].row);
    }
    uv_mutex_unlock(&r->lock);
    enum status st = n ? fleet_begin(r->o.db, &t, err) : ST_OK;
    for (size_t i = 0; i < n && !st; i++) {
        uint8_t key[4];
        st = fleet_txn_put(t, FLEET_RULES_HOSTS, member_key(list[i].id, key), buf_slice(&list[i].row), err);
    }
    if (n && !st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    uv_mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++) {
        if (st) member_make(r, list[i].id)->dirty = true;
        buf_free(&list[i].row);
    }
    uv_mutex_unlock(&r->lock);
    mem_free(list);
    return st;
}
