/* Sources: kinds by their first bytes, journal and syslog lines, positions to go on from, rotation, real files. */
#include "file.h"
#include "journal.h"
#include "log.h"
#include "mem.h"
#include "source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

static char *temp(const char *name) {
    const char *tmp = getenv("HAECHI_TMP");
    return file_join(tmp ? tmp : "/tmp", name);
}

static void write_file(const char *path, const char *text) {
    assert_int_equal(file_replace(path, slice_str(text), 0600, NULL), ST_OK);
}

static void append_file(const char *path, const char *text) {
    struct file *f = NULL;
    assert_int_equal(file_open(path, FILE_APPEND, &f, NULL), ST_OK);
    assert_int_equal(file_append(f, slice_str(text), NULL), ST_OK);
    file_close(&f);
}

static void test_guess(void **state) {
    (void)state;
    static const struct {
        const char *head;
        size_t len;
        enum source_kind want;
    } cases[] = {
        {"ElfFile\0", 8, SOURCE_EVTX},     {"<Event xmlns", 12, SOURCE_XML},
        {" \r\n<?xml", 8, SOURCE_XML},     {"\xef\xbb\xbf<Events>", 11, SOURCE_XML},
        {"\xff\xfe<\0", 4, SOURCE_XML},    {"\0<\0E", 4, SOURCE_XML},
        {"<134>Mar 1", 10, SOURCE_TEXT},   {"{\"MESSAGE\"", 10, SOURCE_TEXT},
        {"Mar  1 12:00", 12, SOURCE_TEXT}, {"", 0, SOURCE_TEXT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (source_guess(slice_of(cases[i].head, cases[i].len)) != cases[i].want)
            fail_msg("case %zu: %s", i, cases[i].head);
    }
}

#define E "<Event>1</Event>"

static void test_syslog_lines(void **state) {
    (void)state;
    static const struct {
        const char *line;
        unsigned events, bad; /* bad: ST_CORRUPT pieces */
    } cases[] = {
        {"Mar  1 12:00:01 h sysmon: " E, 1, 0},
        {"Mar  1 12:00:01 h sysmon[812]: " E, 1, 0},
        {"2024-03-01T12:00:06.123456+00:00 h sysmon[812]: " E, 1, 0},
        {"<134>1 2024-03-01T12:00:05Z h sysmon 812 - - " E, 1, 0},
        {"<134>1 2024-03-01T12:00:05Z h sysmon 812 - [a b=\"x] y\"][c] " E, 1, 0},
        {"<134>Mar  1 12:00:01 h sysmon: " E, 1, 0},
        {E, 1, 0},
        {"Mar  1 12:00:11 h sysmon: " E E, 2, 0},
        {"Mar  1 12:00:11 h sysmon: " E "<Event>cut", 1, 1},
        {"Mar  1 12:00:11 h sysmon: <Event>cut" E, 1, 1},
        {"Mar  1 12:00:11 h sysmon: <Event>cut", 0, 1},
        {"Mar  1 12:00:11 h sysmon: Sysmon v1.3", 0, 0},
        {"Mar  1 12:00:10 h CRON[99]: " E, 0, 0},
        {"Mar  1 12:00:10 h evil: sysmon: " E, 0, 0}, /* another program that says it is sysmon */
        {"Mar  1 12:00:10 h sysmon[x]: " E, 0, 0},
        {"<134>1 2024-03-01T12:00:05Z h evil 812 - - sysmon: " E, 0, 0},
        {"", 0, 0},
    };
    struct buf text = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned events = 0, bad = 0;
        struct slice m = {NULL, 0}, xml;
        if (journal_parse_syslog(slice_str(cases[i].line), &text) == ST_OK) m = buf_slice(&text);
        for (enum status st; (st = journal_next_event(&m, &xml)) != ST_END;) {
            if (st == ST_OK)
                events++;
            else
                bad++;
        }
        if (events != cases[i].events || bad != cases[i].bad)
            fail_msg("%s: %u events, %u bad", cases[i].line, events, bad);
    }
    assert_int_equal(journal_parse_syslog(SLICE_LIT("h sysmon: <Event>a#011b#012c#999#0</Event>"), &text), ST_OK);
    assert_string_equal(buf_cstr(&text), "<Event>a\tb\nc#999#0</Event>");
    buf_free(&text);
}

static void test_journal_lines(void **state) {
    (void)state;
    static const struct {
        const char *line;
        enum status st;
        enum journal_proof proof;
        bool sysmon;
        const char *message; /* NULL: none */
    } cases[] = {
        {"{\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_UNPROVEN, true, "x"},
        {"{\"_UID\":\"0\",\"_EXE\":\"/opt/sysmon/sysmon\",\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_PROVEN, true, "x"},
        {"{\"_UID\":\"0\",\"_SYSTEMD_UNIT\":\"sysmon.service\",\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_PROVEN, true, "x"},
        {"{\"_UID\":\"1000\",\"_EXE\":\"/opt/sysmon/sysmon\",\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_FOREIGN, true, "x"},
        {"{\"_UID\":\"0\",\"_EXE\":\"/tmp/sysmon\",\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_FOREIGN, true, "x"},
        {"{\"_UID\":\"0\",\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_FOREIGN, true, "x"},
        {"{\"_UID\":\"5\",\"_UID\":\"0\",\"_EXE\":\"/opt/sysmon/sysmon\",\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_FOREIGN,
         true, "x"},
        {"{\"_UID\":[\"0\",\"0\"],\"_EXE\":\"/opt/sysmon/sysmon\",\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_FOREIGN, true,
         "x"},
        {"{\"SYSLOG_IDENTIFIER\":\"cron\",\"MESSAGE\":\"x\"}", ST_OK, JOURNAL_UNPROVEN, false, "x"},
        {"{\"MESSAGE\":[60,65,62]}", ST_OK, JOURNAL_UNPROVEN, true, "<A>"},
        {"{\"MESSAGE\":[]}", ST_OK, JOURNAL_UNPROVEN, true, ""},
        {"{\"MESSAGE\":null}", ST_OK, JOURNAL_UNPROVEN, true, NULL},
        {"{\"MESSAGE\":[\"a\",\"b\"]}", ST_OK, JOURNAL_UNPROVEN, true, NULL},
        {"{\"MESSAGE\":\"\\u00e9\\ud83d\\ude00\\n\\/\"}", ST_OK, JOURNAL_UNPROVEN, true, "\xc3\xa9\xf0\x9f\x98\x80\n/"},
        {"{\"A\":{\"b\":[1,{}],\"c\":\"}\"},\"MESSAGE\":\"x\"} ", ST_OK, JOURNAL_UNPROVEN, true, "x"},
        {"{}", ST_OK, JOURNAL_UNPROVEN, true, NULL},
        {"{\"MESSAGE\":[256]}", ST_FORMAT, 0, false, NULL},
        {"{\"MESSAGE\":\"x\"", ST_FORMAT, 0, false, NULL},
        {"{\"MESSAGE\":\"x\"}}", ST_FORMAT, 0, false, NULL},
        {"{\"A\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}", ST_TOOBIG, 0, false, NULL},
        {"x", ST_FORMAT, 0, false, NULL},
        {"", ST_FORMAT, 0, false, NULL},
    };
    struct journal_entry e = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum status st = journal_parse(slice_str(cases[i].line), &e);
        if (st != cases[i].st) fail_msg("%s: %s", cases[i].line, status_name(st));
        if (st) continue;
        if (e.proof != cases[i].proof || e.is_sysmon != cases[i].sysmon ||
            e.has_message != (cases[i].message != NULL) ||
            (e.has_message && strcmp(buf_cstr(&e.message), cases[i].message) != 0))
            fail_msg("%s: proof %d", cases[i].line, (int)e.proof);
    }
    journal_entry_deinit(&e);
}

/* Reads on to ST_END or ST_AGAIN; the last position goes to *pos. Returns the number of events; *bad of damaged parts. */
static unsigned read_all(struct source *s, struct buf *pos, unsigned *bad) {
    unsigned n = 0;
    *bad = 0;
    for (;;) {
        struct source_record rec;
        struct error err = {0};
        enum status st = source_next(s, &rec, &err);
        if (st == ST_END || st == ST_AGAIN) return n;
        if (st) {
            ++*bad;
            assert_true(*err.msg);
            continue;
        }
        n++;
        assert_true(slice_starts(rec.xml, SLICE_LIT("<Event")));
        if (rec.position.len) {
            buf_clear(pos);
            buf_slice_append(pos, rec.position);
        }
    }
}

static unsigned open_and_read(enum source_kind kind, struct source_options o, struct buf *pos, unsigned *bad) {
    struct source *s = NULL;
    struct error err = {0};
    if (source_open(kind, &o, &s, &err)) fail_msg("%s", err.msg);
    unsigned n = read_all(s, pos, bad);
    source_close(&s);
    return n;
}

static void test_follow(void **state) {
    (void)state;
    char *path = temp("follow.log"), *old = temp("follow.log.1");
    struct buf pos = {0};
    unsigned bad;
    write_file(path, "Mar  1 12:00:01 h sysmon: " E "\nnoise\nMar  1 12:00:02 h sysmon: <Eve");
    struct source *s = NULL;
    struct source_options o = {.path = path, .follow = true};
    assert_int_equal(source_open(SOURCE_TEXT, &o, &s, NULL), ST_OK);
    assert_int_equal(read_all(s, &pos, &bad), 1); /* the unfinished line waits */
    append_file(path, "nt>2</Event>\n");
    assert_int_equal(read_all(s, &pos, &bad), 1);
    append_file(path, "Mar  1 12:00:03 h sysmon: " E "\n");
    assert_int_equal(file_rename(path, old, NULL), ST_OK); /* rotation: the rest of the old one, then the new one */
    assert_int_equal(read_all(s, &pos, &bad), 1);
    write_file(path, "Mar  2 12:00:01 h sysmon: " E E "\n");
    assert_int_equal(read_all(s, &pos, &bad), 2);
    assert_int_equal(source_facts(s).foreign, 1);
    source_close(&s);

    append_file(path, "Mar  2 12:00:02 h sysmon: " E "\n"); /* while we were not there */
    o.position = buf_slice(&pos);
    struct buf pos2 = {0};
    assert_int_equal(open_and_read(SOURCE_TEXT, o, &pos2, &bad), 1);
    write_file(path,
               "Mar  3 12:00:01 h sysmon: " E "\nMar  3 12:00:02 h sysmon: " E "\n"); /* another file of that name */
    assert_int_equal(open_and_read(SOURCE_TEXT, o, &pos2, &bad), 2);
    buf_free(&pos);
    buf_free(&pos2);
    mem_free(path);
    mem_free(old);
}

static void test_strict(void **state) {
    (void)state;
    char *path = temp("strict.log");
    struct buf pos = {0};
    unsigned bad;
    write_file(path, "{\"MESSAGE\":\"" E "\"}\n{\"_UID\":\"0\",\"_EXE\":\"/opt/sysmon/sysmon\",\"MESSAGE\":\"" E "\"}\n"
                     "{\"_UID\":\"7\",\"MESSAGE\":\"" E "\"}\nh sysmon: " E "\nnot { json\n{bad\n");
    assert_int_equal(open_and_read(SOURCE_TEXT, (struct source_options){.path = path, .strict = true}, &pos, &bad), 1);
    assert_int_equal(bad, 1);
    assert_int_equal(open_and_read(SOURCE_TEXT, (struct source_options){.path = path}, &pos, &bad), 3);
    buf_free(&pos);
    mem_free(path);
}

static void test_xml(void **state) {
    (void)state;
    char *path = temp("some.xml");
    struct buf pos = {0};
    unsigned bad;
    write_file(path, "<?xml version='1.0'?><Events>\n" E "\n<Event><a></b></Event>\n" E "</Events>");
    assert_int_equal(open_and_read(SOURCE_AUTO, (struct source_options){.path = path}, &pos, &bad), 2);
    assert_int_equal(bad, 1);
    /* behind the last one there is nothing; the file changed: all of it */
    assert_int_equal(open_and_read(SOURCE_AUTO, (struct source_options){.path = path, .position = buf_slice(&pos)},
                                   &(struct buf){0}, &bad),
                     0);
    append_file(path, E);
    struct buf pos2 = {0};
    assert_int_equal(open_and_read(SOURCE_AUTO, (struct source_options){.path = path, .position = buf_slice(&pos)},
                                   &pos2, &bad),
                     3);
    buf_free(&pos2);
    buf_free(&pos);
    mem_free(path);
}

/* The live journal through a stand-in for journalctl: it is asked to go on behind the cursor, and what is not proven to be
 * Sysmon's is left out. */
static void test_live_journal(void **state) {
    (void)state;
    char *script = temp("journalctl"), *args = temp("journalctl.args");
    const char *tmp = getenv("HAECHI_TMP") ? getenv("HAECHI_TMP") : "/tmp";
    char text[2048], path[4096];
    struct buf pos = {0}, said = {0};
    unsigned bad, n = 0;
    snprintf(text, sizeof text,
             "#!/bin/sh\necho \"$@\" >%s\ncat <<'END'\n"
             "{\"__CURSOR\":\"s=1;i=1\",\"_UID\":\"0\",\"_EXE\":\"/opt/sysmon/sysmon\",\"MESSAGE\":\"" E "\"}\n"
             "{\"__CURSOR\":\"s=1;i=2\",\"_UID\":\"0\",\"_EXE\":\"/usr/bin/logger\",\"MESSAGE\":\"" E "\"}\n"
             "{\"__CURSOR\":\"s=1;i=3\",\"MESSAGE\":\"" E "\"}\n"
             "{\"__CURSOR\":\"s=1;i=4\",\"_UID\":\"0\",\"_SYSTEMD_UNIT\":\"sysmon.service\",\"MESSAGE\":\"" E "\"}\n"
             "END\nexec sleep 30\n",
             args);
    write_file(script, text);
    assert_int_equal(chmod(script, 0755), 0);
    snprintf(path, sizeof path, "%s:%s", tmp, getenv("PATH"));
    setenv("PATH", path, 1);
    struct source *s = NULL;
    struct source_options o = {.follow = true, .position = SLICE_LIT("cursor s=0;i=9")};
    struct error err = {0};
    if (source_open(SOURCE_JOURNAL, &o, &s, &err)) fail_msg("%s", err.msg);
    for (int i = 0; i < 500 && n < 2; i++) n += read_all(s, &pos, &bad);
    assert_int_equal(n, 2);
    assert_string_equal(buf_cstr(&pos), "cursor s=1;i=4");
    assert_int_equal(source_facts(s).foreign, 2);
    source_close(&s); /* ends the child, which would sleep on */
    assert_int_equal(file_read(args, 4096, &said, NULL), ST_OK);
    assert_non_null(strstr(buf_cstr(&said), "--after-cursor=s=0;i=9"));
    assert_non_null(strstr(buf_cstr(&said), "_UID=0"));
    buf_free(&pos);
    buf_free(&said);
    mem_free(script);
    mem_free(args);
}

static const char *shared(const char *below) {
    static char path[1024];
    const char *at = getenv("HAECHI_SHARED");
    snprintf(path, sizeof path, "%s/%s", at ? at : "../shared", below);
    return file_exists(path) ? path : NULL;
}

static void test_real_files(void **state) {
    (void)state;
    static const struct {
        const char *file;
        unsigned events, bad;
    } cases[] = {
        {"data/linux/sysmon.log", 36, 0},        {"data/linux/made.log", 9, 1},
        {"data/linux/made.journal.jsonl", 5, 0}, {"data/linux/trustedsec.log", 1, 0},
        {"data/linux/sigmacatch.log", 1, 0},     {"data/ecs/sysmon-10.2-dns.xml", 156, 0},
        {"data/ecs/sysmon-9.01.evtx", 32, 0},    {"data/evtx/DE_104_system_log_cleared.evtx", 1, 0},
    };
    if (!shared("data/linux/sysmon.log")) {
        print_message("HAECHI_SHARED is not there: real files were not read\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf pos = {0};
        unsigned bad = 0,
                 n = open_and_read(SOURCE_AUTO, (struct source_options){.path = shared(cases[i].file)}, &pos, &bad);
        if (n != cases[i].events || bad != cases[i].bad) fail_msg("%s: %u events, %u bad", cases[i].file, n, bad);
        /* and from the position behind the last event there is no other */
        n = open_and_read(SOURCE_AUTO,
                          (struct source_options){.path = shared(cases[i].file), .position = buf_slice(&pos)}, &pos,
                          &bad);
        if (n) fail_msg("%s: %u events again", cases[i].file, n);
        buf_free(&pos);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guess),        cmocka_unit_test(test_syslog_lines), cmocka_unit_test(test_journal_lines),
        cmocka_unit_test(test_follow),       cmocka_unit_test(test_strict),       cmocka_unit_test(test_xml),
        cmocka_unit_test(test_live_journal), cmocka_unit_test(test_real_files),
    };
    log_init("test_source", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
