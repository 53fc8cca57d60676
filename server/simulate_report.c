/* A simulation's result as lines of JSON: a summary, then event ids, rules with their samples, hosts, and what the numbers cannot say. */
#include "simulate_internal.h"
#include "jout.h"
#include "mem.h"

#include <stdio.h>

enum part { PART_SUMMARY, PART_IDS, PART_RULES, PART_HOSTS, PART_MISSING, PART_NOTES, PART_END };

/* ---- one tally of all ---- */

static void add_count(struct sim_count *to, const struct sim_count *from) {
    sim_add(to, from->events, from->bytes);
}

static void add_totals(struct sim_totals *to, const struct sim_totals *from) {
    add_count(&to->all, &from->all);
    add_count(&to->candidate, &from->candidate);
    add_count(&to->current, &from->current);
    add_count(&to->both, &from->both);
}

void sim_tally_merge(struct sim_tally *to, const struct sim_tally *from, size_t n_hosts, unsigned samples) {
    sim_rows_merge(&to->rows, &from->rows, samples);
    for (size_t i = 0; i < SIM_IDS; i++) {
        add_totals(&to->ids[i], &from->ids[i]);
        for (size_t k = 0; k < SIM_SLOTS; k++) to->missing[i][k] += from->missing[i][k];
    }
    for (size_t i = 0; i < n_hosts; i++) add_totals(&to->hosts[i], &from->hosts[i]);
    to->foreign += from->foreign;
    to->blocks += from->blocks;
    to->skipped += from->skipped;
    to->bad_events += from->bad_events;
}

/* ---- numbers ---- */

static void put_count(struct buf *out, const char *events, const char *bytes, uint64_t n, uint64_t shares) {
    jout_uint(out, events, n);
    jout_uint(out, bytes, (shares + SIM_SHARE / 2) / SIM_SHARE);
}

static void put_totals(struct buf *out, const struct sim_totals *t) {
    const struct sim_count *all = &t->all, *cand = &t->candidate, *now = &t->current, *both = &t->both;
    put_count(out, "events", "bytes", all->events, all->bytes);
    put_count(out, "kept", "kept_bytes", cand->events, cand->bytes);
    put_count(out, "dropped", "dropped_bytes", all->events - cand->events, all->bytes - cand->bytes);
    put_count(out, "current_kept", "current_kept_bytes", now->events, now->bytes);
    put_count(out, "lost", "lost_bytes", now->events - both->events, now->bytes - both->bytes);
    put_count(out, "gained", "gained_bytes", cand->events - both->events, cand->bytes - both->bytes);
}

static void put_event_id(struct buf *out, uint32_t id) {
    const struct sysmon_event *known = sysmon_event_find(id);
    jout_uint(out, "event_id", id);
    if (known && known->tag)
        jout_str(out, "tag", known->tag);
    else
        jout_null(out, "tag");
}

/* What the rules that the hosts have assigned log of an event id. */
static const char *current_logs(const struct simulate *s, uint32_t id) {
    static const char *const words[] = {"nothing", "something", "everything"};
    const char *word = NULL;
    for (size_t i = 0; i < s->spec.n_hosts; i++) {
        if (s->spec.hosts[i].current == SIMULATE_NO_RULES) return "unknown";
    }
    for (size_t i = 0; i < s->spec.n_current; i++) {
        const char *w = words[engine_scope(s->current[i], id)];
        if (word && word != w) return "something";
        word = w;
    }
    return word ? word : "unknown";
}

/* ---- lines ---- */

static void put_summary(struct simulate *s, struct buf *out) {
    struct sim_totals t = {0};
    size_t n_hosts = 0, n_without = 0;
    for (size_t i = 0; i < s->spec.n_hosts; i++) {
        add_totals(&t, &s->total->hosts[i]);
        n_hosts += s->total->hosts[i].all.events > 0;
        n_without += s->spec.hosts[i].current == SIMULATE_NO_RULES;
    }
    jout_object(out, NULL);
    jout_str(out, "kind", "summary");
    jout_str(out, "model", ENGINE_MODEL);
    jout_time(out, "since", s->spec.since);
    jout_time(out, "until", s->spec.until == UINT64_MAX ? 0 : s->spec.until);
    jout_uint(out, "hosts", s->spec.n_hosts);
    jout_uint(out, "hosts_with_events", n_hosts);
    jout_uint(out, "hosts_without_rules", n_without);
    put_totals(out, &t);
    jout_uint(out, "foreign_events", s->total->foreign);
    jout_uint(out, "blocks", s->total->blocks);
    jout_uint(out, "skipped_blocks", s->total->skipped);
    jout_uint(out, "skipped_events", s->total->bad_events);
    jout_bool(out, "cut", s->total->rows.rest != NULL);
    jout_line(out);
}

static void put_id(struct simulate *s, uint32_t id, struct buf *out) {
    const struct sysmon_event *known = sysmon_event_find(id);
    const char *logs = current_logs(s, id);
    bool silent = strcmp(logs, "everything") != 0 && engine_scope(s->candidate, id) != ENGINE_NOTHING && known;
    if (!s->total->ids[id].all.events && !(silent && known->tag)) return;
    jout_object(out, NULL);
    jout_str(out, "kind", "id");
    put_event_id(out, id);
    put_totals(out, &s->total->ids[id]);
    jout_str(out, "current_logs", logs);
    jout_bool(out, "lower_bound", silent && known->tag);
    jout_line(out);
}

static void put_what(struct buf *out, const struct engine_verdict *v) {
    struct buf what = {0};
    struct place at = v->block ? v->block->at : (struct place){0};
    bool is_and = v->rule && !v->rule->is_single && v->rule->relation == RELATION_AND;
    if (is_and) {
        at = v->rule->at;
        buf_printf(&what, "Rule of %zu conditions", v->rule->n_fields);
    } else if (v->field) {
        at = v->field->at;
        buf_slice_append(&what, v->field->field);
        buf_printf(&what, " %s ", rule_condition_name(v->field->condition));
        buf_slice_append(&what, v->field->value);
    }
    if (v->block)
        jout_str(out, "onmatch", v->block->exclude ? "exclude" : "include");
    else
        jout_null(out, "onmatch");
    jout_uint(out, "line", at.line);
    jout_uint(out, "column", at.column);
    jout_text(out, "what", buf_slice(&what));
    buf_free(&what);
}

static void put_row(struct simulate *s, const struct sim_row *row, struct buf *out) {
    const struct engine_verdict *v = &row->verdict;
    jout_object(out, NULL);
    jout_str(out, "kind", "rule");
    jout_str(out, "rules", row->rules ? "current" : "candidate");
    if (row->rules)
        jout_str(out, "ruleset", s->spec.current[row->rules - 1].name);
    else
        jout_null(out, "ruleset");
    put_event_id(out, row->event_id);
    jout_str(out, "verdict", v->logged ? "kept" : "dropped");
    jout_str(out, "reason", engine_reason_name(v->reason));
    jout_text(out, "rule_name", v->rule_name.len ? v->rule_name : SLICE_LIT("-"));
    put_what(out, v);
    put_count(out, "events", "bytes", row->all.events, row->all.bytes);
    put_count(out, "other_kept", "other_kept_bytes", row->other.events, row->other.bytes);
    jout_line(out);
}

static void put_sample(const struct sim_row *row, unsigned i, struct buf *out) {
    jout_object(out, NULL);
    jout_str(out, "kind", "sample");
    put_event_id(out, row->event_id);
    jout_str(out, "verdict", row->verdict.logged ? "kept" : "dropped");
    jout_str(out, "reason", engine_reason_name(row->verdict.reason));
    jout_text(out, "rule_name", row->verdict.rule_name.len ? row->verdict.rule_name : SLICE_LIT("-"));
    put_what(out, &row->verdict);
    buf_printf(out, ",\"event\":%s", row->samples[i]);
    jout_line(out);
}

static void put_host(struct simulate *s, size_t i, struct buf *out) {
    const struct simulate_host *h = &s->spec.hosts[i];
    if (!s->total->hosts[i].all.events) return;
    jout_object(out, NULL);
    jout_str(out, "kind", "host");
    jout_str(out, "host", h->name);
    if (h->current == SIMULATE_NO_RULES)
        jout_null(out, "ruleset");
    else
        jout_str(out, "ruleset", s->spec.current[h->current].name);
    put_totals(out, &s->total->hosts[i]);
    jout_line(out);
}

static void put_missing(struct simulate *s, uint32_t id, struct buf *out) {
    struct engine_need need = engine_need(s->candidate, id);
    for (size_t i = 0; i < need.n && i < SIM_SLOTS; i++) {
        uint64_t n = s->total->missing[id][i];
        if (!n) continue;
        jout_object(out, NULL);
        jout_str(out, "kind", "missing");
        put_event_id(out, id);
        jout_str(out, "field", event_field_name(need.fields[i]));
        jout_uint(out, "events", n);
        jout_line(out);
    }
}

static void put_note(struct buf *out, const char *code, const char *text) {
    jout_object(out, NULL);
    jout_str(out, "kind", "note");
    jout_str(out, "code", code);
    jout_str(out, "text", text);
    jout_line(out);
}

static void put_notes(struct simulate *s, struct buf *out) {
    char text[400];
    size_t n_without = 0;
    for (size_t i = 0; i < s->spec.n_hosts; i++) n_without += s->spec.hosts[i].current == SIMULATE_NO_RULES;
    put_note(
        out, "never-logged",
        "Only what was stored can be judged. Events that the rules in force did not log are not here: where those rules do not log "
        "everything of an event id, what the candidate keeps of it is a lower bound.");
    put_note(
        out, "bytes",
        "Bytes are an event's share of its block as it is stored (compressed), by the length of its encoding. Fewer events in a block "
        "compress a little worse, so what is dropped saves somewhat less.");
    if (n_without) {
        snprintf(
            text, sizeof text,
            "%zu of %zu hosts have no ruleset of the fleet assigned; for them the comparison is with what is stored: all of it was "
            "kept.",
            n_without, s->spec.n_hosts);
        put_note(out, "no-current-rules", text);
    }
    if (n_without < s->spec.n_hosts) {
        put_note(
            out, "current-rules",
            "The comparison is with the rules assigned now, as they are judged here. Stored events may be older than these rules, so "
            "some can be here that they would drop.");
    }
    snprintf(
        text, sizeof text,
        "Judged as %s does. Older engines differ: several blocks for one event id, AND between conditions, and RuleNames cut to 128 "
        "or 32 characters.",
        ENGINE_MODEL);
    put_note(out, "model", text);
    put_note(
        out, "options",
        "Options are not simulated: with other HashAlgorithms, DnsLookup, FieldSizes or ArchiveDirectory the events themselves would "
        "differ. %NAME% in a rule's value is compared as it stands.");
    put_note(
        out, "missing-fields",
        "A field that an event lacks, because the Sysmon that wrote it was older, matches nothing here, not even a negative condition. "
        "A newer Sysmon may decide otherwise.");
    if (s->total->skipped || s->total->bad_events) {
        snprintf(text, sizeof text,
                 "%llu blocks and %llu single events could not be read and are not counted; see the collector's log.",
                 (unsigned long long)s->total->skipped, (unsigned long long)s->total->bad_events);
        put_note(out, "unreadable", text);
    }
    if (s->total->rows.rest) {
        snprintf(
            text, sizeof text,
            "More than %u rows by rule: %llu verdicts are in none of them. The sums by event id and host are complete.",
            SIM_MAX_ROWS, (unsigned long long)s->total->rows.rest->all.events);
        put_note(out, "cut", text);
    }
}

/* ---- the stream ---- */

static void begin(struct simulate *s) {
    s->total = sim_total(s);
    s->sorted = sim_rows_sorted(&s->total->rows, &s->n_sorted);
}

/* The next line or lines of the part that is being told; moves on at its end. */
static void put_next(struct simulate *s, struct buf *out) {
    size_t n = 1;
    switch (s->part) {
    case PART_SUMMARY: put_summary(s, out); break;
    case PART_IDS:
        n = SIM_IDS;
        put_id(s, (uint32_t)s->at, out);
        break;
    case PART_RULES:
        n = s->n_sorted;
        if (!n) break;
        if (!s->sample_at) put_row(s, s->sorted[s->at], out);
        if (s->sample_at < s->sorted[s->at]->n_samples) {
            put_sample(s->sorted[s->at], (unsigned)s->sample_at++, out);
            return;
        }
        s->sample_at = 0;
        break;
    case PART_HOSTS:
        n = s->spec.n_hosts;
        if (n) put_host(s, s->at, out);
        break;
    case PART_MISSING:
        n = SIM_IDS - 1;
        put_missing(s, (uint32_t)s->at, out);
        break;
    default: put_notes(s, out);
    }
    if (++s->at < n) return;
    s->at = 0;
    s->part++;
}

MUST_USE enum status simulate_write(struct simulate *s, struct buf *out, size_t max_bytes) {
    if (!s->sorted) begin(s);
    while (s->part != PART_END && out->len < max_bytes) put_next(s, out);
    return s->part == PART_END ? ST_END : ST_OK;
}
