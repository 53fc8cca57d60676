/* agent/sysmon.c: which schema a version speaks; and Sysmon for Linux in a directory of the test's own. */
#include "buf.h"
#include "file.h"
#include "mem.h"
#include "sysmon.h"
#include "tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_schemas(void **state) {
    static const struct {
        const char *version, *schema;
    } cases[] = {
        {"15.15", "4.90"},
        {"15.20", "4.91"},
        {"15.0", "4.90"},
        {"14.16", "4.83"},
        {"14.1", "4.83"},
        {"14.0", "4.82"},
        {"13.34", "4.81"},
        {"13.1", "4.50"},
        {"10.42", "4.23"},
        {"10.41", "4.22"},
        {"10.0", "4.21"},
        {"8.0", "4.10"},
        {"4.12", ""},
        {"16.0", ""},
        {"", ""},
        {"x", ""},
        {"15", ""},
        {"10.0.26100.7705", "4.91"},
        {"10.0.0.1", "4.21"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(sysmon_schema_of(cases[i].version), cases[i].schema) != 0)
            fail_msg("%s: %s, not %s", cases[i].version, sysmon_schema_of(cases[i].version), cases[i].schema);
    }
}

#if !defined(_WIN32)
#include "child.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRIPT                                                                          \
    "#!/bin/sh\n"                                                                       \
    "[ \"$1\" = -h ] && echo 'Sysmon v%s - Monitors system events'\n"                   \
    "[ \"$1\" = -s ] && echo '<manifest schemaversion=\"%s\" binaryversion=\"1.0\">'\n" \
    "[ \"$2\" = -service ] && { echo running; while :; do sleep 0.05; done; }\n"        \
    "exit 0\n"

static void write_text(const char *path, const char *text) {
    assert_int_equal(file_replace(path, slice_str(text), 0644, NULL), ST_OK);
}

static void install(const char *program, const char *version, const char *schema) {
    char text[1024];
    snprintf(text, sizeof text, SCRIPT, version, schema);
    write_text(program, text);
    assert_int_equal(chmod(program, 0755), 0);
}

static void test_directory(void **state) {
    char dir[] = "/tmp/haechi-sysmon-XXXXXX";
    struct sysmon s;
    struct child *c = NULL;
    struct buf out = {0};
    uint8_t digest[32];
    (void)state;
    assert_non_null(mkdtemp(dir));
    char *program = file_join(dir, "sysmon"), *config = file_join(dir, "config.xml");
    sysmon_prepare(dir);
    sysmon_ask();
    sysmon_look(&s);
    assert_int_equal(s.state, SYSMON_ABSENT);

    install(program, "1.3.5", "4.81");
    sysmon_look(&s);
    assert_int_equal(s.state, SYSMON_STOPPED);
    assert_string_equal(s.version, ""); /* not asked yet */
    sysmon_ask();
    sysmon_look(&s);
    assert_string_equal(s.version, "1.3.5");
    assert_string_equal(s.schema, "4.81");
    assert_string_equal(s.path, program);
    assert_string_equal(s.service, "sysmon");
    assert_string_equal(s.cannot_apply, "");
    assert_false(s.has_rules);

    write_text(config, "<Sysmon/>");
    const char *const service[] = {program, "-i", "-service", NULL};
    assert_int_equal(child_start(service, &c, NULL), ST_OK);
    for (int i = 0; i < 100 && !out.len; i++) assert_int_not_equal(child_read(c, 100, 64, &out, NULL), ST_END);
    sysmon_look(&s);
    assert_int_equal(s.state, SYSMON_RUNNING);
    assert_true(s.has_rules);
    tls_sha256(SLICE_LIT("<Sysmon/>"), digest);
    assert_memory_equal(s.rules_digest, digest, sizeof digest);
    child_stop(&c);
    sysmon_look(&s);
    assert_int_equal(s.state, SYSMON_STOPPED);

    install(program, "1.5.0.1", "4.90"); /* an update */
    sysmon_look(&s);
    assert_string_equal(s.version, "");
    sysmon_ask();
    sysmon_look(&s);
    assert_string_equal(s.version, "1.5.0.1");
    assert_string_equal(s.schema, "4.90");

    assert_int_equal(file_remove(program, NULL), ST_OK);
    sysmon_look(&s);
    assert_int_equal(s.state, SYSMON_ABSENT);
    assert_int_equal(file_remove(config, NULL), ST_OK);
    assert_int_equal(rmdir(dir), 0);
    mem_free(program);
    mem_free(config);
    buf_free(&out);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schemas),
#if !defined(_WIN32)
        cmocka_unit_test(test_directory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
