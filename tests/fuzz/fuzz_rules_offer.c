/* fuzz: -max_len=4000
 * Offers of rules. First byte: 0: the rest is one as it came; else it is signed anew by a CA that the host trusts, so that what lies behind
 * the signature is met too. */
// links: server rules storage agent proto base
#include "ca.h"
#include "clock.h"
#include "mem.h"
#include "msg.h"
#include "rules_offer.h"
#include "tls.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ca *ca;
static struct buf pem;

static void make_ca(void) {
    struct buf key = {0};
    tls_global_init();
    if (ca_make("Fuzz CA", clock_wall(), &pem, &key, NULL) ||
        ca_load(buf_slice(&pem), buf_slice(&key), clock_wall(), &ca, NULL))
        abort();
    buf_free(&key);
}

/* Signed anew; as it is when it is no offer. */
static void sign(struct slice bytes, struct buf *out) {
    struct arena a;
    struct buf text = {0}, signature = {0};
    arena_init(&a, MSG_ARENA_CAP);
    Haechi__RulesOffer *m = MSG_UNPACK(RulesOffer, rules_offer, bytes, &a);
    if (m) {
        buf_str(&text, RULES_SIGNED_PREFIX);
        buf_slice_append(&text, msg_slice(m->manifest));
        if (ca_sign(ca, buf_slice(&text), &signature, NULL)) abort();
        m->signature = msg_bytes(buf_slice(&signature));
        msg_pack(&m->base, out);
    } else {
        buf_slice_append(out, bytes);
    }
    buf_free(&text);
    buf_free(&signature);
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf offer = {0}, xml = {0};
    struct rules_order o;
    struct error err = {0};
    uint8_t digest[32];
    if (!ca) make_ca();
    if (!size) return 0;
    if (data[0])
        sign(slice_of(data + 1, size - 1), &offer);
    else
        buf_append(&offer, data + 1, size - 1);
    enum status st = rules_offer_open(buf_slice(&offer), buf_slice(&pem), 5, &o, &xml, &err);
    if (st && (xml.len || !*err.msg)) abort();
    if (!st) {
        tls_sha256(buf_slice(&xml), digest);
        if (o.serial < 5 || !*o.ruleset || xml.len != o.len || memcmp(digest, o.digest, 32) != 0) abort();
    }
    buf_free(&offer);
    buf_free(&xml);
    return 0;
}
