/* JSON rows over yyjson. */
#include "row.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

yyjson_mut_val *row_begin(yyjson_mut_doc **ret) {
    *ret = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(*ret);
    yyjson_mut_doc_set_root(*ret, root);
    return root;
}

void row_end(yyjson_mut_doc *doc, struct buf *out) {
    size_t len = 0;
    char *text = yyjson_mut_write(doc, 0, &len);
    if (!text) abort();
    buf_append(out, text, len);
    free(text);
    yyjson_mut_doc_free(doc);
}

void row_hex(struct slice bytes, char *out, size_t out_len) {
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < bytes.len && n + 2 < out_len; i++) {
        out[n++] = digits[bytes.p[i] >> 4];
        out[n++] = digits[bytes.p[i] & 15];
    }
    out[n] = 0;
}

void row_add_hex(yyjson_mut_doc *doc, yyjson_mut_val *o, const char *key, struct slice bytes) {
    char *hex = mem_alloc(2 * bytes.len + 1);
    row_hex(bytes, hex, 2 * bytes.len + 1);
    yyjson_mut_obj_add_strcpy(doc, o, key, hex);
    mem_free(hex);
}

char *row_string(yyjson_val *object, const char *key) {
    yyjson_val *v = yyjson_obj_get(object, key);
    return yyjson_is_str(v) ? mem_strndup(yyjson_get_str(v), yyjson_get_len(v)) : mem_strdup("");
}

void row_copy(yyjson_val *object, const char *key, char *out, size_t len) {
    const char *s = yyjson_get_str(yyjson_obj_get(object, key));
    snprintf(out, len, "%s", s ? s : "");
}

uint64_t row_uint(yyjson_val *object, const char *key) {
    return yyjson_get_uint(yyjson_obj_get(object, key));
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool row_bytes(yyjson_val *object, const char *key, size_t max_len, struct buf *ret) {
    yyjson_val *v = yyjson_obj_get(object, key);
    const char *s = yyjson_get_str(v);
    size_t len = yyjson_get_len(v);
    buf_clear(ret);
    if (!s || len % 2 || len / 2 > max_len) return false;
    for (size_t i = 0; i < len; i += 2) {
        int high = digit_of(s[i]), low = digit_of(s[i + 1]);
        if (high < 0 || low < 0) return false;
        buf_byte(ret, (uint8_t)(high << 4 | low));
    }
    return true;
}
