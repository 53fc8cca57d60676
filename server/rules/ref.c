/* Names of rulesets and revisions. Pure. */
#include "ref.h"
#include "canary.h"

#include <stdio.h>

bool ruleset_name_is_fit(struct slice name) {
    if (!name.len || name.len > RULESET_NAME_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = slice_lower(name.p[i]);
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || !c || !strchr("._-", c))) return false;
    }
    return true;
}

MUST_USE enum status ruleset_ref_parse(struct slice text, struct ruleset_ref *ret, struct error *err) {
    const uint8_t *at = text.len ? memchr(text.p, '@', text.len) : NULL;
    struct slice name = slice_head(text, at ? (size_t)(at - text.p) : text.len);
    struct slice number = at ? slice_from(text, name.len + 1) : SLICE_LIT("");
    uint64_t revision = 0;
    bool good = ruleset_name_is_fit(name) && (!at || (number.len && number.len <= 10 && number.p[0] != '0'));
    for (size_t i = 0; i < number.len && good; i++) {
        good = number.p[i] >= '0' && number.p[i] <= '9';
        revision = revision * 10 + (uint64_t)(number.p[i] - '0');
    }
    if (!good || revision > UINT32_MAX) {
        return error_set(
            err, ST_INVALID,
            "a ruleset is named NAME or NAME@REVISION: letters, digits and . _ - (at most %d), then a number from 1",
            RULESET_NAME_MAX);
    }
    memcpy(ret->name, name.p, name.len);
    ret->name[name.len] = 0;
    ret->revision = (uint32_t)revision;
    return ST_OK;
}

void ruleset_canary_name(const char *name, uint32_t revision, char out[RULESET_CANARY_MAX]) {
    snprintf(out, RULESET_CANARY_MAX, CANARY_NAME_PREFIX "%s/%lu", name, (unsigned long)revision);
}
