/* What the commands share: JSON lines, numbers for people, the progress bar. */
#include "clock.h"
#include "commands.h"
#include "file.h"
#include "log.h"
#include "mem.h"
#include "rules_state.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_half(const uint8_t *p, size_t left, const char *third) {
    return left >= 6 && p[0] == '\\' && p[1] == 'u' && (p[2] | 32) == 'd' && p[3] && strchr(third, p[3]);
}

/* Lone surrogates are legal in our JSON text, as \ud800, but parsers refuse them: each becomes the bytes that it has
 * inside Haechi (WTF-8), which yyjson lets through when told so. Pairs stay. */
static void mend_surrogates(struct slice line, struct buf *out) {
    static const char high[] = "89abAB", low[] = "cdefCDEF", any[] = "89abcdefABCDEF";
    for (size_t i = 0; i < line.len;) {
        const uint8_t *p = line.p + i;
        size_t left = line.len - i, n = *p == '\\' && left > 1 ? 2 : 1;
        if (is_half(p, left, high) && is_half(p + 6, left - 6, low)) {
            n = 12;
        } else if (is_half(p, left, any)) {
            char hex[5] = {(char)p[2], (char)p[3], (char)p[4], (char)p[5], 0};
            text_put_cp(out, (uint32_t)strtoul(hex, NULL, 16));
            i += 6;
            continue;
        }
        buf_append(out, p, n);
        i += n;
    }
}

MUST_USE enum status json_line(struct slice line, yyjson_doc **ret, struct error *err) {
    *ret = yyjson_read((const char *)line.p, line.len, 0);
    if (!*ret) {
        struct buf mended = {0};
        mend_surrogates(line, &mended);
        *ret = yyjson_read((const char *)mended.p, mended.len, YYJSON_READ_ALLOW_INVALID_UNICODE);
        buf_free(&mended);
    }
    return *ret ? ST_OK : error_set(err, ST_FORMAT, "this line is no JSON object: %s", log_peer(line));
}

struct slice json_text(yyjson_val *object, const char *key) {
    yyjson_val *v = yyjson_obj_get(object, key);
    return yyjson_is_str(v) ? slice_of(yyjson_get_str(v), yyjson_get_len(v)) : SLICE_LIT("");
}

uint64_t json_uint(yyjson_val *object, const char *key) {
    return yyjson_get_uint(yyjson_obj_get(object, key));
}

bool json_bool(yyjson_val *object, const char *key) {
    return yyjson_get_bool(yyjson_obj_get(object, key));
}

struct slice json_time(yyjson_val *object, const char *key, char out[24]) {
    struct slice s = json_text(object, key);
    if (s.len < 19 || slice_starts(s, SLICE_LIT("1601-01-01"))) return SLICE_LIT("-");
    memcpy(out, s.p, 19);
    out[10] = ' ';
    out[19] = 0;
    return slice_of(out, 19);
}

struct json_body json_body_begin(void) {
    struct json_body b = {.doc = yyjson_mut_doc_new(NULL)};
    b.o = yyjson_mut_obj(b.doc);
    yyjson_mut_doc_set_root(b.doc, b.o);
    return b;
}

MUST_USE enum status json_body_end(struct json_body *b, struct buf *out, struct error *err) {
    size_t len = 0;
    char *text = yyjson_mut_write(b->doc, 0, &len);
    if (text) buf_append(out, text, len);
    yyjson_mut_doc_free(b->doc);
    enum status st = text ? ST_OK : error_set(err, ST_INVALID, "an argument is not UTF-8");
    free(text);
    return st;
}

MUST_USE enum status json_body_post(struct json_body *b, struct client *c, struct buf *url, struct buf *reply,
                                    struct error *err) {
    struct buf text = {0};
    enum status st = json_body_end(b, &text, err);
    if (!st) st = client_post(c, url, buf_slice(&text), reply, err);
    buf_free(&text);
    return st;
}

struct listing {
    struct table table;
    void (*row)(struct table *t, yyjson_val *o);
    struct error *err;
};

static enum status on_row(void *ctx, struct slice line) {
    struct listing *l = ctx;
    yyjson_doc *doc;
    enum status st = json_line(line, &doc, l->err);
    if (!st) l->row(&l->table, yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return st;
}

MUST_USE enum status print_list(struct client *c, struct buf *url, bool json, const char *const *heads,
                                void (*row)(struct table *t, yyjson_val *o), struct error *err) {
    if (json) return client_lines(c, url, print_line, NULL, err);
    struct listing l = {.row = row, .err = err};
    table_init(&l.table, heads);
    enum status st = client_lines(c, url, on_row, &l, err);
    if (!st) table_print(&l.table);
    table_free(&l.table);
    return st;
}

void print_member(const char *label, struct slice value) {
    if (value.len) printf("%-15s %.*s\n", label, (int)value.len, (const char *)value.p);
}

MUST_USE enum status read_config(const char *path, struct buf *out, struct error *err) {
    char part[65536];
    if (strcmp(path, "-") != 0) return file_read(path, RULES_XML_MAX, out, err);
    for (size_t n; (n = fread(part, 1, sizeof part, stdin)) > 0;) {
        if (buf_try_append(out, part, n, RULES_XML_MAX))
            return error_set(err, ST_TOOBIG, "more than %u bytes on stdin", RULES_XML_MAX);
    }
    return ferror(stdin) ? error_set(err, ST_IO, "cannot read stdin") : ST_OK;
}

enum status print_line(void *ctx, struct slice line) {
    (void)ctx;
    return print_bytes(line) || putchar('\n') == EOF ? ST_CLOSED : ST_OK;
}

enum status print_bytes(struct slice bytes) {
    return bytes.len && fwrite(bytes.p, 1, bytes.len, stdout) != bytes.len ? ST_CLOSED : ST_OK;
}

enum status print_reply(struct slice reply) {
    while (reply.len && reply.p[reply.len - 1] == '\n') reply.len--;
    return print_line(NULL, reply);
}

const char *human_bytes(uint64_t bytes, char out[32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    int u = 0;
    for (; v >= 1024 && u < 4; u++) v /= 1024;
    snprintf(out, 32, u ? "%.1f %s" : "%.0f %s", v, units[u]);
    return out;
}

MUST_USE enum status check_time(const char *option, const char *text, struct error *err) {
    uint64_t ft;
    if (!text) return ST_OK;
    enum status st = args_time(text, clock_wall(), &ft, err);
    return st ? error_prefix(err, st, "--%s", option) : ST_OK;
}

void progress_begin(struct progress *p, const char *what) {
    *p = (struct progress){.started_ms = clock_mono_ms(), .what = what};
}

void progress_show(struct progress *p, uint64_t done, uint64_t all) {
    enum { WIDTH = 30 };
    uint64_t now = clock_mono_ms();
    if (now - p->started_ms < 1000 || now - p->drawn_ms < 100 || !isatty(2)) return;
    p->drawn_ms = now;
    if (!all) {
        fprintf(stderr, "\r%s: %llu", p->what, (unsigned long long)done);
        return;
    }
    if (done > all) done = all;
    int filled = (int)((double)done / (double)all * WIDTH);
    fprintf(stderr, "\r%s [%.*s%*s] %3d%%", p->what, filled, "##############################", WIDTH - filled, "",
            (int)((double)done / (double)all * 100));
}

void progress_end(struct progress *p) {
    if (p->drawn_ms) fprintf(stderr, "\r\033[K");
}
