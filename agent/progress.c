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

static void write_line(struct buf *out, const char *key, const char *text) {
    if (!*text) return;
    buf_printf(out, "%s ", key);
    text_printable(out, slice_str(text), 400);
    buf_str(out, "\n");
}

static void write_sysmon(struct buf *out, const struct sysmon *s) {
    buf_printf(out, "sysmon_state %u\n", (unsigned)s->state);
    write_line(out, "sysmon_version", s->version);
    write_line(out, "sysmon_schema", s->schema);
    write_line(out, "sysmon_service", s->service);
    write_line(out, "sysmon_driver", s->driver);
    write_line(out, "sysmon_cannot_apply", s->cannot_apply);
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
        {"heard", u->heard},
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
        const struct feeder_log *l = &r->logs[i];
        buf_printf(out, "log %llu %llu %llu ", (unsigned long long)l->newest_id, (unsigned long long)l->log_newest_id,
                   (unsigned long long)l->wraps_in_s);
        text_printable(out, slice_str(l->channel), 256);
        if (*l->computer) {
            buf_str(out, " of ");
            text_printable(out, slice_str(l->computer), 256);
        }
        buf_str(out, "\n");
    }
    for (size_t i = 0; i < r->n_troubles; i++) {
        buf_str(out, "source_trouble ");
        text_printable(out, slice_str(r->troubles[i].input), 256);
        buf_str(out, ": ");
        text_printable(out, slice_str(r->troubles[i].text), 400);
        buf_str(out, "\n");
    }
    if (f->sysmon) write_sysmon(out, f->sysmon);
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

/* The lines that begin with `key` and a blank, one after the other: the rest of each. */
static bool next_of(struct slice *file, const char *key, struct slice *ret) {
    while (file->len) {
        const uint8_t *nl = memchr(file->p, '\n', file->len);
        struct slice line = slice_of(file->p, nl ? (size_t)(nl - file->p) : file->len);
        *file = slice_from(*file, line.len + 1);
        if (!text_take(&line, key) || !text_take(&line, " ")) continue;
        *ret = line;
        return true;
    }
    return false;
}

struct log_line {
    uint64_t read, newest, wraps_in_s;
    struct slice name;
};

static bool next_log(struct slice *file, struct log_line *ret) {
    struct slice v;
    while (next_of(file, "log", &v)) {
        struct log_line l = {0};
        if (!text_take_number(&v, 10, &l.read) || !text_take(&v, " ") || !text_take_number(&v, 10, &l.newest) ||
            !text_take(&v, " ") || !text_take_number(&v, 10, &l.wraps_in_s) || !text_take(&v, " "))
            continue;
        l.name = v;
        *ret = l;
        return true;
    }
    return false;
}

static void explain_logs(struct buf *out, struct slice file) {
    struct log_line l;
    while (next_log(&file, &l)) {
        buf_str(out, "log:        ");
        text_printable(out, l.name, 520);
        if (l.read)
            buf_printf(out, ", read up to record %llu", (unsigned long long)l.read);
        else
            buf_str(out, ", nothing read since the start");
        if (l.newest > l.read && l.read) {
            buf_str(out, ", ");
            progress_number(out, l.newest - l.read);
            buf_str(out, " behind");
        }
        buf_str(out, "\n");
    }
}

static void explain_sysmon(struct buf *out, struct slice file) {
    if (!status_value(file, "sysmon_state").len) return;
    buf_str(out, "sysmon:     ");
    if (status_value(file, "sysmon_version").len) {
        put_text(out, file, "sysmon_version");
        buf_str(out, ", ");
    }
    buf_str(out, sysmon_state_name((uint32_t)number_of(file, "sysmon_state")));
    if (status_value(file, "sysmon_schema").len) {
        buf_str(out, ", schema ");
        put_text(out, file, "sysmon_schema");
    }
    if (status_value(file, "sysmon_service").len) {
        buf_str(out, " (service ");
        put_text(out, file, "sysmon_service");
        if (status_value(file, "sysmon_driver").len) {
            buf_str(out, ", driver ");
            put_text(out, file, "sysmon_driver");
        }
        buf_str(out, ")");
    }
    buf_str(out, "\n");
}

/* ---- what is wrong, and what to do ---- */

static void wrong(struct buf *out, const char *what, struct slice detail, const char *todo) {
    buf_printf(out, "WRONG:      %s", what);
    text_printable(out, detail, 500);
    if (*todo) buf_printf(out, "\n  to do:    %s", todo);
    buf_str(out, "\n");
}

#define NOTHING ((struct slice){NULL, 0})
#define STALE (60 * FILETIME_SECOND)
#define WRAPS_SOON_S 86400u
#define SILENT (300 * FILETIME_SECOND)
#define RENEWAL_LATE (7 * UINT64_C(86400) * FILETIME_SECOND)

static void explain_sysmon_trouble(struct buf *out, struct slice file) {
    if (!status_value(file, "sysmon_state").len) return;
    switch ((enum sysmon_state)number_of(file, "sysmon_state")) {
    case SYSMON_ABSENT:
        wrong(out, "there is no Sysmon on this host", NOTHING,
              "install it, or take its channel out of the configuration");
        break;
    case SYSMON_STOPPED:
        wrong(out, "Sysmon does not run, service ", status_value(file, "sysmon_service"), "start its service");
        break;
    case SYSMON_BLIND:
        wrong(out, "Sysmon's service runs without its driver, and sees nothing: ", status_value(file, "sysmon_driver"),
              "restart the service; if that does not help, install Sysmon anew");
        break;
    default: break;
    }
    if (status_value(file, "sysmon_cannot_apply").len && status_value(file, "rules").len)
        wrong(out, "the fleet's rules cannot be applied: ", status_value(file, "sysmon_cannot_apply"),
              "run the agent as LocalSystem, or root");
}

static void explain_connection(struct buf *out, struct slice file, uint64_t now) {
    uint64_t heard = number_of(file, "heard"), until = number_of(file, "certificate_until");
    if (until <= now)
        wrong(out, "the certificate has expired", NOTHING,
              "enrol this host anew: haechi-agent enroll --again --token TOKEN");
    else if (until - now < RENEWAL_LATE)
        wrong(out, "the certificate ends in less than a week and was not renewed", NOTHING,
              "let the agent reach its collector, which renews it");
    if (!number_of(file, "connected") &&
        (status_value(file, "trouble").len || slice_eq_str(status_value(file, "state"), "waiting")))
        wrong(out, "the collector cannot be reached: ",
              status_value(file, "trouble").len ? status_value(file, "trouble") : status_value(file, "state"),
              "see that haechid runs there, that its port can be reached from here, and what the agent's log says; "
              "nothing is lost meanwhile");
    else if (heard && now > heard + SILENT)
        wrong(out, "nothing was heard from the collector for five minutes", NOTHING, "see what its log says");
}

void status_explain_troubles(struct buf *out, struct slice file, uint64_t now) {
    size_t before = out->len;
    struct slice rest = file, v;
    struct log_line l;
    if (now > number_of(file, "written") + STALE) {
        wrong(out, "the agent does not run", NOTHING,
              "start it: systemctl start haechi-agent, on Windows haechi-agent service start");
    } else {
        explain_connection(out, file, now);
        while (next_of(&rest, "source_trouble", &v)) wrong(out, "", v, "");
        for (rest = file; next_log(&rest, &l);) {
            if (!l.wraps_in_s || l.wraps_in_s >= WRAPS_SOON_S || l.newest <= l.read) continue;
            wrong(out, "in less than a day this log overwrites what was not read: ", l.name,
                  "make the log larger, or let the agent reach its collector");
        }
        if (number_of(file, "spool_full"))
            wrong(out, "the spool is full: reading waits", NOTHING,
                  "let the agent reach its collector, or raise spool.max");
        explain_sysmon_trouble(out, file);
    }
    if (number_of(file, "batches_rejected"))
        wrong(out, "the collector refused events", NOTHING, "rejected/ in the state directory has them, and its words");
    if (out->len == before) buf_str(out, "all is well\n");
}

void status_explain(struct buf *out, struct slice file, uint64_t now) {
    uint64_t written = number_of(file, "written"), started = number_of(file, "started"),
             until = number_of(file, "certificate_until"), heard = number_of(file, "heard");
    bool stale = now > written + STALE;
    buf_str(out, "host:       ");
    put_text(out, file, "host");
    buf_str(out, ", agent ");
    put_text(out, file, "version");
    buf_str(out, stale ? "\nagent:      NOT RUNNING; what follows is " : "\nagent:      running for ");
    put_duration(out, stale ? now - written : now > started ? now - started : 0);
    buf_str(out, stale ? " old" : "");
    buf_str(out, "\ncollector:  ");
    put_text(out, file, "collector");
    buf_str(out, number_of(file, "connected") ? ", connected" : ", NOT CONNECTED");
    if (heard) {
        buf_str(out, ", last heard ");
        put_duration(out, now > heard ? now - heard : 0);
        buf_str(out, " ago");
    } else {
        buf_str(out, ", not heard since the start");
    }
    buf_str(out, "\nread:       ");
    put_count(out, file, "events_read", " events since the start; ");
    put_count(out, file, "events_acknowledged", " acknowledged by the collector\nowed:       ");
    put_count(out, file, "events_waiting", " events wait to be sent or acknowledged; spool ");
    put_count(out, file, "spool_bytes", " of ");
    put_count(out, file, "spool_max_bytes", " bytes");
    if (number_of(file, "spool_full")) buf_str(out, ", FULL: reading waits");
    if (number_of(file, "spool_set_aside")) {
        buf_str(out, "\nspool:      ");
        put_count(out, file, "spool_set_aside", " damaged segments were set aside");
    }
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
        buf_str(out, "EXPIRED");
    }
    buf_str(out, "\n");
    explain_logs(out, file);
    explain_sysmon(out, file);
}
