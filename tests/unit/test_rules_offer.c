/* Offers of rules: what is accepted, and each refusal with its sentence. */
// links: server rules storage agent proto base
#include "ca.h"
#include "clock.h"
#include "mem.h"
#include "msg.h"
#include "rules_offer.h"
#include "tls.h"
#include "zblob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define XML "<Sysmon schemaversion=\"4.50\"/>"

static struct ca *ours, *other;
static struct buf our_pem, other_pem, two_pem;

static struct ca *make_ca(struct buf *pem) {
    struct buf key = {0};
    struct ca *ca = NULL;
    assert_int_equal(ca_make("Test CA", clock_wall(), pem, &key, NULL), ST_OK);
    assert_int_equal(ca_load(buf_slice(pem), buf_slice(&key), clock_wall(), &ca, NULL), ST_OK);
    buf_free(&key);
    return ca;
}

static int set_up(void **state) {
    (void)state;
    tls_global_init();
    ours = make_ca(&our_pem);
    other = make_ca(&other_pem);
    buf_slice_append(&two_pem, buf_slice(&other_pem));
    buf_slice_append(&two_pem, buf_slice(&our_pem));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    ca_free(&ours);
    ca_free(&other);
    buf_free(&our_pem);
    buf_free(&other_pem);
    buf_free(&two_pem);
    return 0;
}

enum fault {
    HONEST,
    OTHER_CA,
    BIT_IN_SIGNATURE,
    NO_SIGNATURE,
    LONG_SIGNATURE,
    BIT_IN_MANIFEST, /* after it was signed */
    OTHER_XML,
    OTHER_LEN,
    HUGE_LEN,
    SHORT_DIGEST,
    NO_SERIAL,
    NO_NAME,
    LONG_NAME,
    CONTROL_IN_NAME,
    CONTROL_IN_CANARY,
    NO_ZSTD,
    TWO_ZSTD,
    EMPTY
};

static void make_offer(enum fault f, uint64_t serial, struct buf *out) {
    char long_name[RULES_NAME_MAX + 1];
    uint8_t digest[32];
    struct buf manifest = {0}, text = {0}, signature = {0}, packed = {0};
    memset(long_name, 'n', RULES_NAME_MAX);
    long_name[RULES_NAME_MAX] = 0;
    tls_sha256(SLICE_LIT(XML), digest);
    Haechi__RulesManifest m = HAECHI__RULES_MANIFEST__INIT;
    m.serial = f == NO_SERIAL ? 0 : serial;
    m.ruleset = f == NO_NAME ? "" : f == LONG_NAME ? long_name : f == CONTROL_IN_NAME ? "a\x1b[31m" : "base";
    m.revision = 7;
    m.digest = msg_bytes(slice_of(digest, f == SHORT_DIGEST ? 31 : 32));
    m.len = f == OTHER_LEN ? sizeof XML : f == HUGE_LEN ? UINT64_C(1) << 40 : sizeof XML - 1;
    m.time = 42;
    m.heal = true;
    m.canary = f == CONTROL_IN_CANARY ? "a\nb" : "revision-7";
    msg_pack(&m.base, &manifest);
    buf_str(&text, RULES_SIGNED_PREFIX);
    buf_slice_append(&text, buf_slice(&manifest));
    assert_int_equal(ca_sign(f == OTHER_CA ? other : ours, buf_slice(&text), &signature, NULL), ST_OK);
    zblob_pack(f == OTHER_XML ? SLICE_LIT("<Sysmon schemaversion=\"4.51\"/>") : SLICE_LIT(XML), &packed);
    if (f == BIT_IN_SIGNATURE) signature.p[signature.len - 1] ^= 1;
    if (f == NO_SIGNATURE) buf_clear(&signature);
    while (f == LONG_SIGNATURE && signature.len < 2000) buf_byte(&signature, 0);
    if (f == BIT_IN_MANIFEST) manifest.p[1] ^= 1; /* the serial */
    if (f == NO_ZSTD) packed.p[0] ^= 1;
    if (f == TWO_ZSTD) zblob_pack(SLICE_LIT("x"), &packed);
    Haechi__RulesOffer o = HAECHI__RULES_OFFER__INIT;
    o.manifest = msg_bytes(buf_slice(&manifest));
    o.signature = msg_bytes(buf_slice(&signature));
    o.xml_zstd = msg_bytes(buf_slice(&packed));
    if (f != EMPTY) msg_pack(&o.base, out);
    buf_free(&manifest);
    buf_free(&text);
    buf_free(&signature);
    buf_free(&packed);
}

static void test_offers(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum fault fault;
        uint64_t serial, highest;
        enum status want;
        const char *words;
    } cases[] = {
        {"honest", HONEST, 9, 0, ST_OK, ""},
        {"a later one", HONEST, 9, 8, ST_OK, ""},
        {"the same serial", HONEST, 9, 9, ST_OK, ""},
        {"an older one", HONEST, 9, 10, ST_EXPIRED, "(base revision 7, serial 9) are older than serial 10"},
        {"another CA", OTHER_CA, 9, 0, ST_AUTH, "no CA that this host trusts"},
        {"another CA, an older one", OTHER_CA, 9, 10, ST_AUTH, "no CA that this host trusts"},
        {"a bit in the signature", BIT_IN_SIGNATURE, 9, 0, ST_AUTH, "no CA that this host trusts"},
        {"no signature", NO_SIGNATURE, 9, 0, ST_AUTH, "no CA that this host trusts"},
        {"a long signature", LONG_SIGNATURE, 9, 0, ST_AUTH, "too long"},
        {"a bit in the manifest", BIT_IN_MANIFEST, 9, 0, ST_AUTH, "no CA that this host trusts"},
        {"other bytes", OTHER_XML, 9, 0, ST_CORRUPT, "not those that were signed"},
        {"another length", OTHER_LEN, 9, 0, ST_CORRUPT, "their manifest says"},
        {"a huge length", HUGE_LEN, 9, 0, ST_TOOBIG, "the limit is"},
        {"a short digest", SHORT_DIGEST, 9, 0, ST_FORMAT, "serial, name or digest"},
        {"no serial", NO_SERIAL, 9, 0, ST_FORMAT, "serial, name or digest"},
        {"no name", NO_NAME, 9, 0, ST_FORMAT, "serial, name or digest"},
        {"a long name", LONG_NAME, 9, 0, ST_FORMAT, "too long"},
        {"a control character in the name", CONTROL_IN_NAME, 9, 0, ST_FORMAT, "not printable"},
        {"a line break in the canary", CONTROL_IN_CANARY, 9, 0, ST_FORMAT, "not printable"},
        {"no zstd", NO_ZSTD, 9, 0, ST_FORMAT, "no zstd frame"},
        {"a second frame", TWO_ZSTD, 9, 0, ST_FORMAT, "others follow"},
        {"nothing", EMPTY, 9, 0, ST_FORMAT, "serial, name or digest"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf offer = {0}, xml = {0};
        struct rules_order o;
        struct error err = {0};
        buf_str(&xml, "before ");
        make_offer(cases[i].fault, cases[i].serial, &offer);
        enum status st = rules_offer_open(buf_slice(&offer), buf_slice(&our_pem), cases[i].highest, &o, &xml, &err);
        if (st != cases[i].want) fail_msg("%s: %s (%s)", cases[i].name, status_name(st), err.msg);
        if (!strstr(err.msg, cases[i].words)) fail_msg("%s: \"%s\"", cases[i].name, err.msg);
        if (!slice_eq_str(buf_slice(&xml), st ? "before " : "before " XML)) fail_msg("%s: other bytes", cases[i].name);
        if (!st) {
            assert_int_equal(o.serial, 9);
            assert_int_equal(o.revision, 7);
            assert_int_equal(o.time, 42);
            assert_int_equal(o.len, sizeof XML - 1);
            assert_true(o.heal);
            assert_string_equal(o.ruleset, "base");
            assert_string_equal(o.canary, "revision-7");
        }
        buf_free(&offer);
        buf_free(&xml);
    }
}

static void test_any_of_the_trusted(void **state) {
    (void)state;
    struct buf offer = {0}, xml = {0};
    struct rules_order o;
    struct error err = {0};
    make_offer(HONEST, 3, &offer);
    assert_int_equal(rules_offer_open(buf_slice(&offer), buf_slice(&two_pem), 0, &o, &xml, &err), ST_OK);
    assert_int_equal(rules_offer_open(buf_slice(&offer), buf_slice(&other_pem), 0, &o, &xml, &err), ST_AUTH);
    assert_string_equal(o.ruleset, "base"); /* for the report */
    assert_int_equal(rules_offer_open(buf_slice(&offer), SLICE_LIT("no certificate"), 0, &o, &xml, &err), ST_FORMAT);
    buf_free(&offer);
    buf_free(&xml);
}

static void test_cut_and_changed(void **state) {
    (void)state;
    struct buf offer = {0}, xml = {0};
    struct rules_order o;
    make_offer(HONEST, 3, &offer);
    for (size_t n = 0; n < offer.len; n++) {
        if (rules_offer_open(slice_of(offer.p, n), buf_slice(&our_pem), 0, &o, &xml, NULL) == ST_OK)
            fail_msg("the first %zu bytes were accepted", n);
    }
    for (size_t i = 0; i < offer.len; i++) {
        offer.p[i] ^= 0x40;
        if (rules_offer_open(buf_slice(&offer), buf_slice(&our_pem), 0, &o, &xml, NULL) == ST_OK &&
            !slice_eq_str(buf_slice(&xml), XML))
            fail_msg("byte %zu changed: other rules were accepted", i);
        buf_clear(&xml);
        offer.p[i] ^= 0x40;
    }
    buf_free(&offer);
    buf_free(&xml);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offers),
        cmocka_unit_test(test_any_of_the_trusted),
        cmocka_unit_test(test_cut_and_changed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
