/* fuzz: -max_len=3000
 * What Sysmon printed, and texts of hashes: the first byte chooses the system. */
#include "filehash.h"
#include "rules_state.h"
#include "sysmon_words.h"
#include "text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf lines = {0}, cut = {0};
    struct sysmon_verdict v;
    struct filehash h;
    if (!size) return 0;
    struct slice s = slice_of(data + 1, size - 1);
    sysmon_words_decode(s, &lines);
    if (lines.len && !text_is_utf8(buf_slice(&lines))) abort();
    sysmon_words_judge(buf_slice(&lines), data[0] & 1 ? SYSMON_ON_LINUX : SYSMON_ON_WINDOWS, data[0] & 2, &v);
    if ((v.answer == SYSMON_ACCEPTED) != !*v.reason) abort();
    if (*v.reason && !text_is_utf8(slice_str(v.reason))) abort();
    sysmon_words_cut(buf_slice(&lines), 100, &cut);
    if (cut.len > 100 || (cut.len && !text_is_utf8(buf_slice(&cut)))) abort();
    filehash_make(s, &h);
    (void)filehash_compare(&h, s);
    buf_free(&lines);
    buf_free(&cut);
    return 0;
}
