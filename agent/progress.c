/* Texts for people, from numbers. Pure. */
#include "progress.h"
#include "clock.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

#define BAR_WIDTH 30u

void progress_number(struct buf *out, uint64_t n) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) buf_byte(out, ',');
        buf_byte(out, (uint8_t)digits[i]);
    }
}

void progress_bar(struct buf *out, const struct feeder_report *r, const struct uplink_status *u) {
    uint64_t inputs = r->n_inputs ? r->n_inputs : 1;
    uint64_t in_file = r->bytes_all ? r->bytes_done * 1000 / r->bytes_all : 0;
    uint64_t read = (r->input * 1000 + (in_file > 1000 ? 1000 : in_file)) / inputs;
    if (read > 1000 || r->input >= r->n_inputs) read = 1000;
    uint64_t acked = r->events ? u->acked_events * 1000 / r->events : 0;
    uint64_t done = read * (acked > 1000 ? 1000 : acked) / 1000;
    buf_byte(out, '[');
    for (unsigned i = 0; i < BAR_WIDTH; i++) buf_byte(out, i < done * BAR_WIDTH / 1000 ? '#' : '.');
    buf_printf(out, "] %3llu %%  ", (unsigned long long)(done / 10));
    progress_number(out, u->acked_events);
    buf_str(out, " events acknowledged");
    if (!u->connected) buf_printf(out, " (%s)", u->state);
}

void status_write(struct buf *out, const struct status_facts *f, const struct feeder_report *r,
                  const struct uplink_status *u) {
    const struct {
        const char *key;
        uint64_t v;
    } numbers[] = {
        {"written", f->now},
        {"started", f->started},
        {"certificate_until", f->not_after},
        {"connected", u->connected},
        {"events_read", r->events},
        {"events_acknowledged", u->acked_events},
        {"events_waiting", r->events_unread + u->unacked_events},
        {"events_rejected", u->rejected_events},
        {"batches_rejected", u->rejected_batches},
        {"records_skipped", r->skipped},
        {"parse_errors", r->parse_errors},
        {"lines_of_others", r->foreign},
        {"spool_bytes", r->spool_bytes},
        {"spool_max_bytes", r->spool_max_bytes},
        {"spool_full", r->spool_full},
        {"spool_set_aside", r->spool_bad},
        {"reconnects", u->reconnects},
    };
    buf_printf(out, "host %s\nversion %s\ncollector %s\nstate %s\n", f->host_name, f->version, u->collector, u->state);
    if (*u->trouble) {
        buf_str(out, "trouble ");
        text_printable(out, slice_str(u->trouble), 400);
        buf_str(out, "\n");
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        buf_printf(out, "%s %llu\n", numbers[i].key, (unsigned long long)numbers[i].v);
    }
    for (size_t i = 0; i < r->n_logs; i++) {
        buf_printf(out, "log %llu ", (unsigned long long)r->logs[i].newest_id);
        text_printable(out, slice_str(r->logs[i].channel), 256);
        if (*r->logs[i].computer) {
            buf_str(out, " of ");
            text_printable(out, slice_str(r->logs[i].computer), 256);
        }
        buf_str(out, "\n");
    }
}

struct slice status_value(struct slice file, const char *key) {
    size_t n = strlen(key);
    while (file.len) {
        const uint8_t *nl = memchr(file.p, '\n', file.len);
        struct slice line = slice_of(file.p, nl ? (size_t)(nl - file.p) : file.len);
        file = slice_from(file, line.len + 1);
        if (line.len > n && memcmp(line.p, key, n) == 0 && line.p[n] == ' ') return slice_from(line, n + 1);
    }
    return (struct slice){NULL, 0};
}

static uint64_t number_of(struct slice file, const char *key) {
    struct slice v = status_value(file, key);
    uint64_t n = 0;
    for (size_t i = 0; i < v.len && v.p[i] >= '0' && v.p[i] <= '9'; i++) n = n * 10 + (v.p[i] - 48u);
    return n;
}

static void put_text(struct buf *out, struct slice file, const char *key) {
    text_printable(out, status_value(file, key), 400);
}

static void put_count(struct buf *out, struct slice file, const char *key, const char *words) {
    progress_number(out, number_of(file, key));
    buf_str(out, words);
}

static void put_duration(struct buf *out, uint64_t ft) {
    uint64_t s = ft / FILETIME_SECOND;
    if (s < 120)
        buf_printf(out, "%llu s", (unsigned long long)s);
    else if (s < 7200)
        buf_printf(out, "%llu min", (unsigned long long)(s / 60));
    else if (s < 172800)
        buf_printf(out, "%llu h", (unsigned long long)(s / 3600));
    else
        buf_printf(out, "%llu days", (unsigned long long)(s / 86400));
}

static void explain_logs(struct buf *out, struct slice file) {
    for (struct slice rest = file; rest.len;) {
        const uint8_t *nl = memchr(rest.p, '\n', rest.len);
        struct slice line = slice_of(rest.p, nl ? (size_t)(nl - rest.p) : rest.len);
        rest = slice_from(rest, line.len + 1);
        if (!slice_starts(line, SLICE_LIT("log "))) continue;
        struct slice v = slice_from(line, 4);
        const uint8_t *blank = memchr(v.p, ' ', v.len);
        if (!blank) continue;
        size_t n = (size_t)(blank - v.p);
        buf_str(out, "log:        ");
        text_printable(out, slice_from(v, n + 1), 520);
        buf_str(out, ", read up to record ");
        text_printable(out, slice_head(v, n), 24);
        buf_str(out, "\n");
    }
}

void status_explain(struct buf *out, struct slice file, uint64_t now) {
    uint64_t written = number_of(file, "written"), started = number_of(file, "started"),
             until = number_of(file, "certificate_until");
    buf_str(out, "host:       ");
    put_text(out, file, "host");
    buf_str(out, ", agent ");
    put_text(out, file, "version");
    buf_str(out, now > written + 60 * FILETIME_SECOND ? "\nagent:      NOT RUNNING; what follows is "
                                                      : "\nagent:      running for ");
    put_duration(out, now > written + 60 * FILETIME_SECOND ? now - written : now > started ? now - started : 0);
    buf_str(out, now > written + 60 * FILETIME_SECOND ? " old" : "");
    buf_str(out, "\ncollector:  ");
    put_text(out, file, "collector");
    buf_str(out, number_of(file, "connected") ? ", connected" : ", NOT CONNECTED: ");
    if (!number_of(file, "connected")) {
        if (status_value(file, "trouble").len)
            put_text(out, file, "trouble");
        else
            put_text(out, file, "state");
    }
    buf_str(out, "\nread:       ");
    put_count(out, file, "events_read", " events since the start; ");
    put_count(out, file, "events_acknowledged", " acknowledged by the collector\nowed:       ");
    put_count(out, file, "events_waiting", " events wait to be sent or acknowledged; spool ");
    put_count(out, file, "spool_bytes", " of ");
    put_count(out, file, "spool_max_bytes", " bytes");
    if (number_of(file, "spool_full")) buf_str(out, ", FULL: reading waits");
    if (number_of(file, "spool_set_aside"))
        put_count(out, file, "spool_set_aside", " damaged spool segments were set aside");
    if (number_of(file, "records_skipped") + number_of(file, "parse_errors")) {
        buf_str(out, "\nskipped:    ");
        progress_number(out, number_of(file, "records_skipped") + number_of(file, "parse_errors"));
        buf_str(out, " records that could not be read (see the log)");
    }
    if (number_of(file, "batches_rejected")) {
        buf_str(out, "\nrejected:   ");
        put_count(out, file, "events_rejected", " events that the collector refused are kept in rejected/");
    }
    buf_str(out, "\ncertificate: ");
    if (until > now) {
        buf_str(out, "good for ");
        put_duration(out, until - now);
    } else {
        buf_str(out, "EXPIRED: enrol this host anew");
    }
    buf_str(out, "\n");
    explain_logs(out, file);
}
