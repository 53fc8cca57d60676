/* config_xml.c: encodings, places, what a value is, what is refused and where. */
// links: rules proto base
#include "config_xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define DECLARED(encoding) "<?xml version=\"1.0\" encoding=\"" encoding "\"?>"

static struct config_doc *read_xml(const char *name, struct slice bytes) {
    struct config_doc *d = NULL;
    struct place at;
    struct error err = {0};
    if (config_xml_parse(bytes, &d, &at, &err)) fail_msg("%s: %u:%u: %s", name, at.line, at.column, err.msg);
    return d;
}

/* ---- encodings ---- */

enum form { UTF8, LE, BE, LATIN1 };

static const struct {
    const char *name;
    enum form form;
    bool bom;
    const char *front; /* before <a> */
    const char *encoding;
    uint32_t line, column; /* of <a> */
} encodings[] = {
    {"plain", UTF8, false, "", "UTF-8", 1, 1},
    {"declared", UTF8, false, DECLARED("utf-8"), "UTF-8", 1, 39},
    {"marked", UTF8, true, "", "UTF-8", 1, 1},
    {"marked and declared otherwise", UTF8, true, DECLARED("ISO-8859-1"), "UTF-8", 1, 44},
    {"white space before the declaration", UTF8, false, "\r\n \n" DECLARED("UTF-8") "\n", "UTF-8", 4, 1},
    {"marked, white space", UTF8, true, "\n\n", "UTF-8", 3, 1},
    {"UTF-16LE", LE, false, "", "UTF-16LE", 1, 1},
    {"UTF-16LE, declared", LE, false, DECLARED("UTF-16LE") "\r\n", "UTF-16LE", 2, 1},
    {"UTF-16LE, marked", LE, true, "", "UTF-16LE", 1, 1},
    {"UTF-16LE, marked and declared", LE, true, DECLARED("UTF-16"), "UTF-16LE", 1, 40},
    {"UTF-16LE, white space", LE, false, "\n \n" DECLARED("UTF-8"), "UTF-16LE", 3, 39},
    {"UTF-16BE", BE, false, "", "UTF-16BE", 1, 1},
    {"UTF-16BE, marked", BE, true, DECLARED("UTF-16BE"), "UTF-16BE", 1, 42},
    {"ISO-8859-1", LATIN1, false, DECLARED("ISO-8859-1"), "ISO-8859-1", 1, 44},
    {"ISO-8859-1, white space", LATIN1, false, " \n" DECLARED("iso-8859-1") "\r", "ISO-8859-1", 3, 1},
};

static void put(struct buf *b, enum form form, uint32_t c) {
    if (form == LE) buf_u16le(b, (uint16_t)c);
    if (form == BE) buf_u16le(b, (uint16_t)(c << 8 | c >> 8));
    if (form == LATIN1 || (form == UTF8 && c < 0x80)) {
        buf_byte(b, (uint8_t)c);
    } else if (form == UTF8) {
        buf_byte(b, (uint8_t)(0xc0 | c >> 6));
        buf_byte(b, (uint8_t)(0x80 | (c & 0x3f)));
    }
}

static void test_encodings(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        struct buf b = {0};
        enum form form = encodings[i].form;
        if (encodings[i].bom && form == UTF8) buf_str(&b, "\xef\xbb\xbf");
        if (encodings[i].bom && form != UTF8) put(&b, form, 0xfeff);
        for (const char *p = encodings[i].front; *p; p++) put(&b, form, (uint8_t)*p);
        const uint16_t body[] = {'<', 'a', ' ', 'n', '=', '"',  0xe4, '"', ' ', 'm',
                                 '=', '"', '1', '"', '>', 0xfc, '<',  '/', 'a', '>'};
        for (size_t k = 0; k < sizeof body / sizeof *body; k++) put(&b, form, body[k]);
        struct config_doc *d = read_xml(encodings[i].name, buf_slice(&b));
        bool same = strcmp(d->encoding, encodings[i].encoding) == 0 && d->has_bom == encodings[i].bom && !d->ascii;
        same &= d->root->at.line == encodings[i].line && d->root->at.column == encodings[i].column;
        const struct config_attribute *a = config_attribute(d->root, "n"), *m = config_attribute(d->root, "m");
        same &= a && slice_eq_str(a->value, "\xc3\xa4") && a->at.column == encodings[i].column + 3;
        same &= m && m->at.column == encodings[i].column + 9; /* characters, not bytes */
        same &= slice_eq_str(config_value(d->root, NULL), "\xc3\xbc");
        if (!same) fail_msg("%s: %s, %u:%u", encodings[i].name, d->encoding, d->root->at.line, d->root->at.column);
        config_xml_free(&d);
        buf_free(&b);
    }
}

/* ---- values ---- */

static const struct {
    const char *xml, *value;
    bool cut;
} values[] = {
    {"<a/>", "", false},
    {"<a></a>", "", false},
    {"<a> b </a>", " b ", false},
    {"<a>\r\nb\rc</a>", "\nb\nc", false},
    {"<a>&amp;&lt;&gt;&quot;&apos;&#65;&#x42;</a>", "&<>\"'AB", false},
    {"<a>b<!-- c -->d</a>", "b", true},
    {"<a>b<!-- c --></a>", "b", false},
    {"<a><!-- c -->d</a>", "d", false},
    {"<a>b<!-- c --> </a>", "b", false},
    {"<a>b<![CDATA[<c>]]></a>", "b", true},
    {"<a><![CDATA[<c>]]></a>", "<c>", false},
    {"<a><![CDATA[]]>b</a>", "", true},
    {"<a>b<?c d?>e</a>", "b", true},
    {"<a>b<c/>d</a>", "b", true},
};

static void test_values(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct config_doc *d = read_xml(values[i].xml, slice_str(values[i].xml));
        bool cut;
        struct slice v = config_value(d->root, &cut);
        if (!slice_eq_str(v, values[i].value) || cut != values[i].cut) {
            fail_msg("%s: \"%.*s\" %d", values[i].xml, (int)v.len, (const char *)v.p, cut);
        }
        config_xml_free(&d);
    }
}

/* ---- places ---- */

static void test_places(void **state) {
    (void)state;
    const char *xml = "<a\n  b = 'x>\"'\tc=\"&lt;'\"\n>\n\t<d>\xe2\x82\xac<e/></d> <!-- f -->\r\n<g/></a>";
    struct config_doc *d = read_xml("places", slice_str(xml));
    const struct config_attribute *b = config_attribute(d->root, "b"), *c = config_attribute(d->root, "c");
    assert_true(b->at.line == 2 && b->at.column == 3 && slice_eq_str(b->value, "x>\""));
    assert_true(c->at.line == 2 && c->at.column == 13 && slice_eq_str(c->value, "<'"));
    const struct config_node *n = config_element(d->root->first);
    assert_true(slice_eq_str(n->text, "d") && n->at.line == 4 && n->at.column == 2);
    assert_true(n->first->kind == CONFIG_TEXT && n->first->at.column == 5);
    assert_true(n->first->next->at.column == 6 && !n->first->next->next);
    assert_true(n->next->kind == CONFIG_COMMENT && n->next->at.column == 15);
    n = config_element(n->next);
    assert_true(slice_eq_str(n->text, "g") && n->at.line == 5 && n->at.column == 1 && !config_element(n->next));
    assert_true(d->end.line == 5 && d->end.column == 9);
    config_xml_free(&d);
}

/* ---- refused ---- */

static const struct {
    const char *name, *xml;
    size_t len; /* 0: a string */
    enum status st;
    uint32_t line, column;
} refused[] = {
    {"nothing", "", 0, ST_FORMAT, 1, 1},
    {"white space", " \n ", 0, ST_FORMAT, 1, 1},
    {"a doctype", "\n<!DOCTYPE a><a/>", 0, ST_DENIED, 2, 1},
    {"entities", "<!DOCTYPE a [<!ENTITY b \"c\"><!ENTITY d \"&b;&b;\">]><a>&d;</a>", 0, ST_DENIED, 1, 1},
    {"an external entity", "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", 0, ST_DENIED, 1, 1},
    {"an unknown entity", "<a>\n&nbsp;</a>", 0, ST_FORMAT, 2, 1},
    {"not closed", "<a>\n<b>", 0, ST_FORMAT, 2, 4},
    {"closed wrongly", "<a>\n <b></c></a>", 0, ST_FORMAT, 2, 7},
    {"two roots", "<a/>\n<b/>", 0, ST_FORMAT, 2, 1},
    {"a bare ampersand", "<a>b & c</a>", 0, ST_FORMAT, 1, 7},
    {"an attribute twice", "<a b=\"\" b=\"\"/>", 0, ST_FORMAT, 1, 9},
    {"no UTF-8", "<a>\n\xe4</a>", 0, ST_FORMAT, 2, 1},
    {"overlong UTF-8", "<a>\xc0\xaf</a>", 0, ST_FORMAT, 1, 4},
    {"a surrogate in UTF-8", "<a>\xed\xa0\x80</a>", 0, ST_FORMAT, 1, 4},
    {"a NUL", "<a>\0</a>", 8, ST_FORMAT, 1, 4},
    {"half of UTF-16", "<\0a\0/\0>", 7, ST_FORMAT, 1, 4},
    {"half of a pair", "<\0a\0>\0\0\xd8<\0/\0a\0>\0", 16, ST_FORMAT, 1, 4},
    {"too deep", "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>", 0, ST_TOOBIG, 1, 49},
    {"attributes", "<a b='' c='' d='' e='' f='' g='' h='' i='' j='' k='' l='' m='' n='' o='' p='' q='' r=''/>", 0,
     ST_TOOBIG, 1, 1},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct config_doc *d = NULL;
        struct place at;
        struct error err = {0};
        struct slice xml = refused[i].len ? slice_of(refused[i].xml, refused[i].len) : slice_str(refused[i].xml);
        enum status st = config_xml_parse(xml, &d, &at, &err);
        if (st != refused[i].st || d || at.line != refused[i].line || at.column != refused[i].column || !err.msg[0]) {
            fail_msg("%s: %s at %u:%u: %s", refused[i].name, status_name(st), at.line, at.column, err.msg);
        }
    }
}

/* What the words say. */
static void test_words(void **state) {
    static const char *const words[][2] = {
        {"<a><!-- b -- c --></a>", "hyphens"},
        {"<a>b & c</a>", "&amp;"},
        {"<a>b < c</a>", "&lt;"},
        {"<a>\x01</a>", "control"},
        {"<a/> </b>", "behind the end"},
        {"<a>\n<b></a>", "<b> of line 2"},
        {"<a>\n<b>", "<b> of line 2"},
        {"<?xml version=\"1.0\" encoding=\"windows-1252\"?><a>\xe4</a>", "declared"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct config_doc *d = NULL;
        struct place at;
        struct error err = {0};
        if (!config_xml_parse(slice_str(words[i][0]), &d, &at, &err)) fail_msg("%s was read", words[i][0]);
        if (!strstr(err.msg, words[i][1])) fail_msg("%s: %s", words[i][0], err.msg);
    }
}

static void test_limits(void **state) {
    (void)state;
    struct buf b = {0};
    struct config_doc *d = NULL;
    struct place at;
    struct error err;
    buf_str(&b, "<a>");
    for (unsigned i = 0; i <= RULESET_NODES_MAX; i++) buf_str(&b, "<b/>");
    buf_str(&b, "</a>");
    assert_int_equal(config_xml_parse(buf_slice(&b), &d, &at, &err), ST_TOOBIG);
    buf_clear(&b);
    buf_str(&b, "<a>");
    while (b.len <= RULES_XML_MAX)
        buf_str(&b, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    assert_int_equal(config_xml_parse(buf_slice(&b), &d, &at, &err), ST_TOOBIG);
    assert_null(d);
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_encodings), cmocka_unit_test(test_values),
                                       cmocka_unit_test(test_places),    cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_words),     cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
