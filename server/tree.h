/* A process's family: its ancestors and descendants from the process table.
 *
 * Nodes that no event 1 was seen for are shown from what their children or events say and marked; a zero or unknown
 * parent ends the line upwards and says which of the two it is. Cycles and self-parents (hostile data) are cut and
 * marked. Blocking reads: work threads only. */
#ifndef HAECHI_TREE_H
#define HAECHI_TREE_H

#include "procs.h"

#define TREE_MAX_NODES 20000
#define TREE_MAX_DEPTH 256

enum tree_mark {
    TREE_SEEN,     /* its event 1 is in the store */
    TREE_NOT_SEEN, /* started before Sysmon, filtered, expired, or not collected: known by others' events only */
    TREE_CYCLE     /* its own ancestor: cut here */
};

struct tree_node {
    struct proc proc; /* slices borrow from tree->text */
    enum tree_mark mark;
    unsigned depth;
    bool is_target; /* the process that was asked for */
};

struct tree {
    struct tree_node *nodes; /* in print order: root first, children by start time */
    size_t n, cap;
    bool root_known; /* the topmost node says that it has no parent (zero GUID): nothing is missing above */
    bool truncated;  /* TREE_MAX_NODES or TREE_MAX_DEPTH was reached */
    struct arena *text;
};

/* ST_NOTFOUND: no event of this host names the GUID. Ancestors without siblings, then all descendants. */
MUST_USE enum status tree_build(struct db *db, uint32_t host, const struct guid *g, struct tree *ret,
                                struct error *err);
void tree_deinit(struct tree *t);

/* The process that had this PID at that time (FILETIME; 0: the latest one): the last one that started at or before it
 * and had not ended. ST_NOTFOUND with a sentence that lists when the PID was used. */
MUST_USE enum status tree_find_pid(struct db *db, uint32_t host, uint32_t pid, uint64_t at, struct guid *ret,
                                   struct error *err);

/* For people: one line a process, indented. JSON: one object a line, parents before children, with depth. */
void tree_write_text(const struct tree *t, struct buf *out);
void tree_write_json(const struct tree *t, struct buf *out);

#endif
