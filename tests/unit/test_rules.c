/* The rules' state machine on a fake clock, with a Sysmon for Windows that is a few lines. */
// links: server rules storage agent proto base
#include "ca.h"
#include "clock.h"
#include "log.h"
#include "mem.h"
#include "msg.h"
#include "rules.h"
#include "tls.h"
#include "zblob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define TAKEN \
    "Loading configuration file with schema version 4.50\r\nConfiguration file validated.\r\nConfiguration updated.\r\n"

static struct ca *ca;
static struct buf pem;

/* Sysmon as it is on the host. */
struct host {
    enum sysmon_state state;
    const char *version, *cannot_apply, *prints;
    char hash[80];    /* ConfigHash */
    uint8_t blob[32]; /* digest of Rules */
    uint8_t settings;
    bool lies, no_copy; /* says so, and nothing changes; has no Rules value */
    bool hangs, crashes, disk_full;
};

struct world {
    struct rules *r;
    struct rules_options o;
    struct host host;
    uint64_t clock_ms;
    struct rules_job *job;
    unsigned applied, looked, canaries, kept, told;
    char listens[CANARY_MAX];
    struct buf disk; /* the state file */
};

static uint64_t now_ms(void *ctx) {
    return ((struct world *)ctx)->clock_ms;
}

static uint64_t wall(void *ctx) {
    return FILETIME_UNIX_EPOCH + ((struct world *)ctx)->clock_ms * (FILETIME_SECOND / 1000);
}

static void some_random(void *ctx, void *out, size_t len) {
    memset(out, (int)(((struct world *)ctx)->clock_ms & 0xff), len);
}

static void start(void *ctx, struct rules_job *j) {
    struct world *w = ctx;
    assert_null(w->job); /* one at a time */
    w->job = j;
}

static void listen(void *ctx, const char *canary) {
    struct world *w = ctx;
    snprintf(w->listens, sizeof w->listens, "%s", canary);
}

static void changed(void *ctx) {
    ((struct world *)ctx)->told++;
}

static void begin(struct world *w) {
    struct rules_io io = {.ctx = w,
                          .now_ms = now_ms,
                          .wall = wall,
                          .random = some_random,
                          .start = start,
                          .listen = listen,
                          .changed = changed};
    w->r = rules_new(&w->o, &io, buf_slice(&w->disk));
}

static void world_init(struct world *w) {
    *w = (struct world){.o = {.system = SYSMON_ON_WINDOWS, .reads_events = true},
                        .host = {.state = SYSMON_RUNNING, .version = "15.15", .cannot_apply = "", .prints = TAKEN},
                        .clock_ms = 1000000};
    begin(w);
}

static void world_free(struct world *w) {
    w->job = NULL; /* rules_free sees to one that was not done */
    rules_free(&w->r);
    buf_free(&w->disk);
}

/* The process dies with the job in work; what is on disk stays. */
static void restart(struct world *w) {
    w->job = NULL; /* rules_free sees to one that was not done */
    rules_free(&w->r);
    begin(w);
}

/* ---- Sysmon ---- */

static void look(const struct host *h, struct sysmon *ret) {
    *ret = (struct sysmon){.state = h->state, .has_rules = h->state != SYSMON_ABSENT && !h->no_copy};
    snprintf(ret->version, sizeof ret->version, "%s", h->version);
    snprintf(ret->cannot_apply, sizeof ret->cannot_apply, "%s", h->cannot_apply);
    snprintf(ret->config_hash, sizeof ret->config_hash, "%s", h->hash);
    snprintf(ret->path, sizeof ret->path, "C:\\Windows\\Sysmon64.exe");
    snprintf(ret->service, sizeof ret->service, "Sysmon64");
    memcpy(ret->rules_digest, h->blob, sizeof ret->rules_digest);
    memset(ret->settings_digest, h->settings + 1, sizeof ret->settings_digest);
}

static void hash_text(const uint8_t digest[32], char out[80]) {
    snprintf(out, 80, "SHA256=");
    for (int i = 0; i < 32; i++) snprintf(out + 7 + 2 * i, 3, "%02X", digest[i]);
}

/* What a version makes of a file: of all files that begin alike the same. */
static void compile(struct host *h, const uint8_t digest[32]) {
    struct buf b = {0};
    buf_str(&b, h->version);
    buf_append(&b, digest, 32);
    tls_sha256(buf_slice(&b), h->blob);
    buf_free(&b);
    hash_text(digest, h->hash);
}

static void work(struct world *w, struct rules_job *j) {
    struct host *h = &w->host;
    if (h->disk_full && (j->xml.len || j->state.len)) {
        j->not_kept = true;
        j->st = error_set(&j->err, ST_FULL, "the rules could not be kept: no space left");
        return;
    }
    if (j->state.len) {
        buf_clear(&w->disk);
        buf_slice_append(&w->disk, buf_slice(&j->state));
        w->kept++;
    }
    if (j->work == RULES_LOOK) w->looked++;
    if (j->work == RULES_CANARY) w->canaries++;
    look(h, &j->before);
    if (j->work == RULES_APPLY) {
        j->host_lacks = h->state == SYSMON_ABSENT || h->state == SYSMON_STOPPED || *h->cannot_apply;
        if (!j->host_lacks) {
            w->applied++;
            j->timed_out = h->hangs;
            j->crashed = h->crashes;
            buf_str(&j->output, h->prints);
            if (!h->lies && !h->hangs && !h->crashes && strcmp(h->prints, TAKEN) == 0) compile(h, j->digest);
        }
    }
    look(h, &j->after);
}

static void finish(struct world *w) {
    struct rules_job *j = w->job;
    assert_non_null(j);
    work(w, j);
    w->job = NULL;
    rules_on_done(w->r, j);
}

/* Time goes on in steps; every job is done at once. */
static void run(struct world *w, unsigned ms) {
    for (uint64_t end = w->clock_ms + ms; w->clock_ms < end;) {
        w->clock_ms += end - w->clock_ms < 100 ? end - w->clock_ms : 100;
        rules_tick(w->r);
        for (int i = 0; i < 10 && w->job; i++) finish(w);
        assert_null(w->job);
    }
}

static void event16(struct world *w, const char *hash, const char *file) {
    struct sysmon_note n = {.event = 16, .time = wall(w)};
    snprintf(n.hash, sizeof n.hash, "%s", hash);
    snprintf(n.file, sizeof n.file, "%s", file);
    snprintf(n.text, sizeof n.text, "S-1-5-21-7");
    rules_on_note(w->r, &n);
}

/* ---- the collector ---- */

static void digest_of(const char *xml, uint8_t digest[32]) {
    tls_sha256(slice_str(xml), digest);
}

static void offer(struct world *w, uint64_t serial, const char *xml, bool heal, const char *canary) {
    uint8_t digest[32];
    struct buf manifest = {0}, text = {0}, signature = {0}, packed = {0}, whole = {0};
    digest_of(xml, digest);
    Haechi__RulesManifest m = HAECHI__RULES_MANIFEST__INIT;
    m.serial = serial;
    m.ruleset = "base";
    m.revision = (uint32_t)serial;
    m.digest = msg_bytes(slice_of(digest, sizeof digest));
    m.len = strlen(xml);
    m.heal = heal;
    m.canary = (char *)(uintptr_t)canary;
    msg_pack(&m.base, &manifest);
    buf_str(&text, RULES_SIGNED_PREFIX);
    buf_slice_append(&text, buf_slice(&manifest));
    assert_int_equal(ca_sign(ca, buf_slice(&text), &signature, NULL), ST_OK);
    zblob_pack(slice_str(xml), &packed);
    Haechi__RulesOffer o = HAECHI__RULES_OFFER__INIT;
    o.manifest = msg_bytes(buf_slice(&manifest));
    o.signature = msg_bytes(buf_slice(&signature));
    o.xml_zstd = msg_bytes(buf_slice(&packed));
    msg_pack(&o.base, &whole);
    rules_offered(w->r, buf_slice(&whole), buf_slice(&pem));
    buf_free(&manifest);
    buf_free(&text);
    buf_free(&signature);
    buf_free(&packed);
    buf_free(&whole);
}

static struct uplink_rules status(const struct world *w) {
    struct uplink_rules u;
    assert_true(rules_get_status(w->r, &u));
    return u;
}

#define is(w, want, words) expect(w, want, words, __LINE__)
static void expect(struct world *w, enum rules_state want, const char *words, int line) {
    struct uplink_rules u = status(w);
    if (u.state != (uint32_t)want || !strstr(u.reason, words))
        fail_msg("line %d: %s, not %s: \"%s\"", line, rules_state_name(u.state), rules_state_name((uint32_t)want),
                 u.reason);
}

static void give(struct world *w, uint64_t serial, const char *xml) {
    offer(w, serial, xml, false, "");
    run(w, 500);
}

/* Loaded, by words, copy and event 16. */
static void load(struct world *w, uint64_t serial, const char *xml, bool heal) {
    char hash[80];
    uint8_t digest[32];
    digest_of(xml, digest);
    hash_text(digest, hash);
    offer(w, serial, xml, heal, "");
    run(w, 500);
    event16(w, hash, "C:\\haechi\\x.xml");
    run(w, 200);
    is(w, RULES_LOADED, "");
    assert_int_equal(status(w).evidence, RULES_BY_WORDS | RULES_BY_COPY | RULES_BY_EVENT16);
}

/* ---- cases ---- */

static void test_order_of_things(void **state) {
    (void)state;
    struct world w;
    struct uplink_rules u;
    world_init(&w);
    assert_false(rules_get_status(w.r, &u));
    offer(&w, 5, "one", false, "");
    assert_false(rules_get_status(w.r, &u)); /* nothing is told before it is on disk */
    assert_int_equal(w.job->work, RULES_KEEP);
    assert_true(slice_eq_str(buf_slice(&w.job->xml), "one"));
    assert_non_null(strstr(buf_cstr(&w.job->state), "highest 5\n"));
    struct rules_job *j = w.job;
    work(&w, j);
    w.job = NULL;
    rules_on_done(w.r, j);
    is(&w, RULES_RECEIVED, "");
    assert_int_equal(w.job->work, RULES_APPLY);
    finish(&w);
    is(&w, RULES_APPLIED, "");
    assert_int_equal(status(&w).evidence, RULES_BY_WORDS | RULES_BY_COPY);
    assert_non_null(strstr(status(&w).words, "Configuration updated."));
    run(&w, 3000);
    is(&w, RULES_APPLIED, "");
    event16(&w, "SHA256=0000000000000000000000000000000000000000000000000000000000000000", "C:\\x.xml");
    is(&w, RULES_APPLIED, "");
    event16(&w, w.host.hash, "C:\\x.xml");
    is(&w, RULES_LOADED, "");
    u = status(&w);
    assert_int_equal(u.serial, 5);
    assert_true(slice_eq(u.rules_digest, slice_of(w.host.blob, 32)));
    assert_int_equal(w.applied, 1);
    run(&w, 100);
    unsigned kept = w.kept;
    run(&w, 100000);
    assert_int_equal(w.kept, kept); /* looking alone writes nothing */
    assert_in_range(w.looked, 9, 20);
    world_free(&w);
}

static void test_proof(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    give(&w, 1, "one");
    run(&w, 58000);
    is(&w, RULES_APPLIED, "");
    run(&w, 3000);
    is(&w, RULES_FAILED, "not proven to run: no event 16 with the file's hash was seen");
    event16(&w, w.host.hash, "x"); /* late, but proof */
    is(&w, RULES_LOADED, "");
    w.host.lies = true;
    give(&w, 2, "two");
    is(&w, RULES_APPLIED, "");
    run(&w, 61000);
    is(&w, RULES_FAILED, "the system's copy of the rules is not theirs; no event 16");
    w.host.lies = false;
    /* the file's own comments have changed, the rules have not: the blob is the same, ConfigHash is another */
    struct sysmon before;
    load(&w, 3, "three", false);
    look(&w.host, &before);
    w.host.lies = true; /* we write what Sysmon would */
    offer(&w, 4, "three, with a comment", false, "");
    finish(&w);
    uint8_t digest[32];
    digest_of("three, with a comment", digest);
    struct rules_job *j = w.job;
    work(&w, j);
    hash_text(digest, w.host.hash);
    look(&w.host, &j->after);
    w.job = NULL;
    rules_on_done(w.r, j);
    event16(&w, w.host.hash, "x");
    is(&w, RULES_LOADED, "");
    assert_memory_equal(before.rules_digest, w.host.blob, 32);
    w.host.lies = false;
    load(&w, 5, "three", false); /* again: as it was remembered */
    load(&w, 6, "three", false); /* and the same once more: nothing changes */
    world_free(&w);
    /* a host on which the same file was in force before we came: only event 16 tells that it was given again */
    world_init(&w);
    digest_of("one", digest);
    compile(&w.host, digest);
    give(&w, 1, "one");
    run(&w, 5000);
    is(&w, RULES_APPLIED, "");
    event16(&w, w.host.hash, "x");
    is(&w, RULES_LOADED, "");
    world_free(&w);
    /* channel not read */
    world_init(&w);
    w.o.reads_events = false;
    restart(&w);
    give(&w, 1, "one");
    is(&w, RULES_LOADED, "");
    assert_int_equal(status(&w).evidence, RULES_BY_WORDS | RULES_BY_COPY);
    world_free(&w);
}

/* Proof that comes after its time: events may, the copy may not, and one that was proven must still be that. */
static void test_late_proof(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    give(&w, 1, "one");
    run(&w, 62000);
    is(&w, RULES_FAILED, "no event 16");
    w.host.blob[0] ^= 1; /* somebody else's, in the registry alone */
    run(&w, 12000);
    event16(&w, w.host.hash, "x");
    run(&w, 12000);
    is(&w, RULES_FAILED, "");
    world_free(&w);
    world_init(&w);
    w.o.reads_events = false;
    restart(&w);
    w.host.lies = true;
    give(&w, 1, "one");
    run(&w, 62000);
    is(&w, RULES_FAILED, "copy of the rules is not theirs");
    w.host.blob[0] ^= 1;
    run(&w, 60000);
    is(&w, RULES_FAILED, "copy of the rules is not theirs");
    world_free(&w);
}

static void test_event16_first(void **state) {
    (void)state;
    struct world w;
    uint8_t digest[32];
    char hash[80];
    world_init(&w);
    digest_of("one", digest);
    hash_text(digest, hash);
    event16(&w, hash, "x"); /* of another time */
    w.clock_ms += 1000;
    offer(&w, 1, "one", false, "");
    finish(&w);
    event16(&w, hash, "x"); /* Sysmon still runs */
    is(&w, RULES_RECEIVED, "");
    finish(&w);
    is(&w, RULES_LOADED, "");
    world_free(&w);
}

static void test_event255(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    give(&w, 1, "one");
    struct sysmon_note n = {.event = 255, .time = wall(&w), .file = "RuleEngine", .text = "Failed to initialize"};
    rules_on_note(w.r, &n);
    run(&w, 61000);
    is(&w, RULES_FAILED, "Sysmon's event 255 says RuleEngine: Failed to initialize");
    world_free(&w);
}

static void test_answers(void **state) {
    (void)state;
    static const struct {
        const char *name, *prints;
        bool hangs, crashes;
        const char *words;
        unsigned in_time; /* how often Sysmon is run in the next hour */
    } cases[] = {
        {"refused", "Error: Too much white space\r\n", false, false, "white space", 1},
        {"dropped", "Incorrect field X\r\n" TAKEN, false, false, "Incorrect field X", 1},
        {"indefinite", "Configuration file validated.\r\n", false, false, "nothing was changed", 3},
        {"hangs", "", true, false, "did not end within 60 s", 3},
        {"crashes", "", false, true, "crashed (exception", 3},
        {"no rights", "You need to launch Sysmon as an Administrator.\r\n", false, false, "rights", 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        world_init(&w);
        w.host.prints = cases[i].prints;
        w.host.hangs = cases[i].hangs;
        w.host.crashes = cases[i].crashes;
        give(&w, 1, "one");
        if (!strstr(status(&w).reason, cases[i].words)) fail_msg("%s: \"%s\"", cases[i].name, status(&w).reason);
        is(&w, RULES_FAILED, cases[i].words);
        run(&w, 3600000);
        is(&w, RULES_FAILED, cases[i].words);
        if (w.applied > cases[i].in_time || w.applied < cases[i].in_time)
            fail_msg("%s: Sysmon was run %u times", cases[i].name, w.applied);
        w.host = (struct host){.state = SYSMON_RUNNING, .version = "15.20", .cannot_apply = "", .prints = TAKEN};
        for (unsigned s = 0; s < 4000 && status(&w).state != RULES_APPLIED; s++) run(&w, 1000);
        is(&w, RULES_APPLIED, ""); /* another Sysmon takes them */
        event16(&w, w.host.hash, "x");
        is(&w, RULES_LOADED, "");
        world_free(&w);
    }
}

static void test_host_lacks(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum sysmon_state state;
        const char *cannot, *words;
    } cases[] = {
        {"absent", SYSMON_ABSENT, "", "not installed"},
        {"stopped", SYSMON_STOPPED, "", "is stopped"},
        {"no rights", SYSMON_RUNNING, "the agent is no administrator", "cannot change Sysmon's rules: the agent is no"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        world_init(&w);
        w.host.state = cases[i].state;
        w.host.cannot_apply = cases[i].cannot;
        give(&w, 1, "one");
        is(&w, RULES_FAILED, cases[i].words);
        unsigned told = w.told;
        run(&w, 600000);
        is(&w, RULES_FAILED, cases[i].words);
        assert_int_equal(w.applied, 0);
        assert_int_equal(w.told, told); /* once is enough */
        restart(&w);
        run(&w, 30000);
        is(&w, RULES_FAILED, cases[i].words);
        w.host.state = SYSMON_RUNNING;
        w.host.cannot_apply = "";
        run(&w, 12000);
        is(&w, RULES_APPLIED, "");
        assert_int_equal(w.applied, 1);
        world_free(&w);
    }
}

static void test_stops_and_returns(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    load(&w, 1, "one", false);
    w.host.state = SYSMON_STOPPED;
    run(&w, 12000);
    is(&w, RULES_FAILED, "is stopped");
    w.host.state = SYSMON_RUNNING;
    run(&w, 12000);
    is(&w, RULES_LOADED, ""); /* with what it had: not asked again */
    assert_int_equal(w.applied, 1);
    w.host.state = SYSMON_BLIND;
    run(&w, 12000);
    is(&w, RULES_FAILED, "driver");
    w.host.state = SYSMON_RUNNING;
    w.host.blob[0] ^= 1; /* installed anew, with other rules */
    run(&w, 12000);
    is(&w, RULES_APPLIED, "");
    assert_int_equal(w.applied, 2);
    world_free(&w);
    world_init(&w); /* our own rights going is no drift */
    load(&w, 1, "one", false);
    w.host.cannot_apply = "no rights";
    run(&w, 60000);
    is(&w, RULES_LOADED, "");
    world_free(&w);
}

static void test_drift(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    load(&w, 1, "one", false);
    uint8_t ours[32];
    memcpy(ours, w.host.blob, 32);
    w.host.blob[3] ^= 1; /* a direct write: no event 16, the same ConfigHash */
    run(&w, 12000);
    is(&w, RULES_DRIFTED, "the system's copy of the rules has changed; no event 16 tells who did it");
    run(&w, 600000);
    assert_int_equal(w.applied, 1); /* it was not ordered to heal */
    memcpy(w.host.blob, ours, 32);
    run(&w, 12000);
    is(&w, RULES_LOADED, "");
    event16(&w, "SHA256=0000000000000000000000000000000000000000000000000000000000000000", "C:\\evil.xml");
    is(&w, RULES_DRIFTED, "given another file; event 16 at 1970-01-01T");
    is(&w, RULES_DRIFTED, "C:\\evil.xml, SHA256=0000");
    is(&w, RULES_DRIFTED, "by S-1-5-21-7");
    world_free(&w);
    world_init(&w);
    load(&w, 1, "one", false);
    w.host.no_copy = true;
    run(&w, 12000);
    is(&w, RULES_DRIFTED, "is gone: Sysmon runs with its defaults");
    event16(&w, "", "C:\\Windows\\System32\\Defaults"); /* -c -- */
    is(&w, RULES_DRIFTED, "Defaults, without a hash, by S-1-5-21-7");
    world_free(&w);
    world_init(&w); /* the rules are ours, but their events say less */
    load(&w, 1, "one", false);
    w.host.settings = 7;
    run(&w, 12000);
    is(&w, RULES_DRIFTED, "settings beside the rules have changed");
    restart(&w);
    run(&w, 12000);
    is(&w, RULES_DRIFTED, "settings");
    w.host.settings = 0;
    run(&w, 12000);
    is(&w, RULES_LOADED, "");
    world_free(&w);
    world_init(&w); /* of the time before */
    load(&w, 1, "one", false);
    struct sysmon_note old = {.event = 16, .time = wall(&w) - 60 * FILETIME_SECOND, .file = "C:\\old.xml"};
    rules_on_note(w.r, &old);
    run(&w, 5000);
    is(&w, RULES_LOADED, "");
    world_free(&w);
}

static void heal_once(struct world *w) {
    is(w, RULES_APPLIED, "");
    event16(w, w->host.hash, "x");
    is(w, RULES_LOADED, "");
}

static void test_heal(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    load(&w, 1, "one", true);
    /* Somebody writes his own again and again: the pauses grow. */
    static const unsigned pauses_s[] = {2, 60, 120, 240, 480, 960, 1920, 3600};
    for (size_t i = 0; i < sizeof pauses_s / sizeof *pauses_s; i++) {
        w.host.blob[3] ^= 1;
        run(&w, 11000);
        if (i > 0) is(&w, RULES_DRIFTED, "has changed");
        for (unsigned s = 11; s + 2 < pauses_s[i]; s++) {
            run(&w, 1000);
            is(&w, RULES_DRIFTED, "");
        }
        run(&w, 14000);
        heal_once(&w);
        assert_int_equal(w.applied, i + 2);
    }
    run(&w, 3700000); /* a calm hour */
    is(&w, RULES_LOADED, "");
    w.host.blob[3] ^= 1;
    run(&w, 14000);
    heal_once(&w);
    world_free(&w);
}

static void test_replaced(void **state) {
    (void)state;
    struct world w;
    uint8_t digest[32];
    world_init(&w);
    load(&w, 1, "one", false);
    w.host.version = "15.20";
    run(&w, 12000);
    is(&w, RULES_DRIFTED, "Sysmon 15.15 was replaced by 15.20");
    world_free(&w);
    world_init(&w);
    load(&w, 1, "one", true);
    w.host.version = "15.20";
    run(&w, 15000);
    heal_once(&w);
    w.host.version = "15.15"; /* back, with what it had made: known */
    digest_of("one", digest);
    compile(&w.host, digest);
    run(&w, 12000);
    is(&w, RULES_LOADED, "");
    assert_int_equal(w.applied, 2);
    world_free(&w);
}

static void test_restarts(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    offer(&w, 3, "one", false, "");
    restart(&w); /* died before anything was on disk */
    struct uplink_rules u;
    assert_false(rules_get_status(w.r, &u));
    offer(&w, 3, "one", false, "");
    finish(&w);
    restart(&w); /* received */
    is(&w, RULES_RECEIVED, "");
    run(&w, 200);
    assert_int_equal(w.applied, 1);
    is(&w, RULES_APPLIED, "");
    run(&w, 200);
    restart(&w); /* applied: once more */
    run(&w, 200);
    assert_int_equal(w.applied, 2);
    event16(&w, w.host.hash, "x");
    is(&w, RULES_LOADED, "");
    run(&w, 200);
    restart(&w);
    is(&w, RULES_LOADED, "");
    assert_non_null(strstr(status(&w).words, "updated."));
    run(&w, 60000);
    is(&w, RULES_LOADED, "");
    assert_int_equal(w.applied, 2);
    w.host.blob[0] ^= 1; /* while the agent was away */
    restart(&w);
    run(&w, 2000);
    is(&w, RULES_DRIFTED, "");
    offer(&w, 2, "older", false, "");
    is(&w, RULES_REFUSED, "older than serial 3");
    buf_clear(&w.disk);
    buf_str(&w.disk, "nonsense");
    restart(&w);
    assert_false(rules_get_status(w.r, &u)); /* the collector offers again */
    world_free(&w);
}

static void test_offers(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    load(&w, 5, "one", false);
    unsigned told = w.told;
    offer(&w, 5, "one", false, ""); /* the same order: it seems not to know */
    assert_null(w.job);
    assert_int_equal(w.told, told + 1);
    is(&w, RULES_LOADED, "");
    offer(&w, 5, "other", false, "");
    is(&w, RULES_REFUSED, "bear the serial 5 of other rules");
    offer(&w, 4, "one", false, "");
    is(&w, RULES_REFUSED, "older than serial 5");
    assert_int_equal(status(&w).serial, 4);
    w.host.blob[0] ^= 1; /* what is in force is still watched */
    run(&w, 12000);
    is(&w, RULES_DRIFTED, "");
    assert_int_equal(status(&w).serial, 5);
    /* orders that come while one is in work: the last one counts */
    offer(&w, 6, "six", false, "");
    assert_int_equal(w.job->work, RULES_KEEP);
    offer(&w, 7, "seven", false, "");
    offer(&w, 8, "eight", false, "");
    offer(&w, 7, "seven", false, "");
    is(&w, RULES_REFUSED, "older than serial 8");
    unsigned applied = w.applied;
    run(&w, 1000);
    assert_int_equal(w.applied, applied + 1);
    assert_int_equal(status(&w).serial, 8);
    offer(&w, 9, "nine", false, "");
    finish(&w);
    assert_int_equal(w.job->work, RULES_APPLY);
    offer(&w, 10, "ten", false, ""); /* while Sysmon runs */
    run(&w, 1000);
    assert_int_equal(status(&w).serial, 10);
    event16(&w, w.host.hash, "x");
    is(&w, RULES_LOADED, "");
    offer(&w, 11, "ten", false, ""); /* the same file under a new number */
    run(&w, 1000);
    assert_non_null(strstr(buf_cstr(&w.disk), "highest 11\n"));
    world_free(&w);
}

static void test_full_disk(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    w.host.disk_full = true;
    offer(&w, 5, "one", false, "");
    finish(&w);
    is(&w, RULES_FAILED, "could not be kept: no space left");
    run(&w, 30000);
    assert_int_equal(w.applied, 0);
    w.host.disk_full = false;
    run(&w, 12000);
    is(&w, RULES_APPLIED, "");
    w.host.disk_full = true; /* the later states: told, and written when that works again */
    event16(&w, w.host.hash, "x");
    is(&w, RULES_LOADED, "");
    run(&w, 30000);
    w.host.disk_full = false;
    run(&w, 22000);
    restart(&w);
    is(&w, RULES_LOADED, "");
    world_free(&w);
}

static void test_canary(void **state) {
    (void)state;
    struct world w;
    char first[CANARY_MAX];
    world_init(&w);
    w.o.reads_events = false;
    restart(&w);
    offer(&w, 1, "one", false, "rev-1");
    run(&w, 500);
    is(&w, RULES_APPLIED, "");
    assert_int_equal(w.canaries, 1);
    assert_true(slice_starts(slice_str(w.listens), SLICE_LIT("haechi-canary-")));
    snprintf(first, sizeof first, "%s", w.listens);
    run(&w, 20000); /* not seen: another one with the same word */
    assert_int_equal(w.canaries, 2);
    assert_string_equal(w.listens, first);
    struct sysmon_note n = {.event = 1, .time = wall(&w), .file = "rev-0"};
    rules_on_note(w.r, &n);
    is(&w, RULES_APPLIED, "");
    run(&w, 41000);
    is(&w, RULES_FAILED, "bears the RuleName \"rev-0\", not \"rev-1\"");
    snprintf(n.file, sizeof n.file, "rev-1");
    n.time = wall(&w);
    rules_on_note(w.r, &n);
    is(&w, RULES_LOADED, "");
    assert_true(status(&w).evidence & RULES_BY_CANARY);
    assert_string_equal(w.listens, "");
    offer(&w, 2, "two", false, "rev-2");
    run(&w, 501);
    assert_string_not_equal(w.listens, first); /* nobody can know it */
    world_free(&w);
}

static void test_stop(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    offer(&w, 1, "one", false, "");
    finish(&w);
    assert_int_equal(w.job->work, RULES_APPLY);
    rules_stop(w.r);
    assert_true(atomic_load(&w.job->give_up));
    w.job->gave_up = true;
    finish(&w);
    assert_null(w.job);
    rules_tick(w.r);
    assert_null(w.job);
    is(&w, RULES_RECEIVED, "");
    restart(&w);
    run(&w, 500);
    is(&w, RULES_APPLIED, "");
    world_free(&w);
}

static void quiet(void *ctx, enum log_level level, const char *line) {
    (void)ctx;
    (void)level;
    (void)line;
}

static int set_up(void **state) {
    struct buf key = {0};
    (void)state;
    tls_global_init();
    log_redirect(quiet, NULL);
    assert_int_equal(ca_make("Test CA", clock_wall(), &pem, &key, NULL), ST_OK);
    assert_int_equal(ca_load(buf_slice(&pem), buf_slice(&key), clock_wall(), &ca, NULL), ST_OK);
    buf_free(&key);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    ca_free(&ca);
    buf_free(&pem);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_things), cmocka_unit_test(test_proof),
        cmocka_unit_test(test_late_proof),      cmocka_unit_test(test_event16_first),
        cmocka_unit_test(test_event255),        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_host_lacks),      cmocka_unit_test(test_stops_and_returns),
        cmocka_unit_test(test_drift),           cmocka_unit_test(test_heal),
        cmocka_unit_test(test_replaced),        cmocka_unit_test(test_restarts),
        cmocka_unit_test(test_offers),          cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_canary),          cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
