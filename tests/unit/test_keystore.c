// links: agent proto base
/* The state directory: identity and bookmarks survive a round trip, damage is said, the key is private and kept. */
#include "bookmarks.h"
#include "clock.h"
#include "keystore.h"
#include "mem.h"
#include "tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

static struct identity sample(void) {
    struct identity id = {.host_id = 17, .host_name = "web-01"};
    for (unsigned i = 0; i < 32; i++) id.pin[i] = (uint8_t)(i * 9);
    identity_add_collector(&id, SLICE_LIT("a.example:7443"));
    identity_add_collector(&id, SLICE_LIT("[::1]:1"));
    buf_str(&id.certificate, "-----BEGIN\nca 5\n-----END\n"); /* lines inside a block are not read as ours */
    buf_str(&id.ca, "CA");
    return id;
}

static void test_identity(void **state) {
    (void)state;
    struct identity id = sample(), got = {0};
    struct buf text = {0};
    identity_write(&id, &text);
    assert_int_equal(identity_parse(buf_slice(&text), &got, NULL), ST_OK);
    assert_int_equal(got.host_id, 17);
    assert_string_equal(got.host_name, "web-01");
    assert_memory_equal(got.pin, id.pin, 32);
    assert_int_equal(got.n_collectors, 2);
    assert_string_equal(got.collectors[1], "[::1]:1");
    assert_true(slice_eq(buf_slice(&got.certificate), buf_slice(&id.certificate)));
    assert_true(slice_eq(buf_slice(&got.ca), buf_slice(&id.ca)));
    identity_free(&got);
    for (size_t cut = 0; cut + 1 < text.len; cut++) {
        if (identity_parse(slice_of(text.p, cut), &got, NULL) == ST_OK) fail_msg("cut at %zu", cut);
    }
    identity_free(&id);
    buf_free(&text);
}

static void test_bookmarks(void **state) {
    (void)state;
    struct bookmarks b = {.acked = 1234567890123}, got = {0};
    struct buf text = {0};
    bookmarks_set(&b, "journal:", SLICE_LIT("cursor s=1;i=2"));
    bookmarks_set(&b, "/var/log/a b", SLICE_LIT("x"));
    bookmarks_set(&b, "/var/log/a b", SLICE_LIT("text 00000000 1 2"));
    bookmarks_write(&b, &text);
    assert_int_equal(bookmarks_parse(buf_slice(&text), &got), ST_OK);
    assert_true(got.acked == b.acked);
    assert_true(slice_eq_str(bookmarks_get(&got, "journal:"), "cursor s=1;i=2"));
    assert_true(slice_eq_str(bookmarks_get(&got, "/var/log/a b"), "text 00000000 1 2"));
    assert_int_equal(bookmarks_get(&got, "other").len, 0);
    bookmarks_free(&got);
    assert_int_equal(bookmarks_parse(SLICE_LIT("rubbish"), &got), ST_FORMAT);
    bookmarks_free(&b);
    buf_free(&text);
}

static void test_key(void **state) {
    (void)state;
    char name[64];
    snprintf(name, sizeof name, "keystore-%llu", (unsigned long long)clock_mono_ms());
    const char *tmp = getenv("HAECHI_TMP");
    char *dir = file_join(tmp ? tmp : "/tmp", name), *path = file_join(dir, "key.pem"),
         *who = file_join(dir, "identity");
    struct buf a = {0}, b = {0};
    struct error err = {0};
    struct identity id = {0};
    struct stat sb;
    assert_int_equal(keystore_load(dir, &id, &err), ST_NOTFOUND);
    assert_non_null(strstr(err.msg, "enroll"));
    if (keystore_key(dir, &a, &err)) fail_msg("%s", err.msg);
    assert_int_equal(keystore_key(dir, &b, &err), ST_OK);
    assert_true(slice_eq(buf_slice(&a), buf_slice(&b))); /* the same, not a new one */
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    assert_int_equal(stat(dir, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0700);
    assert_int_equal(chmod(path, 0644), 0);
    buf_clear(&b);
    assert_int_equal(keystore_key(dir, &b, &err), ST_DENIED); /* a key that others could read is not used in silence */
    assert_int_equal(file_replace(who, SLICE_LIT("damaged"), 0600, NULL), ST_OK);
    assert_int_equal(keystore_load(dir, &id, &err), ST_FORMAT);
    struct file *lock = NULL, *other = NULL;
    assert_int_equal(keystore_lock(dir, &lock, &err), ST_OK);
    assert_int_equal(keystore_lock(dir, &other, &err), ST_BUSY);
    file_close(&lock);
    buf_free(&a);
    buf_free(&b);
    mem_free(dir);
    mem_free(path);
    mem_free(who);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_identity), cmocka_unit_test(test_bookmarks),
                                       cmocka_unit_test(test_key)};
    tls_global_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
