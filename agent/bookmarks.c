/* The bookmarks file's text, both ways. Pure. */
#include "bookmarks.h"
#include "mem.h"

#define HEADER "haechi-bookmarks 1\n"
#define ITEMS_MAX 4096u

void bookmarks_free(struct bookmarks *b) {
    for (size_t i = 0; i < b->n; i++) {
        mem_free(b->items[i].name);
        buf_free(&b->items[i].position);
    }
    mem_free(b->items);
    *b = (struct bookmarks){0};
}

struct slice bookmarks_get(const struct bookmarks *b, const char *name) {
    for (size_t i = 0; i < b->n; i++) {
        if (strcmp(b->items[i].name, name) == 0) return buf_slice(&b->items[i].position);
    }
    return (struct slice){NULL, 0};
}

void bookmarks_set(struct bookmarks *b, const char *name, struct slice position) {
    size_t i = 0;
    while (i < b->n && strcmp(b->items[i].name, name) != 0) i++;
    if (i == b->n) {
        mem_grow((void **)&b->items, b->n, &b->cap, sizeof *b->items);
        b->items[b->n++] = (struct bookmark){.name = mem_strdup(name)};
    }
    buf_clear(&b->items[i].position);
    buf_slice_append(&b->items[i].position, position);
}

void bookmarks_write(const struct bookmarks *b, struct buf *out) {
    buf_str(out, HEADER);
    buf_printf(out, "acked %llu\n", (unsigned long long)b->acked);
    for (size_t i = 0; i < b->n; i++) {
        buf_printf(out, "source %s\t", b->items[i].name);
        buf_slice_append(out, buf_slice(&b->items[i].position));
        buf_str(out, "\n");
    }
}

enum status bookmarks_parse(struct slice text, struct bookmarks *ret) {
    struct bookmarks b = {0};
    if (!slice_starts(text, SLICE_LIT(HEADER))) return ST_FORMAT;
    text = slice_from(text, sizeof HEADER - 1);
    while (text.len && b.n < ITEMS_MAX) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        if (!nl) break;
        struct slice line = slice_of(text.p, (size_t)(nl - text.p));
        text = slice_from(text, line.len + 1);
        if (slice_starts(line, SLICE_LIT("acked "))) {
            for (size_t i = 6; i < line.len && line.p[i] >= '0' && line.p[i] <= '9'; i++)
                b.acked = b.acked * 10 + (line.p[i] - 48u);
        } else if (slice_starts(line, SLICE_LIT("source "))) {
            const uint8_t *tab = memchr(line.p, '\t', line.len);
            if (!tab) continue;
            size_t at = (size_t)(tab - line.p);
            char *name = mem_strndup(line.p + 7, at - 7);
            bookmarks_set(&b, name, slice_from(line, at + 1));
            mem_free(name);
        }
    }
    *ret = b;
    return ST_OK;
}
