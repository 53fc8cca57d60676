/* The list of findings: grows to its limit, counts on, is put in the file's order at the end, and prints as a compiler does. */
#include "check_internal.h"
#include "mem.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SHOWN_MAX 60u

const struct finding_code finding_codes[] = {
#define FINDING_ROW(id, code, kind, meaning) {code, FINDING_##kind, meaning},
    FINDING_LIST(FINDING_ROW)
#undef FINDING_ROW
};
const size_t n_finding_codes = CODE_COUNT;

static char *format(const char *fmt, va_list ap) PRINTF_LIKE(1, 0);
static char *format(const char *fmt, va_list ap) {
    char text[1024];
    vsnprintf(text, sizeof text, fmt, ap);
    return mem_strdup(text);
}

struct finding *finding_add(struct findings *f, enum finding_id id, struct place at, const char *fmt, ...) {
    const struct finding_code *code = &finding_codes[id];
    size_t *n_kind = code->kind == FINDING_ERROR ? &f->n_errors : &f->n_warnings;
    if (++*n_kind > CHECK_MAX_FINDINGS) {
        f->cut = true;
        return NULL;
    }
    mem_grow((void **)&f->list, f->n, &f->cap, sizeof *f->list);
    struct finding *n = &f->list[f->n++];
    va_list ap;
    va_start(ap, fmt);
    *n = (struct finding){.kind = code->kind, .code = code->code, .at = at, .text = format(fmt, ap)};
    va_end(ap);
    return n;
}

void finding_instead(struct finding *n, const char *fmt, ...) {
    if (!n) return;
    va_list ap;
    va_start(ap, fmt);
    mem_free(n->instead);
    n->instead = format(fmt, ap);
    va_end(ap);
}

void findings_free(struct findings *f) {
    for (size_t i = 0; i < f->n; i++) {
        mem_free(f->list[i].text);
        mem_free(f->list[i].instead);
    }
    mem_free(f->list);
    *f = (struct findings){0};
}

static int order(const struct finding *a, const struct finding *b) {
    if (a->at.line != b->at.line) return a->at.line < b->at.line ? -1 : 1;
    if (a->at.column != b->at.column) return a->at.column < b->at.column ? -1 : 1;
    return (a->kind > b->kind) - (a->kind < b->kind);
}

/* A merge sort, since findings of one place keep their order. */
static void sort(struct finding *list, struct finding *room, size_t n) {
    if (n < 2) return;
    size_t half = n / 2, i = 0, k = half, at = 0;
    sort(list, room, half);
    sort(list + half, room, n - half);
    while (i < half || k < n) {
        bool left = k >= n || (i < half && order(&list[i], &list[k]) <= 0);
        room[at++] = left ? list[i++] : list[k++];
    }
    memcpy(list, room, n * sizeof *list);
}

void findings_sort(struct findings *f) {
    struct finding *room = mem_alloc((f->n + 1) * sizeof *room);
    sort(f->list, room, f->n);
    mem_free(room);
}

struct shown show(struct slice text) {
    struct shown out;
    struct buf b = {0};
    text_printable(&b, text, SHOWN_MAX);
    snprintf(out.s, sizeof out.s, "%s", buf_cstr(&b));
    buf_free(&b);
    return out;
}

struct shown show_version(uint32_t hundredths) {
    struct shown out;
    snprintf(out.s, sizeof out.s, "%u.%02u", hundredths / 100, hundredths % 100);
    return out;
}

static void put_line(const struct finding *n, const char *file, struct buf *out) {
    buf_printf(out, "%s:%u:%u: %s: %s", file, n->at.line, n->at.column, n->kind == FINDING_ERROR ? "error" : "warning",
               n->text);
    if (n->instead) buf_printf(out, "; %s", n->instead);
    buf_printf(out, " [%s]\n", n->code);
}

static void put_cut(const struct findings *f, const char *file, struct buf *out) {
    if (!f->cut) return;
    buf_printf(out, "%s: more than %u errors or warnings; the others are only counted\n", file, CHECK_MAX_FINDINGS);
}

void findings_text(const struct findings *f, const char *file, struct buf *out) {
    for (size_t i = 0; i < f->n; i++) put_line(&f->list[i], file, out);
    put_cut(f, file, out);
}

void findings_brief(const struct findings *f, const char *file, size_t max_warnings, struct buf *out) {
    size_t shown = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (f->list[i].kind == FINDING_ERROR) put_line(&f->list[i], file, out);
    }
    for (size_t i = 0; i < f->n && shown < max_warnings; i++) {
        if (f->list[i].kind == FINDING_ERROR) continue;
        put_line(&f->list[i], file, out);
        shown++;
    }
    put_cut(f, file, out);
    if (f->n_warnings > shown)
        buf_printf(out, "%s: and %zu more warnings; haechi rules check shows them\n", file, f->n_warnings - shown);
}

static void put_member(struct buf *out, const char *key, const char *value) {
    if (!value) return;
    buf_printf(out, ",\"%s\":\"", key);
    text_json(out, slice_str(value));
    buf_byte(out, '"');
}

void findings_json(const struct findings *f, const char *file, struct buf *out) {
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *n = &f->list[i];
        buf_printf(out, "{\"line\":%u,\"column\":%u", n->at.line, n->at.column);
        put_member(out, "file", file);
        put_member(out, "kind", n->kind == FINDING_ERROR ? "error" : "warning");
        put_member(out, "code", n->code);
        put_member(out, "message", n->text);
        put_member(out, "instead", n->instead);
        buf_str(out, "}\n");
    }
}
