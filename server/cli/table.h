/* Columns for people: collected, then printed with widths that fit. Text is escaped for a terminal. */
#ifndef HAECHI_TABLE_H
#define HAECHI_TABLE_H

#include "buf.h"

#define TABLE_MAX_COLUMNS 12
#define TABLE_CELL_MAX 120 /* characters shown of one cell, but for the last column */

struct table {
    const char *const *heads; /* NULL-terminated; a head that starts with '>' is right-aligned */
    size_t n_columns;
    char **cells; /* row by row, owned */
    size_t n_cells, cap_cells;
};

void table_init(struct table *t, const char *const *heads);
void table_cell(struct table *t, struct slice text);
void table_cellf(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
void table_print(const struct table *t); /* on stdout; nothing but the heads when there is no row */
void table_free(struct table *t);

#endif
