/* proto/event: typed values render back, hostile encodings are refused, names and Sysmon's tables, identity. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "event.h"
#include "event_eq.h"

static const char *const values[] = {
    "",
    "-",
    "true",
    "false",
    "0",
    "1",
    "01",
    "00",
    "-1",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
    "0x0",
    "0x",
    "0x00",
    "0x3e7",
    "0x3E7",
    "0X1",
    "0x00001410",
    "0xffffffffffffffff",
    "0xFFFFFFFFFFFFFFFF",
    "0x00007FF812345678",
    "0x00007ff812345678",
    "0x1234567890123456",
    "0x12345678901234567",
    "{11223344-5566-6789-1200-00000000030a}",
    "{11223344-5566-6789-1200-00000000030A}",
    "{11223344-5566-6789-aA00-000000000300}",
    "{00000000-0000-0000-0000-000000000000}",
    "{11223344-5566-6789-1200-00000000030}",
    "{11223344x5566-6789-1200-000000000300}",
    "2026-03-01 10:00:00.120",
    "2026-03-01 09:59:59.999",
    "1601-01-01 00:00:00.000",
    "1600-12-31 23:59:59.999",
    "9999-12-31 23:59:59.999",
    "2024-02-29 00:00:00.000",
    "2023-02-29 00:00:00.000",
    "2023-13-01 00:00:00.000",
    "2023-12-01 24:00:00.000",
    "2023-12-01 00:60:00.000",
    "2023-12-01T00:00:00.000",
    "2023-1a-01 00:00:00.000",
    "2000-03-01 00:00:00.00/",
    "MD5=00112233445566778899AABBCCDDEEFF",
    "MD5=00112233445566778899aabbccddeeff",
    "MD5=00112233445566778899aabbccddeeFF",
    "SHA1=0123456789ABCDEF0123456789ABCDEF01234567,MD5=00112233445566778899AABBCCDDEEFF,"
    "SHA256=0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF,IMPHASH=00000000000000000000000000000000",
    "MD5=00112233445566778899AABBCCDDEEFF,",
    "MD5=00112233445566778899AABBCCDDEEFG",
    "MD5=0011",
    "SHA512=00112233445566778899AABBCCDDEEFF",
    "0011223344556677889900AABBCCDDEEFF",
    "00112233445566778899AABBCCDDEEFF",
    "00112233445566778899aabbccddeeff",
    "AABBCCDDEEFF00112233445566778899AAB",
    "C:\\Windows\\System32\\svchost.exe",
    "\xed\xa0\x80 lone",
    "a\nb\rc\t<&>'\"",
    "\x01",
};

#define N_OF(array) (sizeof(array) / sizeof *(array))

static void round_trip(const char *name, const struct event *ev) {
    struct arena a;
    struct buf bytes = {0};
    struct event got;
    arena_init(&a, EVENT_ARENA_CAP);
    assert_int_equal(event_encode(ev, &bytes), ST_OK);
    assert_int_equal(event_decode(buf_slice(&bytes), &a, &got), ST_OK);
    const char *difference = event_difference(ev, &got);
    if (difference) fail_msg("%s: %s differs", name, difference);
    buf_free(&bytes);
    arena_deinit(&a);
}

static void test_values_render_back(void **state) {
    (void)state;
    for (size_t i = 0; i < N_OF(values); i++) {
        struct event_data data[] = {{SLICE_LIT("Image"), slice_str(values[i]), EVENT_DATA},
                                    {{NULL, 0}, slice_str(values[i]), EVENT_BINARY},
                                    {SLICE_LIT("no such name"), slice_str(values[i]), EVENT_DATA},
                                    {SLICE_LIT(""), slice_str(values[i]), EVENT_DATA}};
        struct event ev = {.body = EVENT_BODY_DATA, .data = data, .n_data = 4, .time = UINT64_C(134168400001234567)};
        round_trip(values[i], &ev);
        ev.time = i ? UINT64_MAX : 0;
        round_trip(values[i], &ev);
    }
}

static void test_members_are_told_apart(void **state) {
    (void)state;
    struct event ev = {.form = EVENT_FORM_LINUX, .provider = SLICE_LIT(""), .channel = SLICE_LIT(""), .time_digits = 9};
    round_trip("empty, not absent", &ev);
    ev = (struct event){.provider = SLICE_LIT("Microsoft-Windows-Sysmon"),
                        .provider_guid = SLICE_LIT("{5770385F-C22A-43E0-BF4C-06F5698FFBD9}"),
                        .channel = SLICE_LIT("Microsoft-Windows-Sysmon/Operational"),
                        .event_id = {5, true, SLICE_LIT("005")},
                        .version = {0, true, {NULL, 0}},
                        .keywords = {UINT64_C(1) << 63, true, {NULL, 0}},
                        .has = EVENT_HAS_EXECUTION,
                        .time_text = SLICE_LIT("then"),
                        .body = EVENT_BODY_XML,
                        .body_xml = SLICE_LIT("<UserData/>"),
                        .extra_xml = SLICE_LIT("<RenderingInfo/>"),
                        .system_xml = SLICE_LIT("<System/>")};
    round_trip("known provider", &ev);
    ev.provider_guid = SLICE_LIT("{5770385f-c22a-43e0-bf4c-06f5698ffbd9}");
    ev.channel = SLICE_LIT("ForwardedEvents");
    round_trip("lower-case GUID, other channel", &ev);
    ev.provider_guid = SLICE_LIT("{5770385f-C22A-43e0-bf4c-06f5698ffbd9}");
    round_trip("mixed-case GUID", &ev);
    round_trip("nothing", &(struct event){.body = EVENT_BODY_DATA});
}

static void test_limits(void **state) {
    (void)state;
    struct buf out = {0}, big = {0};
    static struct event_data data[EVENT_MAX_DATA + 1];
    struct event ev = {.body = EVENT_BODY_DATA, .data = data, .n_data = EVENT_MAX_DATA};
    assert_int_equal(event_encode(&ev, &out), ST_OK);
    ev.n_data++;
    assert_int_equal(event_encode(&ev, &out), ST_TOOBIG);
    while (big.len <= EVENT_MAX_ENCODED) buf_str(&big, "some long text of an event ");
    struct event_data one = {.value = buf_slice(&big)};
    ev = (struct event){.body = EVENT_BODY_DATA, .data = &one, .n_data = 1};
    assert_int_equal(event_encode(&ev, &out), ST_TOOBIG);
    ev = (struct event){.extra_xml = buf_slice(&big)};
    assert_int_equal(event_encode(&ev, &out), ST_TOOBIG);
    struct arena a;
    arena_init(&a, EVENT_ARENA_CAP);
    assert_int_equal(event_decode(buf_slice(&big), &a, &ev), ST_TOOBIG);
    arena_deinit(&a);
    buf_free(&out);
    buf_free(&big);
}

/* Field 15 of Event with the given content. */
static const struct {
    const char *name;
    const char *bytes;
    size_t len;
} hostile[] = {
    {"count beyond the bytes", "\x7a\x01\x05", 3},
    {"too many values", "\x7a\x03\xff\xff\x7f", 5},
    {"unknown name", "\x7a\x04\x01\xff\x7f\x20", 6},
    {"unknown form", "\x7a\x03\x01\x00\x1f", 5},
    {"unknown frequent text", "\x7a\x03\x01\x00\x7f", 5},
    {"short GUID", "\x7a\x05\x01\x00\x01zz", 7},
    {"text beyond the end", "\x7a\x05\x01\x00\x00\x7fz", 7},
    {"rest behind the values", "\x7a\x04\x01\x00\x20z", 6},
    {"time after 9999", "\x7a\x0c\x01\x00\x06\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 14},
    {"hashes of an unknown kind", "\x7a\x05\x01\x00\x08\x01\x09", 7},
    {"text of a number that is absent", "\xfa\x01\x05\x08\x03\x12\x01x", 8},
    {"unknown provider", "\x18\xff\x7f", 3},
    {"not protobuf", "\xff\xff\xff", 3},
};

static void test_hostile_encodings(void **state) {
    (void)state;
    for (size_t i = 0; i < N_OF(hostile); i++) {
        struct arena a;
        struct event ev;
        arena_init(&a, EVENT_ARENA_CAP);
        enum status st = event_decode(slice_of(hostile[i].bytes, hostile[i].len), &a, &ev);
        if (st != ST_FORMAT) fail_msg("%s: %s", hostile[i].name, status_name(st));
        arena_deinit(&a);
    }
}

static void test_tables(void **state) {
    (void)state;
    uint32_t n = 0;
    for (uint32_t id = 1; event_field_name(id); id++, n++) {
        if (event_field_id(slice_str(event_field_name(id))) != id) fail_msg("%s", event_field_name(id));
    }
    assert_true(n > 200);
    assert_int_equal(event_field_id(SLICE_LIT("processguid")), 0);
    assert_int_equal(event_field_id(SLICE_LIT("")), 0);
    assert_int_equal(event_field_id(SLICE_LIT("RuleName")), 1); /* numbers in stored events never move */
    assert_int_equal(event_field_id(SLICE_LIT("UtcTime")), 2);
    for (uint32_t id = 1; id <= 29; id++) {
        const struct sysmon_event *e = sysmon_event_find(id);
        assert_non_null(e);
        for (size_t i = 0; e->fields[i]; i++) assert_non_null(event_field_name(e->fields[i]));
    }
    assert_string_equal(sysmon_event_find(1)->tag, "ProcessCreate");
    assert_null(sysmon_event_find(255)->tag);
    assert_string_equal(sysmon_event_find(100)->tag, "eBPFEvent");
    assert_null(sysmon_event_find(30));
}

static void test_facts(void **state) {
    (void)state;
    struct event_data data[] = {
        {SLICE_LIT("LogonGuid"), SLICE_LIT("{11111111-5566-6789-1200-000000000300}"), EVENT_DATA},
        {SLICE_LIT("SourceProcessGUID"), SLICE_LIT("{22222222-5566-6789-1200-000000000300}"), EVENT_DATA},
        {SLICE_LIT("TargetProcessGuid"), SLICE_LIT("{33333333-5566-6789-1200-00000000030A}"), EVENT_DATA},
        {SLICE_LIT("ParentProcessGuid"), SLICE_LIT("{00000000-0000-0000-0000-000000000000}"), EVENT_DATA},
        {SLICE_LIT("GrantedAccess"), SLICE_LIT("0x1410"), EVENT_DATA},
        {SLICE_LIT("RuleName"), SLICE_LIT(""), EVENT_DATA}};
    struct event ev = {.body = EVENT_BODY_DATA, .data = data, .n_data = N_OF(data)};
    struct guid guids[EVENT_MAX_GUIDS];
    assert_int_equal(event_process_guids(&ev, guids), 2);
    assert_int_equal(guids[1].b[15], 0x0a);
    assert_true(slice_eq_str(event_value(&ev, "sourceprocessguid"), "{22222222-5566-6789-1200-000000000300}"));
    assert_non_null(event_value(&ev, "RuleName").p);
    assert_null(event_value(&ev, "Image").p);

    uint64_t h = event_content_hash(&ev);
    data[1].value = SLICE_LIT("{22222222-5566-6789-1200-000000000300}\n");
    data[2].value = SLICE_LIT("{33333333-5566-6789-1200-00000000030a}");
    data[4].value = SLICE_LIT("0x00001410");
    ev.n_data--; /* the empty one left out */
    ev.version = (struct event_num){0, true, SLICE_LIT("00")};
    assert_true(event_content_hash(&ev) == h);
    data[4].value = SLICE_LIT("0x1411");
    assert_true(event_content_hash(&ev) != h);
}

static void test_xml(void **state) {
    (void)state;
    struct event_data d = {SLICE_LIT("a'b"), SLICE_LIT("<&>'\"\r\n\t\x01\xed\xa0\x80\xff\xf0\x9f\x98\x80"), EVENT_DATA};
    struct event ev = {.body = EVENT_BODY_DATA, .data = &d, .n_data = 1, .extra_xml = SLICE_LIT("<X>\r\n</X>")};
    struct buf xml = {0};
    event_write_xml(&ev, &xml);
    assert_string_equal(
        buf_cstr(&xml),
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System></System><EventData>"
        "<Data Name='a&apos;b'>&lt;&amp;&gt;&apos;&quot;&#13;&#10;\t\x01&#xD800;\xef\xbf\xbd\xf0\x9f\x98\x80"
        "</Data></EventData><X>&#13;&#10;</X></Event>");
    buf_free(&xml);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_render_back),
        cmocka_unit_test(test_members_are_told_apart),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_hostile_encodings),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_xml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
