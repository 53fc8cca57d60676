/* Family trees: climb to the root, then walk down from the process that was asked for. */
#include "tree.h"
#include "arena.h"
#include "clock.h"
#include "mem.h"
#include "text.h"

#include <stdlib.h>

#define TREE_TEXT_CAP (64u * 1024 * 1024)

void tree_deinit(struct tree *t) {
    mem_free(t->nodes);
    if (t->text) arena_deinit(t->text);
    mem_free(t->text);
    *t = (struct tree){0};
}

static struct tree_node *add_node(struct tree *t, const struct proc *p, unsigned depth) {
    mem_grow((void **)&t->nodes, t->n, &t->cap, sizeof *t->nodes);
    struct tree_node *n = &t->nodes[t->n++];
    *n = (struct tree_node){.proc = *p, .mark = p->has_start ? TREE_SEEN : TREE_NOT_SEEN, .depth = depth};
    return n;
}

/* The row, its texts moved into the tree's arena. A process that only its children know gives what they say of it. */
static enum status load(struct db *db, uint32_t host, const struct guid *g, struct tree *t, struct proc *ret,
                        struct error *err) {
    struct buf bytes = {0};
    enum status st = procs_get(db, host, g, ret, &bytes, err);
    if (!st) {
        struct slice *texts[] = {&ret->image,     &ret->command_line,     &ret->user,
                                 &ret->hashes,    &ret->parent_image,     &ret->parent_command_line,
                                 &ret->integrity, &ret->current_directory};
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) *texts[i] = arena_copy(t->text, *texts[i]);
        if (t->text->exhausted) st = error_set(err, ST_TOOBIG, "this tree's texts are over the limit of 64 MiB");
    }
    buf_free(&bytes);
    return st;
}

static bool holds(const struct tree *t, const struct guid *g) {
    for (size_t i = 0; i < t->n; i++) {
        if (guid_eq(&t->nodes[i].proc.guid, g)) return true;
    }
    return false;
}

/* Ancestors of the target, nearest first, as nodes; the caller turns them round. */
static enum status climb(struct db *db, uint32_t host, struct proc *from, struct tree *t, struct error *err) {
    struct proc child = *from;
    while (!guid_is_zero(&child.parent)) {
        if (t->n >= TREE_MAX_DEPTH) {
            t->truncated = true;
            return ST_OK;
        }
        if (holds(t, &child.parent) || guid_eq(&child.parent, &from->guid)) {
            add_node(t, &(struct proc){.guid = child.parent}, 0)->mark = TREE_CYCLE;
            return ST_OK;
        }
        struct proc parent;
        enum status st = load(db, host, &child.parent, t, &parent, err);
        if (st == ST_NOTFOUND) {
            parent = (struct proc){.guid = child.parent,
                                   .image = child.parent_image,
                                   .command_line = child.parent_command_line,
                                   .pid = child.parent_pid};
        } else if (st) {
            return st;
        }
        add_node(t, &parent, 0);
        child = parent;
    }
    t->root_known = child.has_start;
    return ST_OK;
}

static void turn_round(struct tree *t) {
    for (size_t i = 0; i < t->n / 2; i++) {
        struct tree_node x = t->nodes[i];
        t->nodes[i] = t->nodes[t->n - 1 - i];
        t->nodes[t->n - 1 - i] = x;
    }
    for (size_t i = 0; i < t->n; i++) t->nodes[i].depth = (unsigned)i;
}

static uint64_t start_of(const struct proc *p) {
    return p->start ? p->start : p->first_seen;
}

static int by_start_descending(const void *pa, const void *pb) {
    const struct proc *a = pa, *b = pb;
    uint64_t x = start_of(a), y = start_of(b);
    return x != y ? (x < y) - (x > y) : memcmp(b->guid.b, a->guid.b, GUID_LEN);
}

struct pending {
    struct proc proc;
    unsigned depth;
};

struct stack {
    struct pending *items;
    size_t n, cap;
};

/* Pushes the children of `parent`, the earliest on top. */
static enum status push_children(struct db *db, uint32_t host, const struct guid *parent, unsigned depth,
                                 struct tree *t, struct stack *s, struct error *err) {
    struct guid *children;
    size_t n, loaded = 0;
    enum status st = procs_children(db, host, parent, &children, &n, err);
    if (st) return st;
    struct proc *rows = mem_alloc(mem_mul(n, sizeof *rows));
    for (size_t i = 0; i < n && !st; i++) {
        if (t->n + s->n + loaded >= TREE_MAX_NODES) {
            t->truncated = true;
            break;
        }
        st = load(db, host, &children[i], t, &rows[loaded], err);
        if (!st) loaded++;
        if (st == ST_NOTFOUND) st = ST_OK; /* expired between the two reads */
    }
    if (!st) {
        qsort(rows, loaded, sizeof *rows, by_start_descending);
        for (size_t i = 0; i < loaded; i++) {
            mem_grow((void **)&s->items, s->n, &s->cap, sizeof *s->items);
            s->items[s->n++] = (struct pending){rows[i], depth};
        }
    }
    mem_free(rows);
    mem_free(children);
    return st;
}

static enum status descend(struct db *db, uint32_t host, const struct guid *from, unsigned depth, struct tree *t,
                           struct error *err) {
    struct stack s = {0};
    enum status st = push_children(db, host, from, depth + 1, t, &s, err);
    while (!st && s.n) {
        struct pending next = s.items[--s.n];
        bool cycle = holds(t, &next.proc.guid);
        struct tree_node *n = add_node(t, &next.proc, next.depth);
        if (cycle) {
            n->mark = TREE_CYCLE;
        } else if (next.depth >= TREE_MAX_DEPTH) {
            t->truncated = true;
        } else {
            st = push_children(db, host, &next.proc.guid, next.depth + 1, t, &s, err);
        }
    }
    mem_free(s.items);
    return st;
}

MUST_USE enum status tree_build(struct db *db, uint32_t host, const struct guid *g, struct tree *ret,
                                struct error *err) {
    struct tree t = {.text = mem_alloc(sizeof *t.text)};
    arena_init(t.text, TREE_TEXT_CAP);
    struct proc target;
    enum status st = load(db, host, g, &t, &target, err);
    if (!st) st = climb(db, host, &target, &t, err);
    if (!st) {
        turn_round(&t);
        unsigned depth = (unsigned)t.n;
        add_node(&t, &target, depth)->is_target = true;
        st = descend(db, host, g, depth, &t, err);
    }
    if (st) {
        tree_deinit(&t);
        return st;
    }
    *ret = t;
    return ST_OK;
}

MUST_USE enum status tree_find_pid(struct db *db, uint32_t host, uint32_t pid, uint64_t at, struct guid *ret,
                                   struct error *err) {
    struct proc_by_pid *found;
    size_t n, best = SIZE_MAX;
    enum status st = procs_by_pid(db, host, pid, &found, &n, err);
    if (st) return st;
    for (size_t i = 0; i < n; i++) {
        if (!at || found[i].start <= at) best = i; /* by start time: the last one wins */
    }
    if (best == SIZE_MAX) {
        char first[FILETIME_TEXT_MAX] = "";
        if (n) filetime_format(found[0].start, 3, first);
        st = n ? error_set(err, ST_NOTFOUND, "no process had PID %lu at that time; the first one known started %s",
                           (unsigned long)pid, first)
               : error_set(err, ST_NOTFOUND, "no process with PID %lu is known on this host", (unsigned long)pid);
    } else {
        *ret = found[best].guid;
        struct proc p;
        struct buf bytes = {0};
        if (at && !procs_get(db, host, ret, &p, &bytes, err) && p.has_end && p.end < at) {
            char end[FILETIME_TEXT_MAX];
            filetime_format(p.end, 3, end);
            st = error_set(err, ST_NOTFOUND, "no process had PID %lu at that time; the last one before it ended %s",
                           (unsigned long)pid, end);
        }
        buf_free(&bytes);
    }
    mem_free(found);
    return st;
}

/* ---- writing ---- */

static void put_time(struct buf *out, uint64_t ft) {
    char text[FILETIME_TEXT_MAX];
    buf_append(out, text, filetime_format(ft, 3, text));
}

static uint64_t count_events(const struct proc *p) {
    uint64_t n = 0;
    for (size_t i = 0; i <= PROC_MAX_EVENT_ID; i++) n += p->counts[i];
    return n;
}

static void text_line(const struct tree_node *n, struct buf *out) {
    const struct proc *p = &n->proc;
    char guid[GUID_TEXT_MAX];
    guid_format(&p->guid, false, guid);
    buf_printf(out, "%s%*s", n->is_target ? "> " : "  ", (int)(2 * n->depth), "");
    if (start_of(p)) {
        put_time(out, start_of(p));
        buf_byte(out, ' ');
    }
    buf_str(out, "pid ");
    if (p->pid) {
        buf_printf(out, "%lu ", (unsigned long)p->pid);
    } else {
        buf_str(out, "? ");
    }
    if (p->command_line.len) {
        text_printable(out, p->command_line, 400);
    } else if (p->image.len) {
        text_printable(out, p->image, 400);
    } else {
        buf_str(out, "(image not known)");
    }
    if (p->user.len) {
        buf_str(out, "  [");
        text_printable(out, p->user, 100);
        buf_byte(out, ']');
    }
    if (p->has_end) {
        buf_str(out, " ended ");
        put_time(out, p->end);
    }
    buf_printf(out, "  %s", guid);
    if (count_events(p)) buf_printf(out, " %llu events", (unsigned long long)count_events(p));
    if (n->mark == TREE_NOT_SEEN) buf_str(out, "  (its start was not seen)");
    if (n->mark == TREE_CYCLE) buf_str(out, "  (its own ancestor: cut here)");
    buf_byte(out, '\n');
}

void tree_write_text(const struct tree *t, struct buf *out) {
    if (t->n && !t->root_known && t->nodes[0].mark != TREE_CYCLE) {
        buf_str(out, "  (what started the first process below is not known)\n");
    }
    for (size_t i = 0; i < t->n; i++) text_line(&t->nodes[i], out);
    if (t->truncated) buf_str(out, "  (more than can be shown: ask for the tree of one of the children)\n");
}

static void json_text(struct buf *out, const char *key, struct slice s) {
    if (!s.len) return;
    buf_printf(out, ",\"%s\":\"", key);
    text_json(out, s);
    buf_byte(out, '"');
}

static void json_time(struct buf *out, const char *key, bool has, uint64_t ft) {
    char text[FILETIME_TEXT_MAX];
    if (!has) return;
    filetime_format(ft, 7, text);
    buf_printf(out, ",\"%s\":\"%s\"", key, text);
}

static void json_line(const struct tree_node *n, struct buf *out) {
    static const char *const marks[] = {"seen", "not_seen", "cycle"};
    const struct proc *p = &n->proc;
    char guid[GUID_TEXT_MAX];
    guid_format(&p->guid, false, guid);
    buf_printf(out, "{\"guid\":\"%s\"", guid);
    if (!guid_is_zero(&p->parent)) {
        guid_format(&p->parent, false, guid);
        buf_printf(out, ",\"parent_guid\":\"%s\"", guid);
    }
    buf_printf(out, ",\"depth\":%u,\"target\":%s,\"start_event\":\"%s\"", n->depth, n->is_target ? "true" : "false",
               marks[n->mark]);
    if (p->pid) buf_printf(out, ",\"pid\":%lu", (unsigned long)p->pid);
    if (p->parent_pid) buf_printf(out, ",\"parent_pid\":%lu", (unsigned long)p->parent_pid);
    json_time(out, "start", p->has_start, p->start);
    json_time(out, "end", p->has_end, p->end);
    json_time(out, "first_seen", p->first_seen != 0, p->first_seen);
    json_time(out, "last_seen", p->last_seen != 0, p->last_seen);
    json_text(out, "image", p->image);
    json_text(out, "command_line", p->command_line);
    json_text(out, "current_directory", p->current_directory);
    json_text(out, "user", p->user);
    json_text(out, "integrity_level", p->integrity);
    json_text(out, "hashes", p->hashes);
    json_text(out, "parent_image", p->parent_image);
    json_text(out, "parent_command_line", p->parent_command_line);
    buf_str(out, ",\"events\":{");
    bool first = true;
    for (unsigned i = 0; i <= PROC_MAX_EVENT_ID; i++) {
        if (!p->counts[i]) continue;
        if (i == PROC_MAX_EVENT_ID) {
            buf_printf(out, "%s\"other\":%llu", first ? "" : ",", (unsigned long long)p->counts[i]);
        } else {
            buf_printf(out, "%s\"%u\":%llu", first ? "" : ",", i, (unsigned long long)p->counts[i]);
        }
        first = false;
    }
    buf_str(out, "}}\n");
}

void tree_write_json(const struct tree *t, struct buf *out) {
    for (size_t i = 0; i < t->n; i++) json_line(&t->nodes[i], out);
}
