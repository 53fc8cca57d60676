/* Requests: what is taken, what is refused and with which status; limits to the byte; targets, routes, Accept; answers.
 * Each request is read whole, byte by byte and in threes. */
// links: server rules storage proto base
#include "clock.h"
#include "http.h"
#include "jout.h"
#include "reply.h"
#include "router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct seen {
    int status; /* of the refusal; 0: none */
    char why[160];
    unsigned n_heads, n_ends;
    char method[16], target[64];
    struct buf body;
    uint64_t length;
    bool keep_alive, chunked, expects;
};

static struct seen feed(struct slice all, size_t step) {
    struct seen s = {0};
    struct http_parser *p = http_parser_new();
    struct slice body;
    while (all.len && !s.status) {
        struct slice in = slice_head(all, step);
        all = slice_from(all, in.len);
        for (bool more = true; more;) {
            switch (http_next(p, &in, &body)) {
            case HTTP_EVENT_MORE: more = false; break;
            case HTTP_EVENT_HEAD: {
                const struct http_request *r = http_request(p);
                s.n_heads++;
                snprintf(s.method, sizeof s.method, "%s", r->method);
                snprintf(s.target, sizeof s.target, "%.*s", (int)(r->target.len < 60 ? r->target.len : 60),
                         (char *)r->target.p);
                s.length = r->content_length;
                s.keep_alive = r->keep_alive;
                s.chunked = r->chunked;
                s.expects = r->expect_continue;
                break;
            }
            case HTTP_EVENT_BODY: buf_slice_append(&s.body, body); break;
            case HTTP_EVENT_END: s.n_ends++; break;
            case HTTP_EVENT_BAD: {
                const char *why;
                s.status = http_refusal(p, &why);
                snprintf(s.why, sizeof s.why, "%s", why);
                more = false;
            }
            }
        }
    }
    http_parser_free(&p);
    return s;
}

#define HOST "Host: a\r\n"
#define G "GET / HTTP/1.1\r\n"
#define P "POST /p HTTP/1.1\r\n" HOST

static const struct {
    const char *name;
    struct slice bytes;
    int status; /* 0: taken */
    unsigned n_ends;
    const char *body;
} requests[] = {
    {"plain", SLICE_LIT(G HOST "\r\n"), 0, 1, ""},
    {"two in a row", SLICE_LIT(G HOST "\r\n" G HOST "\r\n"), 0, 2, ""},
    {"empty lines before", SLICE_LIT("\r\n\r\n" G HOST "\r\n"), 0, 1, ""},
    {"length", SLICE_LIT(P "Content-Length: 3\r\n\r\nabc"), 0, 1, "abc"},
    {"length 0", SLICE_LIT(P "Content-Length: 0\r\n\r\n"), 0, 1, ""},
    {"chunked", SLICE_LIT(P "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 0, 1, "abcde"},
    {"chunked, capital letters", SLICE_LIT(P "Transfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"), 0, 1, "x"},
    {"a trailer says nothing", SLICE_LIT(P "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n"), 0, 1, ""},
    {"an offer to upgrade", SLICE_LIT(G HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), 0, 1, ""},
    {"empty header", SLICE_LIT(G HOST "X:\r\n\r\n"), 0, 1, ""},
    {"both lengths", SLICE_LIT(P "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, 0, ""},
    {"both lengths, the other way", SLICE_LIT(P "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
     400, 0, ""},
    {"two lengths", SLICE_LIT(P "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), 400, 0, ""},
    {"the same length twice", SLICE_LIT(P "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), 400, 0, ""},
    {"list of lengths", SLICE_LIT(P "Content-Length: 3, 3\r\n\r\nabc"), 400, 0, ""},
    {"+5", SLICE_LIT(P "Content-Length: +5\r\n\r\nabcde"), 400, 0, ""},
    {"-5", SLICE_LIT(P "Content-Length: -5\r\n\r\nabcde"), 400, 0, ""},
    {"0x5", SLICE_LIT(P "Content-Length: 0x5\r\n\r\nabcde"), 400, 0, ""},
    {"length beyond 64 bits", SLICE_LIT(P "Content-Length: 99999999999999999999999\r\n\r\n"), 400, 0, ""},
    {"gzip, chunked", SLICE_LIT(P "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501, 0, ""},
    {"chunked twice", SLICE_LIT(P "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, 0,
     ""},
    {"identity", SLICE_LIT(P "Transfer-Encoding: identity\r\n\r\n"), 501, 0, ""},
    {"chunk size with 0x", SLICE_LIT(P "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"), 400, 0, ""},
    {"chunk size beyond 64 bits", SLICE_LIT(P "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"), 400, 0, ""},
    {"chunk extension", SLICE_LIT(P "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n"), 400, 0, ""},
    {"chunk longer than it says", SLICE_LIT(P "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n"), 400, 0, "x"},
    {"gzip body", SLICE_LIT(P "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"), 415, 0, ""},
    {"space before the colon", SLICE_LIT(G "Host : a\r\n\r\n"), 400, 0, ""},
    {"NUL in a header", SLICE_LIT(G HOST "X: a\0b\r\n\r\n"), 400, 0, ""},
    {"bare LF", SLICE_LIT("GET / HTTP/1.1\nHost: a\n\n"), 400, 0, ""},
    {"bare LF after a header", SLICE_LIT(G "Host: a\nX: b\r\n\r\n"), 400, 0, ""},
    {"bare CR", SLICE_LIT(G "Host: a\rX: b\r\n\r\n"), 400, 0, ""},
    {"folded header", SLICE_LIT(G HOST "X: a\r\n b\r\n\r\n"), 400, 0, ""},
    {"no Host", SLICE_LIT(G "\r\n"), 400, 0, ""},
    {"two Hosts", SLICE_LIT(G HOST "Host: b\r\n\r\n"), 400, 0, ""},
    {"empty Host", SLICE_LIT(G "Host:\r\n\r\n"), 400, 0, ""},
    {"Host with a path", SLICE_LIT(G "Host: a/b\r\n\r\n"), 400, 0, ""},
    {"two Authorizations", SLICE_LIT(G HOST "Authorization: a\r\nAuthorization: b\r\n\r\n"), 400, 0, ""},
    {"HTTP/1.0", SLICE_LIT("GET / HTTP/1.0\r\n" HOST "\r\n"), 505, 0, ""},
    {"HTTP/0.9", SLICE_LIT("GET / HTTP/0.9\r\n" HOST "\r\n"), 505, 0, ""},
    {"HTTP/2.0", SLICE_LIT("GET / HTTP/2.0\r\n" HOST "\r\n"), 505, 0, ""},
    {"HTTP/2 preface", SLICE_LIT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400, 0, ""},
    {"no version", SLICE_LIT("GET /\r\n\r\n"), 505, 0, ""},
    {"unknown method", SLICE_LIT("GRAB / HTTP/1.1\r\n" HOST "\r\n"), 400, 0, ""},
    {"CONNECT", SLICE_LIT("CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n"), 400, 0, ""},
    {"absolute target", SLICE_LIT("GET http://a/ HTTP/1.1\r\n" HOST "\r\n"), 400, 0, ""},
    {"target *", SLICE_LIT("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), 400, 0, ""},
    {"target with a byte above 127", SLICE_LIT("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"), 400, 0, ""},
    {"TLS hello", SLICE_LIT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400, 0, ""},
    {"expectation", SLICE_LIT(P "Expect: tea\r\nContent-Length: 1\r\n\r\nx"), 417, 0, ""},
};

static void test_requests(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        static const size_t steps[] = {SIZE_MAX, 1, 3};
        for (size_t k = 0; k < 3; k++) {
            struct seen s = feed(requests[i].bytes, steps[k]);
            bool good = s.status == requests[i].status && s.n_ends == requests[i].n_ends &&
                        slice_eq_str(buf_slice(&s.body), requests[i].body);
            if (!good) {
                fail_msg("%s (in steps of %zu): status %d \"%s\", %u ends, body \"%s\"", requests[i].name, steps[k],
                         s.status, s.why, s.n_ends, buf_cstr(&s.body));
            }
            buf_free(&s.body);
        }
    }
}

static void test_head(void **state) {
    (void)state;
    struct seen s = feed(
        SLICE_LIT(
            "POST /x?y=z HTTP/1.1\r\nhOsT: a:8\r\nConnection: close\r\nExpect: 100-Continue\r\ncontent-length: 7\r\n\r\n"),
        2);
    assert_int_equal(s.n_heads, 1);
    assert_int_equal(s.n_ends, 0);
    assert_string_equal(s.method, "POST");
    assert_string_equal(s.target, "/x?y=z");
    assert_int_equal(s.length, 7);
    assert_true(s.expects && !s.keep_alive && !s.chunked);
}

/* ---- limits, to the byte ---- */

static void repeat(struct buf *b, char c, size_t n) {
    for (size_t i = 0; i < n; i++) buf_byte(b, (uint8_t)c);
}

static int status_of(struct buf *b, size_t step) {
    struct seen s = feed(buf_slice(b), step);
    buf_free(&s.body);
    buf_free(b);
    return s.status;
}

static void test_limits(void **state) {
    (void)state;
    for (size_t step = 1; step < 100000; step *= 50) {
        for (unsigned over = 0; over < 2; over++) {
            struct buf b = {0};
            buf_str(&b, "GET /");
            repeat(&b, 'a', HTTP_MAX_TARGET - 1 + over);
            buf_str(&b, " HTTP/1.1\r\n" HOST "\r\n");
            assert_int_equal(status_of(&b, step), over ? 414 : 0);
            buf_str(&b, G HOST);
            for (unsigned i = 0; i < HTTP_MAX_HEADERS - 1 + over; i++) buf_str(&b, "X: y\r\n");
            buf_str(&b, "\r\n");
            assert_int_equal(status_of(&b, step), over ? 431 : 0);
            buf_str(&b, G HOST "X: ");
            repeat(&b, 'a', HTTP_MAX_HEADER_BYTES - 6 + over);
            buf_str(&b, "\r\n\r\n");
            assert_int_equal(status_of(&b, step), over ? 431 : 0);
        }
        struct buf b = {0};
        buf_str(&b, G);
        repeat(&b, 'n', 300);
        assert_int_equal(status_of(&b, step), 431);
        buf_str(&b, G HOST "X:"); /* white space counts too, though nobody keeps it */
        repeat(&b, ' ', 1000000);
        assert_int_equal(status_of(&b, step), 431);
        buf_str(&b, P "Transfer-Encoding: chunked\r\n\r\n0\r\n");
        for (unsigned i = 0; i < HTTP_MAX_HEADERS + 1; i++) buf_str(&b, "X: y\r\n");
        buf_str(&b, "\r\n");
        assert_int_equal(status_of(&b, step), 431);
    }
}

/* ---- targets and routes ---- */

static void test_targets(void **state) {
    static const struct {
        const char *text;
        enum status st;
        const char *words; /* joined by | */
        const char *params;
    } cases[] = {
        {"/", ST_OK, "", ""},
        {"/a/b", ST_OK, "a|b|", ""},
        {"/a%2Fb/c%20d", ST_OK, "a/b|c d|", ""},
        {"/a+b?c+d=e+f&g", ST_OK, "a+b|", "c d=e f|g=|"},
        {"/a?x=1&x=2&y=%3D%26", ST_OK, "a|", "x=1|x=2|y==&|"},
        {"/a?", ST_OK, "a|", ""},
        {"/a/", ST_NOTFOUND, NULL, NULL},
        {"//a", ST_NOTFOUND, NULL, NULL},
        {"/1/2/3/4/5/6/7/8/9", ST_NOTFOUND, NULL, NULL},
        {"/a%", ST_FORMAT, NULL, NULL},
        {"/a%2", ST_FORMAT, NULL, NULL},
        {"/a%zz", ST_FORMAT, NULL, NULL},
        {"/a%00b", ST_FORMAT, NULL, NULL},
        {"/a?b=%00", ST_FORMAT, NULL, NULL},
        {"/a?=b", ST_FORMAT, NULL, NULL},
        {"a", ST_FORMAT, NULL, NULL},
        {"", ST_FORMAT, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct target t = {0};
        struct error err = {0};
        struct buf words = {0}, params = {0};
        enum status st = target_parse(slice_str(cases[i].text), &t, &err);
        if (st != cases[i].st) fail_msg("%s: %s %s", cases[i].text, status_name(st), err.msg);
        for (size_t k = 0; k < t.n_words; k++) buf_printf(&words, "%s|", t.words[k]);
        for (size_t k = 0; k < t.n_params; k++) buf_printf(&params, "%s=%s|", t.params[k].name, t.params[k].value);
        if (!st && strcmp(buf_cstr(&words), cases[i].words) != 0)
            fail_msg("%s: words %s", cases[i].text, buf_cstr(&words));
        if (!st && strcmp(buf_cstr(&params), cases[i].params) != 0)
            fail_msg("%s: params %s", cases[i].text, buf_cstr(&params));
        buf_free(&words);
        buf_free(&params);
        target_deinit(&t);
    }
}

static void test_routes(void **state) {
    static const struct {
        const char *method, *target, *path, *word, *allow;
        enum status params;
    } cases[] = {
        {"GET", "/api/v1/hosts", "/api/v1/hosts", NULL, "", ST_OK},
        {"GET", "/api/v1/hosts/a%2Fb", "/api/v1/hosts/{host}", "a/b", "", ST_OK},
        {"GET", "/api/v1/hosts/x/events?where=a&where=b&id=1", "/api/v1/hosts/{host}/events", "x", "", ST_OK},
        {"GET", "/api/v1/hosts/x/events?id=1&id=2", "/api/v1/hosts/{host}/events", "x", "", ST_INVALID},
        {"GET", "/api/v1/hosts/x/events?wher=1", "/api/v1/hosts/{host}/events", "x", "", ST_INVALID},
        {"GET", "/api/v1/hosts/x/events?where*=1", "/api/v1/hosts/{host}/events", "x", "", ST_INVALID},
        {"GET", "/metrics?x=1", "/metrics", NULL, "", ST_INVALID},
        {"PUT", "/api/v1/tokens", NULL, NULL, "GET, POST", ST_OK},
        {"DELETE", "/api/v1/hosts/x", NULL, NULL, "GET", ST_OK},
        {"GET", "/api/v1", NULL, NULL, "", ST_OK},
        {"GET", "/api/v1/hosts/x/events/y", NULL, NULL, "", ST_OK},
        {"GET", "/", NULL, NULL, "", ST_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct target t;
        struct error err = {0};
        const char *words[2];
        char allow[32];
        assert_int_equal(target_parse(slice_str(cases[i].target), &t, &err), ST_OK);
        const struct route *r = route_find(cases[i].method, &t, words, allow);
        if (!r != !cases[i].path || (r && strcmp(r->path, cases[i].path) != 0))
            fail_msg("%s: %s", cases[i].target, r ? r->path : "-");
        if (r && cases[i].word) assert_string_equal(words[0], cases[i].word);
        if (!r) assert_string_equal(allow, cases[i].allow);
        if (r && route_check_params(r, &t, &err) != cases[i].params) fail_msg("%s: %s", cases[i].target, err.msg);
        target_deinit(&t);
    }
}

static void test_accept(void **state) {
    static const struct {
        const char *accept;
        bool taken; /* by a route of application/json */
    } cases[] = {{"", true},
                 {"*/*", true},
                 {"application/*", true},
                 {"application/json", true},
                 {"text/html, */*;q=0.1", true},
                 {"APPLICATION/JSON", true},
                 {"text/html", false},
                 {"text/*", false},
                 {"application/json;q=0", false},
                 {"application/json; q=0.5", true},
                 {"application/jsonx", false},
                 {",,", false},
                 {"*/*;q=0.0", false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (route_is_acceptable(&routes[0], slice_str(cases[i].accept)) != cases[i].taken)
            fail_msg("%s", cases[i].accept);
    }
}

/* ---- answers ---- */

static void test_answers(void **state) {
    (void)state;
    struct buf b = {0};
    reply_head(&b, &(struct reply_head){.http = 405,
                                        .type = REPLY_PROBLEM,
                                        .length = 7,
                                        .close = true,
                                        .allow = "GET",
                                        .now = FILETIME_UNIX_EPOCH + 784111777 * FILETIME_SECOND});
    assert_string_equal(buf_cstr(&b),
                        "HTTP/1.1 405 Method Not Allowed\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: "
                        "application/problem+json\r\nContent-Length: 7\r\nAllow: GET\r\nCache-Control: no-store\r\n"
                        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n");
    buf_clear(&b);
    reply_problem(&b, 404, "no \"x\"\n");
    assert_string_equal(
        buf_cstr(&b),
        "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\"detail\":\"no \\\"x\\\"\\n\"}\n");
    buf_clear(&b);
    reply_chunk(&b, SLICE_LIT("0123456789abcdef"));
    reply_chunk(&b, SLICE_LIT(""));
    reply_last_chunk(&b, "T", 3);
    assert_string_equal(buf_cstr(&b), "10\r\n0123456789abcdef\r\n0\r\nT: 3\r\n\r\n");
    buf_clear(&b);
    jout_object(&b, NULL);
    jout_array(&b, "a");
    jout_uint(&b, NULL, 1);
    jout_object(&b, NULL);
    jout_close(&b, '}');
    jout_close(&b, ']');
    jout_time(&b, "t", 0);
    jout_str(&b, "s", "[");
    jout_bool(&b, "b", true);
    jout_line(&b);
    assert_string_equal(buf_cstr(&b), "{\"a\":[1,{}],\"t\":null,\"s\":\"[\",\"b\":true}\n");
    buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_requests), cmocka_unit_test(test_head),
                                       cmocka_unit_test(test_limits),   cmocka_unit_test(test_targets),
                                       cmocka_unit_test(test_routes),   cmocka_unit_test(test_accept),
                                       cmocka_unit_test(test_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
