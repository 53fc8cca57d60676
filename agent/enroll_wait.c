/* Waiting for an enrolment. Invariants: a token that was refused for good is not asked with again; a file that cannot be used
 * stays as it is and is looked at again when its content changes; the lock of the state directory is held only while a
 * collector is asked, so that a person can enrol beside. Main thread (on Windows the service's). */
#include "enroll_wait.h"
#include "clock.h"
#include "enroll.h"
#include "file.h"
#include "keystore.h"
#include "log.h"
#include "mem.h"
#include "setup.h"
#include "text.h"
#include "uplink_wire.h"

#include <stdio.h>

#define AREA "enroll"
#define NOTE_FILE "enrolment"
#define NOTE_MAX 2048u
#define LOOK_MS 1000u /* for a file, or an identity, that came */

enum wait_next {
    WAIT_READY,  /* enrolled, nothing to be used */
    WAIT_LOOK,   /* for a file or an identity, or a file that changes */
    WAIT_RETRY,  /* ask with the same file again, after a pause */
    WAIT_AT_ONCE /* look again now */
};

struct wait {
    const struct enroll_wait_options *o;
    char *path, *note;
    struct buf bad;            /* what the file held when it could not be used: not tried again */
    bool is_bad;               /* bad is of the file that is there */
    bool said;                 /* that there is nothing to enrol with */
    char told[ERROR_TEXT_MAX]; /* the last reason that was said: not again and again */
    unsigned pause_ms;
    struct error err;
};

/* ---- pauses ---- */

struct pause {
    struct wire *wire;
    bool (*stop)(void);
    uint64_t until;
    bool stopped;
};

static void on_tick(void *ctx) {
    struct pause *p = ctx;
    if (p->stop && p->stop()) p->stopped = true;
    if (p->stopped || clock_mono_ms() >= p->until) wire_end(p->wire);
}

static void on_signal(void *ctx, bool hang_up) {
    struct pause *p = ctx;
    if (hang_up) return;
    p->stopped = true;
    wire_end(p->wire);
}

/* False: stopped meanwhile. */
static bool pause_for(const struct wait *w, unsigned ms) {
    struct pause p = {.wire = wire_new(), .stop = w->o->stop, .until = clock_mono_ms() + ms};
    wire_set_user(p.wire, &(struct wire_user){.ctx = &p, .on_tick = on_tick, .on_signal = on_signal});
    wire_run(p.wire);
    wire_free(&p.wire);
    return !p.stopped;
}

/* Many hosts that were installed in the same minute do not come back in the same second. */
static unsigned next_pause(struct wait *w) {
    uint32_t r;
    tls_random(&r, sizeof r);
    unsigned ms = w->pause_ms ? w->pause_ms : w->o->retry_min_ms;
    w->pause_ms = ms < w->o->retry_max_ms / 2 ? ms * 2 : w->o->retry_max_ms;
    return ms - ms / 4 * (r % 1024) / 1024;
}

/* ---- words ---- */

static void note(struct wait *w, const char *text) {
    char now[FILETIME_TEXT_MAX];
    struct buf line = {0};
    struct error err = {0};
    filetime_format(clock_wall(), 0, now);
    buf_printf(&line, "%s %s\n", now, text);
    if (file_replace(w->note, buf_slice(&line), 0600, &err)) log_warn(AREA, "%s", err.msg);
    buf_free(&line);
}

void enroll_wait_explain(const char *state, struct buf *out) {
    char *path = file_join(state, NOTE_FILE);
    struct buf text = {0};
    if (file_exists(path) && file_read(path, NOTE_MAX, &text, NULL) == ST_OK) {
        while (text.len && text.p[text.len - 1] == '\n') text.len--;
        text_printable(out, buf_slice(&text), NOTE_MAX);
    }
    buf_free(&text);
    mem_free(path);
}

/* ---- one look ---- */

static void keep_bad(struct wait *w, struct slice content) {
    buf_clear(&w->bad);
    buf_slice_append(&w->bad, content);
    w->is_bad = true;
}

static void remove_file(struct wait *w, struct slice content) {
    struct error err = {0};
    if (!file_remove(w->path, &err)) return;
    log_warn(AREA, "%s; remove it: its token is of no more use", err.msg);
    keep_bad(w, content); /* or it would be used for ever */
}

/* A file that a person has to mend. Said once for each content. */
static enum wait_next unusable(struct wait *w, struct slice content) {
    log_error(AREA, "%s; it stays as it is until it is changed", w->err.msg);
    note(w, w->err.msg);
    keep_bad(w, content);
    return WAIT_LOOK;
}

static void on_pending(void *ctx, const char *reason) {
    char text[ERROR_TEXT_MAX + 100];
    snprintf(text, sizeof text, "enrolment is pending: %s", reason);
    note(ctx, text);
}

static enum status ask(struct wait *w, const struct setup_file *f, bool *ret_final) {
    struct buf *full = mem_zalloc(mem_mul(w->o->n_collectors + 1, sizeof *full));
    const char **names = mem_zalloc(mem_mul(f->collectors.n + w->o->n_collectors + 1, sizeof *names));
    size_t n = f->collectors.n;
    enum status st = ST_OK;
    for (size_t i = 0; i < n; i++) names[i] = f->collectors.items[i];
    for (size_t i = 0; !f->collectors.n && i < w->o->n_collectors && !st; i++) {
        st = setup_full_address(slice_str(w->o->collectors[i]), &full[i], &w->err);
        if (!st) names[n++] = buf_cstr(&full[i]);
    }
    struct enroll_options e = {.token = f->token,
                               .state = w->o->state,
                               .name = *f->name ? f->name : NULL,
                               .wait = true,
                               .collectors = names,
                               .n_collectors = n,
                               .stop = w->o->stop,
                               .pending = on_pending,
                               .ctx = w,
                               .ret_final = ret_final};
    if (!st) st = enroll_run(&e, &w->err);
    for (size_t i = 0; i < w->o->n_collectors; i++) buf_free(&full[i]);
    mem_free(names);
    mem_free(full);
    return st;
}

/* What asking came to. */
static enum wait_next answered(struct wait *w, enum status st, bool final, struct slice content) {
    char text[ERROR_TEXT_MAX + 100];
    if (final) {
        log_error(AREA, "%s. The token is of no use here: %s is removed", w->err.msg, w->path);
        note(w, w->err.msg);
        remove_file(w, content);
        w->said = true; /* the reason is what a person has to know */
        w->pause_ms = 0;
        return WAIT_AT_ONCE;
    }
    switch (st) {
    case ST_OK:
        log_info(AREA, "this host is enrolled; %s is removed", w->path);
        remove_file(w, content);
        return WAIT_AT_ONCE;
    case ST_INVALID:
    case ST_FORMAT:
    case ST_CORRUPT:
    case ST_VERSION: return unusable(w, content);
    default:
        if (strcmp(w->told, w->err.msg) != 0) {
            log_warn(AREA, "%s; asking again until it works", w->err.msg);
            memcpy(w->told, w->err.msg, sizeof w->told);
        }
        snprintf(text, sizeof text, "not enrolled yet, asking again: %s", w->err.msg);
        note(w, text);
        return WAIT_RETRY;
    }
}

static enum wait_next use_file(struct wait *w, enum status *ret) {
    struct buf content = {0};
    struct setup_file f = {0};
    enum wait_next next;
    enum status st = keystore_check_file(w->path, &w->err);
    if (!st) st = file_read(w->path, SETUP_FILE_MAX, &content, &w->err);
    if (st == ST_NOTFOUND) {
        next = WAIT_AT_ONCE;
    } else if (w->is_bad && slice_eq(buf_slice(&w->bad), buf_slice(&content))) {
        next = WAIT_LOOK; /* also one that may not be read: both are empty then */
    } else if (st || setup_file_parse(w->path, buf_slice(&content), &f, &w->err)) {
        next = unusable(w, buf_slice(&content));
    } else {
        if (!w->pause_ms) log_info(AREA, "enrolling with %s", w->path);
        note(w, "enrolling; a collector was asked, and has not decided yet");
        bool final = false;
        st = ask(w, &f, &final);
        next = st == ST_CANCELLED ? WAIT_READY : answered(w, st, final, buf_slice(&content));
        *ret = st == ST_CANCELLED ? st : ST_OK;
    }
    setup_file_free(&f);
    if (content.p) mem_wipe(content.p, content.cap);
    buf_free(&content);
    return next;
}

static enum wait_next look(struct wait *w, enum status *ret) {
    struct identity id = {0};
    *ret = keystore_load(w->o->state, &id, &w->err);
    bool file = file_exists(w->path);
    bool known = *ret == ST_OK && (!file || id.not_after > clock_wall()); /* one that has run out is enrolled anew */
    identity_free(&id);
    if (*ret && *ret != ST_NOTFOUND) return WAIT_READY;
    *ret = ST_OK;
    if (!file) w->is_bad = false;
    enum wait_next next = file ? use_file(w, ret) : WAIT_LOOK;
    if (known && next != WAIT_AT_ONCE && *ret == ST_OK) next = WAIT_READY; /* it works as it is */
    if (next == WAIT_LOOK && !file && !w->said) {
        struct buf text = {0};
        buf_printf(
            &text,
            "this host is not enrolled: waiting for `haechi-agent enroll --token TOKEN --state %s`, or for %s with a token",
            w->o->state, w->path);
        log_warn(AREA, "%s", buf_cstr(&text));
        note(w, buf_cstr(&text));
        buf_free(&text);
        w->said = true;
    }
    return next;
}

enum status enroll_wait(const struct enroll_wait_options *o, struct error *err) {
    struct wait w = {.o = o, .path = file_join(o->state, SETUP_FILE), .note = file_join(o->state, NOTE_FILE)};
    enum status st = keystore_dir(o->state, &w.err);
    bool waits = !st;
    while (waits) {
        enum wait_next next = look(&w, &st);
        waits = next != WAIT_READY;
        bool goes_on = next == WAIT_LOOK    ? pause_for(&w, LOOK_MS)
                       : next == WAIT_RETRY ? pause_for(&w, next_pause(&w))
                                            : true;
        if (waits && (!goes_on || (o->stop && o->stop()))) {
            st = error_set(&w.err, ST_CANCELLED, "interrupted");
            waits = false;
        }
    }
    if (!st) st = file_remove(w.note, &w.err);
    if (st && err) *err = w.err;
    if (w.bad.p) mem_wipe(w.bad.p, w.bad.cap);
    buf_free(&w.bad);
    mem_free(w.path);
    mem_free(w.note);
    return st;
}
