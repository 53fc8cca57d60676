/* agent/parse and agent/xml_split: made samples, bad input with its place, and all real event XML there is: both ways of
 * reading agree, writing and reading are inverse, the encoding loses nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "event_eq.h"
#include "parse.h"

#define HEAD \
    "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><EventID>1</EventID></System>"
#define N_OF(array) (sizeof(array) / sizeof *(array))

static struct parser *parser;

static int set_up(void **state) {
    (void)state;
    parser = parser_new();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    parser_free(&parser);
    return 0;
}

/* Everything that must hold for a text that can be read. */
static void check(const char *name, struct slice xml) {
    struct arena a, b;
    struct event ev, other;
    struct error err = {.msg = ""};
    struct buf out = {0};
    arena_init(&a, EVENT_ARENA_CAP);
    arena_init(&b, EVENT_ARENA_CAP);
    if (parse_event(parser, xml, &a, &ev, &err)) fail_msg("%s: %s", name, err.msg);
    const char *difference;
    if (parse_event_slow(parser, xml, &b, &other, &err)) fail_msg("%s, by expat: %s", name, err.msg);
    if ((difference = event_difference(&ev, &other))) fail_msg("%s: expat's %s differs", name, difference);
    event_write_xml(&ev, &out);
    arena_reset(&b);
    if (parse_event(parser, buf_slice(&out), &b, &other, &err)) fail_msg("%s, written: %s", name, err.msg);
    if ((difference = event_difference(&ev, &other))) fail_msg("%s: %s differs when written", name, difference);
    if (event_content_hash(&ev) != event_content_hash(&other)) fail_msg("%s: the hash differs", name);
    arena_reset(&b);
    buf_clear(&out);
    assert_int_equal(event_encode(&ev, &out), ST_OK);
    assert_int_equal(event_decode(buf_slice(&out), &b, &other), ST_OK);
    if ((difference = event_difference(&ev, &other))) fail_msg("%s: %s differs when encoded", name, difference);
    buf_free(&out);
    arena_deinit(&a);
    arena_deinit(&b);
}

struct counts {
    size_t events, bad;
    uint64_t bad_line;
};

/* Cuts the document into events; each must be readable. */
static struct counts read_document(const char *name, struct slice doc, enum xml_form form, size_t chunk) {
    struct counts n = {0, 0, 0};
    struct xml_split s;
    struct xml_piece piece;
    enum xml_piece_kind kind;
    xml_split_init(&s, form);
    for (bool done = false; !done;) {
        struct slice part = slice_head(doc, chunk);
        doc = slice_from(doc, part.len);
        done = part.len == 0;
        if (done) {
            xml_split_finish(&s);
        } else {
            xml_split_feed(&s, part);
        }
        while ((kind = xml_split_next(&s, &piece)) != XML_MORE) {
            if (kind == XML_EVENT) {
                n.events++;
                check(name, piece.text);
            } else if (!n.bad++) {
                n.bad_line = piece.line;
            }
        }
    }
    xml_split_deinit(&s);
    return n;
}

static bool read_file(const char *folder, const char *name, struct buf *out) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    uint8_t block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;) buf_append(out, block, n);
    fclose(f);
    return true;
}

/* ---- made samples ---- */

static const struct sample {
    const char *file;
    enum xml_form form;
    size_t events, bad;
    const char *field, *value; /* of the first event */
    size_t value_len;
} samples[] = {
#define V(text) text, sizeof(text) - 1
    {"plain.xml", XML_DOCUMENT, 1, 0, "ProcessId", V("5000")},
    {"control.xml", XML_DOCUMENT, 1, 0, "CommandLine",
     V("a\x01"
       "b\x1f\x01\x1f\t\r\n\xef\xbf\xbe\xef\xbf\xbf\xf4\x8f\xbf\xbd\xf4\x8f\xbf\xbdself")},
    {"surrogate.xml", XML_DOCUMENT, 1, 0, "CommandLine", V("x\xed\xa0\x80y\xed\xb0\x80\xf0\x9f\x98\x80z")},
    {"surrogate_raw.xml", XML_DOCUMENT, 1, 0, "CommandLine", V("x\xed\xa0\x80y\xed\xb0\x80")},
    {"invalid_utf8.xml", XML_DOCUMENT, 1, 0, "CommandLine", V("x\xef\xbf\xbd\xef\xbf\xbdy")},
    {"unnamed.xml", XML_DOCUMENT, 1, 0, "x", V("1")},
    {"long.xml", XML_DOCUMENT, 1, 0, NULL, NULL, 0},
    {"cdata.xml", XML_DOCUMENT, 1, 0, "Image", V("</Event> <Event> &#x1; & \x02]]>")},
    {"entities.xml", XML_DOCUMENT, 1, 0, "a'\"<\n", V("<a>&\"'A\xf0\x9f\x98\x80")},
    {"double_quotes.xml", XML_DOCUMENT, 1, 0, "Image", V("x")},
    {"order.xml", XML_DOCUMENT, 1, 0, NULL, NULL, 0},
    {"linux.xml", XML_DOCUMENT, 1, 0, "RuleName", V("-")},
    {"userdata.xml", XML_DOCUMENT, 1, 0, NULL, NULL, 0},
    {"numbers.xml", XML_DOCUMENT, 1, 0, NULL, NULL, 0},
    {"document.xml", XML_DOCUMENT, 3, 0, "ProcessId", V("0")},
    {"utf16le.xml", XML_DOCUMENT, 3, 0, "ProcessId", V("0")},
    {"utf16be.xml", XML_DOCUMENT, 3, 0, "ProcessId", V("0")},
    {"syslog.log", XML_SYSLOG, 3, 1, "RuleName", V("-")},
#undef V
};

static void check_first_value(const struct sample *s, struct slice doc) {
    struct xml_split split;
    struct xml_piece piece;
    struct arena a;
    struct event ev;
    struct error err;
    arena_init(&a, EVENT_ARENA_CAP);
    xml_split_init(&split, s->form);
    xml_split_feed(&split, doc);
    xml_split_finish(&split);
    assert_int_equal(xml_split_next(&split, &piece), XML_EVENT);
    assert_int_equal(parse_event(parser, piece.text, &a, &ev, &err), ST_OK);
    if (!slice_eq(event_value(&ev, s->field), slice_of(s->value, s->value_len))) fail_msg("%s: %s", s->file, s->field);
    xml_split_deinit(&split);
    arena_deinit(&a);
}

static void test_samples(void **state) {
    (void)state;
    static const size_t chunks[] = {1, 7, 1 << 20};
    for (size_t i = 0; i < N_OF(samples); i++) {
        struct buf doc = {0};
        if (!read_file("tests/data/xml", samples[i].file, &doc))
            fail_msg("tests/data/xml/%s is missing", samples[i].file);
        for (size_t k = 0; k < N_OF(chunks); k++) {
            struct counts n = read_document(samples[i].file, buf_slice(&doc), samples[i].form, chunks[k]);
            if (n.events != samples[i].events || n.bad != samples[i].bad)
                fail_msg("%s in reads of %zu: %zu events, %zu bad", samples[i].file, chunks[k], n.events, n.bad);
        }
        if (samples[i].field) check_first_value(&samples[i], buf_slice(&doc));
        buf_free(&doc);
    }
}

/* ---- bad input ---- */

static const struct {
    const char *name, *xml, *message;
    enum status st;
} refused[] = {
    {"nothing", "", "nothing at all", ST_FORMAT},
    {"not XML", "hello", "line 1, byte", ST_FORMAT},
    {"no System", "<Event><EventData/></Event>", "no <System>", ST_FORMAT},
    {"other root", "<Events><System/></Events>", "not <Event>", ST_FORMAT},
    {"DOCTYPE", "<!DOCTYPE Event [<!ENTITY a 'aaaa'>]><Event><System/></Event>", "DOCTYPE", ST_FORMAT},
    {"unknown entity", HEAD "<EventData><Data>&a;</Data></EventData></Event>", "undefined entity", ST_FORMAT},
    {"mismatch on line 2", "<Event>\n<System></Sys></Event>", "line 2, byte", ST_FORMAT},
    {"place after a wrapped character", "<Event><System/><EventData><Data>\x01</Dat></EventData></Event>",
     "line 1, byte 37", ST_FORMAT},
    {"cut", HEAD "<EventData><Data>", "line 1, byte", ST_FORMAT},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < N_OF(refused); i++) {
        struct arena a;
        struct event ev;
        struct error err = {.msg = ""};
        arena_init(&a, EVENT_ARENA_CAP);
        enum status st = parse_event(parser, slice_str(refused[i].xml), &a, &ev, &err);
        if (st != refused[i].st || !strstr(err.msg, refused[i].message))
            fail_msg("%s: %s, \"%s\"", refused[i].name, status_name(st), err.msg);
        arena_deinit(&a);
    }
}

static void check_too_big(const char *name, const struct buf *xml, enum status wanted) {
    struct arena a;
    struct event ev;
    struct error err;
    arena_init(&a, EVENT_ARENA_CAP);
    enum status st = parse_event(parser, buf_slice(xml), &a, &ev, &err);
    if (st != wanted) fail_msg("%s: %s", name, status_name(st));
    arena_deinit(&a);
}

static void test_bombs(void **state) {
    (void)state;
    struct buf xml = {0};
    buf_str(&xml, HEAD "<UserData>");
    for (int i = 0; i < 70; i++) buf_str(&xml, "<a>");
    check_too_big("depth", &xml, ST_TOOBIG);
    buf_clear(&xml);
    buf_str(&xml, HEAD "<UserData");
    for (int i = 0; i < 70; i++) buf_printf(&xml, " a%d=''", i);
    buf_str(&xml, "/></Event>");
    check_too_big("attributes", &xml, ST_TOOBIG);
    buf_clear(&xml);
    buf_str(&xml, HEAD "<UserData>");
    while (xml.len < XML_EVENT_MAX - 100) buf_str(&xml, "<a/>");
    buf_str(&xml, "</UserData></Event>");
    check_too_big("elements", &xml, ST_NOMEM);
    while (xml.len <= XML_EVENT_MAX) buf_byte(&xml, ' ');
    check_too_big("length", &xml, ST_TOOBIG);
    buf_free(&xml);
}

static void test_split_goes_on(void **state) {
    (void)state;
    struct buf doc = {0};
    assert_true(read_file("tests/data/xml", "broken.xml", &doc));
    for (size_t chunk = 1; chunk < 4000; chunk *= 5) {
        struct counts n = read_document("broken.xml", buf_slice(&doc), XML_DOCUMENT, chunk);
        assert_int_equal(n.events, 2);
        assert_true(n.bad >= 3);
        assert_int_equal(n.bad_line, 2);
    }
    buf_clear(&doc);
    buf_str(&doc, HEAD "<EventData><Data>");
    while (doc.len < 3 * XML_EVENT_MAX) buf_str(&doc, "a longish text without an end ");
    buf_str(&doc, "</Data></EventData></Event>\n" HEAD "</Event>");
    struct counts n = read_document("too long", buf_slice(&doc), XML_DOCUMENT, 65536);
    assert_int_equal(n.events, 1);
    assert_int_equal(n.bad, 1);
    buf_free(&doc);
}

/* One event as three programs print it. */
static void test_content_hash(void **state) {
    (void)state;
    static const char *const renderings[] = {
        HEAD
        "<EventData><Data Name='RuleName'></Data><Data Name='ProcessGuid'>{AABBCCDD-5566-6789-1200-000000000300}</Data>"
        "<Data Name='GrantedAccess'>0x1410</Data></EventData></Event>",
        "<Event xmlns=\"http://schemas.microsoft.com/win/2004/08/events/event\">\n  <System>\n    <EventID>1</EventID>\n  </System>\n"
        "  <EventData>\n    <Data Name=\"RuleName\" />\n    <Data Name=\"ProcessGuid\">{aabbccdd-5566-6789-1200-000000000300}"
        "</Data>\n    <Data Name=\"GrantedAccess\">0x1410</Data>\n  </EventData>\n</Event>",
        HEAD "<EventData><Data Name='ProcessGuid'>{AABBCCDD-5566-6789-1200-000000000300}</Data>"
             "<Data Name='GrantedAccess'>0x00001410</Data></EventData></Event>"};
    uint64_t first = 0;
    for (size_t i = 0; i < N_OF(renderings); i++) {
        struct arena a;
        struct event ev;
        struct error err;
        arena_init(&a, EVENT_ARENA_CAP);
        assert_int_equal(parse_event(parser, slice_str(renderings[i]), &a, &ev, &err), ST_OK);
        if (!i) first = event_content_hash(&ev);
        if (event_content_hash(&ev) != first) fail_msg("rendering %zu has another hash", i);
        arena_deinit(&a);
    }
}

/* ---- real files ---- */

static const struct {
    const char *file;
    enum xml_form form;
    size_t events, bad;
} real[] = {
    {"ecs/sysmon-9.01.xml", XML_DOCUMENT, 32, 0},
    {"ecs/sysmon-9.01.full.xml", XML_DOCUMENT, 32, 0},
    {"ecs/sysmon-9.01.rendered.xml", XML_DOCUMENT, 32, 0},
    {"ecs/sysmon-10.2-dns.full.xml", XML_DOCUMENT, 156, 0},
    {"ecs/sysmon-10.2-dns.rendered.xml", XML_DOCUMENT, 156, 0},
    {"ecs/sysmon-11-registry.full.xml", XML_DOCUMENT, 5, 0},
    {"ecs/sysmon-12-processcreate.full.xml", XML_DOCUMENT, 1, 0},
    {"ecs/sysmon-13-clipboardchange.full.xml", XML_DOCUMENT, 1, 0},
    {"linux/sysmon.log", XML_SYSLOG, 36, 0},
    {"linux/made.log", XML_SYSLOG, 9, 1},
    {"linux/sigmacatch.log", XML_SYSLOG, 1, 0},
    {"linux/trustedsec.log", XML_SYSLOG, 1, 0},
};

static const char *shared_folder(void) {
    const char *shared = getenv("HAECHI_SHARED");
    return shared ? shared : "../shared";
}

static void test_real_files(void **state) {
    (void)state;
    char folder[400];
    snprintf(folder, sizeof folder, "%s/data", shared_folder());
    for (size_t i = 0; i < N_OF(real); i++) {
        struct buf doc = {0};
        if (!read_file(folder, real[i].file, &doc)) {
            printf("skipped: no real event XML in %s\n", folder);
            skip();
        }
        struct counts n = read_document(real[i].file, buf_slice(&doc), real[i].form, 4096);
        if (n.events != real[i].events || n.bad != real[i].bad)
            fail_msg("%s: %zu events, %zu bad", real[i].file, n.events, n.bad);
        buf_free(&doc);
    }
}

/* The output of a command as one document. */
static struct counts read_command(const char *name, const char *command) {
    struct counts n = {0, 0, 0};
    struct buf doc = {0};
    FILE *f = popen(command, "r");
    if (!f) return n;
    uint8_t block[65536];
    for (size_t len; (len = fread(block, 1, sizeof block, f)) > 0;) buf_append(&doc, block, len);
    pclose(f);
    n = read_document(name, buf_slice(&doc), XML_DOCUMENT, 65536);
    buf_free(&doc);
    return n;
}

static void test_bench_corpus(void **state) {
    (void)state;
    char command[700];
    snprintf(command, sizeof command, "zstdcat '%s/data/bench/sysmon-100k.xml.zst' 2>/dev/null | head -n 20000",
             shared_folder());
    struct counts n = read_command("bench corpus", command);
    if (!n.events) {
        printf("skipped: the real events of ../shared are not here\n");
        skip();
    }
    assert_int_equal(n.events, 20000);
    assert_int_equal(n.bad, 0);
}

static void test_reference_readings(void **state) {
    (void)state;
    char command[1200];
    snprintf(command, sizeof command,
             "cd '%s/data' 2>/dev/null && python3 tools/ref_to_xml.py evtx/*.jsonl ecs/*.jsonl 2>/dev/null",
             shared_folder());
    struct counts n = read_command("reference readings", command);
    if (!n.events) {
        printf("skipped: the real events of ../shared are not here\n");
        skip();
    }
    assert_true(n.events > 1600);
    assert_int_equal(n.bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bombs),        cmocka_unit_test(test_split_goes_on),
        cmocka_unit_test(test_content_hash), cmocka_unit_test(test_real_files),
        cmocka_unit_test(test_bench_corpus), cmocka_unit_test(test_reference_readings),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
