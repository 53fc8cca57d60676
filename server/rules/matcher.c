/* Tries and an Aho-Corasick automaton over classes of bytes. Pure.
 *
 * A table has a row for each state and a cell for each class of bytes: the row where the next state begins (its number times
 * the number of classes), with CELL_FOUND set when patterns end in that state. Row 0 is the dead state of the tries, row 1 the root. An
 * automaton for patterns anywhere has no dead state: its cells follow the failure links already. */
#include "matcher.h"
#include "fold.h"
#include "mem.h"

#define CELL_FOUND UINT32_C(0x80000000)
#define CELL_ROW UINT32_C(0x7fffffff)
#define ROOT 1u
#define NO_OUTPUT UINT32_MAX

struct output { /* a pattern that ends in a state; the next one there */
    uint32_t pattern, next;
};

struct table {
    uint8_t class_of[256];
    uint32_t n_classes, n_states;
    uint32_t *cells;
    uint32_t *first;  /* by state: output, or NO_OUTPUT */
    uint32_t *suffix; /* by state: the nearest state of its failure links that has outputs; 0: none */
    struct output *outputs;
    size_t n_outputs;
};

struct matcher {
    struct match_pattern *patterns;
    struct table front, back, anywhere;
    uint32_t *plain; /* patterns that are tried one by one */
    size_t n_plain;
    bool wants_folded;
};

bool match_one(enum match_kind kind, struct slice pattern, struct slice text) {
    size_t n = pattern.len;
    if (n > text.len) return false;
    if (!n) {
        if (kind == MATCH_IMAGE) return !text.len || text.p[text.len - 1] == '\\';
        return kind != MATCH_IS || !text.len;
    }
    switch (kind) {
    case MATCH_IS: return slice_eq(pattern, text);
    case MATCH_BEGIN: return slice_starts(text, pattern);
    case MATCH_END: return memcmp(text.p + text.len - n, pattern.p, n) == 0;
    case MATCH_IMAGE:
        return memcmp(text.p + text.len - n, pattern.p, n) == 0 && (n == text.len || text.p[text.len - n - 1] == '\\');
    case MATCH_CONTAINS: break;
    }
    const uint8_t *p = text.p, *last = text.p + text.len - n;
    while (p <= last && (p = memchr(p, pattern.p[0], (size_t)(last - p) + 1))) {
        if (memcmp(p, pattern.p, n) == 0) return true;
        p++;
    }
    return false;
}

/* ---- building ---- */

enum place { PLACE_FRONT, PLACE_BACK, PLACE_ANYWHERE };

static enum place place_of(enum match_kind kind) {
    switch (kind) {
    case MATCH_IS:
    case MATCH_BEGIN: return PLACE_FRONT;
    case MATCH_END:
    case MATCH_IMAGE: return PLACE_BACK;
    case MATCH_CONTAINS: break;
    }
    return PLACE_ANYWHERE;
}

/* One class for each byte that occurs in a pattern, ASCII letters in either case; 0 for all others. */
static void make_classes(struct table *t, const struct matcher *m, size_t n, enum place place) {
    t->n_classes = 1;
    for (size_t i = 0; i < n; i++) {
        const struct match_pattern *p = &m->patterns[i];
        for (size_t k = 0; k < p->text.len && place_of(p->kind) == place; k++) {
            uint8_t c = p->text.p[k];
            if (!t->class_of[c]) t->class_of[c] = (uint8_t)t->n_classes++; /* upper case never occurs: at most 230 */
        }
    }
    for (unsigned c = 'A'; c <= 'Z'; c++) t->class_of[c] = t->class_of[c + 32];
}

static void add_output(struct table *t, uint32_t state, uint32_t pattern) {
    t->outputs[t->n_outputs] = (struct output){pattern, t->first[state]};
    t->first[state] = (uint32_t)t->n_outputs++;
}

/* False: there is no room for it. */
static bool add_pattern(struct table *t, struct slice text, uint32_t pattern, bool backwards, uint32_t max_states) {
    if (text.len > max_states - t->n_states) return false;
    uint32_t state = ROOT;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = t->class_of[text.p[backwards ? text.len - 1 - i : i]];
        uint32_t *cell = &t->cells[(size_t)state * t->n_classes + c];
        if (!*cell) {
            *cell = t->n_states;
            t->first[t->n_states++] = NO_OUTPUT;
        }
        state = *cell;
    }
    add_output(t, state, pattern);
    return true;
}

/* Breadth first: each state's failure link is known before its children's. Empty cells get what the failure link does. */
static void link_failures(struct table *t) {
    uint32_t *fail = mem_zalloc(mem_mul(t->n_states, sizeof *fail));
    uint32_t *queue = mem_alloc(mem_mul(t->n_states, sizeof *queue));
    size_t n = 0;
    for (uint32_t c = 0; c < t->n_classes; c++) {
        uint32_t *cell = &t->cells[ROOT * t->n_classes + c];
        if (*cell) {
            fail[*cell] = ROOT;
            queue[n++] = *cell;
        } else {
            *cell = ROOT;
        }
    }
    for (size_t at = 0; at < n; at++) {
        uint32_t state = queue[at], f = fail[state];
        t->suffix[state] = t->first[f] != NO_OUTPUT ? f : t->suffix[f];
        for (uint32_t c = 0; c < t->n_classes; c++) {
            uint32_t *cell = &t->cells[(size_t)state * t->n_classes + c];
            uint32_t other = t->cells[(size_t)f * t->n_classes + c];
            if (*cell) {
                fail[*cell] = other;
                queue[n++] = *cell;
            } else {
                *cell = other;
            }
        }
    }
    mem_free(queue);
    mem_free(fail);
}

/* From numbers of states to rows, with the mark of those that have something to say. */
static void finish_cells(struct table *t) {
    for (size_t i = 0; i < (size_t)t->n_states * t->n_classes; i++) {
        uint32_t state = t->cells[i];
        bool found = t->first[state] != NO_OUTPUT || t->suffix[state];
        t->cells[i] = state * t->n_classes | (found ? CELL_FOUND : 0);
    }
}

static void make_table(struct table *t, struct matcher *m, size_t n, enum place place, size_t *cells) {
    size_t sum = 0, n_here = 0;
    for (size_t i = 0; i < n; i++) {
        if (place_of(m->patterns[i].kind) != place || !m->patterns[i].text.len) continue;
        sum += m->patterns[i].text.len;
        n_here++;
    }
    if (!n_here) return;
    make_classes(t, m, n, place);
    size_t room = *cells < MATCHER_MAX_CELLS ? *cells : MATCHER_MAX_CELLS;
    uint32_t max_states = (uint32_t)(room / t->n_classes);
    if (sum + 2 < max_states) max_states = (uint32_t)sum + 2;
    if (max_states < 2) max_states = 2;
    t->cells = mem_zalloc(mem_mul(max_states, t->n_classes * sizeof *t->cells));
    t->first = mem_alloc(mem_mul(max_states, sizeof *t->first));
    t->suffix = mem_zalloc(mem_mul(max_states, sizeof *t->suffix));
    t->outputs = mem_alloc(mem_mul(n_here, sizeof *t->outputs));
    t->first[0] = t->first[ROOT] = NO_OUTPUT;
    t->n_states = 2;
    for (uint32_t i = 0; i < n; i++) {
        const struct match_pattern *p = &m->patterns[i];
        if (place_of(p->kind) != place || !p->text.len) continue;
        if (!add_pattern(t, p->text, i, place == PLACE_BACK, max_states)) m->plain[m->n_plain++] = i;
    }
    if (place == PLACE_ANYWHERE) link_failures(t);
    finish_cells(t);
    size_t used = (size_t)t->n_states * t->n_classes;
    t->cells = mem_realloc(t->cells, mem_mul(used, sizeof *t->cells));
    *cells -= used < *cells ? used : *cells;
}

struct matcher *matcher_new(const struct match_pattern *patterns, size_t n, size_t *cells) {
    struct matcher *m = mem_zalloc(sizeof *m);
    m->patterns = mem_alloc(mem_mul(n, sizeof *m->patterns));
    m->plain = mem_alloc(mem_mul(n, sizeof *m->plain));
    for (size_t i = 0; i < n; i++) {
        m->patterns[i] = patterns[i];
        if (!patterns[i].text.len) m->plain[m->n_plain++] = (uint32_t)i;
    }
    make_table(&m->front, m, n, PLACE_FRONT, cells);
    make_table(&m->back, m, n, PLACE_BACK, cells);
    make_table(&m->anywhere, m, n, PLACE_ANYWHERE, cells);
    for (size_t i = 0; i < m->n_plain; i++) m->wants_folded |= m->patterns[m->plain[i]].text.len > 0;
    return m;
}

bool matcher_wants_folded(const struct matcher *m) {
    return m->wants_folded;
}

static void free_table(struct table *t) {
    mem_free(t->cells);
    mem_free(t->first);
    mem_free(t->suffix);
    mem_free(t->outputs);
}

void matcher_free(struct matcher **pm) {
    struct matcher *m = *pm;
    if (!m) return;
    free_table(&m->front);
    free_table(&m->back);
    free_table(&m->anywhere);
    mem_free(m->patterns);
    mem_free(m->plain);
    mem_free(m);
    *pm = NULL;
}

/* ---- running ---- */

static void report(const struct matcher *m, uint32_t pattern, struct match_sink *sink) {
    uint32_t id = m->patterns[pattern].id;
    if (sink->seen[id] == sink->mark) return;
    sink->seen[id] = sink->mark;
    sink->hits[sink->n++] = id;
}

static void run_front(const struct matcher *m, struct slice text, struct match_sink *sink) {
    const struct table *t = &m->front;
    uint32_t row = ROOT * t->n_classes;
    for (size_t i = 0; i < text.len; i++) {
        uint32_t cell = t->cells[row + t->class_of[text.p[i]]];
        row = cell & CELL_ROW;
        if (!row) return;
        if (!(cell & CELL_FOUND)) continue;
        for (uint32_t o = t->first[row / t->n_classes]; o != NO_OUTPUT; o = t->outputs[o].next) {
            uint32_t p = t->outputs[o].pattern;
            if (m->patterns[p].kind == MATCH_BEGIN || i + 1 == text.len) report(m, p, sink);
        }
    }
}

static void run_back(const struct matcher *m, struct slice text, struct match_sink *sink) {
    const struct table *t = &m->back;
    uint32_t row = ROOT * t->n_classes;
    for (size_t i = text.len; i > 0; i--) {
        uint32_t cell = t->cells[row + t->class_of[text.p[i - 1]]];
        row = cell & CELL_ROW;
        if (!row) return;
        if (!(cell & CELL_FOUND)) continue;
        for (uint32_t o = t->first[row / t->n_classes]; o != NO_OUTPUT; o = t->outputs[o].next) {
            uint32_t p = t->outputs[o].pattern;
            if (m->patterns[p].kind == MATCH_END || i == 1 || text.p[i - 2] == '\\') report(m, p, sink);
        }
    }
}

static void report_state(const struct matcher *m, uint32_t row, struct match_sink *sink) {
    const struct table *t = &m->anywhere;
    for (uint32_t state = row / t->n_classes; state; state = t->suffix[state]) {
        for (uint32_t o = t->first[state]; o != NO_OUTPUT; o = t->outputs[o].next)
            report(m, t->outputs[o].pattern, sink);
    }
}

static void run_anywhere(const struct matcher *m, struct slice text, struct match_sink *sink) {
    const struct table *t = &m->anywhere;
    const uint32_t *cells = t->cells;
    uint32_t row = ROOT * t->n_classes;
    for (size_t i = 0; i < text.len; i++) {
        uint32_t cell = cells[row + t->class_of[text.p[i]]];
        row = cell & CELL_ROW;
        if (cell & CELL_FOUND) report_state(m, row, sink);
    }
}

void matcher_run(const struct matcher *m, struct slice text, struct match_sink *sink) {
    if (m->front.cells) run_front(m, text, sink);
    if (m->back.cells) run_back(m, text, sink);
    if (m->anywhere.cells) run_anywhere(m, text, sink);
    for (size_t i = 0; i < m->n_plain; i++) {
        const struct match_pattern *p = &m->patterns[m->plain[i]];
        if (match_one(p->kind, p->text, text)) report(m, m->plain[i], sink);
    }
}
