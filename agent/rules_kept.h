/* What the agent remembers of the fleet's rules over a restart, as text and back: STATE/rules/state. Pure.
 *
 * The highest serial is in the same file as the order, so that they change together. The configuration itself lies beside it,
 * named by its digest, and is written first. */
#ifndef HAECHI_RULES_KEPT_H
#define HAECHI_RULES_KEPT_H

#include "filehash.h"
#include "rules_offer.h"

#define RULES_MEMORY_MAX 16u
#define RULES_KEPT_MAX (64u * 1024) /* bytes of the file */
#define RULES_REASON_MAX 512u

/* What a version of Sysmon made of a file when its rules were seen to be loaded. */
struct rules_memory {
    char version[32];
    uint8_t digest[RULES_DIGEST_LEN], rules_digest[RULES_DIGEST_LEN];
};

struct rules_kept {   /* zero, or owned: rules_kept_free */
    uint64_t highest; /* serial */
    bool has_order;
    struct rules_order order;
    struct filehash hash; /* of the configuration */
    enum rules_state state;
    uint32_t evidence;
    uint64_t since; /* of the state, FILETIME */
    bool waits;     /* failed because of the host: asked again when that has changed */
    bool was_loaded;
    char reason[RULES_REASON_MAX];
    char version[32]; /* of the Sysmon that was asked last */
    bool has_rules;   /* and what it held right after: */
    uint8_t rules_digest[RULES_DIGEST_LEN];
    uint8_t settings_digest[RULES_DIGEST_LEN]; /* zero: not known */
    struct buf words;
    struct rules_memory memory[RULES_MEMORY_MAX]; /* the latest first */
    size_t n_memory;
};
void rules_kept_free(struct rules_kept *k);

/* What this version made of this file before; NULL: not known. */
const struct rules_memory *rules_kept_recall(const struct rules_kept *k, const char *version,
                                             const uint8_t digest[RULES_DIGEST_LEN]);
void rules_kept_remember(struct rules_kept *k, const char *version, const uint8_t digest[RULES_DIGEST_LEN],
                         const uint8_t rules_digest[RULES_DIGEST_LEN]);

void rules_kept_write(const struct rules_kept *k, struct buf *out);
MUST_USE enum status rules_kept_parse(struct slice text, struct rules_kept *ret, struct error *err);

#endif
