/* render.c: JSON keeps every value, CSV disarms formulas. */
#include "render.h"
#include "batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define TEXT(s) SLICE_LIT(s)

static struct event_data data[] = {
    {TEXT("A"), TEXT("x\x01\"\\\n"), EVENT_DATA}, {TEXT("A"), TEXT("again"), EVENT_DATA},
    {{NULL, 0}, TEXT("first"), EVENT_DATA},       {TEXT("param2"), TEXT("named so"), EVENT_DATA},
    {{NULL, 0}, TEXT("second"), EVENT_DATA},      {TEXT("S"), TEXT("\xed\xa0\x80"), EVENT_DATA},
    {{NULL, 0}, TEXT("00FF"), EVENT_BINARY},
};

static struct event sample(void) {
    return (struct event){.provider = TEXT("P"),
                          .event_id = {1, true, {0}},
                          .time = UINT64_C(133400000000000001),
                          .time_digits = 7,
                          .channel = TEXT("C"),
                          .computer = TEXT("=cmd()"),
                          .body = EVENT_BODY_DATA,
                          .data = data,
                          .n_data = sizeof data / sizeof *data};
}

static void test_json(void **state) {
    (void)state;
    struct event ev = sample();
    struct render_place where = {"h", 2, UINT64_MAX};
    struct buf out = {0};
    render_event(&out, RENDER_JSON, &where, &ev);
    assert_string_equal(buf_cstr(&out),
                        "{\"host\":\"h\",\"channel\":\"C\",\"epoch\":2,\"record_id\":18446744073709551615,"
                        "\"time\":\"2023-09-24T03:33:20.0000001Z\",\"provider\":\"P\",\"event_id\":1,"
                        "\"computer\":\"=cmd()\",\"data\":{\"A\":\"x\\u0001\\\"\\\\\\n\",\"A#2\":\"again\","
                        "\"#1\":\"first\",\"param2\":\"named so\",\"#2\":\"second\",\"S\":\"\\ud800\","
                        "\"<Binary>\":\"00FF\"}}\n");
    where.epoch = EPOCH_CONTENT;
    buf_clear(&out);
    render_event(&out, RENDER_JSON, &where, &ev);
    assert_null(strstr(buf_cstr(&out), "record_id"));
    buf_free(&out);
}

static void test_csv(void **state) {
    (void)state;
    struct event ev = sample();
    ev.n_data = 1;
    struct render_place where = {"h", 1, 7};
    struct buf out = {0};
    render_csv_header(&out);
    render_event(&out, RENDER_CSV, &where, &ev);
    assert_string_equal(buf_cstr(&out), "time,host,channel,epoch,record_id,event_id,computer,provider,user_sid,data\n"
                                        "2023-09-24T03:33:20.0000001Z,\"h\",\"C\",1,7,1,\"'=cmd()\",\"P\",\"\","
                                        "\"{\"\"A\"\":\"\"x\\u0001\\\"\"\\\\\\n\"\"}\"\n");
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_csv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
