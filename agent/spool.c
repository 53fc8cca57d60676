/* 4 SPOOL  Segments on disk. Invariants: entries are numbered without gaps in the order of reading; only synced entries
 * are given out; a segment is removed only when all its entries are acknowledged; damaged bytes are renamed aside before
 * anything takes their place. Reader thread only. */
#include "spool.h"
#include "crash.h"
#include "file.h"
#include "log.h"
#include "mem.h"
#include "text.h"

#include <stdio.h>

#define AREA "spool"
#define SEGMENT_READ_MAX (64u * 1024 * 1024) /* a larger segment file is not ours */

struct segment {
    uint64_t first_seq, next_seq; /* next_seq: behind its last synced entry */
    uint64_t bytes;
};

struct resume {
    char *source;
    struct buf position;
};

struct spool {
    char *dir;
    uint64_t max_bytes, bytes;
    uint32_t segment_bytes;
    struct segment *segs; /* ascending; the last one is written to when `out` is open */
    size_t n_segs, cap_segs;
    struct file *out; /* the last segment, open for appending; NULL: the next append begins a new one */
    uint64_t synced_len;
    uint64_t next_seq, acked;
    uint64_t pending_entries, pending_events; /* appended, not yet synced */
    struct file *in;                          /* the segment that is being read */
    size_t in_seg;
    uint64_t in_at, read_seq; /* where in it, and the number of the next entry */
    uint64_t unread_events;
    struct resume *resume;
    size_t n_resume, cap_resume;
    bool resume_closed; /* damage was met: later positions do not count */
    unsigned n_bad;
    struct buf scratch;
};

static char *segment_path(const struct spool *sp, uint64_t first_seq, const char *suffix) {
    char name[64];
    snprintf(name, sizeof name, "%016llx.seg%s", (unsigned long long)first_seq, suffix);
    return file_join(sp->dir, name);
}

static void resume_note(struct spool *sp, const struct spool_entry *e) {
    if (sp->resume_closed || !e->position.len) return;
    struct resume *r = NULL;
    for (size_t i = 0; i < sp->n_resume && !r; i++) {
        if (slice_eq_str(e->source, sp->resume[i].source)) r = &sp->resume[i];
    }
    if (!r) {
        mem_grow((void **)&sp->resume, sp->n_resume, &sp->cap_resume, sizeof *sp->resume);
        r = &sp->resume[sp->n_resume++];
        *r = (struct resume){.source = mem_strndup(e->source.p, e->source.len)};
    }
    buf_clear(&r->position);
    buf_slice_append(&r->position, e->position);
}

enum status spool_resume(const struct spool *sp, struct slice source, struct slice *ret_position) {
    for (size_t i = 0; i < sp->n_resume; i++) {
        if (!slice_eq_str(source, sp->resume[i].source)) continue;
        *ret_position = buf_slice(&sp->resume[i].position);
        return ST_OK;
    }
    return ST_NOTFOUND;
}

/* ---- damage ---- */

/* Renames the file to a name with .bad that is not taken. */
static enum status set_aside(struct spool *sp, uint64_t first_seq, struct error *err) {
    char *from = segment_path(sp, first_seq, "");
    enum status st = ST_EXISTS;
    for (unsigned i = 0; i < 1000 && st == ST_EXISTS; i++) {
        char suffix[16];
        snprintf(suffix, sizeof suffix, i ? ".bad.%u" : ".bad", i);
        char *to = segment_path(sp, first_seq, suffix);
        if (!file_exists(to)) {
            st = file_rename(from, to, err);
            if (!st) {
                sp->n_bad++;
                error_set(err, ST_CORRUPT, "a damaged spool segment was set aside as %s", to);
            }
        }
        mem_free(to);
    }
    mem_free(from);
    return st;
}

/* The whole segment is in `bytes` and not as it was written: its file goes aside and what is readable from entry
 * `from_seq` on takes its place. *seg is updated; *err says what happened. */
static enum status salvage(struct spool *sp, struct segment *seg, struct slice bytes, uint64_t from_seq,
                           struct error *err) {
    struct buf good = {0};
    spool_put_head(&good);
    uint64_t kept = 0, lost_at = UINT64_MAX, events = 0;
    uint64_t next_seq = from_seq;
    size_t at = SPOOL_HEAD_LEN, next = 0;
    while (at < bytes.len) {
        struct spool_entry e;
        if (spool_entry_parse(bytes, at, &e, &next) != ST_OK) {
            if (lost_at == UINT64_MAX) lost_at = at;
            at = spool_find_entry(bytes, at);
            continue;
        }
        if (e.seq >= next_seq) {
            if (lost_at == UINT64_MAX) resume_note(sp, &e);
            spool_entry_put(&e, &good);
            next_seq = e.seq + 1;
            kept++;
            events += e.n_events;
        }
        at = next;
    }
    sp->resume_closed = true;
    enum status st = set_aside(sp, seg->first_seq, err);
    if (!st) {
        char *path = segment_path(sp, seg->first_seq, "");
        struct error err2 = {0};
        st = kept ? file_replace(path, buf_slice(&good), 0600, &err2) : ST_OK;
        if (st) {
            error_set(err, st, "%s", err2.msg);
        } else if (err) {
            size_t n = strlen(err->msg);
            snprintf(err->msg + n, sizeof err->msg - n,
                     " (first damage at byte %llu); %llu readable batches of it are kept",
                     (unsigned long long)(lost_at == UINT64_MAX ? 0 : lost_at), (unsigned long long)kept);
        }
        mem_free(path);
        seg->bytes = kept ? good.len : 0;
        seg->next_seq = next_seq;
        sp->unread_events += events;
    }
    buf_free(&good);
    return st;
}

/* ---- open ---- */

static enum status on_name(void *ctx, const char *name) {
    struct spool *sp = ctx;
    struct slice rest = slice_str(name);
    uint64_t first = 0;
    if (rest.len != 20 || !text_take_number(&rest, 16, &first) || !slice_eq_str(rest, ".seg")) return ST_OK;
    mem_grow((void **)&sp->segs, sp->n_segs, &sp->cap_segs, sizeof *sp->segs);
    sp->segs[sp->n_segs++] = (struct segment){.first_seq = first, .next_seq = first};
    return ST_OK;
}

static void note_entry(struct spool *sp, struct segment *seg, const struct spool_entry *e) {
    seg->next_seq = e->seq + 1;
    resume_note(sp, e);
    if (e->seq > sp->acked) sp->unread_events += e->n_events;
}

/* Checks one segment, whole. A torn end is cut off where it may be one: in the last segment. */
static enum status check_segment(struct spool *sp, struct segment *seg, bool last, struct error *err) {
    char *path = segment_path(sp, seg->first_seq, "");
    buf_clear(&sp->scratch);
    enum status st = file_read(path, SEGMENT_READ_MAX, &sp->scratch, err);
    struct slice bytes = buf_slice(&sp->scratch);
    uint64_t events_before = sp->unread_events;
    size_t at = SPOOL_HEAD_LEN, next = 0;
    struct spool_entry e;
    if (st) goto out;
    enum status found = spool_head_ok(bytes) ? ST_OK : ST_CORRUPT;
    if (found && last && bytes.len < SPOOL_HEAD_LEN) at = 0; /* made and not yet written */
    while (!found) {
        found = spool_entry_parse(bytes, at, &e, &next);
        if (!found && e.seq < seg->next_seq) found = ST_CORRUPT;
        if (found) break;
        note_entry(sp, seg, &e);
        at = next;
    }
    seg->bytes = at;
    if (found == ST_END) goto out;
    if (last && spool_find_entry(bytes, at) == bytes.len && bytes.len - at <= SPOOL_MAX_ENTRY) {
        struct file *f = NULL;
        log_info(AREA, "the last write was cut short by a crash: %zu bytes that were not yet counted are cut off",
                 bytes.len - at);
        st = file_open(path, FILE_RDWR, &f, err);
        if (!st) st = file_truncate(f, at, err);
        if (!st) st = file_sync(f, err);
        file_close(&f);
        goto out;
    }
    sp->unread_events = events_before;
    struct error said = {0};
    st = salvage(sp, seg, bytes, sp->acked + 1 > seg->first_seq ? sp->acked + 1 : seg->first_seq, &said);
    if (st) {
        if (err) *err = said;
    } else {
        log_error(AREA, "%s; the sources are read again from before the damage", said.msg);
    }
out:
    mem_free(path);
    return st;
}

static enum status drop_segment(struct spool *sp, size_t i, struct error *err) {
    char *path = segment_path(sp, sp->segs[i].first_seq, "");
    enum status st = file_remove(path, err);
    mem_free(path);
    if (st) return st;
    sp->bytes -= sp->segs[i].bytes;
    memmove(&sp->segs[i], &sp->segs[i + 1], (sp->n_segs - i - 1) * sizeof *sp->segs);
    sp->n_segs--;
    if (sp->in_seg > i) sp->in_seg--;
    return ST_OK;
}

enum status spool_open(const struct spool_options *o, uint64_t acked, struct spool **ret, struct error *err) {
    struct spool *sp = mem_zalloc(sizeof *sp);
    sp->dir = mem_strdup(o->dir);
    sp->max_bytes = o->max_bytes;
    sp->segment_bytes = o->segment_bytes ? o->segment_bytes : SPOOL_SEGMENT_BYTES;
    sp->acked = acked;
    enum status st = file_make_dir(o->dir, 0700, err);
    if (!st) st = file_list_dir(o->dir, on_name, sp, err);
    for (size_t i = 0; i < sp->n_segs && !st; i++) {
        st = check_segment(sp, &sp->segs[i], i + 1 == sp->n_segs, err);
        sp->bytes += sp->segs[i].bytes;
    }
    sp->next_seq = acked + 1;
    for (size_t i = 0; i < sp->n_segs && !st; i++) {
        if (sp->segs[i].next_seq > sp->next_seq) sp->next_seq = sp->segs[i].next_seq;
    }
    for (size_t i = 0; i < sp->n_segs && !st;) {
        if (sp->segs[i].next_seq <= acked + 1)
            st = drop_segment(sp, i, err);
        else
            i++;
    }
    sp->read_seq = acked + 1;
    sp->in_at = SPOOL_HEAD_LEN;
    if (st)
        spool_close(&sp);
    else
        *ret = sp;
    return st;
}

void spool_close(struct spool **sp) {
    if (!*sp) return;
    file_close(&(*sp)->out);
    file_close(&(*sp)->in);
    for (size_t i = 0; i < (*sp)->n_resume; i++) {
        mem_free((*sp)->resume[i].source);
        buf_free(&(*sp)->resume[i].position);
    }
    mem_free((*sp)->resume);
    mem_free((*sp)->segs);
    mem_free((*sp)->dir);
    buf_free(&(*sp)->scratch);
    mem_free(*sp);
    *sp = NULL;
}

/* ---- writing ---- */

bool spool_can_append(const struct spool *sp, size_t batch_len) {
    return sp->bytes + batch_len + SPOOL_ENTRY_HEAD + SPOOL_MAX_NAME + SPOOL_MAX_POSITION <= sp->max_bytes;
}

static enum status begin_segment(struct spool *sp, struct error *err) {
    char *path = segment_path(sp, sp->next_seq, "");
    struct buf head = {0};
    spool_put_head(&head);
    enum status st = file_open(path, FILE_APPEND, &sp->out, err);
    if (!st && file_length(sp->out)) st = file_truncate(sp->out, 0, err);
    if (!st) st = file_append(sp->out, buf_slice(&head), err);
    if (st) {
        file_close(&sp->out);
    } else {
        mem_grow((void **)&sp->segs, sp->n_segs, &sp->cap_segs, sizeof *sp->segs);
        sp->segs[sp->n_segs++] =
            (struct segment){.first_seq = sp->next_seq, .next_seq = sp->next_seq, .bytes = head.len};
        sp->bytes += head.len;
        sp->synced_len = head.len;
    }
    buf_free(&head);
    mem_free(path);
    return st;
}

enum status spool_append(struct spool *sp, const struct spool_entry *e, uint64_t *ret_seq, struct error *err) {
    if (e->source.len > SPOOL_MAX_NAME || e->position.len > SPOOL_MAX_POSITION || e->batch.len > SPOOL_MAX_BATCH) {
        return error_set(err, ST_TOOBIG, "a batch of %zu bytes is too large for the spool", e->batch.len);
    }
    enum status st = ST_OK;
    if (sp->out && file_length(sp->out) >= sp->segment_bytes) {
        st = spool_sync(sp, err);
        if (st) return st;
        file_close(&sp->out);
    }
    if (!sp->out) st = begin_segment(sp, err);
    if (st) return st;
    struct spool_entry mine = *e;
    mine.seq = sp->next_seq;
    buf_clear(&sp->scratch);
    spool_entry_put(&mine, &sp->scratch);
    st = file_append(sp->out, buf_slice(&sp->scratch), err);
    if (st) return st;
    struct segment *seg = &sp->segs[sp->n_segs - 1];
    seg->bytes += sp->scratch.len;
    sp->bytes += sp->scratch.len;
    sp->pending_entries++;
    sp->pending_events += e->n_events;
    *ret_seq = sp->next_seq++;
    return ST_OK;
}

/* After a failed sync nothing since the last good one can be trusted: cut it off and let the file go. */
static void take_back(struct spool *sp) {
    struct segment *seg = &sp->segs[sp->n_segs - 1];
    sp->bytes -= seg->bytes - sp->synced_len;
    seg->bytes = sp->synced_len;
    sp->next_seq -= sp->pending_entries;
    sp->pending_entries = sp->pending_events = 0;
    if (file_truncate(sp->out, sp->synced_len, NULL) != ST_OK) {
        /* What is left is not counted here and is cut off, or recognised as resent, after the next start. */
        log_warn(AREA, "the spool's end could not be cut back after a failed sync");
    }
    file_close(&sp->out);
    if (seg->next_seq == seg->first_seq) {
        /* Nothing in it counts: its name is needed again. */
        sp->bytes -= seg->bytes;
        sp->n_segs--;
    }
}

enum status spool_sync(struct spool *sp, struct error *err) {
    if (!sp->pending_entries) return ST_OK;
    enum status st = file_sync(sp->out, err);
    if (st) {
        take_back(sp);
        return st;
    }
    sp->synced_len = file_length(sp->out);
    sp->segs[sp->n_segs - 1].next_seq = sp->next_seq;
    sp->unread_events += sp->pending_events;
    sp->pending_entries = sp->pending_events = 0;
    crash_point("spool-written");
    return ST_OK;
}

/* ---- reading ---- */

/* The bytes of the entry at in_at, whole, into *into. ST_CORRUPT when they are not one. */
static enum status read_entry(struct spool *sp, struct buf *into, struct spool_entry *ret, struct error *err) {
    buf_clear(into);
    buf_reserve(into, SPOOL_ENTRY_HEAD);
    size_t got = 0, next = 0;
    enum status st = file_read_at(sp->in, sp->in_at, into->p, SPOOL_ENTRY_HEAD, &got, err);
    if (st) return st;
    size_t len = spool_entry_head(slice_of(into->p, got), ret);
    if (!len) return ST_CORRUPT;
    buf_reserve(into, len);
    st = file_read_at(sp->in, sp->in_at, into->p, len, &got, err);
    if (st) return st;
    into->len = got;
    return spool_entry_parse(buf_slice(into), 0, ret, &next) == ST_OK ? ST_OK : ST_CORRUPT;
}

/* The segment that is being read is damaged: aside with it. */
static enum status damage_met(struct spool *sp, struct error *err) {
    struct segment *seg = &sp->segs[sp->in_seg];
    bool writing = sp->out && sp->in_seg + 1 == sp->n_segs;
    file_close(&sp->in);
    if (writing) {
        enum status synced = spool_sync(sp, err);
        if (synced) return synced;
        file_close(&sp->out);
    }
    char *path = segment_path(sp, seg->first_seq, "");
    buf_clear(&sp->scratch);
    enum status st = file_read(path, SEGMENT_READ_MAX, &sp->scratch, err);
    mem_free(path);
    if (st) return st;
    uint64_t was = seg->bytes, unread = sp->unread_events;
    st = salvage(sp, seg, buf_slice(&sp->scratch), sp->read_seq, err);
    sp->bytes = sp->bytes - was + seg->bytes;
    sp->unread_events = unread; /* the lost ones are still in it, until everything is read */
    sp->in_at = SPOOL_HEAD_LEN;
    if (!st && !seg->bytes) { /* nothing of it was readable */
        memmove(seg, seg + 1, (sp->n_segs - sp->in_seg - 1) * sizeof *seg);
        sp->n_segs--;
    }
    return st ? st : ST_CORRUPT;
}

enum status spool_next(struct spool *sp, struct buf *into, struct spool_entry *ret, struct error *err) {
    for (;;) {
        if (sp->in_seg >= sp->n_segs) return ST_END;
        struct segment *seg = &sp->segs[sp->in_seg];
        if (sp->read_seq >= seg->next_seq) {
            if (sp->in_seg + 1 >= sp->n_segs) return ST_END;
            file_close(&sp->in);
            sp->in_seg++;
            sp->in_at = SPOOL_HEAD_LEN;
            continue;
        }
        enum status st = ST_OK;
        if (!sp->in) {
            char *path = segment_path(sp, seg->first_seq, "");
            st = file_open(path, FILE_READ, &sp->in, err);
            mem_free(path);
            if (st) return st;
        }
        struct spool_entry e;
        st = read_entry(sp, into, &e, err);
        if (st == ST_CORRUPT) return damage_met(sp, err);
        if (st) return st;
        sp->in_at += into->len;
        if (e.seq < sp->read_seq) continue; /* acknowledged before the start */
        sp->read_seq = e.seq + 1;
        sp->unread_events = sp->unread_events > e.n_events ? sp->unread_events - e.n_events : 0;
        *ret = e;
        return ST_OK;
    }
}

enum status spool_ack(struct spool *sp, uint64_t seq, struct error *err) {
    if (seq > sp->acked) sp->acked = seq;
    while (sp->n_segs) {
        struct segment *seg = &sp->segs[0];
        bool writing = sp->out && sp->n_segs == 1;
        if (seg->next_seq > sp->acked + 1 || writing || sp->pending_entries) return ST_OK;
        if (sp->in_seg == 0) {
            file_close(&sp->in);
            sp->in_at = SPOOL_HEAD_LEN;
        }
        enum status st = drop_segment(sp, 0, err);
        if (st) return st;
    }
    return ST_OK;
}

struct spool_stats spool_stats(const struct spool *sp) {
    uint64_t durable = sp->next_seq - sp->pending_entries;
    return (struct spool_stats){.bytes = sp->bytes,
                                .max_bytes = sp->max_bytes,
                                .unread_entries = durable > sp->read_seq ? durable - sp->read_seq : 0,
                                .unread_events = durable > sp->read_seq ? sp->unread_events : 0,
                                .next_seq = sp->next_seq,
                                .acked = sp->acked,
                                .n_bad = sp->n_bad};
}
