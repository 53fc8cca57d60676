/* Carries rollouts out: start, halt, resume, roll back, and each second what rollout_step says. Every change is a row and an audit
 * record in one commit, then memory follows. A crash between two commits is made good by the next tick: it decides anew from the rows. */
#include "rollout.h"
#include "clock.h"
#include "log.h"
#include "mem.h"
#include "rollout_internal.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define REFRESH_S 10 /* places in groups are looked at anew even when nobody said that they changed */
#define FLUSH_S 10
#define MAX_STEP_MS 5000 /* a clock that leaps counts as so much */
#define MAX_STEPS (2 * ROLLOUT_MAX_WAVES + 4)

struct rollout *rollout_get(const struct rollouts *r, uint64_t id) {
    for (size_t i = r->n_rollouts; i-- > 0;) {
        if (r->rollouts[i]->id == id) return r->rollouts[i];
    }
    return NULL;
}

static void wake(struct rollouts *r) {
    uv_mutex_lock(&r->waking);
    if (r->offer) r->offer(r->offer_ctx);
    uv_mutex_unlock(&r->waking);
}

void rollouts_on_offer(struct rollouts *r, void (*offer)(void *ctx), void *ctx) {
    uv_mutex_lock(&r->waking);
    r->offer_ctx = ctx;
    r->offer = offer;
    uv_mutex_unlock(&r->waking);
}

/* ---- one change ---- */

static void say_object(const struct rollout *ro, char out[64 + 3 * RULEBOOK_NAME_MAX]) {
    snprintf(out, 64 + 3 * RULEBOOK_NAME_MAX, "%llu (%s@%lu for %s)", (unsigned long long)ro->id, ro->gives.ruleset,
             (unsigned long)ro->gives.revision, ro->group);
}

static enum status put_rollout(struct fleet_txn *t, const struct rollout *ro, struct error *err) {
    uint8_t key[8];
    struct buf row = {0};
    row_rollout(ro, &row);
    enum status st = fleet_txn_put(t, FLEET_ROLLOUTS, rollout_key(ro->id, key), buf_slice(&row), err);
    buf_free(&row);
    return st;
}

/* Where it stands as it is to be from now on: on disk, in the audit log, then in memory. Under `change`. */
static enum status change_to(struct rollouts *r, struct rollout *ro, const struct rollout_progress *at, const char *why,
                             const char *actor, const char *action, struct error *err) {
    char object[64 + 3 * RULEBOOK_NAME_MAX];
    struct fleet_txn *t = NULL;
    struct rollout next = *ro;
    next.at = *at;
    next.why = (char *)(uintptr_t)why;
    next.changed = r->o.now();
    if (!rollout_is_active(&next)) {
        struct rollout_host *hosts;
        uv_mutex_lock(&r->lock);
        next.n_hosts = members_of(r, ro, &hosts, NULL);
        uv_mutex_unlock(&r->lock);
        rollout_count(&ro->plan, at, hosts, next.n_hosts, &next.last);
        mem_free(hosts);
    }
    say_object(ro, object);
    enum status st = fleet_begin(r->o.db, &t, err);
    if (!st) st = put_rollout(t, &next, err);
    if (!st) st = fleet_audit_in(r->o.fleet, t, actor, action, object, why, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    if (st) return st;
    char *kept = mem_strdup(why);
    uv_mutex_lock(&r->lock);
    ro->at = *at;
    ro->changed = next.changed;
    ro->last = next.last;
    ro->n_hosts = next.n_hosts;
    mem_free(ro->why);
    ro->why = kept;
    if (!rollout_is_active(ro)) r->stale = true;
    uv_mutex_unlock(&r->lock);
    log_info("rollout", "rollout %s: %s%s%s", object, action, *why ? ": " : "", why);
    return ST_OK;
}

/* ---- orders under a new serial ---- */

static void sign_one(struct rollouts *r, const char *group, const struct revision_ref *what,
                     const struct order **order) {
    const struct order *o = NULL;
    struct error err = {0};
    if (rulebook_sign(r->o.book, group, what->ruleset, what->revision, &o, &err)) {
        log_error("rollout", "%s@%lu for %s cannot be signed: %s; trying again", what->ruleset,
                  (unsigned long)what->revision, group, err.msg);
        return;
    }
    uv_mutex_lock(&r->lock);
    const struct order *old = *order;
    *order = o;
    uv_mutex_unlock(&r->lock);
    order_release(&old);
}

/* What members found missing. Under `change`: teams and rollouts stay where they are. */
static bool sign_wanted(struct rollouts *r) {
    uv_mutex_lock(&r->lock);
    bool any = r->orders_wanted;
    r->orders_wanted = false;
    uv_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->n_teams && any; i++) {
        struct team *t = r->teams[i];
        struct revision_ref own;
        uv_mutex_lock(&r->lock);
        bool sign_own = t->sign_own && t->has.ruleset[0],
             sign_rollout = t->sign_rollout && rollout_is_active(t->rollout);
        t->sign_own = t->sign_rollout = false;
        own = t->has;
        uv_mutex_unlock(&r->lock);
        if (sign_own) sign_one(r, t->name, &own, &t->order);
        if (sign_rollout) sign_one(r, t->name, &t->rollout->gives, &t->rollout->order);
    }
    return any;
}

/* ---- steps ---- */

/* The revision becomes the group's own. */
static enum status assign(struct rollouts *r, const struct rollout *ro, struct error *err) {
    struct group g = {0};
    enum status st = ro->order ? rulebook_assign_order(r->o.book, "collector", ro->order, &g, err) : ST_EXISTS;
    if (st == ST_EXISTS) /* the group's flags have changed meanwhile, and with them its order */
        st = rulebook_assign(r->o.book, "collector", ro->group, ro->gives.ruleset, ro->gives.revision, &g, err);
    group_free(&g);
    return st;
}

static enum status take_back(struct rollouts *r, struct rollout *ro, const char *actor, const char *why,
                             struct error *err) {
    struct rollout_progress at = ro->at;
    struct group g = {0};
    enum status st = rulebook_group_get(r->o.book, ro->group, &g, err);
    bool has_it = !st && g.revision == ro->gives.revision && strcmp(g.ruleset, ro->gives.ruleset) == 0;
    group_free(&g);
    if (!st && has_it && ro->at.state == ROLLOUT_DONE) {
        if (ro->before.ruleset[0]) {
            st = rulebook_assign(r->o.book, actor, ro->group, ro->before.ruleset, ro->before.revision, &g, err);
            group_free(&g);
        } else {
            st = rulebook_unassign(r->o.book, actor, ro->group, err);
        }
    }
    at.state = ROLLOUT_ROLLED_BACK;
    char text[2 * ERROR_TEXT_MAX];
    snprintf(text, sizeof text, "%s%s", why,
             ro->before.ruleset[0]
                 ? ""
                 : "; the group had no rules before: its hosts get those of their other groups, or keep these");
    return st ? st : change_to(r, ro, &at, text, actor, "rollout rollback", err);
}

static enum status carry_out(struct rollouts *r, struct rollout *ro, const struct rollout_step *s, struct error *err) {
    static const char *const actions[] = {[ROLLOUT_START] = "rollout wave",
                                          [ROLLOUT_WIDEN] = "rollout widen",
                                          [ROLLOUT_WAVE_OVER] = "rollout waits",
                                          [ROLLOUT_HALT] = "rollout halt",
                                          [ROLLOUT_FINISH] = "rollout done"};
    struct rollout_progress at = ro->at;
    char why[ERROR_TEXT_MAX + 64] = "";
    rollout_apply(s, r->o.now(), &at);
    if (s->what == ROLLOUT_START || s->what == ROLLOUT_WIDEN) {
        snprintf(why, sizeof why, "wave %u of %zu: %u %%%s", s->wave + 1, ro->plan.n_waves, ro->plan.percent[s->wave],
                 s->what == ROLLOUT_WIDEN ? ", widened to a host that is there" : "");
    } else if (s->what == ROLLOUT_WAVE_OVER) {
        snprintf(why, sizeof why, "wave %u of %zu is done", s->wave + 1, ro->plan.n_waves);
    } else if (s->what == ROLLOUT_HALT) {
        snprintf(why, sizeof why, "%s", s->why);
    }
    enum status st = s->what == ROLLOUT_FINISH ? assign(r, ro, err) : ST_OK;
    if (!st) st = change_to(r, ro, &at, why, "collector", actions[s->what], err);
    if (!st && s->what == ROLLOUT_HALT && s->roll_back) {
        snprintf(why, sizeof why, "halted and rolled back: %s", s->why);
        st = take_back(r, ro, "collector", why, err);
    }
    return st;
}

/* Until there is nothing to do now. True: there may be offers. */
static bool advance(struct rollouts *r, struct rollout *ro) {
    bool moved = false;
    for (int i = 0; i < MAX_STEPS && ro->at.state == ROLLOUT_RUNNING; i++) {
        struct rollout_host *hosts;
        struct rollout_step s;
        struct error err = {0};
        uint64_t now = r->o.now(), *done = ro->at.wave < ro->plan.n_waves ? &ro->at.done[ro->at.wave] : &now;
        uv_mutex_lock(&r->lock);
        if (*done > now) *done = now; /* the clock was set back: the wait begins anew */
        size_t n = members_of(r, ro, &hosts, NULL);
        uv_mutex_unlock(&r->lock);
        rollout_next(&ro->plan, &ro->at, hosts, n, now, &s);
        mem_free(hosts);
        if (s.what == ROLLOUT_WAIT) break;
        if (carry_out(r, ro, &s, &err)) {
            log_error("rollout", "rollout %llu stays where it is: %s; trying again", (unsigned long long)ro->id,
                      err.msg);
            break;
        }
        moved = true;
    }
    return moved;
}

/* True: somebody said that something had changed. */
static bool refresh_if_due(struct rollouts *r, uint64_t now) {
    uv_mutex_lock(&r->lock);
    bool stale = r->stale, is_due = stale || now < r->refreshed || now - r->refreshed >= REFRESH_S * FILETIME_SECOND;
    uv_mutex_unlock(&r->lock);
    if (is_due) members_refresh(r);
    return stale;
}

void rollouts_tick(struct rollouts *r) {
    struct error err = {0};
    uv_mutex_lock(&r->change);
    uint64_t now = r->o.now(), dt = now > r->ticked ? (now - r->ticked) / (FILETIME_SECOND / 1000) : 0;
    r->ticked = now;
    bool offers = refresh_if_due(r, now);
    uv_mutex_lock(&r->lock);
    members_tick(r, dt < MAX_STEP_MS ? dt : MAX_STEP_MS);
    uv_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->n_rollouts; i++) offers |= advance(r, r->rollouts[i]);
    offers |= sign_wanted(r);
    offers |= refresh_if_due(r, now);
    if (now < r->flushed || now - r->flushed >= FLUSH_S * FILETIME_SECOND) {
        r->flushed = now;
        if (members_flush(r, &err)) log_warn("rollout", "cannot write what hosts reported: %s; trying again", err.msg);
    }
    uv_mutex_unlock(&r->change);
    if (offers) wake(r);
}

/* ---- starting ---- */

static void append(struct rollouts *r, struct rollout *ro) {
    mem_grow((void **)&r->rollouts, r->n_rollouts, &r->cap_rollouts, sizeof(struct rollout *));
    r->rollouts[r->n_rollouts++] = ro;
}

static bool gives_again(const struct revision_ref *a, const struct revision_ref *b) {
    return a->revision == b->revision && strcmp(a->ruleset, b->ruleset) == 0;
}

/* What a rollback goes back to: what the group has, or had before it got this very revision. */
static struct revision_ref before_of(const struct rollouts *r, const struct rollout *ro, const struct group *g) {
    struct revision_ref has = {.revision = g->revision};
    memcpy(has.ruleset, g->ruleset, sizeof has.ruleset);
    for (size_t i = r->n_rollouts; i-- > 0 && gives_again(&has, &ro->gives);) {
        const struct rollout *old = r->rollouts[i];
        if (strcmp(old->group, ro->group) == 0 && gives_again(&old->gives, &ro->gives)) has = old->before;
    }
    return has;
}

static struct rollout *make(const struct rollouts *r, const char *actor, const struct rollout_plan *p,
                            const struct group *g) {
    struct rollout *ro = mem_zalloc(sizeof *ro);
    ro->plan = *p;
    snprintf(ro->group, sizeof ro->group, "%s", p->group);
    snprintf(ro->gives.ruleset, sizeof ro->gives.ruleset, "%s", p->ruleset);
    ro->gives.revision = p->revision;
    ro->before = before_of(r, ro, g);
    ro->plan.group = ro->group;
    ro->plan.ruleset = ro->gives.ruleset;
    ro->at.wave = (unsigned)p->n_waves;
    ro->created = ro->changed = r->o.now();
    ro->actor = mem_strdup(actor);
    ro->why = mem_strdup("");
    return ro;
}

/* The one that runs in the group, or was halted. */
static struct rollout *active_of(const struct rollouts *r, const char *group) {
    for (size_t i = r->n_rollouts; i-- > 0;) {
        if (rollout_is_active(r->rollouts[i]) && strcmp(r->rollouts[i]->group, group) == 0) return r->rollouts[i];
    }
    return NULL;
}

static enum status commit_start(struct rollouts *r, struct rollout *ro, struct rollout *old, struct error *err) {
    char object[64 + 3 * RULEBOOK_NAME_MAX];
    struct fleet_txn *t = NULL;
    struct buf detail = {0};
    enum status st = fleet_begin(r->o.db, &t, err);
    if (!st) st = fleet_txn_next(t, "rollouts", &ro->id, err);
    if (!st && old) {
        struct rollout ended = *old;
        ended.at.state = ROLLOUT_SUPERSEDED;
        ended.changed = ro->created;
        st = put_rollout(t, &ended, err);
    }
    if (!st) st = put_rollout(t, ro, err);
    if (!st) {
        say_object(ro, object);
        buf_str(&detail, "waves");
        for (size_t i = 0; i < ro->plan.n_waves; i++) buf_printf(&detail, "%c%u", i ? ',' : ' ', ro->plan.percent[i]);
        if (old) buf_printf(&detail, ", supersedes %llu", (unsigned long long)old->id);
        st = fleet_audit_in(r->o.fleet, t, ro->actor, "rollout start", object, buf_cstr(&detail), err);
    }
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    buf_free(&detail);
    return st;
}

MUST_USE enum status rollout_start(struct rollouts *r, const char *actor, const struct rollout_plan *p,
                                   uint64_t *ret_id, struct error *err) {
    struct revision rev = {0};
    struct group g = {0};
    struct rollout_plan plan = *p;
    enum status st = rollout_plan_check(p, err);
    if (!st) st = rulebook_get(r->o.book, p->ruleset, p->revision, &rev, err);
    if (st) return st;
    plan.revision = rev.revision; /* 0 was the newest */
    revision_free(&rev);
    st = rulebook_group_get(r->o.book, p->group, &g, err);
    if (st) return st;
    uv_mutex_lock(&r->change);
    struct rollout *ro = make(r, actor, &plan, &g), *old = active_of(r, ro->group);
    if (old) ro->keep_from = old->keep_from ? old->keep_from : old->serial;
    st = rulebook_sign(r->o.book, ro->group, ro->gives.ruleset, ro->gives.revision, &ro->order, err);
    if (!st) {
        ro->serial = ro->order->serial;
        buf_slice_append(&ro->manifest, buf_slice(&ro->order->manifest));
        st = commit_start(r, ro, old, err);
    }
    group_free(&g);
    if (st) {
        rollout_free(ro);
        uv_mutex_unlock(&r->change);
        return st;
    }
    *ret_id = ro->id;
    uv_mutex_lock(&r->lock);
    if (old) old->at.state = ROLLOUT_SUPERSEDED;
    append(r, ro);
    uv_mutex_unlock(&r->lock);
    log_info("rollout", "rollout %llu begins: %s@%lu for %s", (unsigned long long)ro->id, ro->gives.ruleset,
             (unsigned long)ro->gives.revision, ro->group);
    members_refresh(r);
    (void)advance(r, ro);
    uv_mutex_unlock(&r->change);
    wake(r);
    return ST_OK;
}

/* ---- a person's changes ---- */

static enum status find(const struct rollouts *r, uint64_t id, struct rollout **ret, struct error *err) {
    *ret = rollout_get(r, id);
    return *ret ? ST_OK
                : error_set(err, ST_NOTFOUND, "there is no rollout %llu; see: haechi rules status",
                            (unsigned long long)id);
}

static enum status not_now(const struct rollout *ro, const char *what, struct error *err) {
    return error_set(err, ST_EXISTS, "rollout %llu is %s: it cannot be %s", (unsigned long long)ro->id,
                     rollout_state_name(ro->at.state), what);
}

MUST_USE enum status rollout_halt(struct rollouts *r, const char *actor, uint64_t id, const char *why,
                                  struct error *err) {
    struct rollout *ro;
    struct buf clean = {0};
    uv_mutex_lock(&r->change);
    enum status st = find(r, id, &ro, err);
    if (!st && ro->at.state != ROLLOUT_RUNNING) st = not_now(ro, "halted", err);
    if (!st) {
        struct rollout_progress at = ro->at;
        at.state = ROLLOUT_HALTED;
        text_printable(&clean, slice_str(why && *why ? why : "by hand"), ROLLOUT_TEXT_MAX);
        st = change_to(r, ro, &at, buf_cstr(&clean), actor, "rollout halt", err);
    }
    uv_mutex_unlock(&r->change);
    buf_free(&clean);
    return st;
}

/* Hosts that have failed or fallen silent count no more; those that are late get their time again. */
static void excuse(struct rollouts *r, const struct rollout *ro) {
    struct rollout_host *hosts;
    struct member **members;
    uv_mutex_lock(&r->lock);
    size_t n = members_of(r, ro, &hosts, &members);
    for (size_t i = 0; i < n; i++) {
        enum rollout_verdict v = rollout_judge(&ro->plan, &hosts[i]);
        if (v < ROLLOUT_HOST_SILENT) continue;
        members[i]->rollout = ro->id;
        members[i]->offered = members[i]->excused = members[i]->dirty = true;
    }
    uv_mutex_unlock(&r->lock);
    mem_free(hosts);
    mem_free(members);
}

MUST_USE enum status rollout_resume(struct rollouts *r, const char *actor, uint64_t id, struct error *err) {
    struct rollout *ro;
    uv_mutex_lock(&r->change);
    enum status st = find(r, id, &ro, err);
    if (!st && ro->at.state != ROLLOUT_HALTED) st = not_now(ro, "resumed", err);
    if (!st) {
        struct rollout_progress at = ro->at;
        at.state = ROLLOUT_RUNNING;
        at.rate_accepted = true;
        excuse(r, ro);
        st = members_flush(r, err);
        if (!st) st = change_to(r, ro, &at, "", actor, "rollout resume", err);
        if (!st) (void)advance(r, ro);
    }
    uv_mutex_unlock(&r->change);
    if (!st) wake(r);
    return st;
}

MUST_USE enum status rollout_rollback(struct rollouts *r, const char *actor, uint64_t id, struct error *err) {
    struct rollout *ro;
    struct group g = {0};
    uv_mutex_lock(&r->change);
    enum status st = find(r, id, &ro, err);
    if (!st && ro->at.state > ROLLOUT_DONE) st = not_now(ro, "rolled back", err);
    if (!st && ro->at.state == ROLLOUT_DONE) {
        st = rulebook_group_get(r->o.book, ro->group, &g, err);
        bool still = !st && g.revision == ro->gives.revision && strcmp(g.ruleset, ro->gives.ruleset) == 0 &&
                     team_get(r, ro->group)->rollout == ro;
        group_free(&g);
        if (!st && !still) {
            st = error_set(err, ST_EXISTS, "group %s has something later than rollout %llu: push what it shall have",
                           ro->group, (unsigned long long)ro->id);
        }
    }
    if (!st && gives_again(&ro->before, &ro->gives)) {
        st = error_set(err, ST_EXISTS, "group %s had %s@%lu before as well: push the revision that it shall have",
                       ro->group, ro->before.ruleset, (unsigned long)ro->before.revision);
    }
    if (!st) st = take_back(r, ro, actor, "by hand", err);
    if (!st) members_refresh(r);
    uv_mutex_unlock(&r->change);
    if (!st) wake(r);
    return st;
}

/* ---- opening ---- */

static enum status on_member(void *ctx, struct slice key, struct slice value) {
    struct rollouts *r = ctx;
    struct member *m = row_member_parse(key, value);
    if (!m) {
        log_warn("rollout", "what host %s reported of its rules cannot be read; waiting for its next word",
                 log_peer(key));
        return ST_OK;
    }
    mem_grow((void **)&r->members, r->n_members, &r->cap_members, sizeof(struct member *));
    r->members[r->n_members++] = m; /* keys ascend */
    return ST_OK;
}

static enum status on_rollout(void *ctx, struct slice key, struct slice value) {
    struct rollouts *r = ctx;
    struct rollout *ro = row_rollout_parse(key, value);
    if (ro)
        append(r, ro);
    else
        log_warn("rollout", "rollout row %s cannot be read; leaving it out", log_peer(key));
    return ST_OK;
}

static void sign_again(struct rollouts *r, struct rollout *ro) {
    struct error err = {0};
    if (rulebook_sign_again(r->o.book, ro->group, buf_slice(&ro->manifest), &ro->order, &err))
        log_error("rollout", "rollout %llu offers nothing: %s", (unsigned long long)ro->id, err.msg);
    else
        log_info("rollout", "rollout %llu of %s@%lu for %s goes on: %s", (unsigned long long)ro->id, ro->gives.ruleset,
                 (unsigned long)ro->gives.revision, ro->group, rollout_state_name(ro->at.state));
}

MUST_USE enum status rollouts_open(const struct rollouts_options *o, struct rollouts **ret, struct error *err) {
    struct rollouts *r = mem_zalloc(sizeof *r);
    r->o = *o;
    if (uv_mutex_init(&r->lock) || uv_mutex_init(&r->change) || uv_mutex_init(&r->waking)) abort();
    r->ticked = r->flushed = o->now();
    enum status st = fleet_each(o->db, FLEET_RULES_HOSTS, (struct slice){0}, false, on_member, r, err);
    if (!st) st = fleet_each(o->db, FLEET_ROLLOUTS, (struct slice){0}, false, on_rollout, r, err);
    if (st) {
        rollouts_close(&r);
        return st;
    }
    for (size_t i = 0; i < r->n_rollouts; i++) {
        if (rollout_is_active(r->rollouts[i])) sign_again(r, r->rollouts[i]);
    }
    members_refresh(r);
    *ret = r;
    return ST_OK;
}

void rollouts_close(struct rollouts **pr) {
    struct rollouts *r = *pr;
    struct error err = {0};
    if (!r) return;
    if (members_flush(r, &err)) log_warn("rollout", "cannot write what hosts reported: %s", err.msg);
    for (size_t i = 0; i < r->n_members; i++) member_free(r->members[i]);
    for (size_t i = 0; i < r->n_rollouts; i++) rollout_free(r->rollouts[i]);
    for (size_t i = 0; i < r->n_teams; i++) {
        order_release(&r->teams[i]->order);
        mem_free(r->teams[i]);
    }
    mem_free(r->members);
    mem_free(r->rollouts);
    mem_free(r->teams);
    uv_mutex_destroy(&r->lock);
    uv_mutex_destroy(&r->change);
    uv_mutex_destroy(&r->waking);
    mem_free(r);
    *pr = NULL;
}
