/* Configurations that an exclude is added to: the result is understood, and has no errors that were not there. */
// links: rules proto base
// fuzz: -max_len=8192
#include "check.h"
#include "exclude.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static size_t errors_of(struct slice config) {
    struct findings f;
    struct ruleset *r = NULL;
    struct check_options o = {0};
    (void)!ruleset_check(config, &o, &f, &r);
    size_t n = r ? f.n_errors : SIZE_MAX;
    findings_free(&f);
    ruleset_free(&r);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct exclude x[] = {{.tag = "FileCreate",
                           .entries = {{"Image", COND_IS, SLICE_LIT("C:\\<a>&b.exe")},
                                       {"TargetFilename", COND_BEGIN_WITH, SLICE_LIT("C:\\d\\")}},
                           .n_entries = 2,
                           .comment = SLICE_LIT("--")},
                          {.tag = "ProcessCreate",
                           .entries = {{"Image", COND_IS, SLICE_LIT("C:\\p.exe")}},
                           .n_entries = 1}};
    struct buf out = {0};
    struct error err = {0};
    size_t before = errors_of(slice_of(data, len));
    if (!exclude_add(slice_of(data, len), x, 2, &out, &err) && errors_of(buf_slice(&out)) > before) abort();
    buf_free(&out);
    return 0;
}
