/* Hashes of files as Sysmon writes them. */
#include "buf.h"
#include "filehash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void hex(const uint8_t *bytes, size_t len, char *out) {
    for (size_t i = 0; i < len; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* RFC 1321, FIPS 180 and what md5sum and sha1sum say of lengths around a block. */
static void test_digests(void **state) {
    (void)state;
    static const struct {
        const char *text;
        unsigned times;
        const char *md5, *sha1;
    } cases[] = {
        {"", 1, "d41d8cd98f00b204e9800998ecf8427e", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", 1, "900150983cd24fb0d6963f7d28e17f72", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, "8215ef0796a20bcaaae116d3876c664a",
         "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234567890", 1,
         "57edf4a22be3c955ac49da2e2107b67a", "50abf5706a150990a08b2c5ea40fa0e585554732"},
        {"a", 55, "ef1772b6dff9a122358552954ad0df65", "c1c8bbdc22796e28c0e15163d20899b65621d65a"},
        {"a", 56, "3b0c8ac703f828b04c6c197006d17218", "c2db330f6083854c99d4b5bfb6e8f29f201be699"},
        {"a", 63, "b06521f39153d618550606be297466d5", "03f09f5b158a7a8cdad920bddc29b81c18a551f5"},
        {"a", 64, "014842d480b571495a4a0363793f7367", "0098ba824b5c16427bd7a1122a5a442a25ec644d"},
        {"a", 1000000, "7707d6ae4e027c70eea2a935c2296f21", "34aa973cd4c4daa4f61eeb2bdbad27316534016f"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        struct filehash h;
        char text[80];
        for (unsigned k = 0; k < cases[i].times; k++) buf_str(&b, cases[i].text);
        filehash_make(buf_slice(&b), &h);
        hex(h.md5, sizeof h.md5, text);
        if (strcmp(text, cases[i].md5) != 0) fail_msg("MD5 of case %zu: %s", i, text);
        hex(h.sha1, sizeof h.sha1, text);
        if (strcmp(text, cases[i].sha1) != 0) fail_msg("SHA-1 of case %zu: %s", i, text);
        buf_free(&b);
    }
}

#define MD5 "900150983cd24fb0d6963f7d28e17f72"
#define SHA1 "A9993E364706816ABA3E25717850C26C9CD0D89D"
#define SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void test_compare(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum filehash_answer want;
    } cases[] = {
        {"SHA256=" SHA256, FILEHASH_SAME},
        {"sha256=" SHA256, FILEHASH_SAME},
        {"SHA1=" SHA1, FILEHASH_SAME},
        {"MD5=" MD5, FILEHASH_SAME},
        {"SHA1=" SHA1 ",MD5=" MD5 ",SHA256=" SHA256, FILEHASH_SAME},
        {"SHA1=" SHA1 ", SHA256=" SHA256 ",IMPHASH=00000000000000000000000000000000", FILEHASH_SAME},
        {SHA256, FILEHASH_SAME},
        {SHA1, FILEHASH_SAME},
        {MD5, FILEHASH_SAME},
        {"SHA1=" SHA1 ",MD5=00000000000000000000000000000000", FILEHASH_OTHER},
        {"SHA256=" SHA1, FILEHASH_OTHER},
        {"SHA256=", FILEHASH_OTHER},
        {"SHA256=zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", FILEHASH_OTHER},
        {"MD5=" SHA256, FILEHASH_OTHER},
        {"", FILEHASH_NONE},
        {"-", FILEHASH_NONE},
        {",", FILEHASH_NONE},
        {"IMPHASH=00000000000000000000000000000000", FILEHASH_NONE},
        {"SHA512=" SHA256, FILEHASH_NONE},
        {"no hash of any kind, and a long text", FILEHASH_NONE},
        {"this text has no hex, but a hash's length, 64 bytes and none more", FILEHASH_NONE},
    };
    struct filehash h;
    filehash_make(SLICE_LIT("abc"), &h);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (filehash_compare(&h, slice_str(cases[i].text)) != cases[i].want) fail_msg("\"%s\"", cases[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_digests), cmocka_unit_test(test_compare)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
