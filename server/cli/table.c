/* Plain columns, two blanks apart, the last one as long as it is. */
#include "table.h"
#include "mem.h"
#include "text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

void table_init(struct table *t, const char *const *heads) {
    *t = (struct table){.heads = heads};
    while (heads[t->n_columns]) t->n_columns++;
}

void table_cell(struct table *t, struct slice text) {
    struct buf shown = {0};
    bool last = t->n_cells % t->n_columns == t->n_columns - 1;
    text_printable(&shown, text, last ? SIZE_MAX : TABLE_CELL_MAX);
    mem_grow((void **)&t->cells, t->n_cells, &t->cap_cells, sizeof *t->cells);
    t->cells[t->n_cells++] = mem_strdup(shown.len ? buf_cstr(&shown) : "-");
    buf_free(&shown);
}

void table_cellf(struct table *t, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    table_cell(t, slice_str(text));
}

/* Characters, not bytes: continuation bytes take no column. */
static size_t width_of(const char *s) {
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_row(const struct table *t, const char *const *cells, const size_t *widths) {
    for (size_t c = 0; c < t->n_columns; c++) {
        bool right = t->heads[c][0] == '>', last = c == t->n_columns - 1;
        int pad = (int)(widths[c] - width_of(cells[c]));
        if (right) printf("%*s", pad, "");
        fputs(cells[c], stdout);
        if (!last) printf("%*s", (right ? 0 : pad) + 2, "");
    }
    putchar('\n');
}

void table_print(const struct table *t) {
    size_t widths[TABLE_MAX_COLUMNS];
    const char *heads[TABLE_MAX_COLUMNS];
    assert(t->n_columns > 0 && t->n_columns <= TABLE_MAX_COLUMNS);
    for (size_t c = 0; c < t->n_columns; c++) {
        heads[c] = t->heads[c] + (t->heads[c][0] == '>');
        widths[c] = width_of(heads[c]);
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t w = width_of(t->cells[i]);
        if (w > widths[i % t->n_columns]) widths[i % t->n_columns] = w;
    }
    print_row(t, heads, widths);
    for (size_t i = 0; i + t->n_columns <= t->n_cells; i += t->n_columns) {
        print_row(t, (const char *const *)&t->cells[i], widths);
    }
}

void table_free(struct table *t) {
    for (size_t i = 0; i < t->n_cells; i++) mem_free(t->cells[i]);
    mem_free(t->cells);
    *t = (struct table){0};
}
