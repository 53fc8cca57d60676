/* Looking at Sysmon and listening to it: proof after a change, drift from then on, and what a host lacks. Loop thread. */
#include "rules_internal.h"
#include "clock.h"

#include <stdio.h>

void rules_host_lacks(const struct sysmon *s, char *out) {
    *out = 0;
    switch (s->state) {
    case SYSMON_ABSENT:
        snprintf(out, RULES_REASON_MAX, "Sysmon is not installed on this host; they are applied when it is");
        return;
    case SYSMON_STOPPED:
        snprintf(out, RULES_REASON_MAX, "Sysmon (%.100s) is stopped; they are applied when it runs", s->service);
        return;
    case SYSMON_BLIND:
        snprintf(out, RULES_REASON_MAX, "Sysmon's driver (%.100s) is not loaded; they are applied when it is",
                 s->driver);
        return;
    default: break;
    }
    if (*s->cannot_apply)
        snprintf(out, RULES_REASON_MAX, "this agent cannot change Sysmon's rules: %s", s->cannot_apply);
    else if (!*s->path)
        snprintf(out, RULES_REASON_MAX, "the program of Sysmon's service %.100s was not found", s->service);
}

/* ---- proof ---- */

static void enter_loaded(struct rules *r) {
    rules_enter(r, RULES_LOADED, "");
    r->want_apply = false;
    r->culprit.event = 0;
    r->loaded_at = rules_now(r);
    r->loaded_wall = r->kept.since;
}

static void loaded(struct rules *r) {
    struct rules_kept *k = &r->kept;
    const struct sysmon *s = &r->sysmon;
    k->has_rules = s->has_rules;
    memcpy(k->rules_digest, s->rules_digest, sizeof k->rules_digest);
    memcpy(k->settings_digest, s->settings_digest, sizeof k->settings_digest);
    snprintf(k->version, sizeof k->version, "%s", s->version);
    if (s->has_rules) rules_kept_remember(k, s->version, k->order.digest, s->rules_digest);
    k->was_loaded = true;
    r->proving = false;
    r->tries = 0;
    r->canary[0] = 0;
    r->look_at = rules_now(r) + r->o.look_ms;
    r->io.listen(r->io.ctx, "");
    enter_loaded(r);
}

void rules_prove(struct rules *r) {
    struct rules_kept *k = &r->kept;
    char missing[RULES_REASON_MAX], text[RULES_REASON_MAX];
    if (!r->proof.words || !r->looked) return;
    bool holds = rules_proof_holds(&r->proof, k, r->o.reads_events, missing);
    uint32_t evidence = rules_proof_evidence(&r->proof);
    if (evidence != k->evidence) r->dirty = true;
    k->evidence = evidence;
    if (holds) {
        loaded(r);
    } else if (k->state == RULES_APPLIED && rules_now(r) >= r->prove_until) {
        snprintf(text, sizeof text, "Sysmon took them, but %u s later they are not proven to run: %.380s",
                 r->o.prove_ms / 1000, missing);
        rules_enter(r, RULES_FAILED, text); /* still proving: late proof counts */
    }
}

/* ---- drift ---- */

static void describe_culprit(const struct rules *r, char *out, size_t cap) {
    const struct sysmon_note *n = &r->culprit;
    char when[FILETIME_TEXT_MAX];
    if (!n->event) {
        snprintf(out, cap, "no event 16 tells who did it");
        return;
    }
    filetime_format(n->time, 0, when);
    snprintf(out, cap, "event 16 at %s: %.120s, %.90s%s%.60s", when, *n->file ? n->file : "no file",
             *n->hash ? n->hash : "without a hash", *n->text ? ", by " : "", n->text);
}

/* The first is healed nearly at once; each further one after a pause that doubles. */
static uint64_t heal_pause(struct rules *r) {
    if (rules_now(r) - r->loaded_at >= RULES_CALM_MS) r->heals = 0;
    uint64_t ms = RULES_HEAL_FIRST_MS;
    if (r->heals) ms = 60000;
    for (unsigned i = 1; i < r->heals && ms < RULES_HEAL_MAX_MS; i++) ms *= 2;
    r->heals++;
    return ms < RULES_HEAL_MAX_MS ? ms : RULES_HEAL_MAX_MS;
}

static void drifted(struct rules *r, const char *what) {
    char who[400], text[RULES_REASON_MAX];
    describe_culprit(r, who, sizeof who);
    snprintf(text, sizeof text, "%.120s; %.380s", what, who);
    rules_enter(r, RULES_DRIFTED, text);
    if (r->kept.order.heal) rules_apply_in(r, heal_pause(r));
    r->look_at = rules_now(r) + RULES_PROVE_LOOK_MS;
}

static bool is_as_loaded(const struct rules *r) {
    const struct rules_kept *k = &r->kept;
    const struct sysmon *s = &r->sysmon;
    return s->has_rules == k->has_rules &&
           (!k->has_rules || memcmp(s->rules_digest, k->rules_digest, sizeof k->rules_digest) == 0);
}

/* A state file of before that was looked at has no such digest. */
static bool has_same_settings(const struct rules *r) {
    static const uint8_t none[RULES_DIGEST_LEN];
    const uint8_t *then = r->kept.settings_digest;
    return memcmp(then, none, sizeof none) == 0 || memcmp(then, r->sysmon.settings_digest, sizeof none) == 0;
}

static bool was_replaced(const struct rules *r) {
    return *r->sysmon.version && *r->kept.version && strcmp(r->sysmon.version, r->kept.version) != 0;
}

static void look_for_drift(struct rules *r) {
    struct rules_kept *k = &r->kept;
    char text[RULES_REASON_MAX];
    if (was_replaced(r)) {
        const struct rules_memory *m = rules_kept_recall(k, r->sysmon.version, k->order.digest);
        if (m && r->sysmon.has_rules && memcmp(m->rules_digest, r->sysmon.rules_digest, sizeof m->rules_digest) == 0) {
            snprintf(k->version, sizeof k->version, "%s", r->sysmon.version);
            memcpy(k->rules_digest, m->rules_digest, sizeof k->rules_digest);
            memcpy(k->settings_digest, r->sysmon.settings_digest, sizeof k->settings_digest);
            r->dirty = true;
            return;
        }
        if (r->o.system == SYSMON_ON_LINUX && is_as_loaded(r)) { /* config.xml is the same for all versions */
            snprintf(k->version, sizeof k->version, "%s", r->sysmon.version);
            r->dirty = true;
            return;
        }
        snprintf(text, sizeof text, "Sysmon %s was replaced by %s, whose rules are not proven to be these", k->version,
                 r->sysmon.version);
        drifted(r, text);
    } else if (!is_as_loaded(r)) {
        drifted(r, r->sysmon.has_rules ? "the system's copy of the rules has changed"
                                       : "the system's copy of the rules is gone: Sysmon runs with its defaults");
    } else if (!has_same_settings(r)) {
        drifted(r, "Sysmon's settings beside the rules have changed (hash algorithms, options, field sizes)");
    }
}

/* Somebody put ours back. */
static void look_for_return(struct rules *r) {
    bool other = filehash_compare(&r->kept.hash, slice_str(r->sysmon.config_hash)) == FILEHASH_OTHER;
    if (!r->kept.was_loaded || was_replaced(r) || !r->kept.has_rules || !is_as_loaded(r) || other ||
        !has_same_settings(r))
        return;
    enter_loaded(r);
}

/* ---- what the host lacks ---- */

/* True: it lacks something, and the state says so. */
static bool look_at_host(struct rules *r) {
    struct rules_kept *k = &r->kept;
    char text[RULES_REASON_MAX];
    rules_host_lacks(&r->sysmon, text);
    if (!*text) return false;
    bool matters =
        r->sysmon.state == SYSMON_ABSENT || r->sysmon.state == SYSMON_STOPPED || r->sysmon.state == SYSMON_BLIND;
    bool waiting = k->state == RULES_FAILED && k->waits;
    if (!matters && !waiting) return false; /* loaded rules stay loaded when our own rights go */
    if (waiting && strcmp(k->reason, text) == 0) return true;
    r->want_apply = r->proving = false;
    rules_enter(r, RULES_FAILED, text);
    k->waits = true;
    return true;
}

void rules_on_look(struct rules *r) {
    struct rules_kept *k = &r->kept;
    r->look_at = rules_now(r) + r->o.look_ms;
    if (!k->has_order || r->stopping) return;
    if (r->proving) {
        rules_proof_look(&r->proof, k, &r->sysmon, r->o.system, k->state == RULES_FAILED);
        if (k->state == RULES_APPLIED) r->look_at = rules_now(r) + RULES_PROVE_LOOK_MS;
        rules_prove(r);
        if (k->state != RULES_FAILED) return;
    }
    if (k->state == RULES_RECEIVED || k->state == RULES_APPLIED || look_at_host(r)) return;
    if (k->state == RULES_LOADED) {
        look_for_drift(r);
    } else if (k->state == RULES_DRIFTED) {
        look_for_return(r);
        if (k->state == RULES_DRIFTED && k->order.heal && !r->want_apply) rules_apply_in(r, heal_pause(r));
    } else if (k->state == RULES_FAILED && k->waits) {
        look_for_return(r); /* it runs again, with what it had */
        if (k->state == RULES_FAILED && !r->want_apply && rules_now(r) >= r->apply_at) rules_apply_in(r, 0);
    } else if (k->state == RULES_FAILED && was_replaced(r)) {
        r->tries = 0; /* another Sysmon may take them */
        rules_apply_in(r, 0);
    }
}

/* ---- events ---- */

static void on_other_file(struct rules *r, const struct sysmon_note *n) {
    enum rules_state state = r->kept.state;
    if (n->time <= r->loaded_wall || r->proving || r->culprit.event) return;
    if (state != RULES_LOADED && state != RULES_DRIFTED) return;
    r->culprit = *n;
    if (state == RULES_LOADED) {
        drifted(r, "Sysmon was given another file");
    } else {
        char who[400], text[RULES_REASON_MAX];
        describe_culprit(r, who, sizeof who);
        snprintf(text, sizeof text, "the system's copy of the rules has changed; %.380s", who);
        rules_enter(r, RULES_DRIFTED, text); /* the same, and by whom */
    }
}

void rules_on_note(struct rules *r, const struct sysmon_note *n) {
    if (!r->kept.has_order || r->stopping) return;
    if (r->proving && rules_proof_note(&r->proof, &r->kept, n)) {
        if (n->event == 16) /* what the copy proves may depend on it */
            rules_proof_look(&r->proof, &r->kept, &r->sysmon, r->o.system, r->kept.state == RULES_FAILED);
        rules_prove(r);
        return;
    }
    if (n->event == 16) {
        enum filehash_answer a = filehash_compare(&r->kept.hash, slice_str(n->hash));
        /* Sysmon for Linux often says no hash, and its copy tells as much. */
        if (a == FILEHASH_OTHER || (a == FILEHASH_NONE && r->o.system == SYSMON_ON_WINDOWS)) on_other_file(r, n);
    }
    if (n->event != 1 && r->look_at > rules_now(r) + RULES_PROVE_LOOK_MS)
        r->look_at = rules_now(r) + RULES_PROVE_LOOK_MS;
}

/* ---- time ---- */

static void start_canary(struct rules *r) {
    uint8_t random[16];
    if (!*r->canary) { /* the second of one run bears the same word: the first one's event may be on its way */
        int at = snprintf(r->canary, sizeof r->canary, RULES_CANARY_WORD "-");
        r->io.random(r->io.ctx, random, sizeof random);
        for (size_t i = 0; i < sizeof random; i++, at += 2)
            snprintf(r->canary + at, sizeof r->canary - (size_t)at, "%02x", random[i]);
    }
    r->canary_at = rules_now(r) + RULES_CANARY_AGAIN_MS;
    r->io.listen(r->io.ctx, r->canary);
    rules_start(r, RULES_CANARY);
}

void rules_watch_tick(struct rules *r) {
    const struct rules_kept *k = &r->kept;
    uint64_t t = rules_now(r);
    bool wants_canary = r->proving && k->state == RULES_APPLIED && *k->order.canary && !r->proof.canary;
    if (wants_canary && t >= r->canary_at)
        start_canary(r);
    else if (t >= r->look_at && k->state != RULES_RECEIVED)
        rules_start(r, RULES_LOOK);
}
