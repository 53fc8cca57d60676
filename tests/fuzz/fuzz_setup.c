/* fuzz: -max_len=1200
 * The enrolment file as it comes, or three words of an installer, divided by bytes 0x1f: what is made of them reads back. */
#include "mem.h"
#include "setup.h"

#include <stddef.h>
#include <stdlib.h>

struct made {
    struct conf_strings collectors, channels;
};
static const struct conf_option options[] = {
    {"collectors", CONF_STRINGS, offsetof(struct made, collectors), "[]", 0, 0, false, ""},
    {"sources.channels", CONF_STRINGS, offsetof(struct made, channels), "[]", 0, 0, false, ""},
};

static void compose(struct slice in) {
    char *words[3];
    for (int i = 0; i < 3; i++) {
        const uint8_t *end = in.len ? memchr(in.p, 0x1f, in.len) : NULL;
        size_t n = end ? (size_t)(end - in.p) : in.len;
        words[i] = mem_strndup(in.p, n);
        in = slice_from(in, n + 1);
    }
    struct setup_words w = {.token = words[0], .server = words[1], .channels = words[2]};
    struct buf enroll = {0}, config = {0};
    struct error err = {0};
    if (setup_compose(&w, &enroll, &config, &err) == ST_OK) {
        struct setup_file f = {0};
        struct made m = {{0}, {0}};
        if (enroll.len && setup_file_parse("enroll.conf", buf_slice(&enroll), &f, &err)) abort();
        setup_file_free(&f);
        conf_defaults(options, 2, &m);
        if (conf_parse(options, 2, "agent.toml", buf_slice(&config), &m, &err)) abort();
        if ((*words[1] != 0) != (m.collectors.n != 0) || (*words[2] != 0) != (m.channels.n != 0)) abort();
        conf_free(options, 2, &m);
    }
    buf_free(&enroll);
    buf_free(&config);
    for (int i = 0; i < 3; i++) mem_free(words[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct setup_file f = {0};
    struct error err = {0};
    if (size && memchr(data, 0x1f, size))
        compose(slice_of(data, size));
    else if (setup_file_parse("enroll.conf", slice_of(data, size), &f, &err) == ST_OK)
        setup_file_free(&f);
    return 0;
}
