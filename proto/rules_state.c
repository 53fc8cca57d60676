/* Words for the numbers of rules_state.h. Pure. */
#include "rules_state.h"

#include <stdio.h>

const char *rules_state_name(uint32_t state) {
    switch (state) {
#define NAME(id, number, name, text) \
    case id: return name;
        RULES_STATE_LIST(NAME)
#undef NAME
    default: return "?";
    }
}

const char *rules_state_text(uint32_t state) {
    switch (state) {
#define TEXT(id, number, name, text) \
    case id: return text;
        RULES_STATE_LIST(TEXT)
#undef TEXT
    default: return "?";
    }
}

const char *sysmon_state_name(uint32_t state) {
    switch (state) {
#define NAME(id, number, name) \
    case id: return name;
        SYSMON_STATE_LIST(NAME)
#undef NAME
    default: return "?";
    }
}

void rules_evidence_text(uint32_t bits, char *out, size_t cap) {
    size_t at = 0;
    if (cap) *out = 0;
#define ADD(id, bit, name, text)                                            \
    if ((bits & bit) && at < cap) {                                         \
        int n = snprintf(out + at, cap - at, "%s%s", at ? ", " : "", name); \
        if (n > 0) at += (size_t)n;                                         \
    }
    RULES_EVIDENCE_LIST(ADD)
#undef ADD
}
