/* haechi-agent: the command line. Wiring only; the work is in run.c and enroll.c. */
#include "args.h"
#include "clock.h"
#include "enroll.h"
#include "enroll_wait.h"
#include "file.h"
#include "keystore.h"
#include "log.h"
#include "mem.h"
#include "progress.h"
#include "rules_run.h"
#include "rules_text.h"
#include "run.h"
#include "service.h"
#include "settings.h"
#include "text.h"
#include "tls.h"
#if defined(_WIN32)
#include "wide_win.h"
#endif

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define PROGRAM "haechi-agent"
#define SEND_RETRY_MIN_MS 100
#define SEND_RETRY_MAX_MS 2000

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct words {
    const char *token, *state, *name, *config, *log_level, *account;
    struct arg_list collectors;
    bool wait, again, sample, service;
};

#define AT(member) offsetof(struct words, member)
#define OPTION_STATE                                                                                  \
    {                                                                                                 \
        "state", ARG_STRING, AT(state), "DIR",                                                        \
            "the state directory; /var/lib/haechi-agent by default, on Windows %ProgramData%\\Haechi" \
    }
#define OPTION_LOG \
    { "log-level", ARG_STRING, AT(log_level), "LEVEL", "error, warn, info or debug" }

static const struct arg_option enroll_options[] = {
    {"token", ARG_STRING, AT(token), "TOKEN", "what `haechi token create` printed; \"-\" reads it from standard input"},
    OPTION_STATE,
    {"name", ARG_STRING, AT(name), "HOST", "the name this host shall have; its own by default"},
    {"wait", ARG_FLAG, AT(wait), NULL, "wait until an admin has approved a pending enrolment"},
    {"again", ARG_FLAG, AT(again), NULL, "ask for a new identity although there is one"},
    OPTION_LOG,
};
static const struct arg_option run_options[] = {
    {"config", ARG_STRING, AT(config), "FILE",
     "the configuration; /etc/haechi/agent.toml if it is there, on Windows %ProgramData%\\Haechi\\agent.toml"},
    OPTION_STATE,
    {"print-config", ARG_FLAG, AT(sample), NULL, "print a commented configuration with all defaults, and end"},
    OPTION_LOG,
};
static const struct arg_option send_options[] = {
    OPTION_STATE,
    {"collector", ARG_LIST, AT(collectors), "HOST:PORT",
     "send there instead of to the collectors of the enrolment; may be repeated"},
    OPTION_LOG,
};
static const struct arg_option service_options[] = {
    {"config", ARG_STRING, AT(config), "FILE", "the configuration of the service"},
    OPTION_STATE,
    {"account", ARG_STRING, AT(account), "NAME",
     "with install: LocalSystem by default; else an account without a password, which may read logs as a member of Event Log Readers, "
     "and then cannot push rules"},
    OPTION_LOG,
};
static const struct arg_option status_options[] = {OPTION_STATE};

#define N(a) (sizeof(a) / sizeof *(a))
static const struct arg_command commands[] = {
    {"enroll", "--token TOKEN [--state DIR] [--name HOST] [--wait]",
     "Gets this host a certificate. The key is made here and never leaves the host; the collector is known by the pin in the token.",
     enroll_options, N(enroll_options), 0, 0},
    {"run", "[--config FILE] [--state DIR]",
     "Reads this host's event logs and sends them until it is stopped. A host that is not enrolled yet waits for `enroll`, or for "
     "DIR/enroll.conf with a token, for its owner alone, which is used and then removed.",
     run_options, N(run_options), 0, 0},
    {"send", "[--state DIR] FILE...",
     "Sends files: .evtx, event XML (UTF-8 or UTF-16), syslog files and journal exports with Sysmon for Linux' events; - is event XML on "
     "standard input. Ends with 0 only when everything is acknowledged; sending the same again is harmless.",
     send_options, N(send_options), 1, 65536},
    {"service", "[install|uninstall|start|stop] [--config FILE] [--state DIR]",
     "Windows: makes the agent a service, removes it, starts or stops it. Without a word it is the service: for the service manager only.",
     service_options, N(service_options), 0, 1},
    {"status", "[--state DIR]", "Says what the running agent reads, how far it is, and what it owes.", status_options,
     N(status_options), 0, 0},
    {"canary", "WORD",
     "Does nothing: the running agent starts it with a word that nobody can guess, to see it in Sysmon's events and by them which rules "
     "are in force.",
     NULL, 0, 1, 1},
};

static int usage_error(const char *text) {
    fprintf(stderr, PROGRAM ": %s; see `" PROGRAM " --help`\n", text);
    return EXIT_USAGE;
}

static int failed(const struct error *err) {
    fprintf(stderr, PROGRAM ": %s\n", err->msg);
    return EXIT_FAILED;
}

static void help_all(void) {
    printf("usage: " PROGRAM " COMMAND [OPTION]...\n\nSends this host's event logs to a Haechi collector.\n\n");
    for (size_t i = 0; i < N(commands); i++) printf("  %-8s %s\n", commands[i].name, commands[i].synopsis);
    printf("\n`" PROGRAM " COMMAND --help` says more; `" PROGRAM " --version` the version.\n"
           "Exit codes: 0 done, 1 refused or failed, 2 wrong usage.\n");
}

static int set_log_level(const char *name, enum log_level fallback) {
    enum log_level level = fallback;
    if (name && log_level_parse(slice_str(name), &level))
        return usage_error("--log-level is error, warn, info or debug");
    log_init(PROGRAM, level);
    return 0;
}

static const char *state_of(const struct words *w) {
    return w->state ? w->state : service_default_state();
}

static int do_enroll(const struct words *w) {
    struct error err = {0};
    char line[1024];
    if (!w->token) return usage_error("enroll needs --token TOKEN");
    const char *token = w->token;
    if (strcmp(token, "-") == 0) {
        if (!fgets(line, sizeof line, stdin)) return usage_error("no token came on standard input");
        token = line;
    }
    struct enroll_options o = {
        .token = token, .state = state_of(w), .name = w->name, .wait = w->wait, .again = w->again};
    enum status st = enroll_run(&o, &err);
    mem_wipe(line, sizeof line);
    return st ? failed(&err) : EXIT_DONE;
}

static void add_inputs(struct feeder_input *in, size_t *n, const struct conf_strings *paths, enum source_kind kind,
                       bool follow) {
    for (size_t i = 0; i < paths->n; i++)
        in[(*n)++] = (struct feeder_input){.path = paths->items[i], .kind = kind, .follow = follow};
}

/* "NAME" or "NAME: QUERY"; the list's own texts are cut there. */
static void add_channels(struct feeder_input *in, size_t *n, const struct conf_strings *channels) {
    for (size_t i = 0; i < channels->n; i++) {
        char *name = channels->items[i], *colon = strstr(name, ": ");
        if (colon) *colon = 0;
        in[(*n)++] = (struct feeder_input){.path = name, .query = colon ? colon + 2 : NULL, .kind = SOURCE_EVTLOG};
    }
}

static int do_run(const struct words *w) {
    struct error err = {0};
    struct settings s = {0};
    if (w->sample) {
        struct buf text = {0};
        settings_sample(&text);
        fwrite(text.p, 1, text.len, stdout);
        buf_free(&text);
        return EXIT_DONE;
    }
    if (settings_load(w->config, &s, &err)) {
        if (w->service) log_error("agent", "%s", err.msg);
        fprintf(stderr, PROGRAM ": %s\n", err.msg);
        return EXIT_USAGE;
    }
    enum log_level level = LOG_INFO;
    int rc = EXIT_USAGE;
    struct feeder_input *in = mem_zalloc(mem_mul(s.channels.n + s.evtx.n + s.xml.n + s.syslog.n + 1, sizeof *in));
    size_t n = 0;
    if (!w->log_level && log_level_parse(slice_str(s.log_level), &level)) {
        usage_error("log.level is error, warn, info or debug");
        goto out;
    }
    if (!w->log_level) log_set_level(level);
    add_channels(in, &n, &s.channels);
    if (s.journal) in[n++] = (struct feeder_input){.kind = SOURCE_JOURNAL, .follow = true, .strict = true};
    add_inputs(in, &n, &s.evtx, SOURCE_EVTX, false);
    add_inputs(in, &n, &s.xml, SOURCE_XML, false);
    add_inputs(in, &n, &s.syslog, SOURCE_TEXT, true);
    if (!n) log_warn("agent", "no source is configured: nothing is read");
    struct run_options o = {.state = w->state ? w->state : s.state,
                            .inputs = in,
                            .n_inputs = n,
                            .collectors = (const char *const *)s.collectors.items,
                            .n_collectors = s.collectors.n,
                            .spool_max_bytes = s.spool_max_bytes,
                            .sysmon_directory = s.sysmon_directory,
                            .rules_apply_ms = (unsigned)s.rules_apply_s * 1000,
                            .rules_prove_ms = (unsigned)s.rules_prove_s * 1000,
                            .rules_look_ms = (unsigned)s.rules_look_s * 1000,
                            .retry_min_ms = (unsigned)s.retry_min_s * 1000,
                            .retry_max_ms = (unsigned)s.retry_max_s * 1000};
    struct enroll_wait_options wait = {.state = o.state,
                                       .collectors = o.collectors,
                                       .n_collectors = o.n_collectors,
                                       .retry_min_ms = o.retry_min_ms,
                                       .retry_max_ms = o.retry_max_ms,
                                       .stop = run_is_stopping};
    enum status st = enroll_wait(&wait, &err);
    if (!st) st = run_agent(&o, &err);
    rc = st == ST_OK || st == ST_CANCELLED ? EXIT_DONE : failed(&err);
    if (rc && w->service) log_error("agent", "%s; the service ends", err.msg);
out:
    mem_free(in);
    settings_free(&s);
    return rc;
}

static int serve(void *ctx) {
    return do_run(ctx);
}

static int do_service(struct words *w, const struct arg_list *verbs) {
    struct error err = {0};
    enum service_verb verb;
    int rc = 0;
    if (service_verb_parse(verbs->n ? verbs->items[0] : "", &verb))
        return usage_error("service takes install, uninstall, start or stop");
    w->service = verb == VERB_RUN;
    struct service_options o = {.config = w->config,
                                .state = w->service ? state_of(w) : w->state,
                                .account = w->account,
                                .work = serve,
                                .ctx = w};
    return service_run(verb, &o, &rc, &err) ? failed(&err) : rc;
}

static int do_send(const struct words *w, const struct arg_list *files) {
    struct error err = {0};
    struct feeder_input *in = mem_zalloc(mem_mul(files->n, sizeof *in));
    for (size_t i = 0; i < files->n; i++) in[i] = (struct feeder_input){.path = files->items[i], .kind = SOURCE_AUTO};
    struct run_options o = {.state = state_of(w),
                            .send = true,
                            .inputs = in,
                            .n_inputs = files->n,
                            .collectors = w->collectors.items,
                            .n_collectors = w->collectors.n,
                            .retry_min_ms = SEND_RETRY_MIN_MS,
                            .retry_max_ms = SEND_RETRY_MAX_MS};
    enum status st = run_agent(&o, &err);
    mem_free(in);
    return st ? failed(&err) : EXIT_DONE;
}

static int do_status(const struct words *w) {
    struct error err = {0};
    struct identity id = {0};
    struct buf file = {0}, text = {0};
    char *path = file_join(state_of(w), "status");
    enum status st = keystore_load(state_of(w), &id, &err);
    if (st == ST_NOTFOUND) enroll_wait_explain(state_of(w), &text);
    if (text.len) error_set(&err, st, "this host is not enrolled. The agent said at %s", buf_cstr(&text));
    if (!st && !file_exists(path)) {
        st = error_set(&err, ST_NOTFOUND, "host %s is enrolled, but no agent has run yet with %s", id.host_name,
                       state_of(w));
    }
    if (!st) st = file_read(path, 1024 * 1024, &file, &err);
    if (!st) {
        status_explain(&text, buf_slice(&file), clock_wall());
        rules_text_explain(&text, buf_slice(&file));
        status_explain_troubles(&text, buf_slice(&file), clock_wall());
        fwrite(text.p, 1, text.len, stdout);
    }
    buf_free(&file);
    buf_free(&text);
    identity_free(&id);
    mem_free(path);
    return st ? failed(&err) : EXIT_DONE;
}

static const struct arg_command *find_command(const char *word) {
    const char *names[N(commands)];
    for (size_t i = 0; i < N(commands); i++) {
        if (strcmp(word, commands[i].name) == 0) return &commands[i];
        names[i] = commands[i].name;
    }
    const char *near = text_suggest(word, names, N(commands));
    char text[300];
    snprintf(text, sizeof text, "unknown %s %.100s%s%s%s", *word == '-' ? "option" : "command", word,
             near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    usage_error(text);
    return NULL;
}

int main(int argc, char **argv) {
    service_prepare();
#if defined(_WIN32)
    wide_args(&argc, &argv); /* the C library's are in the code page of the day */
#endif
    if (argc < 2) {
        help_all();
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf(PROGRAM " " HAECHI_VERSION "\n");
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help_all();
        return EXIT_DONE;
    }
    const struct arg_command *cmd = find_command(argv[1]);
    if (!cmd) return EXIT_USAGE;
    if (args_wants_help(argc - 2, argv + 2)) {
        struct buf text = {0};
        args_help(&text, PROGRAM, cmd);
        fwrite(text.p, 1, text.len, stdout);
        buf_free(&text);
        return EXIT_DONE;
    }
    struct words w = {0};
    struct arg_list words = {0};
    struct error err = {0};
    int rc = EXIT_USAGE;
    if (args_parse(cmd, argc - 2, argv + 2, &w, &words, &err)) {
        usage_error(err.msg);
    } else if (set_log_level(w.log_level, strcmp(cmd->name, "run") == 0 || strcmp(cmd->name, "service") == 0
                                              ? LOG_INFO
                                              : LOG_WARN) == 0) {
        tls_global_init();
        if (strcmp(cmd->name, "enroll") == 0)
            rc = do_enroll(&w);
        else if (strcmp(cmd->name, "run") == 0)
            rc = do_run(&w);
        else if (strcmp(cmd->name, "send") == 0)
            rc = do_send(&w, &words);
        else if (strcmp(cmd->name, "service") == 0)
            rc = do_service(&w, &words);
        else if (strcmp(cmd->name, "canary") == 0)
            rc = rules_run_canary(words.items[0]);
        else
            rc = do_status(&w);
    }
    arg_list_free(&words);
    arg_list_free(&w.collectors);
    return rc;
}
