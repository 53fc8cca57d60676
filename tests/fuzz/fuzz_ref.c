/* Names of rulesets and revisions, as people and clients write them. */
#include "ref.h"

#include <assert.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len) {
    struct ruleset_ref r, again;
    struct error err;
    char text[RULESET_NAME_MAX + 16], canary[RULESET_CANARY_MAX];
    if (ruleset_ref_parse(slice_of(p, len), &r, &err)) {
        assert(err.code == ST_INVALID && err.msg[0]);
        return 0;
    }
    assert(ruleset_name_is_fit(slice_str(r.name)));
    if (r.revision)
        snprintf(text, sizeof text, "%s@%lu", r.name, (unsigned long)r.revision);
    else
        snprintf(text, sizeof text, "%s", r.name);
    assert(slice_eq_str(slice_of(p, len), text)); /* one way to write each */
    assert(!ruleset_ref_parse(slice_str(text), &again, &err) && again.revision == r.revision);
    ruleset_canary_name(r.name, r.revision, canary);
    assert(strlen(canary) < sizeof canary);
    return 0;
}
