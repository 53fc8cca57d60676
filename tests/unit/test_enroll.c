// links: agent proto base
/* Enrolment as far as it goes without a collector: what is refused before anything is sent, each with its sentence. */
#include "clock.h"
#include "enroll.h"
#include "keystore.h"
#include "log.h"
#include "mem.h"
#include "tls.h"
#include "token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char *make_dir(const char *name) {
    char unique[96];
    snprintf(unique, sizeof unique, "%s-%llu", name, (unsigned long long)clock_mono_ms());
    const char *tmp = getenv("HAECHI_TMP");
    return file_join(tmp ? tmp : "/tmp", unique);
}

static void make_token(const char *address, struct buf *out) {
    struct token t = {.pin = {1, 2, 3}};
    snprintf(t.address, sizeof t.address, "%s", address);
    assert_int_equal(token_encode(&t, out, NULL), ST_OK);
}

static void test_refused(void **state) {
    (void)state;
    struct buf good = {0};
    make_token("127.0.0.1:1", &good); /* nobody listens there */
    const struct {
        const char *what, *token, *name;
        enum status want;
        const char *says;
    } cases[] = {
        {"cut token", "haechi-enroll.v1.AAAA", NULL, ST_CORRUPT, "copy it again"},
        {"no token", "hello", NULL, ST_FORMAT, "not an enrolment token"},
        {"API token", "haechi-api.v1.a.b", NULL, ST_INVALID, "not for enrolment"},
        {"name with no UTF-8", buf_cstr(&good), "a\xff", ST_INVALID, "--name"},
        {"nobody there", buf_cstr(&good), "h", ST_COUNT, "no answer from the collector at 127.0.0.1:1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *dir = make_dir("enroll");
        struct enroll_options o = {.token = cases[i].token, .state = dir, .name = cases[i].name};
        struct error err = {0};
        enum status st = enroll_run(&o, &err);
        if (st == ST_OK || (cases[i].want != ST_COUNT && st != cases[i].want))
            fail_msg("%s: %s", cases[i].what, status_name(st));
        if (!strstr(err.msg, cases[i].says)) fail_msg("%s: \"%s\"", cases[i].what, err.msg);
        struct identity id = {0};
        assert_int_equal(keystore_load(dir, &id, NULL), ST_NOTFOUND); /* nothing was taken on */
        mem_free(dir);
    }
    buf_free(&good);
}

/* While an agent runs with a state directory nobody else enrols in it. */
static void test_busy(void **state) {
    (void)state;
    char *dir = make_dir("enroll-busy");
    struct buf token = {0};
    struct file *lock = NULL;
    struct error err = {0};
    make_token("127.0.0.1:1", &token);
    assert_int_equal(keystore_lock(dir, &lock, NULL), ST_OK);
    struct enroll_options o = {.token = buf_cstr(&token), .state = dir, .name = "h"};
    assert_int_equal(enroll_run(&o, &err), ST_BUSY);
    assert_non_null(strstr(err.msg, "another haechi-agent"));
    file_close(&lock);
    buf_free(&token);
    mem_free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_busy)};
    tls_global_init();
    log_init("test_enroll", LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
