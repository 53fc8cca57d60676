/* 9 DIGEST: process rows on their way into the table. */
#include "procrun.h"
#include "keys.h"
#include "log.h"
#include "mem.h"

#include <stdlib.h>

void procrun_init(struct procrun *r) {
    *r = (struct procrun){0};
    arena_init(&r->arena, SIZE_MAX);
}

void procrun_clear(struct procrun *r) {
    r->n = 0;
    if (r->slots) memset(r->slots, 0, r->n_slots * sizeof *r->slots);
    arena_reset(&r->arena);
}

void procrun_deinit(struct procrun *r) {
    mem_free(r->entries);
    mem_free(r->slots);
    arena_deinit(&r->arena);
    *r = (struct procrun){0};
}

size_t procrun_bytes(const struct procrun *r) {
    return r->n * sizeof *r->entries + r->arena.used;
}

static bool is_proc(const struct procrun_entry *e, uint32_t host, const struct guid *g) {
    return e->host == host && guid_eq(&e->proc.guid, g);
}

/* The slot of the process, or the free one where it belongs. */
static uint32_t *slot_of(struct procrun *r, uint32_t host, const struct guid *g) {
    size_t at = (key_guid_hash(g->b) ^ host * UINT32_C(2654435761)) & (r->n_slots - 1);
    while (r->slots[at] && !is_proc(&r->entries[r->slots[at] - 1], host, g)) at = (at + 1) & (r->n_slots - 1);
    return &r->slots[at];
}

static void grow_slots(struct procrun *r) {
    if (r->n * 2 < r->n_slots) return;
    mem_free(r->slots);
    r->n_slots = r->n_slots ? r->n_slots * 2 : 1024;
    r->slots = mem_zalloc(mem_mul(r->n_slots, sizeof *r->slots));
    for (size_t i = 0; i < r->n; i++) *slot_of(r, r->entries[i].host, &r->entries[i].proc.guid) = (uint32_t)i + 1;
}

/* Texts that the merge took from p move into the arena. */
static void own_texts(struct procrun *r, struct proc *p, const struct proc *before) {
    struct slice *now[] = PROC_TEXTS(p);
    const struct slice *old[] = PROC_TEXTS(before);
    for (size_t i = 0; i < sizeof now / sizeof *now; i++) {
        if (now[i]->len && now[i]->p != old[i]->p) *now[i] = arena_copy(&r->arena, *now[i]);
    }
}

void procrun_add(struct procrun *r, uint32_t host, const struct proc *p) {
    grow_slots(r);
    uint32_t *slot = slot_of(r, host, &p->guid);
    if (!*slot) {
        mem_grow((void **)&r->entries, r->n, &r->cap, sizeof *r->entries);
        r->entries[r->n] = (struct procrun_entry){.host = host, .proc.guid = p->guid};
        *slot = (uint32_t)++r->n;
    }
    struct proc *mine = &r->entries[*slot - 1].proc, before = *mine;
    proc_merge(mine, p);
    own_texts(r, mine, &before);
}

static int by_key(const void *pa, const void *pb) {
    const struct procrun_entry *a = pa, *b = pb;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    return memcmp(a->proc.guid.b, b->proc.guid.b, GUID_LEN);
}

static int put_empty(MDB_txn *txn, MDB_dbi dbi, struct slice key) {
    MDB_val k = env_val(key), v = {.mv_size = 0};
    return mdb_put(txn, dbi, &k, &v, 0);
}

static int delete (MDB_txn *txn, MDB_dbi dbi, struct slice key) {
    MDB_val k = env_val(key);
    int rc = mdb_del(txn, dbi, &k, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Children and PIDs follow the row; what the old row had put there goes. */
static int link_row(struct partition *p, MDB_txn *txn, uint32_t host, const struct proc *old, const struct proc *now) {
    uint8_t key[KEY_CHILD_LEN], gone[KEY_CHILD_LEN];
    int rc = 0;
    MDB_dbi children = env_dbi(p->index, INDEX_CHILDREN), pids = env_dbi(p->index, INDEX_PIDS);
    key_child(key, host, &now->parent, &now->guid);
    key_child(gone, host, &old->parent, &now->guid);
    if (memcmp(key, gone, KEY_CHILD_LEN) != 0) {
        if (!guid_is_zero(&old->parent)) rc = delete (txn, children, slice_of(gone, KEY_CHILD_LEN));
        if (!rc && !guid_is_zero(&now->parent)) rc = put_empty(txn, children, slice_of(key, KEY_CHILD_LEN));
    }
    if (rc) return rc;
    key_pid(key, host, now->pid, now->start, &now->guid);
    key_pid(gone, host, old->pid, old->start, &now->guid);
    if (memcmp(key, gone, KEY_PID_LEN) != 0) {
        if (old->pid) rc = delete (txn, pids, slice_of(gone, KEY_PID_LEN));
        if (!rc && now->pid) rc = put_empty(txn, pids, slice_of(key, KEY_PID_LEN));
    }
    return rc;
}

static int store_row(struct partition *p, MDB_txn *txn, MDB_cursor *c, const struct procrun_entry *e, struct buf *row) {
    uint8_t key[KEY_PROC_LEN];
    key_proc(key, e->host, &e->proc.guid);
    MDB_val k = env_val(slice_of(key, sizeof key)), v;
    struct proc old = {.guid = e->proc.guid}, now;
    int rc = mdb_cursor_get(c, &k, &v, MDB_SET);
    if (rc && rc != MDB_NOTFOUND) return rc;
    if (!rc && proc_decode(env_slice(v), &old)) {
        log_warn("storage", "%s: a process row is damaged; it is replaced by what is known now", env_dir(p->index));
        old = (struct proc){.guid = e->proc.guid};
    }
    now = old;
    proc_merge(&now, &e->proc);
    buf_clear(row); /* before old's texts go with the page that they lie in */
    proc_encode(&now, row);
    struct proc old_links = {.parent = old.parent, .pid = old.pid, .start = old.start};
    k = env_val(slice_of(key, sizeof key));
    v = env_val(buf_slice(row));
    rc = mdb_cursor_put(c, &k, &v, 0);
    return rc ? rc : link_row(p, txn, e->host, &old_links, &now);
}

int procrun_store(struct procrun *r, struct partition *p, MDB_txn *txn) {
    if (!r->n) return 0;
    qsort(r->entries, r->n, sizeof *r->entries, by_key);
    memset(r->slots, 0, r->n_slots * sizeof *r->slots);
    for (size_t i = 0; i < r->n; i++) *slot_of(r, r->entries[i].host, &r->entries[i].proc.guid) = (uint32_t)i + 1;
    MDB_cursor *c;
    int rc = mdb_cursor_open(txn, env_dbi(p->index, INDEX_PROCS), &c);
    if (rc) return rc;
    struct buf row = {0};
    for (size_t i = 0; i < r->n && !rc; i++) rc = store_row(p, txn, c, &r->entries[i], &row);
    mdb_cursor_close(c);
    buf_free(&row);
    return rc;
}
