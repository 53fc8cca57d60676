/* The rule is put into the text and the result is read again: only when the rulesets differ by that one rule does it
 * stand. So the search for the place may be simple. Pure. */
#include "canary.h"
#include "diff.h"
#include "ruleset.h"

#include <stdio.h>

#define TAG "ProcessCreate"
#define FIELD "CommandLine"
#define TRIES_MAX 64

/* ---- the text as one character a unit, whatever the encoding ---- */

struct units {
    struct buf narrow;   /* a byte for each code unit: ASCII as it is, the rest as 0x80 */
    size_t width, first; /* bytes a unit; of the byte order mark */
    bool big_endian;
};

static void widen(const struct units *u, const char *text, struct buf *out) {
    for (; *text; text++) {
        if (u->width == 2 && u->big_endian) buf_byte(out, 0);
        buf_byte(out, (uint8_t)*text);
        if (u->width == 2 && !u->big_endian) buf_byte(out, 0);
    }
}

static void units_of(struct slice xml, const struct ruleset *r, struct units *u) {
    bool utf16 = strncmp(r->encoding, "UTF-16", 6) == 0;
    *u = (struct units){.width = utf16 ? 2 : 1, .big_endian = strcmp(r->encoding, "UTF-16BE") == 0};
    if (r->has_bom) u->first = utf16 ? 2 : 3;
    struct slice s = slice_from(xml, u->first);
    buf_reserve(&u->narrow, s.len / u->width);
    for (size_t i = 0; i + u->width <= s.len; i += u->width) {
        uint8_t high = utf16 ? s.p[i + (u->big_endian ? 0 : 1)] : 0, low = s.p[i + (utf16 && u->big_endian ? 1 : 0)];
        buf_byte(&u->narrow, high || low > 0x7f ? 0x80 : low);
    }
}

/* ---- start tags ---- */

static size_t past(struct slice s, size_t from, const char *end) {
    size_t n = strlen(end);
    for (size_t i = from; i + n <= s.len; i++) {
        if (memcmp(s.p + i, end, n) == 0) return i + n;
    }
    return s.len;
}

/* The end of the start tag at s[at] == '<': past its '>', which may stand in a quoted value too. */
static size_t tag_end(struct slice s, size_t at) {
    uint8_t quote = 0;
    for (size_t i = at; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (quote) {
            if (c == quote) quote = 0;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '>') {
            return i + 1;
        }
    }
    return s.len;
}

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next start tag of ProcessCreate from *at on, which is then its end. */
static bool next_tag(struct slice s, size_t *at) {
    static const char name[] = "<" TAG;
    size_t len = sizeof name - 1;
    for (size_t i = *at; i < s.len;) {
        struct slice rest = slice_from(s, i);
        if (*rest.p != '<') {
            i++;
        } else if (slice_starts(rest, SLICE_LIT("<!--"))) {
            i = past(s, i + 4, "-->");
        } else if (slice_starts(rest, SLICE_LIT("<![CDATA["))) {
            i = past(s, i + 9, "]]>");
        } else if (slice_starts(rest, SLICE_LIT("<?"))) {
            i = past(s, i + 2, "?>");
        } else {
            size_t end = tag_end(s, i);
            bool found = slice_starts(rest, slice_str(name)) && rest.len > len &&
                         (is_space(rest.p[len]) || rest.p[len] == '/' || rest.p[len] == '>');
            i = end;
            if (found) {
                *at = end;
                return true;
            }
        }
    }
    return false;
}

/* ---- the rule ---- */

static bool is_canary(const struct rule_field *f) {
    return slice_eq_str(f->field, FIELD) && f->condition == COND_CONTAINS &&
           slice_eq_str(f->value, RULES_CANARY_WORD) && f->name.len;
}

bool canary_find(const struct ruleset *r, char *ret, size_t cap) {
    for (size_t b = 0; b < r->n_blocks; b++) {
        const struct rule_block *block = &r->blocks[b];
        if (block->exclude || block->relation != RELATION_OR || !slice_eq_str(block->tag, TAG)) continue;
        for (size_t i = 0; i < block->n_rules; i++) {
            const struct rule *rule = &block->rules[i];
            if (!rule->is_single || !is_canary(&rule->fields[0]) || rule->fields[0].name.len >= cap) continue;
            memcpy(ret, rule->fields[0].name.p, rule->fields[0].name.len);
            ret[rule->fields[0].name.len] = 0;
            return true;
        }
    }
    return false;
}

/* Does b have one rule more than a, which is the canary, and is all else the same? */
static bool is_only_that(const struct ruleset *a, const struct ruleset *b) {
    struct diff d;
    char name[512];
    ruleset_diff(a, b, true, &d);
    bool good = d.n == 1 && d.n_added == 1 && strcmp(d.list[0].what, "rule") == 0 && canary_find(b, name, sizeof name);
    diff_free(&d);
    return good && a->n_blocks == b->n_blocks && a->n_options == b->n_options;
}

static bool name_is_fit(const char *name) {
    if (!*name || strlen(name) > 255) return false;
    for (; *name; name++) {
        if (*name < 0x20 || *name > 0x7e || strchr("<>&\"'", *name)) return false;
    }
    return true;
}

/* The text with the rule at the front of the element whose start tag ends at `end`. */
static void put_rule(struct slice xml, const struct units *u, size_t end, const char *name, struct buf *out) {
    char rule[512];
    struct slice s = buf_slice(&u->narrow);
    bool empty = end >= 2 && s.p[end - 2] == '/';
    snprintf(rule, sizeof rule, "<%s name=\"%s\" condition=\"contains\">%s</%s>", FIELD, name, RULES_CANARY_WORD,
             FIELD);
    size_t cut = u->first + (empty ? end - 2 : end) * u->width, go_on = u->first + end * u->width;
    buf_append(out, xml.p, cut);
    if (empty) widen(u, ">", out);
    widen(u, rule, out);
    if (empty) widen(u, "</" TAG ">", out);
    buf_append(out, xml.p + go_on, xml.len - go_on);
}

static bool try_at(struct slice xml, const struct units *u, const struct ruleset *before, size_t end, const char *name,
                   struct buf *out) {
    struct ruleset *after = NULL;
    size_t len = out->len;
    put_rule(xml, u, end, name, out);
    bool good = !ruleset_parse(slice_from(buf_slice(out), len), &after, NULL) && is_only_that(before, after);
    ruleset_free(&after);
    if (!good) out->len = len;
    return good;
}

/* Why there is no place for it, or ST_OK. */
static enum status find_reason(const struct ruleset *r, struct error *err) {
    bool include = false, any = false, loose = false;
    for (size_t i = 0; i < r->n_blocks; i++) {
        if (!slice_eq_str(r->blocks[i].tag, TAG)) continue;
        any = true;
        include = include || !r->blocks[i].exclude;
        loose = loose || (!r->blocks[i].exclude && r->blocks[i].relation == RELATION_OR);
    }
    if (!any) {
        return error_set(err, ST_INVALID,
                         "no canary can be put in: there is no " TAG
                         " block, and one with only the canary would end the "
                         "logging of all other processes");
    }
    if (!include) {
        return error_set(err, ST_INVALID,
                         "no canary can be put in: " TAG
                         " has an exclude block only, and an include block beside it would end "
                         "the logging of all that neither names");
    }
    if (!loose) {
        return error_set(err, ST_INVALID,
                         "no canary can be put in: the rules of the " TAG
                         " include block are joined by and, so one more "
                         "would narrow them; put them into a RuleGroup with groupRelation=\"or\"");
    }
    return ST_OK;
}

MUST_USE enum status canary_insert(struct slice xml, const char *rule_name, struct buf *out, struct error *err) {
    struct ruleset *r = NULL;
    struct units u = {0};
    char has[512];
    if (!name_is_fit(rule_name)) return error_set(err, ST_INVALID, "that is no RuleName for a canary");
    enum status st = ruleset_parse(xml, &r, err);
    if (!st && canary_find(r, has, sizeof has)) {
        st = error_set(err, ST_EXISTS, "there is a canary rule already, named '%.100s': take it out", has);
    }
    if (!st) st = find_reason(r, err);
    bool done = false;
    if (!st) {
        units_of(xml, r, &u);
        size_t at = 0;
        for (int i = 0; i < TRIES_MAX && !done && next_tag(buf_slice(&u.narrow), &at); i++) {
            done = try_at(xml, &u, r, at, rule_name, out);
        }
        if (!done) st = error_set(err, ST_INVALID, "no place was found for a canary that leaves all else as it is");
    }
    buf_free(&u.narrow);
    ruleset_free(&r);
    return st;
}
