/* server/fleet/ca: what it issues, what it refuses, and what OpenSSL says of it. */
// links: server rules storage proto base
#include "ca.h"
#include "clock.h"
#include "file.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/haechi-ca-XXXXXX";
static bool have_openssl;

#define HOUR (3600 * FILETIME_SECOND)

static int sh(const char *fmt, ...) PRINTF_LIKE(1, 2);
static int sh(const char *fmt, ...) {
    char cmd[1024];
    int n = snprintf(cmd, sizeof cmd, "cd %s && ", root);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd + n, sizeof cmd - (size_t)n, fmt, ap);
    va_end(ap);
    return system(cmd);
}

static void put(const char *name, struct slice bytes) {
    char *path = file_join(root, name);
    assert_int_equal(file_replace(path, bytes, 0600, NULL), ST_OK);
    mem_free(path);
}

static struct buf get(const char *name) {
    char *path = file_join(root, name);
    struct buf b = {0};
    assert_int_equal(file_read(path, 1 << 20, &b, NULL), ST_OK);
    mem_free(path);
    return b;
}

static struct ca *new_ca(uint64_t now, struct buf *pem, struct buf *key) {
    struct error err = {0};
    struct ca *ca = NULL;
    assert_int_equal(ca_make("Haechi CA 0123", now, pem, key, &err), ST_OK);
    enum status st = ca_load(buf_slice(pem), buf_slice(key), now, &ca, &err);
    if (st) print_message("%s\n", err.msg);
    assert_int_equal(st, ST_OK);
    return ca;
}

static struct buf new_csr(const char *cn) {
    struct buf key = {0}, csr = {0};
    assert_int_equal(tls_make_key(&key, NULL), ST_OK);
    assert_int_equal(tls_make_csr(buf_slice(&key), cn, &csr, NULL), ST_OK);
    buf_free(&key);
    return csr;
}

static void test_make_and_load(void **state) {
    (void)state;
    uint64_t now = clock_wall(), from = 0;
    struct buf pem = {0}, key = {0}, other_pem = {0}, other_key = {0};
    struct ca *ca = new_ca(now, &pem, &key), *other = new_ca(now, &other_pem, &other_key), *none = NULL;
    struct tls_peer facts;
    struct error err;
    assert_int_equal(tls_certificate_facts(ca_certificate_pem(ca), &facts, &from, &err), ST_OK);
    assert_string_equal(facts.common_name, "Haechi CA 0123");
    assert_memory_equal(facts.spki, ca_pin(ca), TLS_PIN_LEN);
    assert_memory_not_equal(ca_pin(other), ca_pin(ca), TLS_PIN_LEN);
    assert_int_equal(strlen(facts.serial), 32);
    assert_true(facts.serial[0] < '8');
    assert_true(from <= now - HOUR && from > now - 2 * HOUR);
    assert_int_equal((facts.not_after - now) / FILETIME_DAY, CA_VALID_DAYS - 1);

    assert_int_equal(ca_load(buf_slice(&pem), buf_slice(&other_key), now, &none, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "does not belong"));
    assert_int_equal(ca_load(buf_slice(&pem), buf_slice(&key), now + 3651 * FILETIME_DAY, &none, &err), ST_EXPIRED);
    assert_int_equal(ca_load(buf_slice(&pem), buf_slice(&key), now - FILETIME_DAY, &none, &err), ST_EXPIRED);
    assert_int_equal(ca_load(SLICE_LIT("rubbish"), buf_slice(&key), now, &none, &err), ST_FORMAT);
    assert_int_equal(ca_load(buf_slice(&pem), SLICE_LIT(""), now, &none, &err), ST_INVALID);
    assert_int_equal(ca_make("", now, &pem, &key, &err), ST_INVALID);

    /* an agent's certificate is no authority */
    struct buf csr = new_csr("x"), agent = {0};
    assert_int_equal(ca_issue_agent(ca, buf_slice(&csr), "host:1", now, 3600, &agent, NULL, &err), ST_OK);
    assert_int_equal(ca_load(buf_slice(&agent), buf_slice(&key), now, &none, &err), ST_INVALID);
    assert_null(none);
    buf_free(&csr);
    buf_free(&agent);
    ca_free(&ca);
    ca_free(&other);
    buf_free(&pem);
    buf_free(&key);
    buf_free(&other_pem);
    buf_free(&other_key);
}

static void test_agent(void **state) {
    (void)state;
    uint64_t now = clock_wall(), from;
    struct buf pem = {0}, key = {0}, out = {0}, csr = new_csr("CN=evil, O=\"x\"");
    struct ca *ca = new_ca(now, &pem, &key);
    struct tls_peer facts = {0}, again = {0};
    struct error err;
    struct ca_csr asked;
    assert_int_equal(ca_check_csr(buf_slice(&csr), &asked, &err), ST_OK);
    assert_string_equal(asked.common_name, "CN=evil, O=\"x\"");
    assert_int_equal(ca_issue_agent(ca, buf_slice(&csr), "host:17", now, 30 * 86400, &out, &facts, &err), ST_OK);
    assert_int_equal(tls_certificate_facts(buf_slice(&out), &again, &from, &err), ST_OK);
    assert_string_equal(again.common_name, "host:17");
    assert_memory_equal(again.spki, asked.spki, 32);
    assert_string_equal(again.serial, facts.serial);
    assert_int_equal((again.not_after - now) / FILETIME_SECOND / 60, 30 * 24 * 60 - (now % FILETIME_SECOND ? 1 : 0));
    put("ca.pem", ca_certificate_pem(ca));
    put("agent.pem", buf_slice(&out));
    if (have_openssl) {
        assert_int_equal(sh("openssl verify -x509_strict -purpose sslclient -CAfile ca.pem agent.pem >/dev/null"), 0);
        assert_int_not_equal(
            sh("openssl verify -x509_strict -purpose sslserver -CAfile ca.pem agent.pem >/dev/null 2>&1"), 0);
        assert_int_equal(
            sh("openssl x509 -in agent.pem -noout -subject -nameopt multiline | grep -q 'commonName *= host:17$'"), 0);
        assert_int_not_equal(sh("openssl x509 -in agent.pem -noout -text | grep -qi evil"), 0);
        assert_int_equal(sh("openssl x509 -in ca.pem -noout -text | grep -q 'CA:TRUE, pathlen:0'"), 0);
        assert_int_equal(sh("openssl x509 -in ca.pem -noout -text | grep -q 'Certificate Sign, CRL Sign'"), 0);
    }
    /* an end past the CA's is cut to it */
    buf_clear(&out);
    assert_int_equal(ca_issue_agent(ca, buf_slice(&csr), "host:17", now, UINT64_MAX / FILETIME_SECOND, &out, &facts,
                                    &err),
                     ST_OK);
    assert_int_equal(facts.not_after, ca_not_after(ca));
    assert_int_equal(ca_issue_agent(ca, buf_slice(&csr), "host:17", ca_not_after(ca), 60, &out, &facts, &err),
                     ST_EXPIRED);
    buf_free(&csr);
    buf_free(&out);
    ca_free(&ca);
    buf_free(&pem);
    buf_free(&key);
}

static void test_server(void **state) {
    (void)state;
    uint64_t now = clock_wall();
    struct buf pem = {0}, key = {0}, cert = {0}, ckey = {0};
    struct ca *ca = new_ca(now, &pem, &key);
    struct error err;
    static const char *const names[] = {"collector.example",      "127.0.0.1",       "::1",
                                        "2001:db8::ff00:42:8329", "::ffff:10.1.2.3", NULL};
    assert_int_equal(ca_issue_server(ca, names, now, CA_SERVER_DAYS * 86400, &cert, &ckey, &err), ST_OK);
    put("ca.pem", ca_certificate_pem(ca));
    put("server.pem", buf_slice(&cert));
    if (have_openssl) {
        assert_int_equal(
            sh("openssl verify -x509_strict -purpose sslserver -verify_hostname collector.example -CAfile ca.pem server.pem >/dev/null"),
            0);
        assert_int_equal(
            sh("openssl verify -purpose sslserver -verify_ip 127.0.0.1 -CAfile ca.pem server.pem >/dev/null"), 0);
        assert_int_equal(sh("openssl verify -purpose sslserver -verify_ip ::1 -CAfile ca.pem server.pem >/dev/null"),
                         0);
        assert_int_equal(
            sh("openssl verify -purpose sslserver -verify_ip 2001:db8:0::ff00:42:8329 -CAfile ca.pem server.pem >/dev/null"),
            0);
        assert_int_equal(
            sh("openssl verify -purpose sslserver -verify_ip ::ffff:a01:203 -CAfile ca.pem server.pem >/dev/null"), 0);
        assert_int_not_equal(sh("openssl verify -verify_ip 127.0.0.2 -CAfile ca.pem server.pem >/dev/null 2>&1"), 0);
        assert_int_not_equal(sh("openssl verify -purpose sslclient -CAfile ca.pem server.pem >/dev/null 2>&1"), 0);
    }
    static const char *const fewer[] = {"Collector.Example", "0:0::1", NULL}, *const more[] = {"collector.example",
                                                                                               "other", NULL};
    uint64_t end = now + 364 * FILETIME_DAY;
    assert_true(ca_server_is_fit(ca, buf_slice(&cert), buf_slice(&ckey), names, end));
    assert_true(ca_server_is_fit(ca, buf_slice(&cert), buf_slice(&ckey), fewer, end));
    assert_false(ca_server_is_fit(ca, buf_slice(&cert), buf_slice(&ckey), more, end));
    assert_false(ca_server_is_fit(ca, buf_slice(&cert), buf_slice(&ckey), names, now + 366 * FILETIME_DAY));
    assert_false(ca_server_is_fit(ca, buf_slice(&cert), buf_slice(&key), names, end));
    struct buf pem2 = {0}, key2 = {0};
    struct ca *other = new_ca(now, &pem2, &key2); /* of the same name */
    assert_false(ca_server_is_fit(other, buf_slice(&cert), buf_slice(&ckey), names, end));

    static const struct {
        const char *name, *names[2];
    } bad[] = {{"space", {"a b"}},    {"empty", {""}},           {"no names", {NULL}},
               {"colon", {"a:7443"}}, {"two gaps", {"1::2::3"}}, {"newline", {"a\nb"}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        print_message("  %s\n", bad[i].name);
        assert_int_equal(ca_issue_server(ca, bad[i].names, now, 60, &cert, &ckey, &err), ST_INVALID);
    }
    ca_free(&other);
    ca_free(&ca);
    buf_free(&pem2);
    buf_free(&key2);
    buf_free(&pem);
    buf_free(&key);
    buf_free(&cert);
    buf_free(&ckey);
}

static void test_bad_requests(void **state) {
    (void)state;
    struct buf good = new_csr("host"), b = {0};
    struct ca_csr got;
    struct error err;
    for (size_t cut = 0; cut < good.len; cut++) {
        uint8_t *p = mem_alloc(cut);
        memcpy(p, good.p, cut);
        assert_int_not_equal(ca_check_csr(slice_of(p, cut), &got, &err), ST_OK);
        mem_free(p);
    }
    size_t accepted = 0;
    for (size_t i = 0; i < good.len; i++) { /* any flipped bit breaks it */
        good.p[i] ^= 0x10;
        accepted += ca_check_csr(buf_slice(&good), &got, &err) == ST_OK;
        good.p[i] ^= 0x10;
    }
    assert_int_equal(accepted, 0);
    good.p[good.len - 1] ^= 1;
    assert_int_equal(ca_check_csr(buf_slice(&good), &got, &err), ST_AUTH);
    buf_reserve(&b, CA_CSR_MAX + 1);
    memset(b.p, 0x30, b.len = CA_CSR_MAX + 1);
    assert_int_equal(ca_check_csr(buf_slice(&b), &got, &err), ST_TOOBIG);
    buf_free(&b);
    buf_free(&good);
}

static void test_openssl_requests(void **state) {
    (void)state;
    if (!have_openssl) skip();
    struct ca_csr got;
    struct error err;
    static const struct {
        const char *name, *make;
        enum status st;
    } cases[] = {
        {"P-256 and SHA-256",
         "openssl ecparam -name prime256v1 -genkey -noout -out k && openssl req -new -key k -subj /CN=a -sha256 -outform DER -out csr",
         ST_OK},
        {"P-384 and SHA-384",
         "openssl ecparam -name secp384r1 -genkey -noout -out k && openssl req -new -key k -subj /CN=a -sha384 -out csr",
         ST_OK},
        {"P-256 and SHA-512",
         "openssl ecparam -name prime256v1 -genkey -noout -out k && openssl req -new -key k -subj /CN=a -sha512 -out csr",
         ST_OK},
        {"RSA 2048", "openssl genrsa -out k 2048 2>/dev/null && openssl req -new -key k -subj /CN=a -sha256 -out csr",
         ST_OK},
        {"RSA-PSS", "openssl req -new -key k -subj /CN=a -sha256 -sigopt rsa_padding_mode:pss -out csr", ST_OK},
        {"RSA 1024", "openssl genrsa -out k 1024 2>/dev/null && openssl req -new -key k -subj /CN=a -out csr",
         ST_INVALID},
        {"P-521",
         "openssl ecparam -name secp521r1 -genkey -noout -out k && openssl req -new -key k -subj /CN=a -out csr",
         ST_FORMAT},
        {"P-224",
         "openssl ecparam -name secp224r1 -genkey -noout -out k && openssl req -new -key k -subj /CN=a -out csr",
         ST_FORMAT},
        {"SHA-1",
         "openssl ecparam -name prime256v1 -genkey -noout -out k && openssl req -new -key k -subj /CN=a -sha1 -outform DER -out csr",
         ST_FORMAT},
        {"no subject", "openssl req -new -key k -subj / -sha256 -out csr", ST_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        assert_int_equal(sh("%s 2>/dev/null", cases[i].make), 0);
        struct buf csr = get("csr");
        enum status st = ca_check_csr(buf_slice(&csr), &got, &err);
        if (st != cases[i].st) print_message("%s\n", err.msg);
        assert_int_equal(st, cases[i].st);
        buf_free(&csr);
    }
}

/* What it signs is good by its own certificate, and by no other bytes, signature or authority. */
static void check_signing(struct ca *ca, struct slice trusted) {
    struct buf signature = {0}, other_pem = {0}, other_key = {0};
    struct error err = {0};
    struct slice bytes = SLICE_LIT("prefix\nwhat is signed");
    assert_int_equal(ca_sign(ca, bytes, &signature, &err), ST_OK);
    assert_int_equal(tls_verify_signature(trusted, bytes, buf_slice(&signature), &err), ST_OK);
    assert_int_equal(tls_verify_signature(trusted, SLICE_LIT("prefix\nwhat is signes"), buf_slice(&signature), &err),
                     ST_AUTH);
    assert_int_equal(ca_make("another", clock_wall(), &other_pem, &other_key, &err), ST_OK);
    assert_int_equal(tls_verify_signature(buf_slice(&other_pem), bytes, buf_slice(&signature), &err), ST_AUTH);
    for (size_t i = 0; i < signature.len; i += 7) {
        signature.p[i] ^= 1;
        assert_int_equal(tls_verify_signature(trusted, bytes, buf_slice(&signature), &err), ST_AUTH);
        assert_int_equal(tls_verify_signature(trusted, bytes, slice_head(buf_slice(&signature), i), &err), ST_AUTH);
        signature.p[i] ^= 1;
    }
    buf_free(&signature);
    buf_free(&other_pem);
    buf_free(&other_key);
}

static void test_supplied(void **state) {
    (void)state;
    if (!have_openssl) skip();
    static const struct {
        const char *name, *make, *ext;
        enum status st;
    } cases[] = {
        {"RSA", "openssl genrsa -out ca.key 2048 2>/dev/null", "basicConstraints=critical,CA:TRUE", ST_OK},
        {"P-384", "openssl ecparam -name secp384r1 -genkey -noout -out ca.key",
         "basicConstraints=critical,CA:TRUE,pathlen:0", ST_OK},
        {"PKCS#8", "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key", "keyUsage=keyCertSign",
         ST_OK},
        {"RSA 1024", "openssl genrsa -out ca.key 1024 2>/dev/null", "basicConstraints=critical,CA:TRUE", ST_INVALID},
        {"no CA", "openssl genrsa -out ca.key 2048 2>/dev/null", "basicConstraints=critical,CA:FALSE", ST_INVALID},
        {"may not sign", "openssl genrsa -out ca.key 2048 2>/dev/null", "keyUsage=digitalSignature", ST_INVALID},
        {"encrypted", "openssl genrsa -aes128 -passout pass:abcd -out ca.key 2048 2>/dev/null",
         "basicConstraints=CA:TRUE", ST_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].name);
        assert_int_equal(
            sh("%s && openssl req -x509 -new -key ca.key -passin pass:abcd -days 30 -sha256 -subj '/C=KR/O=Example, Inc./CN=Root' "
               "-addext '%s' -out ca.pem 2>/dev/null",
               cases[i].make, cases[i].ext),
            0);
        struct buf pem = get("ca.pem"), key = get("ca.key"), csr = new_csr("x"), out = {0};
        struct ca *ca = NULL;
        struct error err = {0};
        enum status st = ca_load(buf_slice(&pem), buf_slice(&key), clock_wall() + FILETIME_SECOND, &ca, &err);
        if (st != cases[i].st) print_message("%s\n", err.msg);
        assert_int_equal(st, cases[i].st);
        if (!st) {
            assert_int_equal(ca_issue_agent(ca, buf_slice(&csr), "host:1", clock_wall(), 86400, &out, NULL, &err),
                             ST_OK);
            put("agent.pem", buf_slice(&out));
            assert_int_equal(sh("openssl verify -purpose sslclient -CAfile ca.pem agent.pem >/dev/null"), 0);
            check_signing(ca, buf_slice(&pem));
        }
        ca_free(&ca);
        buf_free(&pem);
        buf_free(&key);
        buf_free(&csr);
        buf_free(&out);
    }
}

/* An intermediate authority under a root: the whole chain travels, the pin is the root's. */
static void test_intermediate(void **state) {
    (void)state;
    if (!have_openssl) skip();
    assert_int_equal(
        sh("openssl ecparam -name prime256v1 -genkey -noout -out r.key && openssl req -x509 -new -key r.key -days 30 -subj /CN=Root -out r.pem && "
           "openssl ecparam -name prime256v1 -genkey -noout -out i.key && openssl req -new -key i.key -subj /CN=Sub -out i.csr && "
           "printf 'basicConstraints=critical,CA:TRUE,pathlen:0\\nkeyUsage=keyCertSign\\n' >ext && "
           "openssl x509 -req -in i.csr -CA r.pem -CAkey r.key -CAcreateserial -days 30 -extfile ext -out i.pem 2>/dev/null && cat i.pem r.pem >chain.pem"),
        0);
    struct buf pem = get("chain.pem"), key = get("i.key"), rootpem = get("r.pem"), csr = new_csr("x"), out = {0};
    struct ca *ca = NULL;
    struct error err;
    assert_int_equal(ca_load(buf_slice(&pem), buf_slice(&key), clock_wall() + FILETIME_SECOND, &ca, &err), ST_OK);
    struct tls_peer top;
    assert_int_equal(tls_certificate_facts(buf_slice(&rootpem), &top, NULL, &err), ST_OK);
    assert_memory_equal(top.spki, ca_pin(ca), 32);
    assert_int_equal(ca_issue_agent(ca, buf_slice(&csr), "host:1", clock_wall(), 86400, &out, NULL, &err), ST_OK);
    put("agent.pem", buf_slice(&out));
    assert_int_equal(sh("openssl verify -purpose sslclient -CAfile r.pem -untrusted agent.pem agent.pem >/dev/null"),
                     0);
    check_signing(ca, ca_certificate_pem(ca)); /* which is what agents trust */
    ca_free(&ca);
    buf_free(&pem);
    buf_free(&key);
    buf_free(&rootpem);
    buf_free(&csr);
    buf_free(&out);
}

int main(void) {
    if (!mkdtemp(root)) return 1;
    tls_global_init();
    have_openssl = system("openssl version >/dev/null 2>&1") == 0;
    if (!have_openssl) print_message("openssl is not installed: its part of the checks is skipped\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make_and_load),    cmocka_unit_test(test_agent),
        cmocka_unit_test(test_server),           cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_openssl_requests), cmocka_unit_test(test_supplied),
        cmocka_unit_test(test_intermediate),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    return sh("rm -rf %s", root) ? 1 : rc;
}
