/* The agent's options, one table line each. */
#include "settings.h"
#include "file.h"
#include "mem.h"
#include "service.h"
#include "token.h"

#include <stddef.h>

#define FILE_MAX (256u * 1024)

#if defined(_WIN32)
#define DEFAULT_STATE "\"\"" /* under ProgramData, which the system names */
#define DEFAULT_JOURNAL "false"
#else
#define DEFAULT_STATE "\"/var/lib/haechi-agent\""
#define DEFAULT_JOURNAL "true"
#endif

#define AT(member) offsetof(struct settings, member)
static const struct conf_option options[] = {
    {"state", CONF_STRING, AT(state), DEFAULT_STATE, 0, 0, false,
     "the state directory: key, certificate, spool, bookmarks"},
    {"collectors", CONF_STRINGS, AT(collectors), "[]", 0, 0, false,
     "collectors as HOST:PORT in order of preference; none: those of the enrolment"},
    {"log.level", CONF_STRING, AT(log_level), "\"info\"", 0, 0, false, "error, warn, info or debug"},
    {"uplink.retry_min", CONF_DURATION, AT(retry_min_s), "\"1s\"", 1, 3600, false,
     "pause after the first failed round of all collectors; it doubles"},
    {"uplink.retry_max", CONF_DURATION, AT(retry_max_s), "\"60s\"", 1, 86400, false, "up to this"},
    {"spool.max", CONF_SIZE, AT(spool_max_bytes), "\"1G\"", 16u << 20, UINT64_C(1) << 50, false,
     "bytes on disk; when it is full reading waits and the logs themselves are the buffer"},
#if defined(_WIN32)
    {"sources.channels", CONF_STRINGS, AT(channels),
     "[\"Microsoft-Windows-Sysmon/Operational\", \"System: *[System[(EventID=104)]]\", \"Security: *[System[(EventID=1102)]]\"]",
     0, 0, false,
     "channels of the Event Log, each \"NAME\" or \"NAME: QUERY\" (XPath); 104 and 1102 tell that a log was cleared. Others worth "
     "having: Security, System, Microsoft-Windows-PowerShell/Operational, Microsoft-Windows-Windows Defender/Operational"},
#endif
    {"sources.journal", CONF_BOOL, AT(journal), DEFAULT_JOURNAL, 0, 0, false,
     "Sysmon for Linux' events from this host's journal"},
    {"sources.evtx", CONF_STRINGS, AT(evtx), "[]", 0, 0, false,
     ".evtx files, read whole; again when their size changes"},
    {"sources.xml", CONF_STRINGS, AT(xml), "[]", 0, 0, false,
     "files of event XML, read whole; again when their size changes"},
    {"sources.syslog", CONF_STRINGS, AT(syslog), "[]", 0, 0, false,
     "syslog files and journal exports, followed over rotation; needs sources.unproven for text files"},
    {"sources.unproven", CONF_BOOL, AT(unproven), "false", 0, 0, false,
     "accept events from text files, in which any local program may have written them"},
    {"rules.apply_limit", CONF_DURATION, AT(rules_apply_s), "\"60s\"", 1, 3600, false,
     "how long Sysmon may take to load rules that the fleet has ordered, before it is ended"},
    {"rules.proof_limit", CONF_DURATION, AT(rules_prove_s), "\"60s\"", 1, 3600, false,
     "how long after that proof is awaited that they run; then they count as failed"},
    {"rules.check_every", CONF_DURATION, AT(rules_look_s), "\"10s\"", 1, 3600, false,
     "how often the rules in force are compared with those that were loaded"},
#if !defined(_WIN32)
    {"sysmon.directory", CONF_STRING, AT(sysmon_directory), "\"/opt/sysmon\"", 0, 0, false,
     "where Sysmon for Linux is installed"},
#endif
};
#define N_OPTIONS (sizeof options / sizeof *options)

/* The bookmark of a channel is one, whatever the query. */
static bool same_channel(const char *a, const char *b) {
    const char *to_a = strstr(a, ": "), *to_b = strstr(b, ": ");
    return slice_eq_nocase(slice_of(a, to_a ? (size_t)(to_a - a) : strlen(a)),
                           slice_of(b, to_b ? (size_t)(to_b - b) : strlen(b)));
}

static enum status check(const struct settings *s, const char *name, struct error *err) {
    for (size_t i = 0; i < s->collectors.n; i++) {
        char host[ADDRESS_HOST_MAX];
        uint16_t port;
        enum status st = address_split(slice_str(s->collectors.items[i]), 7443, host, &port, err);
        if (st) return error_prefix(err, st, "%s: collectors: %s", name, s->collectors.items[i]);
    }
    for (size_t i = 1; i < s->channels.n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (same_channel(s->channels.items[i], s->channels.items[k]))
                return error_set(err, ST_INVALID, "%s: sources.channels: %s is there twice; join its queries by \"or\"",
                                 name, s->channels.items[i]);
        }
    }
    if (s->syslog.n && !s->unproven) {
        return error_set(
            err, ST_INVALID,
            "%s: sources.syslog: a text file does not prove who wrote a line; set sources.unproven = true to accept that",
            name);
    }
    if (s->retry_max_s < s->retry_min_s)
        return error_set(err, ST_INVALID, "%s: uplink.retry_max is less than uplink.retry_min", name);
    return ST_OK;
}

enum status settings_parse(const char *name, struct slice text, struct settings *ret, struct error *err) {
    struct settings s = {0};
    conf_defaults(options, N_OPTIONS, &s);
    enum status st = conf_parse(options, N_OPTIONS, name, text, &s, err);
    if (!st && !*s.state) {
        mem_free(s.state);
        s.state = mem_strdup(service_default_state());
    }
    if (!st) st = check(&s, name, err);
    if (st)
        settings_free(&s);
    else
        *ret = s;
    return st;
}

enum status settings_load(const char *path, struct settings *ret, struct error *err) {
    struct buf text = {0};
    enum status st = ST_OK;
    if (!path && file_exists(service_default_config())) path = service_default_config();
    if (path) st = file_read(path, FILE_MAX, &text, err);
    if (!st) st = settings_parse(path ? path : "the default configuration", buf_slice(&text), ret, err);
    buf_free(&text);
    return st;
}

void settings_free(struct settings *s) {
    conf_free(options, N_OPTIONS, s);
}

void settings_sample(struct buf *out) {
    conf_sample(out, options, N_OPTIONS);
}
