/* A RulesOffer's bytes -> a ruleset that this host may be asked to load, or a refusal with a sentence. Pure.
 *
 * Nothing of the manifest counts before its signature holds: a collector whose network key was stolen, but not the CA's,
 * cannot order anything. A ruleset that was signed once is not one for ever: serials ascend (PROTOCOL.md section 10). */
#ifndef HAECHI_RULES_OFFER_H
#define HAECHI_RULES_OFFER_H

#include "buf.h"
#include "rules_state.h"

#define RULES_NAME_MAX 256 /* bytes of a ruleset's or a rule's name, with NUL */

/* What was ordered, without its bytes. */
struct rules_order {
    uint64_t serial, len, time; /* time: of signing, FILETIME */
    char ruleset[RULES_NAME_MAX], canary[RULES_NAME_MAX];
    uint32_t revision;
    bool heal;
    uint8_t digest[RULES_DIGEST_LEN];
};

/* Appends the configuration's bytes to *ret_xml. ca_pem: the CAs that this host trusts. highest: the highest serial that it
 * has had.
 * Refusals, *err with the sentence and *ret with as much as the manifest says (for the report; believed in nothing else):
 * ST_FORMAT (no offer), ST_AUTH (signature), ST_EXPIRED (serial below highest), ST_CORRUPT (length or digest), ST_TOOBIG. */
MUST_USE enum status rules_offer_open(struct slice offer, struct slice ca_pem, uint64_t highest,
                                      struct rules_order *ret, struct buf *ret_xml, struct error *err);

#endif
