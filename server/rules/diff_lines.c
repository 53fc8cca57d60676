/* The diff by line: what is equal at both ends is set aside; lines that occur once in both texts and keep their order are
 * fixed points (patience diff); what lies between them is compared the same way, small rests without fixed points by
 * the longest common subsequence, large ones as a whole. Pure. */
#include "diff.h"
#include "diff_internal.h"
#include "mem.h"

#define LINES_MAX 200000u
#define CELLS_MAX 1000000u /* of a table of common subsequences */
#define DEPTH_MAX 40

struct side {
    struct slice *lines; /* without their ends */
    uint64_t *keys;
    bool *differs; /* removed, or added */
    size_t n, cap;
};

struct sides {
    struct side a, b;
};

struct part { /* [x0, x1) of a and [y0, y1) of b */
    size_t x0, x1, y0, y1;
};

static void split(struct slice s, struct side *t) {
    while (s.len && t->n <= LINES_MAX) {
        const uint8_t *end = memchr(s.p, '\n', s.len);
        size_t n = end ? (size_t)(end - s.p) : s.len;
        mem_grow((void **)&t->lines, t->n, &t->cap, sizeof *t->lines);
        t->lines[t->n++] = slice_head(s, n && s.p[n - 1] == '\r' ? n - 1 : n);
        s = slice_from(s, n + 1);
    }
    t->keys = mem_alloc(mem_mul(t->n, sizeof *t->keys));
    t->differs = mem_zalloc(t->n + 1);
    for (size_t i = 0; i < t->n; i++) t->keys[i] = diff_hash(0, t->lines[i]);
}

static void side_free(struct side *t) {
    mem_free(t->lines);
    mem_free(t->keys);
    mem_free(t->differs);
}

static bool equal(const struct sides *s, size_t x, size_t y) {
    return s->a.keys[x] == s->b.keys[y] && slice_eq(s->a.lines[x], s->b.lines[y]);
}

static void all_differ(struct sides *s, const struct part *p) {
    for (size_t x = p->x0; x < p->x1; x++) s->a.differs[x] = true;
    for (size_t y = p->y0; y < p->y1; y++) s->b.differs[y] = true;
}

/* The longest common subsequence by its table, from the back, so that the walk goes forward. */
static void by_table(struct sides *s, const struct part *p) {
    size_t n = p->x1 - p->x0, m = p->y1 - p->y0, width = m + 1;
    uint32_t *table = mem_zalloc(mem_mul(mem_mul(n + 1, width), sizeof *table));
    for (size_t x = n; x-- > 0;) {
        for (size_t y = m; y-- > 0;) {
            uint32_t down = table[(x + 1) * width + y], right = table[x * width + y + 1];
            table[x * width + y] = equal(s, p->x0 + x, p->y0 + y) ? table[(x + 1) * width + y + 1] + 1
                                   : down > right                 ? down
                                                                  : right;
        }
    }
    size_t x = 0, y = 0;
    while (x < n && y < m) {
        if (equal(s, p->x0 + x, p->y0 + y)) {
            x++;
            y++;
        } else if (table[(x + 1) * width + y] >= table[x * width + y + 1]) {
            s->a.differs[p->x0 + x++] = true;
        } else {
            s->b.differs[p->y0 + y++] = true;
        }
    }
    all_differ(s, &(struct part){p->x0 + x, p->x1, p->y0 + y, p->y1});
    mem_free(table);
}

/* The lines of [from, to) that occur once there, by key. */
static size_t single_lines(const struct side *t, size_t from, size_t to, struct diff_ref **ret) {
    size_t n = to - from, kept = 0;
    struct diff_ref *refs = mem_alloc(mem_mul(n, sizeof *refs));
    for (size_t i = 0; i < n; i++) refs[i] = (struct diff_ref){t->keys[from + i], from + i};
    diff_sort(refs, n);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && refs[end].key == refs[i].key;) end++;
        if (end == i + 1) refs[kept++] = refs[i];
    }
    *ret = refs;
    return kept;
}

/* items[i]: the line of b that line x0 + i of a is fixed to. False: there is no fixed point. */
static bool fixed_points(const struct sides *s, const struct part *p, struct diff_item *items) {
    size_t n = p->x1 - p->x0, found = 0;
    struct diff_ref *x, *y;
    size_t n_x = single_lines(&s->a, p->x0, p->x1, &x), n_y = single_lines(&s->b, p->y0, p->y1, &y);
    for (size_t i = 0; i < n; i++) items[i] = (struct diff_item){0, DIFF_NONE};
    for (size_t i = 0, j = 0; i < n_x && j < n_y;) {
        if (x[i].key == y[j].key) {
            if (equal(s, x[i].at, y[j].at)) {
                items[x[i].at - p->x0].partner = y[j].at;
                found++;
            }
            i++;
            j++;
        } else if (x[i].key < y[j].key) {
            i++;
        } else {
            j++;
        }
    }
    mem_free(x);
    mem_free(y);
    if (!found) return false;
    bool *moved = mem_alloc(n);
    diff_moved(items, n, moved);
    for (size_t i = 0; i < n; i++) {
        if (moved[i]) items[i].partner = DIFF_NONE;
    }
    mem_free(moved);
    return true;
}

static void compare(struct sides *s, struct part p, int depth) {
    while (p.x0 < p.x1 && p.y0 < p.y1 && equal(s, p.x0, p.y0)) p.x0++, p.y0++;
    while (p.x0 < p.x1 && p.y0 < p.y1 && equal(s, p.x1 - 1, p.y1 - 1)) p.x1--, p.y1--;
    size_t n = p.x1 - p.x0, m = p.y1 - p.y0;
    if (!n || !m) {
        all_differ(s, &p);
    } else if (n <= CELLS_MAX / m) {
        by_table(s, &p);
    } else {
        struct diff_item *items = mem_alloc(mem_mul(n, sizeof *items));
        if (depth < DEPTH_MAX && fixed_points(s, &p, items)) {
            size_t x = p.x0, y = p.y0;
            for (size_t i = 0; i < n; i++) {
                if (items[i].partner == DIFF_NONE) continue;
                compare(s, (struct part){x, p.x0 + i, y, items[i].partner}, depth + 1);
                x = p.x0 + i + 1;
                y = items[i].partner + 1;
            }
            compare(s, (struct part){x, p.x1, y, p.y1}, depth + 1);
        } else {
            all_differ(s, &p);
        }
        mem_free(items);
    }
}

/* ---- the unified form ---- */

static void put_line(struct buf *out, char sign, struct slice line) {
    buf_byte(out, (uint8_t)sign);
    buf_slice_append(out, line);
    buf_byte(out, '\n');
}

static void put_range(struct buf *out, char sign, size_t from, size_t to) {
    size_t n = to - from;
    buf_printf(out, "%c%zu", sign, n ? from + 1 : from);
    if (n != 1) buf_printf(out, ",%zu", n);
}

/* From (*x, *y), where both texts are equal up to: past the equal lines to the next difference; false: there is none. */
static bool next_change(const struct sides *s, size_t *x, size_t *y) {
    while (*x < s->a.n && *y < s->b.n && !s->a.differs[*x] && !s->b.differs[*y]) ++*x, ++*y;
    return *x < s->a.n || *y < s->b.n;
}

static void past_change(const struct sides *s, size_t *x, size_t *y) {
    while (*x < s->a.n && s->a.differs[*x]) ++*x;
    while (*y < s->b.n && s->b.differs[*y]) ++*y;
}

static void put_hunk(const struct sides *s, const struct part *p, struct buf *out) {
    buf_str(out, "@@ ");
    put_range(out, '-', p->x0, p->x1);
    buf_byte(out, ' ');
    put_range(out, '+', p->y0, p->y1);
    buf_str(out, " @@\n");
    for (size_t x = p->x0, y = p->y0; x < p->x1 || y < p->y1;) {
        for (; x < p->x1 && s->a.differs[x]; x++) put_line(out, '-', s->a.lines[x]);
        for (; y < p->y1 && s->b.differs[y]; y++) put_line(out, '+', s->b.lines[y]);
        for (; x < p->x1 && y < p->y1 && !s->a.differs[x] && !s->b.differs[y]; x++, y++) {
            put_line(out, ' ', s->a.lines[x]);
        }
    }
}

static void put_hunks(const struct sides *s, struct buf *out) {
    size_t x = 0, y = 0;
    while (next_change(s, &x, &y)) {
        size_t lead = x < DIFF_LINES_AROUND ? x : DIFF_LINES_AROUND;
        struct part p = {x - lead, 0, y - lead, 0};
        for (;;) { /* differences that are near each other share a hunk */
            past_change(s, &x, &y);
            size_t next_x = x, next_y = y;
            bool more = next_change(s, &next_x, &next_y);
            if (!more || next_x - x > (size_t)2 * DIFF_LINES_AROUND) {
                size_t left = s->a.n - x, tail = left < DIFF_LINES_AROUND ? left : DIFF_LINES_AROUND;
                p.x1 = x + tail;
                p.y1 = y + tail;
                break;
            }
            x = next_x;
            y = next_y;
        }
        put_hunk(s, &p, out);
    }
}

void lines_diff(struct slice before, struct slice after, const char *before_name, const char *after_name,
                struct buf *out) {
    struct sides s = {0};
    if (slice_eq(before, after)) return;
    split(before, &s.a);
    split(after, &s.b);
    if (s.a.n > LINES_MAX || s.b.n > LINES_MAX) {
        buf_printf(out, "%s and %s differ, and have too many lines to be compared\n", before_name, after_name);
    } else {
        compare(&s, (struct part){0, s.a.n, 0, s.b.n}, 0);
        buf_printf(out, "--- %s\n+++ %s\n", before_name, after_name);
        size_t head = out->len;
        put_hunks(&s, out);
        if (out->len == head) buf_str(out, "the line ends differ, or the end of the last line\n");
    }
    side_free(&s.a);
    side_free(&s.b);
}
