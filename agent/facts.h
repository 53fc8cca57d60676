/* What this machine is. Bodies: facts_posix.c (facts_win.c). Blocking, once at start; facts_usage is quick. */
#ifndef HAECHI_FACTS_H
#define HAECHI_FACTS_H

#include "buf.h"

struct facts {
    char os[160]; /* "Linux 6.1.0-18-amd64 Debian GNU/Linux 12 (bookworm)" */
    char hostname[256], domain[256];
    struct buf machine_id, boot_id; /* opaque; owned */
    int utc_offset_minutes;
    uint8_t instance[16]; /* place: machine, boot and state directory, hashed; then random: this process */
};
void facts_read(const char *state_dir, struct facts *f);
void facts_free(struct facts *f);
void facts_usage(uint64_t *ret_cpu_ms, uint64_t *ret_rss_bytes); /* of this process since its start; 0: not known */
bool facts_is_terminal(void);                                    /* standard error is one, for people */

#endif
