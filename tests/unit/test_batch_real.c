/* Blocks of real events: what comes out of a block is, event by event, the XML that went in. */
// links: agent proto base
#include "batch_internal.h"
#include "mem.h"
#include "parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define MAX_LINES 12000

static struct buf xml; /* all lines */

static void check_block(struct slice block, size_t header_len, struct slice *lines, uint32_t n, struct parser *p) {
    struct batch_reader *r = batch_reader_new();
    struct arena a, ea;
    struct batch_header h;
    struct batch_columns c;
    struct slice payload, header = slice_head(block, header_len), body = slice_from(block, header_len);
    struct error err = {0};
    arena_init(&a, 1 << 20);
    arena_init(&ea, EVENT_ARENA_CAP);
    enum status st = batch_header_parse(header, &a, &h, &err);
    if (!st) st = batch_check(&h, header, body, &err);
    if (!st) st = batch_open_columns(r, &h, body, &c, &err);
    if (!st) st = batch_open_payload(r, &h, body, &payload, &err);
    if (st) fail_msg("%s: %s", status_name(st), err.msg);
    assert_int_equal(c.n, n);
    struct buf want = {0}, got = {0};
    for (uint32_t i = 0; i < n; i++) {
        struct event in, out;
        struct guid guids[EVENT_MAX_GUIDS];
        arena_reset(&ea);
        buf_clear(&want);
        buf_clear(&got);
        if (parse_event(p, lines[i], &ea, &in, &err)) fail_msg("%s", err.msg);
        if (event_decode(slice_of(payload.p + c.payload_at[i], c.payload_len[i]), &ea, &out)) fail_msg("event %u", i);
        event_write_xml(&in, &want);
        event_write_xml(&out, &got);
        if (!slice_eq(buf_slice(&want), buf_slice(&got)))
            fail_msg("wanted %s\ngot %s", buf_cstr(&want), buf_cstr(&got));
        assert_true(c.time[i] == in.time && c.record_id[i] == in.record_id.v && c.event_id[i] == in.event_id.v);
        size_t n_guids = event_process_guids(&in, guids);
        assert_int_equal(n_guids, c.n_guids[i]);
        for (size_t g = 0; g < n_guids; g++) {
            assert_memory_equal(h.guids.p + (size_t)c.guid[i][g] * GUID_LEN, guids[g].b, GUID_LEN);
        }
    }
    buf_free(&want);
    buf_free(&got);
    arena_deinit(&a);
    arena_deinit(&ea);
    batch_reader_free(&r);
}

/* The hosts' events as they are interleaved: many short runs of record ids, which is the hard case. */
static void test_real_events(void **state) {
    (void)state;
    const char *shared = getenv("HAECHI_SHARED");
    struct buf cmd = {0};
    buf_printf(&cmd, "%s/data/bench/sysmon-100k.xml.zst", shared ? shared : "../shared");
    if (access(buf_cstr(&cmd), R_OK) != 0) {
        printf("skipped: %s is not there\n", buf_cstr(&cmd));
        buf_free(&cmd);
        skip();
    }
    struct buf path = cmd;
    cmd = (struct buf){0};
    buf_printf(&cmd, "zstd -dc '%s' | head -n %d", buf_cstr(&path), MAX_LINES);
    FILE *f = popen(buf_cstr(&cmd), "r");
    assert_non_null(f);
    for (size_t n = 1; n; xml.len += n) {
        buf_reserve(&xml, 1 << 20);
        n = fread(xml.p + xml.len, 1, 1 << 20, f);
    }
    pclose(f);
    static const uint32_t sizes[] = {1, 7, 20, 100, 1000, 4096};
    struct parser *p = parser_new();
    struct batch_builder *b = batch_builder_new(0);
    struct slice *lines = mem_alloc(BATCH_MAX_EVENTS * sizeof *lines), rest = buf_slice(&xml);
    struct arena ea;
    struct buf block = {0};
    size_t total = 0;
    arena_init(&ea, EVENT_ARENA_CAP);
    for (size_t k = 0; rest.len; k++) {
        uint32_t n = 0, header_len;
        batch_begin(b, SLICE_LIT("Microsoft-Windows-Sysmon/Operational"), (struct slice){NULL, 0}, EPOCH_FIND);
        while (n < sizes[k % 6] && rest.len) {
            const uint8_t *nl = memchr(rest.p, '\n', rest.len);
            struct event ev;
            struct error err;
            lines[n] = slice_head(rest, nl ? (size_t)(nl - rest.p) : rest.len);
            arena_reset(&ea);
            if (parse_event(p, lines[n], &ea, &ev, &err)) fail_msg("%s", err.msg);
            enum status st = batch_add(b, &ev, ev.record_id.v);
            if (st == ST_TOOBIG) break;
            assert_int_equal(st, ST_OK);
            rest = slice_from(rest, lines[n++].len + 1);
        }
        buf_clear(&block);
        assert_int_equal(batch_finish(b, &block, &header_len), ST_OK);
        check_block(buf_slice(&block), header_len, lines, n, p);
        total += n;
    }
    assert_true(total > 1000);
    parser_free(&p);
    batch_builder_free(&b);
    mem_free(lines);
    arena_deinit(&ea);
    buf_free(&block);
    buf_free(&xml);
    buf_free(&cmd);
    buf_free(&path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_real_events)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
