/* The rules' state machine: orders, jobs, what Sysmon answers. Invariants: at most one job; an order is on disk before Sysmon is run with
 * it, and the highest serial with it; rules_enter is the only writer of the state. Loop thread. */
#include "rules_internal.h"
#include "clock.h"
#include "mem.h"

#include <stdio.h>

#define KEEP_AGAIN_MS 10000u

void rules_job_free(struct rules_job **jp) {
    struct rules_job *j = *jp;
    if (!j) return;
    buf_free(&j->xml);
    buf_free(&j->state);
    buf_free(&j->output);
    mem_free(j);
    *jp = NULL;
}

uint64_t rules_now(const struct rules *r) {
    return r->io.now_ms(r->io.ctx);
}

static const char *title(const struct rules_order *o) {
    static char text[RULES_NAME_MAX + 64]; /* the loop thread's */
    snprintf(text, sizeof text, "rules %s revision %u", o->ruleset, o->revision);
    return log_peer(slice_str(text));
}

void rules_enter(struct rules *r, enum rules_state next, const char *reason) {
    struct rules_kept *k = &r->kept;
    char evidence[80];
    rules_evidence_text(k->evidence, evidence, sizeof evidence);
    if (next == RULES_LOADED)
        log_info(AREA, "%s are loaded: %s", title(&k->order), evidence);
    else if (next == RULES_FAILED || next == RULES_DRIFTED)
        log_error(AREA, "%s %s: %s", title(&k->order), next == RULES_FAILED ? "are not loaded" : "are in force no more",
                  log_peer(slice_str(reason)));
    else
        log_info(AREA, "%s: %s", title(&k->order), rules_state_name(next));
    snprintf(k->reason, sizeof k->reason, "%s", reason);
    k->state = next;
    k->since = r->io.wall(r->io.ctx);
    k->waits = false;
    r->dirty = true;
    r->told = false;
    r->io.changed(r->io.ctx);
}

void rules_apply_in(struct rules *r, uint64_t ms) {
    r->want_apply = true;
    r->apply_at = rules_now(r) + ms;
}

/* ---- life ---- */

static void resume(struct rules *r) {
    const struct rules_kept *k = &r->kept;
    if (!k->has_order) return;
    if (k->words.len) (void)buf_cstr(&r->kept.words);
    r->loaded_wall = k->since;
    if (k->state == RULES_RECEIVED || k->state == RULES_APPLIED) rules_apply_in(r, 0);
    r->look_at = rules_now(r); /* the rest is seen to by looking */
    log_info(AREA, "%s: %s before this start", title(&k->order), rules_state_name(k->state));
}

struct rules *rules_new(const struct rules_options *o, const struct rules_io *io, struct slice state_file) {
    struct rules *r = mem_zalloc(sizeof *r);
    struct error err = {0};
    r->o = *o;
    r->io = *io;
    if (!r->o.apply_ms) r->o.apply_ms = 60000;
    if (!r->o.prove_ms) r->o.prove_ms = 60000;
    if (!r->o.look_ms) r->o.look_ms = 10000;
    if (state_file.len && rules_kept_parse(state_file, &r->kept, &err))
        log_error(AREA, "what was kept of the rules cannot be read: %s; they are asked for anew", err.msg);
    resume(r);
    return r;
}

void rules_free(struct rules **rp) {
    struct rules *r = *rp;
    if (!r) return;
    rules_job_free(&r->busy); /* one that found no thread any more */
    rules_kept_free(&r->kept);
    rules_kept_free(&r->next);
    buf_free(&r->next_xml);
    mem_free(r);
    *rp = NULL;
}

void rules_stop(struct rules *r) {
    r->stopping = true;
    if (r->busy) atomic_store(&r->busy->give_up, true);
}

bool rules_get_status(const struct rules *r, struct uplink_rules *ret) {
    const struct rules_kept *k = &r->kept;
    if (!r->told && !k->has_order) return false;
    const struct rules_order *o = r->told ? &r->told_order : &k->order;
    *ret = (struct uplink_rules){.serial = o->serial,
                                 .ruleset = o->ruleset,
                                 .revision = o->revision,
                                 .digest = slice_of(o->digest, sizeof o->digest),
                                 .state = (uint32_t)(r->told ? r->told_state : k->state),
                                 .reason = r->told ? r->told_reason : k->reason,
                                 .words = "",
                                 .time = r->told ? r->told_since : k->since};
    if (r->told) return true;
    ret->evidence = k->evidence;
    if (k->words.len) ret->words = (const char *)k->words.p; /* keep_words and resume see to the NUL */
    if (k->has_rules) ret->rules_digest = slice_of(k->rules_digest, sizeof k->rules_digest);
    return true;
}

/* ---- orders ---- */

static void tell(struct rules *r, enum rules_state state, const struct rules_order *o, const char *reason) {
    r->told = true;
    r->told_state = state;
    r->told_order = *o;
    r->told_since = r->io.wall(r->io.ctx);
    snprintf(r->told_reason, sizeof r->told_reason, "%s", reason);
    r->io.changed(r->io.ctx);
}

static void take_order(struct rules *r, const struct rules_order *o, struct buf *xml) {
    struct rules_kept *n = &r->next;
    rules_kept_free(n);
    buf_free(&r->next_xml);
    n->highest = o->serial;
    n->has_order = true;
    n->order = *o;
    n->state = RULES_RECEIVED;
    filehash_make(buf_slice(xml), &n->hash);
    r->next_xml = *xml;
    *xml = (struct buf){0};
    r->has_next = true;
    r->keep_at = 0;
}

void rules_offered(struct rules *r, struct slice offer, struct slice ca_pem) {
    struct rules_order o;
    struct buf xml = {0};
    struct error err = {0};
    uint64_t highest = r->has_next && r->next.highest > r->kept.highest ? r->next.highest : r->kept.highest;
    if (r->stopping) return;
    enum status st = rules_offer_open(offer, ca_pem, highest, &o, &xml, &err);
    const struct rules_order *had = r->has_next ? &r->next.order : r->kept.has_order ? &r->kept.order : NULL;
    bool again = had && o.serial == had->serial;
    if (!st && again && memcmp(o.digest, had->digest, sizeof o.digest) != 0)
        st = error_set(&err, ST_DENIED, "the offered rules bear the serial %llu of other rules",
                       (unsigned long long)o.serial);
    if (st) {
        log_error(AREA, "an offer of %s was refused: %s", title(&o), log_peer(slice_str(err.msg)));
        tell(r, RULES_REFUSED, &o, err.msg);
    } else if (again && (r->has_next || !r->file_lost)) {
        r->told = false;
        r->io.changed(r->io.ctx); /* it seems not to know how far we are */
    } else {
        take_order(r, &o, &xml);
    }
    buf_free(&xml);
    rules_tick(r);
}

/* ---- jobs ---- */

static struct rules_job *new_job(enum rules_work work) {
    struct rules_job *j = mem_zalloc(sizeof *j);
    j->work = work;
    atomic_init(&j->give_up, false);
    return j;
}

static void hand_over(struct rules *r, struct rules_job *j) {
    r->busy = j;
    r->io.start(r->io.ctx, j);
}

void rules_start(struct rules *r, enum rules_work work) {
    struct rules_job *j = new_job(work);
    if (r->dirty) rules_kept_write(&r->kept, &j->state);
    r->dirty = false;
    memcpy(j->digest, r->kept.order.digest, sizeof j->digest);
    memcpy(j->canary, r->canary, sizeof j->canary);
    j->time_limit_ms = r->o.apply_ms;
    hand_over(r, j);
}

/* What this host remembers of Sysmon's versions outlives the order. */
static void start_keeping(struct rules *r) {
    struct rules_job *j = new_job(RULES_KEEP);
    memcpy(r->next.memory, r->kept.memory, sizeof r->next.memory);
    r->next.n_memory = r->kept.n_memory;
    r->next.since = r->io.wall(r->io.ctx);
    memcpy(j->digest, r->next.order.digest, sizeof j->digest);
    buf_slice_append(&j->xml, buf_slice(&r->next_xml));
    rules_kept_write(&r->next, &j->state);
    r->keeping_next = true;
    r->keeping_serial = r->next.order.serial;
    hand_over(r, j);
}

static void start_applying(struct rules *r) {
    r->want_apply = false;
    r->proving = true;
    r->proof = (struct rules_proof){.since = r->io.wall(r->io.ctx) - FILETIME_SECOND / 50};
    r->prove_until = UINT64_MAX;
    r->culprit.event = 0;
    r->canary[0] = 0;
    r->io.listen(r->io.ctx, "");
    rules_start(r, RULES_APPLY);
}

void rules_tick(struct rules *r) {
    uint64_t t = rules_now(r);
    if (r->stopping || r->busy) return;
    if (r->proving) rules_prove(r);
    if (r->has_next && t >= r->keep_at)
        start_keeping(r);
    else if (r->kept.has_order && r->want_apply && t >= r->apply_at)
        start_applying(r);
    else if (r->kept.has_order)
        rules_watch_tick(r);
    if (!r->busy && r->dirty && t >= r->keep_at) rules_start(r, RULES_KEEP);
}

/* ---- what became of them ---- */

static void on_received(struct rules *r, const struct rules_job *j) {
    r->keeping_next = false;
    if (j->not_kept) {
        r->keep_at = rules_now(r) + KEEP_AGAIN_MS;
        tell(r, RULES_FAILED, &r->next.order, j->err.msg);
        return;
    }
    if (r->keeping_serial != r->next.order.serial) return; /* another order came meanwhile */
    rules_kept_free(&r->kept);
    r->kept = r->next;
    r->next = (struct rules_kept){0};
    buf_free(&r->next_xml);
    r->has_next = false;
    r->proving = r->file_lost = false;
    r->tries = r->heals = 0;
    rules_enter(r, RULES_RECEIVED, "");
    r->dirty = false;
    rules_apply_in(r, 0);
}

static void keep_words(struct rules *r, const struct rules_job *j, enum sysmon_system system,
                       struct sysmon_verdict *ret) {
    struct buf lines = {0};
    sysmon_words_decode(buf_slice(&j->output), &lines);
    sysmon_words_judge(buf_slice(&lines), system, j->exit_code, ret);
    buf_clear(&r->kept.words);
    sysmon_words_cut(buf_slice(&lines), RULES_WORDS_MAX, &r->kept.words);
    (void)buf_cstr(&r->kept.words);
    buf_free(&lines);
}

/* Once more, a while later, some times. */
static void fail_and_retry(struct rules *r, const char *reason) {
    rules_enter(r, RULES_FAILED, reason);
    r->proving = false;
    if (++r->tries < RULES_TRIES) rules_apply_in(r, (uint64_t)RULES_TRY_AGAIN_MS * r->tries);
}

static void on_answer(struct rules *r, const struct rules_job *j, const struct sysmon_verdict *v) {
    char text[RULES_REASON_MAX];
    snprintf(text, sizeof text, "Sysmon %s%s%s", j->after.version, *j->after.version ? ": " : "says: ", v->reason);
    switch (v->answer) {
    case SYSMON_ACCEPTED:
        r->proof.words = true;
        r->kept.evidence = RULES_BY_WORDS;
        r->prove_until = rules_now(r) + r->o.prove_ms;
        r->canary_at = rules_now(r);
        rules_enter(r, RULES_APPLIED, "");
        break;
    case SYSMON_NOT_POSSIBLE:
        rules_enter(r, RULES_FAILED, text);
        r->kept.waits = true;
        r->proving = false;
        r->apply_at = rules_now(r) + ((uint64_t)RULES_TRY_AGAIN_MS << (r->tries < 6 ? r->tries : 6));
        r->tries++;
        break;
    case SYSMON_INDEFINITE: fail_and_retry(r, text); break;
    default:
        rules_enter(r, RULES_FAILED, text);
        r->proving = false;
        break;
    }
}

static void on_applied(struct rules *r, const struct rules_job *j) {
    struct rules_kept *k = &r->kept;
    char text[RULES_REASON_MAX];
    r->proof.before = j->before;
    snprintf(k->version, sizeof k->version, "%s", j->before.version);
    k->evidence = 0;
    k->was_loaded = false;
    if (j->gave_up) return; /* the agent stops; the order is begun again after its next start */
    if (j->host_lacks) {
        rules_host_lacks(&j->before, text);
        r->proving = false;
        if (k->state == RULES_FAILED && strcmp(k->reason, text) == 0 && k->waits) return;
        rules_enter(r, RULES_FAILED, text);
        k->waits = true;
        return;
    }
    buf_clear(&k->words);
    if (j->st) {
        fail_and_retry(r, j->err.msg);
        r->file_lost = j->st == ST_CORRUPT;
        if (r->file_lost) r->want_apply = false; /* until it is offered again */
        return;
    }
    struct sysmon_verdict v;
    keep_words(r, j, r->o.system, &v);
    if (j->timed_out) {
        snprintf(text, sizeof text, "Sysmon did not end within %u s and was ended", r->o.apply_ms / 1000);
        fail_and_retry(r, text);
    } else if (j->crashed) {
        snprintf(text, sizeof text, "Sysmon crashed (%s %#x)", r->o.system == SYSMON_ON_LINUX ? "signal" : "exception",
                 (unsigned)j->exit_code);
        fail_and_retry(r, text);
    } else {
        on_answer(r, j, &v);
    }
    if (j->after.has_rules) {
        k->has_rules = true;
        memcpy(k->rules_digest, j->after.rules_digest, sizeof k->rules_digest);
    }
}

void rules_on_done(struct rules *r, struct rules_job *j) {
    r->busy = NULL;
    if (j->not_kept) {
        log_error(AREA, "%s; retry in %u s", j->err.msg, KEEP_AGAIN_MS / 1000);
        r->keep_at = rules_now(r) + KEEP_AGAIN_MS;
        if (!r->keeping_next) r->dirty = true;
    }
    bool applied = j->work == RULES_APPLY && !j->not_kept;
    if (j->work == RULES_LOOK || applied) {
        r->sysmon = j->after;
        r->looked = true;
        if (r->io.looked) r->io.looked(r->io.ctx, &r->sysmon);
    }
    if (r->keeping_next) {
        on_received(r, j);
    } else if (j->work == RULES_APPLY && j->not_kept) {
        r->proving = false;
        rules_apply_in(r, KEEP_AGAIN_MS);
    } else if (applied && !r->stopping) {
        on_applied(r, j);
        rules_on_look(r);
    } else if (j->work == RULES_LOOK) {
        rules_on_look(r);
    } else if (j->work == RULES_CANARY && j->st) {
        log_warn(AREA, "the canary could not be started: %s", j->err.msg);
    }
    rules_job_free(&j);
    rules_tick(r);
}
