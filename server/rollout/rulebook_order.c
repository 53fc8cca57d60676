/* Orders: a revision for a group, under a serial that ascends over the fleet, signed by the authority. The frame is
 * built once and shared by all who are sent it. */
#include "fleet.h"
#include "log.h"
#include "mem.h"
#include "msg.h"
#include "rulebook_internal.h"

#include <stdio.h>

struct counted {
    struct order order;
    _Atomic unsigned refs;
};

const struct order *order_hold(const struct order *o) {
    struct counted *c = (struct counted *)(uintptr_t)o;
    if (c) atomic_fetch_add(&c->refs, 1);
    return o;
}

void order_release(const struct order **o) {
    struct counted *c = (struct counted *)(uintptr_t)*o;
    *o = NULL;
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1) return;
    buf_free(&c->order.manifest);
    buf_free(&c->order.frame);
    mem_free(c);
}

/* A host's word is worth a step of that many at most: it cannot use the numbers up. */
#define SERIAL_STEP_MAX (UINT64_C(1) << 20)

void rulebook_heard_serial(struct rulebook *b, uint64_t serial) {
    uint64_t known = atomic_load(&b->serial);
    while (serial > known && serial - known <= SERIAL_STEP_MAX) {
        if (atomic_compare_exchange_weak(&b->serial, &known, serial)) return;
    }
}

static enum status seal(struct rulebook *b, const char *group, const struct revision *r, uint64_t serial,
                        struct slice manifest, struct slice zstd, const struct order **ret, struct error *err) {
    struct buf signed_bytes = {0}, signature = {0};
    buf_str(&signed_bytes, RULES_SIGNED_PREFIX);
    buf_slice_append(&signed_bytes, manifest);
    enum status st = fleet_sign(b->fleet, buf_slice(&signed_bytes), &signature, err);
    if (!st) {
        struct counted *c = mem_zalloc(sizeof *c);
        c->refs = 1;
        c->order.serial = serial;
        c->order.revision = r->revision;
        snprintf(c->order.group, sizeof c->order.group, "%s", group);
        snprintf(c->order.ruleset, sizeof c->order.ruleset, "%s", r->name);
        memcpy(c->order.digest, r->digest, sizeof c->order.digest);
        buf_slice_append(&c->order.manifest, manifest);
        Haechi__RulesOffer offer = HAECHI__RULES_OFFER__INIT;
        offer.manifest = msg_bytes(manifest);
        offer.signature = msg_bytes(buf_slice(&signature));
        offer.xml_zstd = msg_bytes(zstd);
        msg_put_frame(&c->order.frame, FRAME_RULES_OFFER, &offer.base);
        *ret = &c->order;
    }
    buf_free(&signed_bytes);
    buf_free(&signature);
    return st;
}

static void put_manifest(struct rulebook *b, bool heal, const struct revision *r, uint64_t serial, struct buf *out) {
    Haechi__RulesManifest m = HAECHI__RULES_MANIFEST__INIT;
    m.serial = serial;
    m.ruleset = (char *)(uintptr_t)r->name;
    m.revision = r->revision;
    m.digest = msg_bytes(slice_of(r->digest, sizeof r->digest));
    m.len = r->len;
    m.time = fleet_now(b->fleet);
    m.heal = heal;
    if (r->canary) m.canary = r->canary;
    msg_pack(&m.base, out);
}

MUST_USE enum status order_make(struct rulebook *b, struct fleet_txn *t, const char *group, bool heal,
                                const struct revision *r, struct slice zstd, const struct order **ret,
                                struct error *err) {
    uint64_t serial;
    struct buf manifest = {0};
    enum status st = fleet_txn_raise(t, "rules", atomic_load(&b->serial), err);
    if (!st) st = fleet_txn_next(t, "rules", &serial, err);
    if (st) return st;
    rulebook_heard_serial(b, serial);
    put_manifest(b, heal, r, serial, &manifest);
    st = seal(b, group, r, serial, buf_slice(&manifest), zstd, ret, err);
    buf_free(&manifest);
    return st;
}

MUST_USE enum status rulebook_sign(struct rulebook *b, const char *group, const char *ruleset, uint32_t revision,
                                   const struct order **ret, struct error *err) {
    struct revision r = {0};
    struct buf zstd = {0};
    struct fleet_txn *t = NULL;
    struct group g = {0};
    const struct order *made = NULL;
    enum status st = rulebook_group_get(b, group, &g, err);
    if (!st) st = rulebook_get(b, ruleset, revision, &r, err);
    if (!st) st = revision_read(b, &r, &zstd, NULL, err);
    if (!st) st = fleet_begin(b->db, &t, err);
    if (!st) st = order_make(b, t, group, g.heal, &r, buf_slice(&zstd), &made, err);
    if (!st) st = fleet_commit(&t, err);
    fleet_abort(&t);
    if (!st)
        *ret = made;
    else
        order_release(&made);
    group_free(&g);
    revision_free(&r);
    buf_free(&zstd);
    return st;
}

MUST_USE enum status rulebook_sign_again(struct rulebook *b, const char *group, struct slice manifest,
                                         const struct order **ret, struct error *err) {
    struct arena arena;
    struct revision r = {0};
    struct buf zstd = {0};
    arena_init(&arena, 64 * 1024);
    const Haechi__RulesManifest *m = MSG_UNPACK(RulesManifest, rules_manifest, manifest, &arena);
    enum status st = m && m->serial && m->revision && m->digest.len == RULES_DIGEST_LEN
                         ? ST_OK
                         : error_set(err, ST_FORMAT, "the order that was kept cannot be read");
    if (!st) st = rulebook_get(b, m->ruleset, m->revision, &r, err);
    if (!st && memcmp(m->digest.data, r.digest, RULES_DIGEST_LEN) != 0) {
        st = error_set(err, ST_CORRUPT, "%s@%lu is not what was ordered", r.name, (unsigned long)r.revision);
    }
    if (!st) st = revision_read(b, &r, &zstd, NULL, err);
    if (!st) st = seal(b, group, &r, m->serial, manifest, buf_slice(&zstd), ret, err);
    revision_free(&r);
    buf_free(&zstd);
    arena_deinit(&arena);
    return st;
}
