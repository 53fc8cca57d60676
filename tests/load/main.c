/* `haechi-load`: many simulated agents against a collector. Exit codes: 0 all was acknowledged, 1 something was lost,
 * refused or rejected, 2 wrong usage. */
#include "args.h"
#include "log.h"
#include "mem.h"
#include "report.h"
#include "tape.h"
#include "tls.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEFAULT_AHEAD UINT64_C(1000000)
#define MAX_AHEAD UINT64_C(20000000) /* about a gigabyte */
#define DEFAULT_SECONDS 10u

struct options {
    struct swarm_options swarm;
    const char *file;
    uint64_t agents, at_once, batch, window, max_events, threads;
    bool json, verbose, quiet;
};

#define OPTION(name, type, member, value, help) \
    { name, type, offsetof(struct options, member), value, help }
static const struct arg_option option_table[] = {
    OPTION("after", ARG_STRING, swarm.after, "COMMAND",
           "a shell command to run after the last ack, before the goodbyes"),
    OPTION("agents", ARG_UINT, agents, "N", "how many agents are simulated (100)"),
    OPTION("at-once", ARG_UINT, at_once, "N", "how many of them open a connection at the same time (32)"),
    OPTION("batch", ARG_UINT, batch, "EVENTS", "events in a batch, 1 to 4096 (100)"),
    OPTION("before", ARG_STRING, swarm.before, "COMMAND",
           "a shell command to run when all is ready, before the clock starts"),
    OPTION("collector", ARG_STRING, swarm.collector, "HOST:PORT", "the collector, if not the one of the token"),
    OPTION("events", ARG_UINT, swarm.events, "N", "end after so many events of all agents together"),
    OPTION("file", ARG_STRING, file, "FILE", "the events to replay: event XML or .evtx, - for standard input (XML)"),
    OPTION("hold", ARG_FLAG, swarm.hold, NULL, "stay connected and send nothing but heartbeats"),
    OPTION("json", ARG_FLAG, json, NULL, "print the report as one JSON object"),
    OPTION("log", ARG_FLAG, verbose, NULL, "log what happens to the agents"),
    OPTION("max-read", ARG_UINT, max_events, "N", "read no more events of the file than that (100000)"),
    OPTION("prefix", ARG_STRING, swarm.prefix, "NAME", "the hosts are called NAME-00001 and so on"),
    OPTION(
        "prepare", ARG_UINT, swarm.prepared, "EVENTS",
        "make so many events into batches before the clock starts (--events, or --rate times --seconds, or a million)"),
    OPTION("quiet", ARG_FLAG, quiet, NULL, "no line of progress"),
    OPTION("rate", ARG_UINT, swarm.rate, "N", "events a second of all agents together; else as fast as acks come"),
    OPTION("rules-bad", ARG_UINT, swarm.rules.bad, "N", "rules go wrong with revision N only"),
    OPTION("rules-delay", ARG_UINT, swarm.rules.delay_ms, "MS", "milliseconds from an offer of rules to loaded (500)"),
    OPTION("rules-drift", ARG_UINT, swarm.rules.drift, "PERCENT",
           "of the agents load rules and then find others in force"),
    OPTION("rules-fail", ARG_UINT, swarm.rules.fail, "PERCENT", "of the agents fail to load rules"),
    OPTION("rules-hang", ARG_UINT, swarm.rules.hang, "PERCENT", "of the agents never say how it ended"),
    OPTION("rules-lose", ARG_UINT, swarm.rules.lose, "PERCENT", "of the agents load rules and then lose Sysmon"),
    OPTION("rules-rate", ARG_UINT, swarm.rules.rate_percent, "PERCENT",
           "event rate that agents claim once rules are loaded, of the one before (100)"),
    OPTION("rules-silent", ARG_UINT, swarm.rules.silent, "PERCENT",
           "of the agents go away when they are offered rules"),
    OPTION("seconds", ARG_UINT, swarm.seconds, "N", "end after so many seconds (10, unless --events is given)"),
    OPTION("state", ARG_STRING, swarm.state, "DIR", "keep keys and certificates there, and use those that are there"),
    OPTION("threads", ARG_UINT, threads, "N", "threads that prepare batches (as many as processors)"),
    OPTION("token", ARG_STRING, swarm.token, "TOKEN", "enrols agents that have no certificate yet"),
    OPTION("window", ARG_UINT, window, "BATCHES", "batches an agent leaves unacknowledged (what the collector grants)"),
};

static const struct arg_command command = {
    .name = "",
    .synopsis = "--token TOKEN | --state DIR [--agents N] [--rate N] [--seconds N] [--file FILE] ...",
    .help =
        "Simulates agents: each with its own key, host name and record ids, replaying real events under mutual TLS,\n"
        "and reports what the collector acknowledged and how soon. Make the token with\n"
        "`haechi token create --uses N`. Compressed files: zstd -dc FILE.zst | haechi-load --file - ...",
    .options = option_table,
    .n_options = sizeof option_table / sizeof *option_table,
};

static int fail(int code, const char *text) {
    fprintf(stderr, "haechi-load: %s\n", text);
    return code;
}

static void progress(void *ctx, const char *phase, double seconds, const struct swarm_report *r) {
    struct buf line = {0};
    (void)ctx;
    (void)seconds;
    report_line(&line, phase, r);
    fprintf(stderr, "\r%s\033[K", buf_cstr(&line));
    buf_free(&line);
}

static bool in_range(uint64_t v, uint64_t most) {
    return v >= 1 && v <= most;
}

static enum status check(struct options *o, struct error *err) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (!o->threads) o->threads = cpus > 0 ? (uint64_t)cpus : 1;
    if (!in_range(o->agents, 100000)) return error_set(err, ST_INVALID, "--agents is 1 to 100000");
    if (!in_range(o->batch, 4096)) return error_set(err, ST_INVALID, "--batch is 1 to 4096");
    if (!in_range(o->at_once, 100000)) return error_set(err, ST_INVALID, "--at-once is 1 to 100000");
    if (!in_range(o->threads, 64)) return error_set(err, ST_INVALID, "--threads is 1 to 64");
    if (o->window > 1024) return error_set(err, ST_INVALID, "--window is 1 to 1024");
    if (!o->swarm.token && !o->swarm.state) {
        return error_set(err, ST_INVALID,
                         "give a --token (`haechi token create --uses %llu`), or the --state of an earlier run",
                         (unsigned long long)o->agents);
    }
    struct swarm_options *s = &o->swarm;
    const struct rules_options *r = &s->rules;
    if (r->fail > 100 || r->silent > 100 || r->drift > 100 || r->lose > 100 || r->hang > 100 ||
        r->fail + r->silent + r->drift + r->lose + r->hang > 100)
        return error_set(err, ST_INVALID, "the shares of agents whose rules go wrong are at most 100 together");
    if (r->delay_ms > 3600000 || r->rate_percent > 1000000)
        return error_set(err, ST_INVALID, "--rules-delay is at most an hour, --rules-rate at most 1000000");
    if (!s->events && !s->seconds) s->seconds = DEFAULT_SECONDS;
    if (!s->prepared) {
        uint64_t likely = s->rate && s->seconds && s->rate < MAX_AHEAD / s->seconds ? s->rate * s->seconds : MAX_AHEAD;
        if (!s->rate && !s->events) likely = DEFAULT_AHEAD;
        s->prepared = s->events ? s->events : likely;
        if (s->prepared > MAX_AHEAD) s->prepared = MAX_AHEAD;
    }
    s->agents = (uint32_t)o->agents;
    s->at_once = (uint32_t)o->at_once;
    s->batch = (uint32_t)o->batch;
    s->window = (uint32_t)o->window;
    s->threads = (unsigned)o->threads;
    return ST_OK;
}

/* A descriptor for each connection. */
static void allow_files(uint64_t wanted) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= wanted) return;
    r.rlim_cur = r.rlim_max < wanted ? r.rlim_max : (rlim_t)wanted;
    if (setrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur < wanted)
        fprintf(stderr, "haechi-load: only %llu open files are allowed, %llu may be needed (ulimit -n)\n",
                (unsigned long long)r.rlim_cur, (unsigned long long)wanted);
}

static int run(struct options *o) {
    struct error err = {0};
    struct tape tape;
    struct swarm_report report;
    bool live = !o->quiet && isatty(STDERR_FILENO);
    tape_init(&tape);
    enum status st = tape_read(&tape, o->file, (size_t)o->max_events, &err);
    if (!st) st = tape_finish(&tape, &err);
    struct swarm_options swarm = o->swarm;
    swarm.tape = &tape;
    if (!st) st = swarm_run(&swarm, live ? progress : NULL, NULL, &report, &err);
    if (live) fputs("\r\033[K", stderr);
    if (!st) {
        struct buf out = {0};
        if (o->json) {
            report_json(&out, &report);
        } else {
            buf_printf(&out, "replayed        %zu events of %zu logs from %s; %llu others left out\n", tape.n,
                       tape.n_tracks, o->file, (unsigned long long)tape.left_out);
            report_text(&out, &report);
        }
        fwrite(out.p, 1, out.len, stdout);
        buf_free(&out);
    }
    tape_deinit(&tape);
    if (st) return fail(st == ST_INVALID ? 2 : 1, err.msg);
    return report_is_good(&report) ? 0 : 1;
}

int main(int argc, char **argv) {
    struct options o = {.agents = 100, .at_once = 32, .batch = 100, .max_events = 100000};
    o.swarm.rules = (struct rules_options){.delay_ms = 500, .rate = 10, .rate_percent = 100};
    struct arg_list words = {0};
    struct error err = {0};
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("haechi-load %s\n", HAECHI_VERSION);
        return 0;
    }
    if (args_wants_help(argc - 1, argv + 1)) {
        struct buf help = {0};
        args_help(&help, "haechi-load", &command);
        fwrite(help.p, 1, help.len, stdout);
        buf_free(&help);
        return 0;
    }
    if (args_parse(&command, argc - 1, argv + 1, &o, &words, &err)) return fail(2, err.msg);
    arg_list_free(&words);
    if (!o.file) o.file = "tests/data/demo/demo.xml";
    if (check(&o, &err)) return fail(2, err.msg);
    log_init("haechi-load", o.verbose ? LOG_INFO : LOG_ERROR);
    tls_global_init();
    allow_files(o.agents + 64);
    return run(&o);
}
