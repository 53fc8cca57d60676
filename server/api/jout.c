/* JSON output. Whether a comma is due is seen from the last byte written. */
#include "jout.h"
#include "clock.h"
#include "text.h"

static void put_key(struct buf *out, const char *key) {
    uint8_t last = out->len ? out->p[out->len - 1] : '\n';
    if (last != '{' && last != '[' && last != '\n') buf_byte(out, ',');
    if (key) buf_printf(out, "\"%s\":", key);
}

void jout_object(struct buf *out, const char *key) {
    put_key(out, key);
    buf_byte(out, '{');
}

void jout_array(struct buf *out, const char *key) {
    put_key(out, key);
    buf_byte(out, '[');
}

void jout_close(struct buf *out, char bracket) {
    buf_byte(out, (uint8_t)bracket);
}

void jout_line(struct buf *out) {
    buf_str(out, "}\n");
}

void jout_text(struct buf *out, const char *key, struct slice value) {
    put_key(out, key);
    buf_byte(out, '"');
    text_json(out, value);
    buf_byte(out, '"');
}

void jout_str(struct buf *out, const char *key, const char *value) {
    jout_text(out, key, slice_str(value));
}

void jout_uint(struct buf *out, const char *key, uint64_t value) {
    put_key(out, key);
    buf_printf(out, "%llu", (unsigned long long)value);
}

void jout_int(struct buf *out, const char *key, int64_t value) {
    put_key(out, key);
    buf_printf(out, "%lld", (long long)value);
}

void jout_real(struct buf *out, const char *key, double value) {
    put_key(out, key);
    buf_printf(out, "%.3f", value == value && value < 1e18 && value > -1e18 ? value : 0.0);
}

void jout_version(struct buf *out, const char *key, uint32_t hundredths) {
    if (!hundredths) {
        jout_null(out, key);
        return;
    }
    put_key(out, key);
    buf_printf(out, "\"%lu.%02lu\"", (unsigned long)hundredths / 100, (unsigned long)hundredths % 100);
}

void jout_bool(struct buf *out, const char *key, bool value) {
    put_key(out, key);
    buf_str(out, value ? "true" : "false");
}

void jout_null(struct buf *out, const char *key) {
    put_key(out, key);
    buf_str(out, "null");
}

void jout_time(struct buf *out, const char *key, uint64_t filetime) {
    char text[FILETIME_TEXT_MAX];
    if (!filetime) {
        jout_null(out, key);
        return;
    }
    filetime_format(filetime, 7, text);
    jout_str(out, key, text);
}
