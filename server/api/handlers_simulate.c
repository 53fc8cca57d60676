/* POST /rules/simulate: a configuration over the stored events. The work is done by simulate.c on threads of its own, at low priority,
 * some of it in each step; between steps nothing runs, so a client that goes away ends it. Only so many at once: queries and ingest
 * come first. */
#include "handlers.h"
#include "check.h"
#include "clock.h"
#include "jout.h"
#include "log.h"
#include "mem.h"
#include "simulate.h"

#include <stdio.h>

#define MAX_SIMULATIONS 2u
#define MAX_CURRENT 64u /* rulesets that the hosts of one simulation may have */
#define STEP_BUDGET_MS 150
#define SAY_EVERY_MS 300
#define DEFAULT_SPAN FILETIME_DAY

struct simulation {
    struct api_common *common;
    struct simulate *s;
    struct buf notes; /* lines that come at the end */
    uint64_t said_ms;
    bool counted;
};

static void free_simulation(void *state) {
    struct simulation *m = state;
    atomic_fetch_sub(&m->common->n_simulations, 1);
    simulate_free(&m->s);
    buf_free(&m->notes);
    mem_free(m);
}

/* ---- whose events ---- */

static void add_host(struct simulate_spec *spec, size_t *cap, const struct fleet_host *h) {
    mem_grow((void **)&spec->hosts, spec->n_hosts, cap, sizeof *spec->hosts);
    spec->hosts[spec->n_hosts++] = (struct simulate_host){h->id, mem_strdup(h->name), SIMULATE_NO_RULES};
}

static enum status add_current(struct call *c, struct simulate_spec *spec, const struct host_rules *h, const char *name,
                               struct error *err) {
    struct buf xml = {0};
    struct ruleset *r = NULL;
    if (spec->n_current == MAX_CURRENT) {
        return error_set(err, ST_INVALID, "these hosts have more than %u rulesets; name a group or a host",
                         MAX_CURRENT);
    }
    enum status st = rulebook_xml(c->common->o->book, h->want, h->want_revision, &xml, err);
    if (!st) st = ruleset_parse(buf_slice(&xml), &r, err);
    if (!st) spec->current[spec->n_current++] = (struct simulate_current){r, mem_strdup(name)};
    buf_free(&xml);
    return st;
}

/* The rules that the host shall have by now, rollouts under way included; parsed once for all hosts that have them. */
static enum status find_current(struct call *c, struct simulate_spec *spec, uint32_t host, size_t *ret,
                                struct error *err) {
    struct host_rules h;
    char name[RULEBOOK_NAME_MAX + 24];
    size_t i = 0;
    enum status st = ST_OK;
    rollouts_host(c->common->o->rollouts, host, &h);
    if (h.want[0]) {
        snprintf(name, sizeof name, "%s@%lu", h.want, (unsigned long)h.want_revision);
        while (i < spec->n_current && strcmp(spec->current[i].name, name) != 0) i++;
        if (i == spec->n_current) st = add_current(c, spec, &h, name, err);
        if (!st) *ret = i;
    }
    host_rules_free(&h);
    return st;
}

static enum status add_hosts(struct call *c, struct simulate_spec *spec, const struct fleet_host *hosts, size_t n,
                             const char *group, struct error *err) {
    size_t cap = 0;
    enum status st = ST_OK;
    spec->current = mem_zalloc(MAX_CURRENT * sizeof *spec->current);
    for (size_t i = 0; i < n && !st; i++) {
        const struct fleet_host *h = &hosts[i];
        if (group && !rulebook_is_member(group, h->group, h->tags, h->n_tags)) continue;
        add_host(spec, &cap, h);
        st = find_current(c, spec, h->id, &spec->hosts[spec->n_hosts - 1].current, err);
    }
    if (!st && group && !spec->n_hosts)
        st = error_set(err, ST_NOTFOUND, "no host is in group %s", log_peer(slice_str(group)));
    return st;
}

static enum status read_hosts(struct call *c, struct simulate_spec *spec, struct error *err) {
    const char *group = call_param(c, "group"), *host = call_param(c, "host");
    if (group && host) return error_set(err, ST_INVALID, "group and host do not go together");
    if (host) {
        struct fleet_host h;
        enum status st = fleet_host_find(c->common->o->fleet, slice_str(host), &h, err);
        if (st) return st;
        st = add_hosts(c, spec, &h, 1, NULL, err);
        fleet_host_free(&h);
        return st;
    }
    struct fleet_host *hosts;
    size_t n = fleet_hosts(c->common->o->fleet, &hosts);
    enum status st = add_hosts(c, spec, hosts, n, group, err);
    fleet_hosts_free(hosts, n);
    return st;
}

/* ---- the question ---- */

/* What the checker says of the candidate; what is judged is what Sysmon makes of it all the same. */
static void note_findings(struct simulation *m, struct slice xml) {
    static const struct check_options any = {0};
    struct findings f;
    struct ruleset *r = NULL;
    char text[200];
    (void)!ruleset_check(xml, &any, &f, &r);
    if (f.n_errors) {
        snprintf(
            text, sizeof text,
            "The checker finds %zu errors in the configuration (haechi rules check); judged is what Sysmon makes of "
            "it, without what it leaves out.",
            f.n_errors);
        jout_object(&m->notes, NULL);
        jout_str(&m->notes, "kind", "note");
        jout_str(&m->notes, "code", "check");
        jout_str(&m->notes, "text", text);
        jout_line(&m->notes);
    }
    findings_free(&f);
    ruleset_free(&r);
}

static enum status read_question(struct call *c, struct simulate_spec *spec, struct error *err) {
    uint64_t samples = 0;
    spec->db = c->common->o->db;
    spec->since = clock_wall() - DEFAULT_SPAN;
    enum status st = call_time(c, "since", &spec->since, err);
    if (!st) st = call_time(c, "until", &spec->until, err);
    if (!st) st = call_uint(c, "samples", &samples, err);
    if (!st && samples > SIM_MAX_SAMPLES) st = error_set(err, ST_INVALID, "samples: at most %u", SIM_MAX_SAMPLES);
    spec->samples = (unsigned)samples;
    if (!st) st = ruleset_parse(buf_slice(&c->body), &spec->candidate, err);
    if (!st) st = read_hosts(c, spec, err);
    return st;
}

static enum status begin(struct call *c, struct error *err) {
    struct simulate_spec spec = {0};
    if (atomic_fetch_add(&c->common->n_simulations, 1) >= MAX_SIMULATIONS) {
        atomic_fetch_sub(&c->common->n_simulations, 1);
        c->http = 503;
        return error_set(err, ST_BUSY, "%u simulations are running; try again when one has ended", MAX_SIMULATIONS);
    }
    struct simulation *m = mem_zalloc(sizeof *m);
    m->common = c->common;
    c->state = m;
    c->free_state = free_simulation;
    enum status st = read_question(c, &spec, err);
    if (st) {
        simulate_spec_free(&spec);
        return st;
    }
    note_findings(m, buf_slice(&c->body));
    m->s = simulate_new(&spec);
    return ST_OK;
}

/* ---- the answer ---- */

static void say_progress(struct simulation *m, struct buf *out) {
    struct simulate_progress p = simulate_progress(m->s);
    uint64_t now = clock_mono_ms();
    if (now - m->said_ms < SAY_EVERY_MS) return;
    m->said_ms = now;
    jout_object(out, NULL);
    jout_str(out, "kind", "progress");
    jout_uint(out, "done", p.done);
    jout_uint(out, "all", p.all);
    jout_uint(out, "events", p.events);
    jout_line(out);
}

enum step simulate_rules_step(struct call *c, struct buf *out, struct error *err) {
    enum status st = c->state ? ST_OK : begin(c, err);
    if (st) return call_fail(err, st);
    struct simulation *m = c->state;
    if (!m->counted) {
        st = simulate_step(m->s, STEP_BUDGET_MS, err);
        if (st && st != ST_END) return call_fail(err, st);
        m->counted = st == ST_END;
        say_progress(m, out);
        return STEP_MORE;
    }
    if (simulate_write(m->s, out, CALL_PIECE) == ST_OK) return STEP_MORE;
    buf_slice_append(out, buf_slice(&m->notes));
    c->skipped = simulate_skipped(m->s);
    return STEP_END;
}
