/* The options of a configuration: their names are looked up by the caller, here are the values. */
#include "check_internal.h"

#include <stdio.h>

#define CONFIG_ENTRIES_MAX 10u /* of ProcessAccessConfig and PipeMonitoringConfig */
#define DRIVER_NAME_MAX 8u

static struct slice trim(struct slice s) {
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\r' || s.p[0] == '\n')) s = slice_from(s, 1);
    while (s.len &&
           (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t' || s.p[s.len - 1] == '\r' || s.p[s.len - 1] == '\n'))
        s.len--;
    return s;
}

static bool next_item(struct slice *rest, struct slice *ret) {
    if (!rest->p) return false;
    const uint8_t *comma = rest->len ? memchr(rest->p, ',', rest->len) : NULL;
    *ret = comma ? slice_of(rest->p, (size_t)(comma - rest->p)) : *rest;
    *rest = comma ? slice_from(*rest, ret->len + 1) : (struct slice){NULL, 0};
    return true;
}

/* The algorithm's bits; 0: there is none of that name. Hyphens do not count: "sha-1", "imp-hash". */
static unsigned hash_bits(struct slice name) {
    char plain[16];
    size_t n = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.p[i] == '-') continue;
        if (n + 1 == sizeof plain) return 0;
        plain[n++] = (char)name.p[i];
    }
    struct slice s = slice_of(plain, n);
    if (slice_eq_nocase(s, SLICE_LIT("sha1"))) return CHECK_HASH_SHA1;
    if (slice_eq_nocase(s, SLICE_LIT("md5"))) return CHECK_HASH_MD5;
    if (slice_eq_nocase(s, SLICE_LIT("sha256"))) return CHECK_HASH_SHA256;
    if (slice_eq_nocase(s, SLICE_LIT("imphash"))) return CHECK_HASH_IMPHASH;
    return slice_eq_str(s, "*") || slice_eq_nocase(s, SLICE_LIT("all")) ? CHECK_HASH_ALL : 0;
}

static void check_hashes(struct check *c, const struct config_node *n, struct slice value) {
    static const char *const names[] = {"MD5", "SHA1", "SHA256", "IMPHASH"};
    struct slice item;
    unsigned bits = 0;
    bool odd = false, bad = false;
    while (next_item(&value, &item)) {
        struct slice name = trim(item);
        unsigned bit = hash_bits(name);
        odd |= name.len != item.len || !name.len;
        bits |= bit;
        if (bit || !name.len) continue;
        bad = true;
        struct finding *f = finding_add(c->f, CODE_HASH, n->at, "Sysmon has no hash algorithm \"%s\"", show(name).s);
        const char *close = f ? near_name(name, names, 4) : NULL;
        finding_instead(f, close ? "did you mean %s?" : "write a list of MD5, SHA1, SHA256 and IMPHASH, or *", close);
    }
    if (!bits && !bad) finding_add(c->f, CODE_HASH, n->at, "HashAlgorithms names no algorithm");
    if (odd) {
        finding_instead(finding_add(c->f, CODE_OPTION_FORM, n->at, "blanks or empty items in HashAlgorithms"),
                        "write the names with a comma and nothing else between them");
    }
    if (c->o->linux && (bits & CHECK_HASH_IMPHASH) && bits != CHECK_HASH_ALL) {
        finding_add(c->f, CODE_LINUX, n->at, "there is no IMPHASH on Linux");
    }
    c->hashes |= bits;
}

static void check_boolean(struct check *c, const struct config_node *n, struct slice value) {
    static const char words[][10] = {"true", "1", "enabled", "false", "0", "NULL", "disabled", ""};
    bool other_case = false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (slice_eq_str(value, words[i])) return;
        other_case |= slice_eq_nocase(value, slice_str(words[i]));
    }
    if (other_case) {
        finding_instead(finding_add(c->f, CODE_OPTION_FORM, n->at, "<%s>%s: some versions take lower case only",
                                    show(n->text).s, show(value).s),
                        "write true or false");
        return;
    }
    finding_instead(finding_add(c->f, CODE_OPTION_VALUE, n->at, "<%s> does not take \"%s\"", show(n->text).s,
                                show(value).s),
                    "write true or false");
}

static void check_field_sizes(struct check *c, const struct config_node *n, struct slice value) {
    struct slice item;
    while (next_item(&value, &item)) {
        const uint8_t *colon = item.len ? memchr(item.p, ':', item.len) : NULL;
        struct slice name = colon ? slice_of(item.p, (size_t)(colon - item.p)) : item;
        struct slice size = colon ? slice_from(item, name.len + 1) : (struct slice){NULL, 0};
        bool number = size.len > 0;
        for (size_t i = 0; i < size.len; i++) number &= size.p[i] >= '0' && size.p[i] <= '9';
        if (number && is_field_of_any(name)) continue;
        finding_instead(finding_add(c->f, CODE_OPTION_VALUE, n->at,
                                    number ? "FieldSizes: no event has a field \"%s\""
                                           : "FieldSizes: \"%s\" has no size",
                                    show(name).s),
                        "write Name:N,Name:N, as in CommandLine:4096");
    }
}

static void check_number(struct check *c, const struct config_node *n, struct slice value) {
    bool number = value.len > 0 && value.len < 10;
    for (size_t i = 0; i < value.len; i++) number &= value.p[i] >= '0' && value.p[i] <= '9';
    if (!number)
        finding_add(c->f, CODE_OPTION_VALUE, n->at, "<%s> takes a number, not \"%s\"", show(n->text).s, show(value).s);
}

static size_t count_items(struct slice value) {
    size_t n = 1;
    for (size_t i = 0; i < value.len; i++) n += value.p[i] == ',';
    return n;
}

static void check_value(struct check *c, const struct config_node *n, struct slice value) {
    if (slice_eq_str(n->text, "HashAlgorithms")) {
        check_hashes(c, n, value);
    } else if (slice_eq_str(n->text, "CheckRevocation") || slice_eq_str(n->text, "DnsLookup") ||
               slice_eq_str(n->text, "CaptureClipboard") || slice_eq_str(n->text, "CopyOnDeletePE") ||
               slice_eq_str(n->text, "CopyOnDelete_PE")) {
        check_boolean(c, n, trim(value));
    } else if (slice_eq_str(n->text, "ArchiveDirectory")) {
        bool parts =
            memchr(value.p, '\\', value.len) || memchr(value.p, '/', value.len) || memchr(value.p, ':', value.len);
        if (!value.len || parts) {
            finding_instead(finding_add(c->f, CODE_OPTION_VALUE, n->at, "ArchiveDirectory must be one name, not \"%s\"",
                                        show(value).s),
                            "write the name of a directory in the root of each volume, without a drive or a backslash");
        }
    } else if (slice_eq_str(n->text, "DriverName")) {
        if (!value.len || value.len > DRIVER_NAME_MAX) {
            finding_add(c->f, CODE_OPTION_VALUE, n->at, "DriverName takes 1 to %u characters", DRIVER_NAME_MAX);
        } else {
            finding_add(c->f, CODE_OPTION_FORM, n->at, "DriverName has an effect at install only");
        }
    } else if (slice_eq_str(n->text, "FieldSizes")) {
        check_field_sizes(c, n, value);
    } else if (slice_eq_str(n->text, "DriverQueueSize") || slice_eq_str(n->text, "SigningQueueSize")) {
        check_number(c, n, trim(value));
    } else if (slice_eq_str(n->text, "ProcessAccessConfig") || slice_eq_str(n->text, "PipeMonitoringConfig")) {
        if (count_items(value) > CONFIG_ENTRIES_MAX) {
            finding_add(c->f, CODE_OPTION_VALUE, n->at, "<%s> takes %u entries", show(n->text).s, CONFIG_ENTRIES_MAX);
        }
    }
}

static void check_system(struct check *c, const struct config_node *n, const struct schema_name *known) {
    static const char none[][20] = {"DriverName", "ArchiveDirectory", "CaptureClipboard", "CheckRevocation"};
    if (!c->o->linux) return;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        if (!slice_eq_str(n->text, none[i])) continue;
        finding_instead(finding_add(c->f, CODE_LINUX, n->at, "%s is not implemented on Linux", none[i]), "take it out");
    }
    if (known && known->since > SCHEMA_NEWEST_LINUX) {
        finding_add(c->f, CODE_NOT_ON_LINUX, n->at, "Sysmon for Linux does not know <%s>", known->name);
    }
}

void check_option(struct check *c, const struct config_node *n) {
    static const char *const none[] = {NULL};
    const struct schema_name *known = schema_option_find(n->text);
    const struct config_node *inner = config_element(n->first);
    char what[64];
    check_attributes(c, n, none);
    if (inner) {
        finding_add(c->f, CODE_MISPLACED, inner->at, "<%s> may not stand in the option <%s>", show(inner->text).s,
                    show(n->text).s);
        return;
    }
    if (known && known->argument == SCHEMA_COMMAND_LINE) {
        finding_instead(finding_add(c->f, CODE_COMMAND_LINE, n->at, "%s is an option of Sysmon's command line",
                                    known->name),
                        "take it out of the file");
        return;
    }
    if (known) {
        uint64_t bit = UINT64_C(1) << (known - schema_options);
        if (c->options & bit) finding_add(c->f, CODE_OPTION_TWICE, n->at, "<%s> stands there twice", known->name);
        c->options |= bit;
        snprintf(what, sizeof what, "the option %s", known->name);
        check_version(c, n->at, what, known->since, known->until);
    } else {
        finding_add(c->f, CODE_OPTION_FORM, n->at,
                    "%s is documented, but in no published schema; a Sysmon may refuse it", show(n->text).s);
    }
    check_system(c, n, known);
    check_value(c, n, config_value(n, NULL));
}
