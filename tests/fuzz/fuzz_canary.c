/* A canary put into whatever comes: where it succeeds, the result is a configuration with that canary, and taking the rule
 * out again gives the bytes back. */
// links: rules proto base
#include "canary.h"
#include "ruleset.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len) {
    struct buf out = {0};
    struct error err;
    struct ruleset *r = NULL;
    char name[64];
    if (len > 65536) return 0;
    enum status st = canary_insert(slice_of(p, len), "haechi:fuzz/1", &out, &err);
    if (st) {
        assert(!out.len);
    } else {
        size_t same = 0, behind = 0;
        assert(out.len > len && !ruleset_parse(buf_slice(&out), &r, &err));
        assert(canary_find(r, name, sizeof name) && strcmp(name, "haechi:fuzz/1") == 0);
        while (same < len && out.p[same] == p[same]) same++;
        while (behind < len && out.p[out.len - 1 - behind] == p[len - 1 - behind]) behind++;
        assert(same + behind + 4 >= len); /* "/>" in two bytes a character became ">" */
        struct buf twice = {0};
        assert(canary_insert(buf_slice(&out), "haechi:fuzz/2", &twice, &err) != ST_OK);
        buf_free(&twice);
    }
    ruleset_free(&r);
    buf_free(&out);
    return 0;
}
