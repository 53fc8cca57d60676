/* The list of gaps that may not have been told, and its file's text. Pure. */
#include "gaps.h"
#include "mem.h"
#include "text.h"

#define HEADER "haechi-gaps 1\n"

void gaps_free(struct gaps *g) {
    mem_free(g->items);
    *g = (struct gaps){0};
}

static void note_change(struct gaps *g, uint32_t cause) {
    g->changed = true;
    if (cause != GAP_FILTERED) g->urgent = true;
}

void gaps_add(struct gaps *g, const char *channel, const struct source_gap *gap) {
    struct gap *last = g->n ? &g->items[g->n - 1] : NULL;
    if (last && last->told == GAPS_NOT_TOLD && strcmp(last->channel, channel) == 0 && last->gap.cause == gap->cause &&
        last->gap.epoch == gap->epoch && gap->first_id > last->gap.last_id &&
        (gap->cause == GAP_FILTERED || gap->first_id == last->gap.last_id + 1)) {
        last->gap.last_id = gap->last_id;
        note_change(g, gap->cause);
        return;
    }
    if (g->n >= GAPS_MAX || strlen(channel) >= sizeof last->channel) return; /* the ledger shows it unexplained */
    mem_grow((void **)&g->items, g->n, &g->cap, sizeof *g->items);
    last = &g->items[g->n++];
    *last = (struct gap){.gap = *gap, .told = GAPS_NOT_TOLD};
    memcpy(last->channel, channel, strlen(channel));
    note_change(g, gap->cause);
}

void gaps_acked(struct gaps *g, uint64_t seq) {
    size_t kept = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (g->items[i].told == GAPS_NOT_TOLD || g->items[i].told >= seq) g->items[kept++] = g->items[i];
    }
    if (kept != g->n) g->changed = true;
    g->n = kept;
}

void gaps_write(const struct gaps *g, struct buf *out) {
    buf_str(out, HEADER);
    for (size_t i = 0; i < g->n; i++) {
        const struct source_gap *s = &g->items[i].gap;
        buf_printf(out, "%u %u %llu %llu %s\n", s->cause, s->epoch, (unsigned long long)s->first_id,
                   (unsigned long long)s->last_id, g->items[i].channel);
    }
}

enum status gaps_parse(struct slice text, struct gaps *ret) {
    struct gaps g = {0};
    if (!text_take(&text, HEADER)) return ST_FORMAT;
    while (text.len) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        if (!nl) break;
        struct slice line = slice_of(text.p, (size_t)(nl - text.p));
        text = slice_from(text, line.len + 1);
        uint64_t cause = 0, epoch = 0, first = 0, last = 0;
        char channel[256];
        if (!text_take_number(&line, 10, &cause) || !text_take(&line, " ") || !text_take_number(&line, 10, &epoch) ||
            !text_take(&line, " ") || !text_take_number(&line, 10, &first) || !text_take(&line, " ") ||
            !text_take_number(&line, 10, &last) || !text_take(&line, " "))
            continue;
        if (!cause || cause > UINT32_MAX || epoch > UINT32_MAX || first > last || !line.len ||
            line.len >= sizeof channel || memchr(line.p, 0, line.len))
            continue;
        memcpy(channel, line.p, line.len);
        channel[line.len] = 0;
        gaps_add(&g, channel, &(struct source_gap){first, last, (uint32_t)epoch, (uint32_t)cause});
    }
    g.changed = g.urgent = false;
    *ret = g;
    return ST_OK;
}
