/* Any bytes as a configuration file: an error with a place, or a struct that can be freed. */
#include "conf.h"

struct settings {
    bool flag;
    uint64_t number, duration, size;
    char *string;
    struct conf_strings strings;
};

static const struct conf_option options[] = {
    {"flag", CONF_BOOL, offsetof(struct settings, flag), "true", 0, 0, true, ""},
    {"a.number", CONF_UINT, offsetof(struct settings, number), "1", 1, 64, false, ""},
    {"a.string", CONF_STRING, offsetof(struct settings, string), "\"x\"", 0, 0, false, ""},
    {"a.strings", CONF_STRINGS, offsetof(struct settings, strings), "[]", 0, 0, false, ""},
    {"b.duration", CONF_DURATION, offsetof(struct settings, duration), "\"30d\"", 0, 0, true, ""},
    {"b.size", CONF_SIZE, offsetof(struct settings, size), "0", 0, 0, true, ""},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct settings s;
    struct error err = {0};
    conf_defaults(options, 6, &s);
    if (conf_parse(options, 6, "fuzz", slice_of(data, len), &s, &err) && !err.msg[0]) __builtin_trap();
    conf_free(options, 6, &s);
    return 0;
}
