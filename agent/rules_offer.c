/* An order about rules: read, verified, unpacked. Invariant: the signature is checked before anything else is believed, and
 * every size before memory is spent on it. Pure. */
#include "rules_offer.h"
#include "mem.h"
#include "msg.h"
#include "text.h"
#include "tls.h"
#include "zblob.h"

#define SIGNATURE_MAX 1024u /* RSA of 8,192 bits */
#define MANIFEST_MAX 4096u

/* False: too long for us, or nothing that a person could read. */
static bool keep_name(const char *name, char out[RULES_NAME_MAX]) {
    struct slice s = slice_str(name);
    if (s.len >= RULES_NAME_MAX || !text_is_utf8(s)) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < 0x20 || s.p[i] == 0x7f) return false;
    }
    memcpy(out, s.p, s.len);
    out[s.len] = 0;
    return true;
}

static enum status read_manifest(struct slice bytes, struct arena *a, struct rules_order *ret, struct error *err) {
    const Haechi__RulesManifest *m = MSG_UNPACK(RulesManifest, rules_manifest, bytes, a);
    if (!m) return error_set(err, ST_FORMAT, "the manifest of the offered rules cannot be read");
    ret->serial = m->serial;
    ret->revision = m->revision;
    ret->len = m->len;
    ret->time = m->time;
    ret->heal = m->heal;
    if (m->digest.len == sizeof ret->digest) memcpy(ret->digest, m->digest.data, sizeof ret->digest);
    if (!keep_name(m->ruleset, ret->ruleset) || !keep_name(m->canary, ret->canary))
        return error_set(err, ST_FORMAT, "a name in the manifest of the offered rules is too long or not printable");
    if (!m->serial || !*ret->ruleset || m->digest.len != sizeof ret->digest)
        return error_set(err, ST_FORMAT, "the manifest of the offered rules lacks its serial, name or digest");
    return ST_OK;
}

static enum status check_signature(const Haechi__RulesOffer *m, struct slice ca_pem, struct error *err) {
    struct buf text = {0};
    if (m->signature.len > SIGNATURE_MAX) return error_set(err, ST_AUTH, "the offered rules' signature is too long");
    buf_str(&text, RULES_SIGNED_PREFIX);
    buf_slice_append(&text, msg_slice(m->manifest));
    enum status st = tls_verify_signature(ca_pem, buf_slice(&text), msg_slice(m->signature), err);
    buf_free(&text);
    return st ? error_prefix(err, st, "the offered rules' signature") : ST_OK;
}

static enum status check_bytes(const struct rules_order *o, struct slice xml, struct error *err) {
    uint8_t digest[RULES_DIGEST_LEN];
    if (xml.len != o->len) {
        return error_set(err, ST_CORRUPT, "the offered rules have %zu bytes, their manifest says %llu", xml.len,
                         (unsigned long long)o->len);
    }
    tls_sha256(xml, digest);
    if (memcmp(digest, o->digest, sizeof digest) != 0)
        return error_set(err, ST_CORRUPT, "the offered rules are not those that were signed (SHA-256)");
    return ST_OK;
}

static enum status open_offer(const Haechi__RulesOffer *m, struct slice ca_pem, uint64_t highest, struct arena *a,
                              struct rules_order *ret, struct buf *xml, struct error *err) {
    if (m->manifest.len > MANIFEST_MAX)
        return error_set(err, ST_TOOBIG, "the manifest of the offered rules is too long");
    enum status st = read_manifest(msg_slice(m->manifest), a, ret, err);
    enum status signature = check_signature(m, ca_pem, st ? NULL : err);
    if (!st) st = signature;
    if (st) return st;
    if (ret->serial < highest) {
        return error_set(err, ST_EXPIRED, "the offered rules (%s revision %u, serial %llu) are older than serial %llu",
                         ret->ruleset, ret->revision, (unsigned long long)ret->serial, (unsigned long long)highest);
    }
    if (ret->len > RULES_XML_MAX || m->xml_zstd.len > RULES_ZSTD_MAX) {
        return error_set(err, ST_TOOBIG, "the offered rules have %llu bytes, the limit is %u",
                         (unsigned long long)ret->len, RULES_XML_MAX);
    }
    st = zblob_unpack(msg_slice(m->xml_zstd), RULES_XML_MAX, xml, err);
    if (st) return error_prefix(err, st, "the offered rules");
    return check_bytes(ret, buf_slice(xml), err);
}

enum status rules_offer_open(struct slice offer, struct slice ca_pem, uint64_t highest, struct rules_order *ret,
                             struct buf *ret_xml, struct error *err) {
    struct arena a;
    struct buf xml = {0};
    struct rules_order o = {0};
    arena_init(&a, MSG_ARENA_CAP);
    const Haechi__RulesOffer *m = MSG_UNPACK(RulesOffer, rules_offer, offer, &a);
    enum status st = m ? open_offer(m, ca_pem, highest, &a, &o, &xml, err)
                       : error_set(err, ST_FORMAT, "an offer of rules cannot be read");
    *ret = o;
    if (!st) buf_slice_append(ret_xml, buf_slice(&xml));
    buf_free(&xml);
    arena_deinit(&a);
    return st;
}
