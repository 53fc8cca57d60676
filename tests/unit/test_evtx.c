/* The .evtx reader: the made samples against their text, every kind of damage, and the real files against a reference
 * reading that another reader made. */
// links: agent proto base
#include "evtx.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <glob.h>

static const char *root(void) {
    const char *src = getenv("HAECHI_SRC");
    return src ? src : ".";
}

static struct buf load(const char *path) {
    struct buf b = {0};
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: cannot be opened", path);
    uint8_t tmp[65536];
    size_t n;
    while ((n = fread(tmp, 1, sizeof tmp, f)) > 0) buf_append(&b, tmp, n);
    fclose(f);
    return b;
}

static struct buf load_sample(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/evtx/%s", root(), name);
    return load(path);
}

/* What a whole file gave. */
struct reading {
    struct buf text; /* "<id> <written>\n<xml>\n" when headers, else "<xml>\n" */
    unsigned n_records, n_damages;
    uint32_t skipped;
    char first_why[400];
};

static void note(struct reading *r, const struct evtx_damage *d) {
    if (!d->why[0]) return;
    if (r->n_damages++ == 0) evtx_damage_describe(d, r->first_why, sizeof r->first_why);
    r->skipped += d->skipped;
}

static void read_chunk(struct slice bytes, bool headers, bool tail, struct reading *r) {
    struct evtx_chunk c;
    struct evtx_damage d;
    struct evtx_record rec;
    struct buf xml = {0};
    enum status st = evtx_chunk_open(&c, bytes, &d);
    note(r, &d);
    for (unsigned steps = 0; st != ST_CORRUPT || steps; steps++) {
        if (steps == 0 && st == ST_END) break;
        assert_true(steps < EVTX_CHUNK);
        st = evtx_chunk_next(&c, &xml, &rec, &d);
        if (st == ST_END && tail) {
            tail = false;
            evtx_chunk_read_tail(&c);
            continue;
        }
        if (st == ST_END) break;
        note(r, &d);
        if (st != ST_OK) continue;
        r->n_records++;
        if (headers)
            buf_printf(&r->text, "%llu %llu\n", (unsigned long long)rec.record_id, (unsigned long long)rec.written);
        buf_slice_append(&r->text, buf_slice(&xml));
        buf_byte(&r->text, '\n');
    }
    buf_free(&xml);
}

static struct reading read_file(struct slice file, bool headers, bool tail) {
    struct reading r = {0};
    for (size_t at = EVTX_FILE_HEADER; at < file.len; at += EVTX_CHUNK)
        read_chunk(slice_head(slice_from(file, at), EVTX_CHUNK), headers, tail, &r);
    return r;
}

static void test_samples(void **state) {
    (void)state;
    static const char *const names[][2] = {{"sysmon-made.evtx", "sysmon-made.xml"}, {"odd-made.evtx", "odd-made.xml"}};
    for (size_t i = 0; i < 2; i++) {
        struct buf file = load_sample(names[i][0]), want = load_sample(names[i][1]);
        struct evtx_file f = evtx_file_check(slice_head(buf_slice(&file), EVTX_FILE_HEADER));
        struct reading r = read_file(buf_slice(&file), false, true);
        if (!f.is_evtx || !f.crc_ok || f.dirty || f.n_chunks != 1 || f.major != 3) fail_msg("%s: header", names[i][0]);
        if (r.n_records != 6 || r.n_damages) fail_msg("%s: %u records, %s", names[i][0], r.n_records, r.first_why);
        if (!slice_eq(buf_slice(&r.text), buf_slice(&want))) fail_msg("%s: differs from %s", names[i][0], names[i][1]);
        buf_free(&r.text);
        buf_free(&want);
        buf_free(&file);
    }
}

static void test_file_header(void **state) {
    (void)state;
    struct buf file = load_sample("sysmon-made.evtx");
    assert_false(evtx_file_check(slice_of(file.p, 100)).is_evtx);
    file.p[120] = 3;
    struct evtx_file f = evtx_file_check(buf_slice(&file));
    assert_true(f.dirty && f.full && f.is_evtx);
    file.p[30] ^= 1;
    assert_false(evtx_file_check(buf_slice(&file)).crc_ok);
    file.p[0] = 'X';
    assert_false(evtx_file_check(buf_slice(&file)).is_evtx);
    buf_free(&file);
}

/* Where the n-th record of the sample begins, from the start of the file. */
static uint32_t record_at(const struct buf *file, unsigned n) {
    uint32_t at = EVTX_FILE_HEADER + 512;
    while (n--) at += (uint32_t)file->p[at + 4] | (uint32_t)file->p[at + 5] << 8;
    return at;
}

enum spoil { BYTES, CUT, ZERO_REST, NO_SIGNATURE, EARLY_FREE, NO_FREE };

static void spoil(struct buf *file, enum spoil how, unsigned record, uint32_t offset, uint8_t mask) {
    uint32_t at = record_at(file, record), chunk = EVTX_FILE_HEADER;
    switch (how) {
    case BYTES: file->p[at + offset] ^= mask; break;
    case CUT: file->len = at + offset; break;
    case ZERO_REST: memset(file->p + at + offset, 0, file->len - at - offset); break;
    case NO_SIGNATURE: memset(file->p + chunk, 'x', 8); break;
    case EARLY_FREE:
        at -= chunk;
        memcpy(file->p + chunk + 48, (uint8_t[]){(uint8_t)at, (uint8_t)(at >> 8), 0, 0}, 4);
        break;
    case NO_FREE: memset(file->p + chunk + 48, 0xff, 4); break;
    }
}

static void test_damage(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum spoil how;
        unsigned record;
        uint32_t offset;
        uint8_t mask;
        bool tail;
        unsigned want_records, want_damages;
        const char *why;
    } cases[] = {
        {"size of a record", BYTES, 2, 4, 0x13, false, 5, 2, "checksum"},
        {"size of a record, huge", BYTES, 2, 7, 0x80, false, 5, 2, "checksum"},
        {"second size of a record", BYTES, 3, UINT32_MAX - 3, 0xff, false, 6, 1, "checksum"},
        {"signature of a record", BYTES, 4, 0, 0xff, false, 5, 2, "checksum"},
        {"last record's signature", BYTES, 5, 1, 0xff, false, 5, 2, "checksum"},
        {"first token", BYTES, 3, 24, 0x70, false, 5, 2, "checksum"},
        {"template offset", BYTES, 3, 24 + 4 + 6, 0x55, false, 5, 2, "checksum"},
        {"template id", BYTES, 3, 24 + 4 + 2, 0x55, false, 5, 2, "checksum"},
        {"number of values", BYTES, 3, 24 + 4 + 10 + 1, 0xff, false, 5, 2, "checksum"},
        {"cut inside a record", CUT, 4, 100, 0, false, 4, 2, "bytes of this chunk's records are missing"},
        {"cut at a record", CUT, 4, 0, 0, false, 4, 1, "bytes of this chunk's records are missing"},
        {"cut in the chunk's header", CUT, 0, (uint32_t)-400, 0, false, 0, 1, "ends inside a chunk's header"},
        {"zeros from a record on", ZERO_REST, 3, 0, 0, false, 3, 2, "checksum"},
        {"no chunk signature", NO_SIGNATURE, 0, 0, 0, false, 6, 1, "no chunk signature"},
        {"no end of records", NO_FREE, 0, 0, 0, false, 6, 1, "header is damaged"},
        {"stale chunk header", EARLY_FREE, 4, 0, 0, false, 4, 1, "checksum"},
        {"stale chunk header, tail read", EARLY_FREE, 4, 0, 0, true, 6, 1, "checksum"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf file = load_sample("sysmon-made.evtx");
        uint32_t offset = cases[i].offset;
        if (offset == UINT32_MAX - 3)
            offset = record_at(&file, cases[i].record + 1) - record_at(&file, cases[i].record) - 4;
        spoil(&file, cases[i].how, cases[i].record, offset, cases[i].mask);
        struct reading r = read_file(buf_slice(&file), false, cases[i].tail);
        if (r.n_records != cases[i].want_records || r.n_damages != cases[i].want_damages ||
            !strstr(r.first_why, cases[i].why))
            fail_msg("%s: %u records, %u damages, first: %s", cases[i].name, r.n_records, r.n_damages, r.first_why);
        buf_free(&r.text);
        buf_free(&file);
    }
}

/* Each byte of the records and headers inverted: only what depends on that byte may be lost, and nothing silently. */
static void test_every_byte(void **state) {
    (void)state;
    struct buf file = load_sample("odd-made.evtx"), work = {0};
    uint32_t end = record_at(&file, 6);
    for (uint32_t at = EVTX_FILE_HEADER; at < end; at++) {
        buf_clear(&work);
        buf_slice_append(&work, buf_slice(&file));
        work.p[at] ^= 0xff;
        struct reading r = read_file(buf_slice(&work), false, true);
        if (r.n_records > 6 || (r.n_records < 6 && r.n_damages == 0)) fail_msg("byte %u: %u records", at, r.n_records);
        bool unchecked = at - EVTX_FILE_HEADER - 120 < 4; /* flags that no checksum covers and nobody reads */
        if (r.n_damages == 0 && !unchecked) fail_msg("byte %u: not noticed", at);
        buf_free(&r.text);
    }
    for (uint32_t len = EVTX_FILE_HEADER + 1; len < end; len += 7) {
        struct reading r = read_file(slice_of(file.p, len), false, false);
        if (r.n_records > 5 || r.n_damages == 0)
            fail_msg("cut at %u: %u records, %u damages", len, r.n_records, r.n_damages);
        buf_free(&r.text);
    }
    buf_free(&work);
    buf_free(&file);
}

static void test_unused_chunks(void **state) {
    (void)state;
    static uint8_t bytes[EVTX_CHUNK];
    struct evtx_chunk c;
    struct evtx_damage d;
    assert_int_equal(evtx_chunk_open(&c, slice_of(bytes, sizeof bytes), &d), ST_END);
    memset(bytes, 0x5a, sizeof bytes);
    assert_int_equal(evtx_chunk_open(&c, slice_of(bytes, sizeof bytes), &d), ST_CORRUPT);
    assert_int_equal(d.skipped, EVTX_CHUNK);
}

#ifdef HAECHI_TEST_HOOKS
static void test_no_memory(void **state) {
    (void)state;
    struct buf file = load_sample("sysmon-made.evtx");
    for (unsigned long nth = 1; nth < 8; nth++) {
        struct evtx_chunk c;
        struct evtx_damage d;
        struct evtx_record rec;
        struct buf xml = {0};
        assert_int_equal(evtx_chunk_open(&c, slice_from(buf_slice(&file), EVTX_FILE_HEADER), &d), ST_OK);
        mem_test_fail_at(nth);
        unsigned n = 0;
        for (enum status st; (st = evtx_chunk_next(&c, &xml, &rec, &d)) != ST_END;) {
            assert_true(st == ST_OK || st == ST_NOMEM);
            n += st == ST_OK;
        }
        mem_test_fail_at(0);
        assert_int_equal(n, 6);
        buf_free(&xml);
    }
    buf_free(&file);
}
#endif

static void compare_with_reference(const char *path) {
    struct buf file = load(path);
    struct reading r = read_file(buf_slice(&file), true, false);
    const char *tmp = getenv("TMPDIR");
    char dump[512], cmd[2048];
    snprintf(dump, sizeof dump, "%s/test_evtx.dump", tmp ? tmp : "/tmp");
    FILE *f = fopen(dump, "wb");
    assert_non_null(f);
    fwrite(r.text.p, 1, r.text.len, f);
    fclose(f);
    snprintf(cmd, sizeof cmd, "python3 '%s/tests/data/evtx_compare.py' '%s.ref.jsonl' '%s' >&2", root(), path, dump);
    if (system(cmd) != 0) fail_msg("%s: differs from its reference", path);
    remove(dump);
    buf_free(&r.text);
    buf_free(&file);
}

static void test_real_files(void **state) {
    (void)state;
    const char *shared = getenv("HAECHI_SHARED");
    char pattern[512];
    glob_t g = {0};
    snprintf(pattern, sizeof pattern, "%s/data/evtx/*.evtx", shared ? shared : "../shared");
    glob(pattern, 0, NULL, &g);
    snprintf(pattern, sizeof pattern, "%s/data/ecs/*.evtx", shared ? shared : "../shared");
    glob(pattern, GLOB_APPEND, NULL, &g);
    for (size_t i = 0; i < g.gl_pathc; i++) compare_with_reference(g.gl_pathv[i]);
    size_t n = g.gl_pathc;
    globfree(&g);
    if (n == 0) {
        fprintf(stderr, "# no real .evtx files here: not compared\n");
        skip();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),    cmocka_unit_test(test_file_header),   cmocka_unit_test(test_damage),
        cmocka_unit_test(test_every_byte), cmocka_unit_test(test_unused_chunks),
#ifdef HAECHI_TEST_HOOKS
        cmocka_unit_test(test_no_memory),
#endif
        cmocka_unit_test(test_real_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
