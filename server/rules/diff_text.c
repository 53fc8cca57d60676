/* A diff in words. Pure. */
#include "diff_internal.h"
#include "mem.h"
#include "text.h"

#define SHOWN_MAX 200 /* bytes of a value */

static void put_quoted(struct buf *out, struct slice s) {
    buf_byte(out, '"');
    text_printable(out, s, SHOWN_MAX);
    buf_byte(out, '"');
}

static void put_name(struct buf *out, struct slice name) {
    if (!name.p) return;
    buf_str(out, " (name ");
    put_quoted(out, name);
    buf_byte(out, ')');
}

void diff_put_field(struct buf *out, const struct rule_field *f) {
    text_printable(out, f->field, SHOWN_MAX);
    buf_printf(out, " %s ", rule_condition_name(f->condition));
    put_quoted(out, f->value);
    put_name(out, f->name);
}

void diff_put_rule(struct buf *out, const struct rule *r) {
    const char *joint = r->relation == RELATION_AND ? " and " : " or ";
    if (!r->is_single) buf_str(out, "[");
    for (size_t i = 0; i < r->n_fields; i++) {
        if (i) buf_str(out, joint);
        diff_put_field(out, &r->fields[i]);
    }
    if (!r->is_single) buf_str(out, "]");
    if (!r->is_single) put_name(out, r->name);
}

void diff_put_block(struct buf *out, const struct rule_block *b) {
    buf_printf(out, "%zu rule%s, joined by %s", b->n_rules, b->n_rules == 1 ? "" : "s",
               b->relation == RELATION_AND ? "and" : "or");
    put_name(out, b->group_name);
}

const char *diff_kind_name(enum diff_kind k) {
    static const char *const names[] = {"added", "removed", "changed", "moved"};
    return names[k];
}

static void put_change(const struct diff_change *c, struct buf *out) {
    static const char signs[] = "+-~>";
    buf_printf(out, "%c ", signs[c->kind]);
    if (strcmp(c->what, "rule") != 0) buf_printf(out, "%s ", c->what);
    buf_str(out, c->where);
    if (c->kind == DIFF_CHANGED) {
        buf_printf(out, ": %s\n%*s-> %s", c->before, 6, "", c->after);
    } else {
        buf_printf(out, ": %s", c->after ? c->after : c->before);
    }
    const struct place *at = c->kind == DIFF_REMOVED ? &c->before_at : &c->after_at;
    if (at->line) buf_printf(out, "  (line %lu)", (unsigned long)at->line);
    buf_byte(out, '\n');
}

void diff_text(const struct diff *d, struct buf *out) {
    static const char *const order[] = {"added", "removed", "changed", "moved"};
    const size_t counts[] = {d->n_added, d->n_removed, d->n_changed, d->n_moved};
    if (!d->n) {
        buf_str(out, "no difference\n");
        return;
    }
    for (size_t i = 0; i < d->n; i++) put_change(&d->list[i], out);
    bool first = true;
    for (size_t i = 0; i < 4; i++) {
        if (!counts[i]) continue;
        buf_printf(out, "%s%zu %s", first ? "" : ", ", counts[i], order[i]);
        first = false;
    }
    buf_byte(out, '\n');
}

void diff_free(struct diff *d) {
    for (size_t i = 0; i < d->n; i++) {
        mem_free(d->list[i].where);
        mem_free(d->list[i].before);
        mem_free(d->list[i].after);
    }
    mem_free(d->list);
    *d = (struct diff){0};
}
