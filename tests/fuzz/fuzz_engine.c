/* A configuration, a NUL, and the text of a value: judged without harm for every event id, twice alike (the second time from memory), and
 * as if the other fields were not there. */
#include "engine.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void judge(const struct engine *e, struct engine_scratch *s, uint32_t id, struct slice value) {
    struct slice values[64] = {{0}};
    struct engine_need need = engine_need(e, id);
    if (need.n > 64) abort();
    for (size_t i = 0; i < need.n; i++) values[i] = i % 3 < 2 ? value : (struct slice){NULL, 0};
    struct engine_verdict v = engine_judge_values(e, s, id, true, values),
                          w = engine_judge_values(e, s, id, true, values);
    if (v.logged != w.logged || v.reason != w.reason || v.rule != w.rule || v.field != w.field ||
        !slice_eq(v.rule_name, w.rule_name)) {
        abort();
    }
    if ((v.reason == ENGINE_RULE) != (v.rule != NULL) || (v.rule && !v.field)) abort();
    enum engine_scope scope = engine_scope(e, id);
    if ((scope == ENGINE_ALL && !v.logged) || (scope == ENGINE_NOTHING && v.logged)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    const uint8_t *end = len ? memchr(data, 0, len) : NULL;
    size_t n = end ? (size_t)(end - data) : len;
    struct slice value = n < len ? slice_of(data + n + 1, len - n - 1) : SLICE_LIT("C:\\Windows\\x.exe");
    struct ruleset *r = NULL;
    if (ruleset_parse(slice_of(data, n), &r, NULL)) return 0;
    struct engine *e = engine_new(r);
    struct engine_scratch *s = engine_scratch_new(e);
    for (uint32_t id = 1; id <= 256; id++) judge(e, s, id, value);
    engine_scratch_free(&s);
    engine_free(&e);
    ruleset_free(&r);
    return 0;
}
