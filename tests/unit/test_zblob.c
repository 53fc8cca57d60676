/* Bytes as one zstd frame and back: whatever is damaged is refused, and no size is believed before it was looked at. */
#include "mem.h"
#include "zblob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define LIMIT 100000u

static void there_and_back(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 17, 4096, LIMIT};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf raw = {0}, frame = {0}, out = {0};
        struct error err = {0};
        for (size_t k = 0; k < sizes[i]; k++) buf_byte(&raw, (uint8_t)(k * k >> 3));
        buf_str(&out, "kept");
        zblob_pack(buf_slice(&raw), &frame);
        if (zblob_unpack(buf_slice(&frame), LIMIT, &out, &err)) fail_msg("%zu bytes: %s", sizes[i], err.msg);
        assert_true(slice_starts(buf_slice(&out), SLICE_LIT("kept")));
        assert_true(slice_eq(slice_from(buf_slice(&out), 4), buf_slice(&raw)));
        buf_free(&raw);
        buf_free(&frame);
        buf_free(&out);
    }
}

static void refused(const char *name, struct slice frame, size_t limit, enum status want) {
    struct buf out = {0};
    struct error err = {0};
    buf_str(&out, "kept");
    enum status st = zblob_unpack(frame, limit, &out, &err);
    if (st != want) fail_msg("%s: %s, %s", name, status_name(st), err.msg);
    if (!slice_eq_str(buf_slice(&out), "kept")) fail_msg("%s: something was appended", name);
    buf_free(&out);
}

static void damaged(void **state) {
    (void)state;
    struct buf raw = {0}, frame = {0}, twice = {0};
    for (size_t k = 0; k < 5000; k++) buf_byte(&raw, (uint8_t)(k * 7 >> 2));
    zblob_pack(buf_slice(&raw), &frame);
    refused("nothing", SLICE_LIT(""), LIMIT, ST_FORMAT);
    refused("no frame", SLICE_LIT("<Sysmon/>"), LIMIT, ST_FORMAT);
    refused("over the limit", buf_slice(&frame), 4999, ST_TOOBIG);
    buf_slice_append(&twice, buf_slice(&frame));
    buf_slice_append(&twice, buf_slice(&frame));
    refused("two frames", buf_slice(&twice), LIMIT, ST_FORMAT);
    for (size_t n = 1; n < frame.len; n++) refused("cut off", slice_head(buf_slice(&frame), n), LIMIT, ST_FORMAT);
    /* says 2^40 bytes: refused before memory is spent */
    refused("a bomb", SLICE_LIT("\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00"), LIMIT, ST_TOOBIG);
    buf_free(&raw);
    buf_free(&frame);
    buf_free(&twice);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
