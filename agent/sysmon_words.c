/* Sysmon's words, judged by a table. Source of the words: what Sysmon 10 to 15 and Sysmon for Linux print. Pure. */
#include "sysmon_words.h"
#include "text.h"

#include <stdio.h>

#define UPDATED "Configuration updated."
#define SHOWN_MAX 200u /* of one line, in a sentence */

enum where { BEGINS, HAS };

/* The first that fits a line says what it means, and the first line with a complaint what is wrong; but its usage text, which comes on
 * another stream and so may come first, only when nothing else does. */
static const struct complaint {
    enum where where;
    const char *words;
    enum sysmon_answer answer;
    const char *sentence; /* before the line; NULL: the line says enough */
} complaints[] = {
    {HAS, "Sysmon is not installed", SYSMON_NOT_POSSIBLE, NULL},
    {HAS, "Sysmon is not running", SYSMON_NOT_POSSIBLE, NULL},
    {HAS, "as an Administrator", SYSMON_NOT_POSSIBLE, "the agent has not the rights to change Sysmon's configuration"},
    {HAS, "run Sysmon as root", SYSMON_NOT_POSSIBLE, "the agent has not the rights to change Sysmon's configuration"},
    {HAS, "Failed to connect to the driver", SYSMON_NOT_POSSIBLE, "its driver is not reachable"},
    {HAS, "Failed to access the driver", SYSMON_NOT_POSSIBLE, "its driver is not reachable"},
    {HAS, "Failed to open service configuration", SYSMON_NOT_POSSIBLE, "its service is not reachable"},
    {HAS, "Failed to open the service", SYSMON_NOT_POSSIBLE, "its service is not reachable"},
    {HAS, "Incorrect field", SYSMON_REFUSED,
     "it dropped the block with this field and all later blocks of the same event, whatever it says at the end"},
    {HAS, "specifiy the onmatch", SYSMON_REFUSED, "it skipped a block, whatever it says at the end"},
    {HAS, "Can't specify onmatch and default", SYSMON_REFUSED, "it skipped a block, whatever it says at the end"},
    {BEGINS, "Error:", SYSMON_REFUSED, NULL},
    {HAS, "LIBXML2 Error:", SYSMON_REFUSED, NULL},
    {HAS, "RuleEngine Error:", SYSMON_REFUSED, NULL},
    {HAS, "validity error", SYSMON_REFUSED, NULL},
    {HAS, "parser error", SYSMON_REFUSED, NULL},
    {HAS, "does not follow the DTD", SYSMON_REFUSED, NULL},
    {HAS, "No declaration for attribute", SYSMON_REFUSED, NULL},
    {HAS, "is not among the enumerated set", SYSMON_REFUSED, NULL},
    {HAS, "unexpected according to content model", SYSMON_REFUSED, NULL},
    {BEGINS, "Invalid hashing algorithm", SYSMON_REFUSED, NULL},
    {BEGINS, "Archive directory must be", SYSMON_REFUSED, NULL},
    {BEGINS, "FieldSizes ", SYSMON_REFUSED, NULL},
    {BEGINS, "Failed to ", SYSMON_REFUSED, NULL},
};
static const struct complaint usage = {BEGINS, "Usage", SYSMON_REFUSED, "it did not understand what it was asked"};

static bool starts_nocase(struct slice line, const char *words) {
    size_t n = strlen(words);
    return line.len >= n && slice_eq_nocase(slice_head(line, n), slice_of(words, n));
}

static bool fits(struct slice line, const struct complaint *c) {
    if (c->where == BEGINS) return starts_nocase(line, c->words);
    for (; line.len; line = slice_from(line, 1)) {
        if (starts_nocase(line, c->words)) return true;
    }
    return false;
}

static struct slice trimmed(struct slice s) {
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t')) s = slice_from(s, 1);
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t')) s.len--;
    return s;
}

/* The next line that is not empty, trimmed; false at the end. */
static bool next_line(struct slice *rest, struct slice *ret) {
    while (rest->len) {
        const uint8_t *nl = memchr(rest->p, '\n', rest->len);
        size_t n = nl ? (size_t)(nl - rest->p) : rest->len;
        *ret = trimmed(slice_head(*rest, n));
        *rest = slice_from(*rest, nl ? n + 1 : n);
        if (ret->len) return true;
    }
    return false;
}

/* Cut between characters. */
static struct slice shown(struct slice line) {
    if (line.len <= SHOWN_MAX) return line;
    size_t n = SHOWN_MAX;
    while (n && (line.p[n] & 0xc0) == 0x80) n--;
    return slice_head(line, n);
}

static void complain(struct sysmon_verdict *v, const struct complaint *c, struct slice line, struct slice rest) {
    struct slice reason = {NULL, 0};
    line = shown(line);
    /* MSXML says what is wrong in the line after. */
    if (!next_line(&rest, &reason) || !starts_nocase(reason, "Reason:")) reason.len = 0;
    if (reason.len > SHOWN_MAX / 2) reason.len = SHOWN_MAX / 2;
    while (reason.len && (reason.p[reason.len - 1] & 0x80)) reason.len--;
    v->answer = c->answer;
    snprintf(v->reason, sizeof v->reason, "%.*s%s%.*s%s%s%s", (int)line.len, (const char *)line.p,
             reason.len ? " " : "", (int)reason.len, reason.len ? (const char *)reason.p : "", c->sentence ? " (" : "",
             c->sentence ? c->sentence : "", c->sentence ? ")" : "");
}

void sysmon_words_judge(struct slice lines, enum sysmon_system system, int exit_code, struct sysmon_verdict *ret) {
    struct sysmon_verdict v = {.answer = SYSMON_ACCEPTED}, odd = v;
    struct slice rest = lines, line, last = {NULL, 0};
    while (v.answer == SYSMON_ACCEPTED && next_line(&rest, &line)) {
        last = line;
        if (fits(line, &usage)) complain(&odd, &usage, line, (struct slice){NULL, 0});
        for (size_t i = 0; i < sizeof complaints / sizeof *complaints && v.answer == SYSMON_ACCEPTED; i++) {
            if (fits(line, &complaints[i])) complain(&v, &complaints[i], line, rest);
        }
    }
    if (v.answer == SYSMON_ACCEPTED) v = odd;
    *ret = v;
    if (v.answer != SYSMON_ACCEPTED) return;
    bool updated = slice_eq_nocase(last, SLICE_LIT(UPDATED));
    last = shown(last);
    if (system == SYSMON_ON_WINDOWS && !updated) {
        ret->answer = SYSMON_INDEFINITE;
        if (last.len)
            snprintf(ret->reason, sizeof ret->reason,
                     "it ended after \"%.*s\", without \"" UPDATED
                     "\": nothing was changed (are its driver and service there?)",
                     (int)last.len, (const char *)last.p);
        else
            snprintf(ret->reason, sizeof ret->reason, "it printed nothing and ended with %d", exit_code);
    } else if (exit_code != 0) {
        ret->answer = SYSMON_INDEFINITE;
        snprintf(ret->reason, sizeof ret->reason, "it made no complaint but ended with %d", exit_code);
    }
}

/* UTF-16 without a mark: ASCII, and every other byte is zero. */
static int utf16_of(struct slice s, size_t *ret_skip) {
    *ret_skip = 0;
    if (s.len >= 2 && s.p[0] == 0xff && s.p[1] == 0xfe) return *ret_skip = 2, 1;
    if (s.len >= 2 && s.p[0] == 0xfe && s.p[1] == 0xff) return *ret_skip = 2, 2;
    size_t even = 0, odd = 0, n = s.len < 512 ? s.len : 512;
    for (size_t i = 0; i < n; i++) {
        if (!s.p[i]) i % 2 ? odd++ : even++;
    }
    if (odd * 4 > n && odd > even) return 1;
    return even * 4 > n && even > odd ? 2 : 0;
}

void sysmon_words_decode(struct slice captured, struct buf *out) {
    size_t skip;
    int wide = utf16_of(captured, &skip);
    struct buf text = {0};
    struct slice s = captured;
    if (wide) {
        text_from_utf16(&text, slice_from(captured, skip), wide == 2);
        s = buf_slice(&text);
    } else if (slice_starts(captured, SLICE_LIT("\xef\xbb\xbf"))) {
        s = slice_from(captured, 3);
    }
    while (s.len) {
        uint32_t cp = 0;
        size_t n = text_next(s, &cp);
        if (!n) {
            buf_byte(out, '?');
            n = 1;
        } else if (cp == '\n' || cp == '\t' ||
                   (cp >= 0x20 && cp != 0x7f && !(cp >= 0x80 && cp < 0xa0) && !(cp >= 0xd800 && cp < 0xe000))) {
            buf_append(out, s.p, n);
        } else if (cp != '\r') {
            buf_byte(out, '?');
        }
        s = slice_from(s, n);
    }
    buf_free(&text);
}

void sysmon_words_cut(struct slice lines, size_t max, struct buf *out) {
    static const char between[] = "\n[...]\n";
    while (lines.len && (lines.p[lines.len - 1] == '\n' || lines.p[lines.len - 1] == ' ')) lines.len--;
    if (lines.len <= max) {
        buf_slice_append(out, lines);
        return;
    }
    size_t half = (max - (sizeof between - 1)) / 2, head = half, tail = lines.len - half;
    while (head && (lines.p[head] & 0xc0) == 0x80) head--;
    while (tail < lines.len && (lines.p[tail] & 0xc0) == 0x80) tail++;
    buf_slice_append(out, slice_head(lines, head));
    buf_str(out, between);
    buf_slice_append(out, slice_from(lines, tail));
}
