/* Work threads are few: one looks at the digest for a moment, then others have it. */
#include "digest_wait.h"
#include "clock.h"
#include "log.h"

#define DIGEST_WAIT_MS 5000
#define DIGEST_TRY_MS 20

void digest_wait_begin(struct digest_wait *w, struct call *c) {
    *w = (struct digest_wait){.seq = db_last_seq(c->common->o->db), .give_up_ms = clock_mono_ms() + DIGEST_WAIT_MS};
}

bool digest_wait_over(struct digest_wait *w, struct call *c, const char *what) {
    struct digest *d = c->common->o->digest;
    if (!d || digest_sync(d, DIGEST_TRY_MS) || digest_position(d) >= w->seq) return true;
    if (clock_mono_ms() >= w->give_up_ms) {
        w->behind = w->seq - digest_position(d);
        log_warn("api", "%s is made while the digest is %llu packs behind", what, (unsigned long long)w->behind);
        return true;
    }
    c->wait_ms = DIGEST_TRY_MS;
    return false;
}
