/* proto/base/file_win.c, on real files of a scratch folder; a Windows program. */
// links: base
#include "file.h"
#include "mem.h"
#include "wide_win.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char root[64];

static char *in_root(const char *name) {
    return file_join(root, name);
}

static int make_root(void **state) {
    (void)state;
    struct error err = {0};
    snprintf(root, sizeof root, "C:/haechi-file-%u", (unsigned)rand());
    if (file_make_dir(root, 0700, &err)) fail_msg("%s", err.msg);
    return 0;
}

static void expect_text(const char *path, const char *want) {
    struct buf b = {0};
    assert_int_equal(file_read(path, 1000, &b, NULL), ST_OK);
    assert_string_equal(buf_cstr(&b), want);
    buf_free(&b);
}

/* ASCII, beyond it, outside of the first plane, deeper than 260 characters, with slashes of both kinds. */
static void names(void **state) {
    (void)state;
    struct buf deep = {0};
    for (int i = 0; i < 12; i++) buf_str(&deep, "a-folder-whose-name-is-long-enough\\");
    buf_str(&deep, "file");
    const char *const cases[] = {"plain", "b\xc3\xbcro/\xeb\xa9\xb4\\x", "\xf0\x9f\x90\x89", buf_cstr(&deep)};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *dir = in_root(cases[i]), *path = file_join(dir, "f");
        uint64_t len = 0;
        struct error err = {0};
        if (file_make_dir(dir, 0700, &err) || file_make_dir(dir, 0700, &err)) fail_msg("%s: %s", cases[i], err.msg);
        assert_int_equal(file_replace(path, SLICE_LIT("one"), 0600, &err), ST_OK);
        assert_int_equal(file_replace(path, SLICE_LIT("two and more"), 0600, &err), ST_OK);
        expect_text(path, "two and more");
        assert_int_equal(file_size(path, &len, &err), ST_OK);
        assert_int_equal(len, 12);
        assert_int_equal(file_make_dir(path, 0700, &err), ST_EXISTS);
        assert_true(file_exists(path));
        assert_int_equal(file_remove(path, &err), ST_OK);
        assert_int_equal(file_remove(path, &err), ST_OK);
        assert_false(file_exists(path));
        mem_free(dir);
        mem_free(path);
    }
    buf_free(&deep);
}

static void open_files(void **state) {
    (void)state;
    char *path = in_root("log"), *other = in_root("log.1");
    struct file *f = NULL, *reader = NULL;
    struct error err = {0};
    char text[16] = "";
    size_t got = 0;
    assert_int_equal(file_open(path, FILE_READ, &f, &err), ST_NOTFOUND);
    assert_int_equal(file_open(path, FILE_APPEND, &f, &err), ST_OK);
    assert_int_equal(file_append(f, SLICE_LIT("0123456789"), &err), ST_OK);
    assert_int_equal(file_truncate(f, 4, &err), ST_OK);
    assert_int_equal(file_append(f, SLICE_LIT("xy"), &err), ST_OK);
    assert_int_equal(file_sync(f, &err), ST_OK);
    assert_int_equal(file_length(f), 6);
    assert_int_equal(file_read_at(f, 2, text, sizeof text, &got, &err), ST_OK);
    assert_int_equal(got, 4);
    assert_memory_equal(text, "23xy", 4);
    assert_int_equal(file_read_at(f, 100, text, 1, &got, &err), ST_OK);
    assert_int_equal(got, 0);
    /* what is open can be read, renamed and removed by others: a log that is rotated */
    assert_int_equal(file_open(path, FILE_READ, &reader, &err), ST_OK);
    assert_int_equal(file_rename(path, other, &err), ST_OK);
    assert_int_equal(file_read_at(reader, 0, text, 2, &got, &err), ST_OK);
    assert_int_equal(got, 2);
    file_close(&reader);
    file_close(&f);
    expect_text(other, "0123xy");
    mem_free(path);
    mem_free(other);
}

static void limits(void **state) {
    (void)state;
    char *path = in_root("big");
    struct buf b = {0};
    uint64_t avail = 0, total = 0;
    buf_str(&b, "kept");
    assert_int_equal(file_replace(path, SLICE_LIT("12345"), 0644, NULL), ST_OK);
    assert_int_equal(file_read(path, 4, &b, NULL), ST_TOOBIG);
    assert_int_equal(b.len, 4);
    assert_int_equal(file_read(path, 5, &b, NULL), ST_OK);
    assert_int_equal(b.len, 9);
    assert_int_equal(file_space(root, &avail, &total, NULL), ST_OK);
    assert_true(total > 0 && avail <= total);
    buf_free(&b);
    mem_free(path);
}

static void locks(void **state) {
    (void)state;
    char *path = in_root("lock");
    struct file *a = NULL, *b = NULL;
    struct error err = {0};
    assert_int_equal(file_lock(path, &a, &err), ST_OK);
    assert_int_equal(file_lock(path, &b, &err), ST_BUSY);
    assert_non_null(strstr(err.msg, "locked by another process, number "));
    file_close(&a);
    assert_int_equal(file_lock(path, &b, &err), ST_OK);
    file_close(&b);
    mem_free(path);
}

static enum status note(void *ctx, const char *name) {
    buf_printf(ctx, "%s ", name);
    return strcmp(name, "stop") == 0 ? ST_CANCELLED : ST_OK;
}

static void lists(void **state) {
    (void)state;
    char *dir = in_root("list");
    static const char *const files[] = {"b", "stop", "B", "\xc3\xa9", "a"};
    struct buf seen = {0};
    assert_int_equal(file_list_dir(dir, note, &seen, NULL), ST_NOTFOUND);
    assert_int_equal(file_make_dir(dir, 0700, NULL), ST_OK);
    for (size_t i = 0; i < 5; i++) {
        char *path = file_join(dir, files[i]);
        struct file *f = NULL;
        assert_int_equal(file_open(path, FILE_RDWR, &f, NULL), ST_OK);
        file_close(&f);
        mem_free(path);
    }
    assert_int_equal(file_list_dir(dir, note, &seen, NULL), ST_CANCELLED);
    assert_non_null(strstr(buf_cstr(&seen), " stop"));
    assert_null(strstr(buf_cstr(&seen), "\xc3\xa9")); /* sorted by bytes: behind the one that stops */
    buf_free(&seen);
    mem_free(dir);
}

static void words(void **state) {
    (void)state;
    static const char *const same[] = {"", "ascii", "\xc3\xbc\xeb\xa9\xb4", "\xf0\x9f\x90\x89",
                                       "\xed\xa0\x80" /* lone */};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        wchar_t *w = wide_of(same[i]);
        char *back = wide_text(w);
        assert_string_equal(back, same[i]);
        mem_free(w);
        mem_free(back);
    }
    wchar_t *w = wide_of("a\xff");
    assert_int_equal(w[1], 0xfffd);
    mem_free(w);
    static const struct {
        const char *in;
        const wchar_t *out;
    } paths[] = {
        {"C:/a/b", L"\\\\?\\C:\\a\\b"},
        {"C:\\a\\.\\c\\..\\b", L"\\\\?\\C:\\a\\b"},
        {"//server/share/x", L"\\\\?\\UNC\\server\\share\\x"},
        {"\\\\?\\C:\\as it is", L"\\\\?\\C:\\as it is"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        w = wide_path(paths[i].in);
        if (wcscmp(w, paths[i].out) != 0) fail_msg("%s became %ls", paths[i].in, w);
        mem_free(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names), cmocka_unit_test(open_files), cmocka_unit_test(limits),
        cmocka_unit_test(locks), cmocka_unit_test(lists),      cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, make_root, NULL);
}
