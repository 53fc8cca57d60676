/* fuzz: -max_len=4096 */
#include "journal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice line = slice_of(data, size), xml;
    struct journal_entry e = {0};
    struct buf text = {0};
    enum status st = journal_parse(line, &e);
    struct slice m = buf_slice(&e.message);
    if (st == ST_OK && e.has_message) {
        while ((st = journal_next_event(&m, &xml)) != ST_END) {
            if (st == ST_OK && (xml.len < 14 || xml.p[0] != '<' || xml.p[xml.len - 1] != '>')) abort();
        }
    }
    if (journal_parse_syslog(line, &text) == ST_OK) {
        m = buf_slice(&text);
        while ((st = journal_next_event(&m, &xml)) != ST_END) continue;
    }
    journal_entry_deinit(&e);
    buf_free(&text);
    return 0;
}
