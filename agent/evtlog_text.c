/* Texts of the Windows Event Log source. Pure. */
#include "evtlog_text.h"
#include "clock.h"

static const char end_tag[] = "</Event>";

/* Offset of needle in s, or s.len. */
static size_t find(struct slice s, struct slice needle) {
    for (size_t at = 0; at + needle.len <= s.len;) {
        const uint8_t *p = memchr(s.p + at, needle.p[0], s.len - at - needle.len + 1);
        if (!p) break;
        at = (size_t)(p - s.p);
        if (memcmp(p, needle.p, needle.len) == 0) return at;
        at++;
    }
    return s.len;
}

static bool number(struct slice *s, uint64_t *ret) {
    uint64_t v = 0;
    size_t n = 0;
    while (n < s->len && s->p[n] >= '0' && s->p[n] <= '9') {
        uint64_t digit = s->p[n] - (uint64_t)'0';
        if (v > (UINT64_MAX - digit) / 10) return false;
        v = v * 10 + digit;
        n++;
    }
    *s = slice_from(*s, n);
    *ret = v;
    return n > 0;
}

static struct slice trim_end(struct slice s) {
    while (s.len && (s.p[s.len - 1] == 0 || s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\r' || s.p[s.len - 1] == '\n'))
        s.len--;
    return s;
}

static uint64_t time_of(struct slice system) {
    static const struct slice name = {(const uint8_t *)"SystemTime=", 11};
    struct slice s = slice_from(system, find(system, name));
    if (s.len <= name.len) return 0;
    s = slice_from(s, name.len);
    uint8_t quote = s.p[0];
    if (quote != '\'' && quote != '"') return 0;
    s = slice_from(s, 1);
    const uint8_t *to = memchr(s.p, quote, s.len);
    uint64_t t = 0;
    if (!to || filetime_parse(slice_of(s.p, (size_t)(to - s.p)), &t, NULL, NULL)) return 0;
    return t;
}

bool evtlog_text_facts(struct slice xml, uint64_t *ret_id, uint64_t *ret_time) {
    static const struct slice open = {(const uint8_t *)"<System>", 8}, close = {(const uint8_t *)"</System>", 9};
    static const struct slice tag = {(const uint8_t *)"<EventRecordID>", 15};
    xml = trim_end(xml);
    if (xml.len < sizeof end_tag - 1 ||
        memcmp(xml.p + xml.len - (sizeof end_tag - 1), end_tag, sizeof end_tag - 1) != 0)
        return false;
    struct slice s = slice_from(xml, find(xml, open));
    s = slice_head(s, find(s, close));
    struct slice id = slice_from(s, find(s, tag));
    if (!id.len) return false;
    id = slice_from(id, tag.len);
    if (!number(&id, ret_id) || !id.len || id.p[0] != '<') return false;
    *ret_time = time_of(s);
    return true;
}

bool evtlog_text_is_whole(struct slice utf16) {
    size_t n = utf16.len / 2, k = sizeof end_tag - 1;
    const uint8_t *p = utf16.p;
    while (n && !p[2 * n - 1] &&
           (p[2 * n - 2] == 0 || p[2 * n - 2] == ' ' || p[2 * n - 2] == '\r' || p[2 * n - 2] == '\n'))
        n--;
    if (n < k) return false;
    for (size_t i = 0; i < k; i++) {
        if (p[2 * (n - k + i)] != (uint8_t)end_tag[i] || p[2 * (n - k + i) + 1]) return false;
    }
    return true;
}

void evtlog_position_write(struct buf *out, uint64_t id, uint64_t time) {
    buf_printf(out, "evtlog %llu %llu", (unsigned long long)id, (unsigned long long)time);
}

enum status evtlog_position_parse(struct slice s, uint64_t *ret_id, uint64_t *ret_time) {
    uint64_t id = 0, time = 0;
    if (!slice_starts(s, SLICE_LIT("evtlog "))) return ST_FORMAT;
    s = slice_from(s, 7);
    if (!number(&s, &id) || !id || !s.len || s.p[0] != ' ') return ST_FORMAT;
    s = slice_from(s, 1);
    if (!number(&s, &time) || s.len) return ST_FORMAT;
    *ret_id = id;
    *ret_time = time;
    return ST_OK;
}

void evtlog_bookmark_write(struct buf *out, struct slice channel, uint64_t id) {
    buf_str(out, "<BookmarkList><Bookmark Channel='");
    for (size_t i = 0; i < channel.len; i++) {
        char c = (char)channel.p[i];
        if (c == '&')
            buf_str(out, "&amp;");
        else if (c == '<')
            buf_str(out, "&lt;");
        else if (c == '\'')
            buf_str(out, "&apos;");
        else
            buf_byte(out, (uint8_t)c);
    }
    buf_printf(out, "' RecordId='%llu' IsCurrent='true'/></BookmarkList>", (unsigned long long)id);
}

enum status evtlog_bookmark_parse(struct slice xml, uint64_t *ret_id) {
    static const struct slice name = {(const uint8_t *)" RecordId=", 10};
    struct slice s = slice_from(xml, find(xml, name));
    s = slice_from(s, name.len);
    if (s.len < 2 || (s.p[0] != '\'' && s.p[0] != '"')) return ST_FORMAT;
    uint8_t quote = s.p[0];
    uint64_t id = 0;
    s = slice_from(s, 1);
    if (!number(&s, &id) || !s.len || s.p[0] != quote) return ST_FORMAT;
    *ret_id = id;
    return ST_OK;
}
