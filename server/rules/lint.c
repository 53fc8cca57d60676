/* Values that Sysmon takes and that do not mean what somebody thought. */
#include "check_internal.h"
#include "text.h"

#include <stdio.h>

bool condition_is_list(enum rule_condition c) {
    return c == COND_CONTAINS_ANY || c == COND_CONTAINS_ALL || c == COND_EXCLUDES_ANY || c == COND_EXCLUDES_ALL ||
           c == COND_IS_ANY;
}

bool condition_is_negative(enum rule_condition c) {
    return c == COND_IS_NOT || c == COND_EXCLUDES || c == COND_EXCLUDES_ANY || c == COND_EXCLUDES_ALL ||
           c == COND_NOT_BEGIN_WITH || c == COND_NOT_END_WITH;
}

/* Compares the whole value: is, is not, is any. */
static bool compares_whole(enum rule_condition c) {
    return c == COND_IS || c == COND_IS_NOT || c == COND_IS_ANY;
}

static bool compares_front(enum rule_condition c) {
    return compares_whole(c) || c == COND_BEGIN_WITH || c == COND_NOT_BEGIN_WITH;
}

bool lint_token(struct slice *rest, struct slice *ret) {
    if (!rest->p) return false;
    const uint8_t *end = rest->len ? memchr(rest->p, ';', rest->len) : NULL;
    *ret = end ? slice_of(rest->p, (size_t)(end - rest->p)) : *rest;
    *rest = end ? slice_from(*rest, ret->len + 1) : (struct slice){NULL, 0};
    return true;
}

static bool is_one_of(struct slice s, const char *const *names) {
    for (; *names; names++) {
        if (slice_eq_str(s, *names)) return true;
    }
    return false;
}

static bool is_path(struct slice field) {
    static const char *const names[] = {"Image",       "ParentImage",      "SourceImage",
                                        "TargetImage", "ImageLoaded",      "TargetFilename",
                                        "StartModule", "CurrentDirectory", NULL};
    return is_one_of(field, names);
}

static bool is_command_line(struct slice field) {
    return slice_eq_str(field, "CommandLine") || slice_eq_str(field, "ParentCommandLine");
}

static bool starts_nocase(struct slice s, const char *prefix) {
    size_t n = strlen(prefix);
    return s.len >= n && slice_eq_nocase(slice_head(s, n), slice_of(prefix, n));
}

static bool ends_nocase(struct slice s, const char *suffix) {
    size_t n = strlen(suffix);
    return s.len >= n && slice_eq_nocase(slice_from(s, s.len - n), slice_of(suffix, n));
}

static bool has_nocase(struct slice s, const char *part) {
    for (size_t i = 0; i + strlen(part) <= s.len; i++) {
        if (starts_nocase(slice_from(s, i), part)) return true;
    }
    return false;
}

/* ---- characters ---- */

static const char *blind_name(uint32_t cp) {
    switch (cp) {
    case 0xa0:
    case 0x202f:
    case 0x2007: return "a non-breaking blank";
    case 0xad: return "a soft hyphen";
    case 0x200b:
    case 0x200c:
    case 0x200d:
    case 0x2060:
    case 0xfeff: return "a character of no width";
    case 0x2018:
    case 0x2019:
    case 0x201c:
    case 0x201d: return "a typographic quotation mark";
    case 0x2010:
    case 0x2011:
    case 0x2012:
    case 0x2013:
    case 0x2014:
    case 0x2212: return "a dash that is no -";
    default:
        if (cp >= 0x2000 && cp <= 0x200a) return "a blank that is no space";
        if ((cp >= 0x200e && cp <= 0x200f) || (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069)) {
            return "a direction mark";
        }
        return NULL;
    }
}

static void lint_characters(struct check *c, const struct lint_value *v) {
    for (size_t i = 0; i < v->value.len;) {
        uint32_t cp = 0;
        size_t n = v->value.p[i] < 0x80 ? 1 : text_next(slice_from(v->value, i), &cp);
        const char *blind = n > 1 ? blind_name(cp) : NULL;
        if (blind) {
            finding_instead(finding_add(c->f, CODE_BLIND, v->at, "%s (U+%04X) stands in the value", blind,
                                        (unsigned)cp),
                            "type it again from the keyboard");
            return;
        }
        i += n ? n : 1;
    }
}

static bool is_blank_byte(uint8_t b) {
    return b == ' ' || b == '\t' || b == '\r' || b == '\n';
}

/* A command line may well be meant to have a blank there; a line end nobody means. */
static void lint_blanks(struct check *c, const struct lint_value *v, struct slice item) {
    if (!item.len) return;
    uint8_t first = item.p[0], last = item.p[item.len - 1];
    bool line = first == '\n' || first == '\r' || first == '\t' || last == '\n' || last == '\r' || last == '\t';
    bool meant = !line && !compares_whole(v->condition) && is_command_line(v->field);
    if ((!is_blank_byte(first) && !is_blank_byte(last)) || meant) return;
    finding_instead(finding_add(c->f, CODE_BLANKS, v->at, "\"%s\" has blanks at an end, and they count", show(item).s),
                    "take them out");
}

/* ---- what the field can hold ---- */

static void lint_registry(struct check *c, const struct lint_value *v, struct slice item) {
    if (!slice_eq_str(v->field, "TargetObject") && !slice_eq_str(v->field, "NewName")) return;
    struct finding *f = NULL;
    if (starts_nocase(item, "HKCU") || has_nocase(item, "HKEY_CURRENT_USER")) {
        f = finding_add(c->f, CODE_HIVE, v->at, "Sysmon never writes HKCU: \"%s\" does not match", show(item).s);
        finding_instead(f, "leave the hive out and use contains or end with: the key stands below HKU\\SID\\");
    } else if (has_nocase(item, "HKEY_") || (c->schema >= 330 && starts_nocase(item, "\\REGISTRY\\"))) {
        f = finding_add(c->f, CODE_HIVE, v->at, "Sysmon writes HKLM\\ and HKU\\: \"%s\" does not match", show(item).s);
        finding_instead(f, "write HKLM\\ or HKU\\");
    } else if (starts_nocase(item, "HKCR")) {
        f = finding_add(c->f, CODE_HIVE, v->at, "HKCR stands for two places; Sysmon writes HKLM\\ or HKU\\ mostly");
        finding_instead(f, "use contains without the hive");
    } else if (!c->control_set_said && compares_front(v->condition) &&
               (starts_nocase(item, "HKLM\\System\\CurrentControlSet") ||
                starts_nocase(item, "HKLM\\System\\ControlSet001"))) {
        c->control_set_said = true;
        f = finding_add(
            c->f, CODE_CONTROL_SET, v->at,
            "the control set is CurrentControlSet or ControlSet001, by the version of Sysmon (said once a file)");
        finding_instead(f, "use contains or end with, and begin behind it");
    }
}

static void lint_path(struct check *c, const struct lint_value *v, struct slice item) {
    static const char *const files[] = {".exe", ".dll", ".sys", ".com", ".scr", NULL};
    bool back = item.len && memchr(item.p, '\\', item.len), slash = item.len && memchr(item.p, '/', item.len);
    if (c->o->linux ? back && !slash : slash && !back) {
        finding_instead(finding_add(c->f, CODE_SLASH, v->at, "paths of this system have no %s: \"%s\"",
                                    c->o->linux ? "backslashes" : "slashes", show(item).s),
                        c->o->linux ? "write /" : "write \\, or check with --linux");
        return;
    }
    bool rooted = starts_nocase(item, "\\Device\\") || starts_nocase(item, "\\\\") || starts_nocase(item, "\\??\\") ||
                  starts_nocase(item, "\\SystemRoot\\") || (item.len > 1 && item.p[1] == ':') ||
                  starts_nocase(item, "%");
    if (v->condition == COND_IMAGE && back && !rooted) {
        finding_instead(finding_add(c->f, CODE_IMAGE_PATH, v->at,
                                    "with a backslash, image compares the whole path, and \"%s\" is not one",
                                    show(item).s),
                        "write the name alone, or use end with");
    } else if (v->condition == COND_IMAGE && c->o->linux && !slash) {
        finding_instead(finding_add(c->f, CODE_IMAGE_PATH, v->at,
                                    "on Linux image compares the whole path: \"%s\" is not one", show(item).s),
                        "use end with and /name");
    } else if (compares_whole(v->condition) && !back && !slash && !slice_eq_str(v->field, "CurrentDirectory")) {
        for (size_t i = 0; files[i]; i++) {
            if (!ends_nocase(item, files[i])) continue;
            finding_instead(finding_add(c->f, CODE_BARE_NAME, v->at, "%s is the whole path, never just \"%s\"",
                                        show(v->field).s, show(item).s),
                            "use image, or end with and \\%s", show(item).s);
        }
    }
}

static void lint_wildcard(struct check *c, const struct lint_value *v, struct slice item) {
    static const char *const names[] = {"TargetObject",
                                        "QueryName",
                                        "DestinationHostname",
                                        "SourceHostname",
                                        "PipeName",
                                        "DestinationIp",
                                        "SourceIp",
                                        "User",
                                        "OriginalFileName",
                                        NULL};
    bool path = is_path(v->field), named = path || is_one_of(v->field, names);
    struct slice rest = starts_nocase(item, "\\\\?\\") || starts_nocase(item, "\\??\\") ? slice_from(item, 4) : item;
    bool star = rest.len && memchr(rest.p, '*', rest.len), question = rest.len && memchr(rest.p, '?', rest.len);
    bool at_end = rest.len > 1 && ((rest.p[0] == '*' && rest.p[1] != ' ') ||
                                   (rest.p[rest.len - 1] == '*' && rest.p[rest.len - 2] != ' '));
    bool registry = slice_eq_str(v->field, "TargetObject"); /* a key may be called * */
    if (registry && star && !question) star = at_end && !has_nocase(item, "\\*");
    if (!(named ? star || (path && question) : is_command_line(v->field) && at_end && compares_whole(v->condition)))
        return;
    finding_instead(finding_add(c->f, CODE_WILDCARD, v->at, "* and ? are compared as they stand: \"%s\"", show(item).s),
                    "leave them out and use begin with, end with, contains or contains all");
}

static bool is_number(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
    }
    return s.len > 0;
}

static bool is_mask(struct slice s) {
    bool hex = s.len > 2 && s.p[0] == '0' && (s.p[1] == 'x' || s.p[1] == 'X') && (s.p[2] != '0' || s.len == 3);
    for (size_t i = 2; hex && i < s.len; i++) {
        char d = slice_lower(s.p[i]);
        hex = (d >= '0' && d <= '9') || (d >= 'a' && d <= 'f');
    }
    return hex;
}

static void lint_access(struct check *c, const struct lint_value *v, struct slice item) {
    if (!slice_eq_str(v->field, "GrantedAccess") || !item.len) return;
    bool front = compares_front(v->condition);
    if (front ? is_mask(item) || (!compares_whole(v->condition) && item.len < 3) : !starts_nocase(item, "0x0")) return;
    if (!front && item.len == 3) return;
    finding_instead(finding_add(c->f, CODE_ACCESS, v->at, "Sysmon writes access masks as 0x1410, not as \"%s\"",
                                show(item).s),
                    "write 0x and the hexadecimal digits without zeros before them");
}

static void lint_hash(struct check *c, const struct lint_value *v, struct slice item) {
    static const struct {
        const char *name;
        unsigned bit;
    } kinds[] = {{"SHA1=", CHECK_HASH_SHA1},
                 {"MD5=", CHECK_HASH_MD5},
                 {"SHA256=", CHECK_HASH_SHA256},
                 {"IMPHASH=", CHECK_HASH_IMPHASH}};
    if (!slice_eq_str(v->field, "Hashes") && !slice_eq_str(v->field, "Hash")) return;
    for (size_t i = 0; i < 4 && c->hashes; i++) {
        if (!starts_nocase(item, kinds[i].name)) continue;
        bool several = (c->hashes & (c->hashes - 1)) != 0;
        if (!(c->hashes & kinds[i].bit)) {
            finding_instead(finding_add(c->f, CODE_HASH_VALUE, v->at, "HashAlgorithms does not ask for %.*s",
                                        (int)strlen(kinds[i].name) - 1, kinds[i].name),
                            "add it to HashAlgorithms");
        } else if (several && compares_whole(v->condition) && !memchr(item.p, ',', item.len)) {
            finding_instead(finding_add(c->f, CODE_HASH_VALUE, v->at,
                                        "the field lists several hashes, so it never equals one"),
                            "use contains");
        }
    }
}

static void lint_variable(struct check *c, const struct lint_value *v, struct slice item) {
    for (size_t i = 0; i + 2 < item.len; i++) {
        if (item.p[i] != '%') continue;
        size_t k = i + 1;
        while (k < item.len && ((slice_lower(item.p[k]) >= 'a' && slice_lower(item.p[k]) <= 'z') || item.p[k] == '_' ||
                                item.p[k] == '(' || item.p[k] == ')'))
            k++;
        if (k >= item.len || item.p[k] != '%' || k == i + 1) continue;
        if (c->o->linux) {
            finding_add(c->f, CODE_VARIABLE, v->at, "Linux does not replace %s",
                        show(slice_of(item.p + i, k - i + 1)).s);
        } else {
            finding_instead(
                finding_add(c->f, CODE_VARIABLE, v->at,
                            "%s is replaced from the environment of the event's session, and not at all in the driver",
                            show(slice_of(item.p + i, k - i + 1)).s),
                "write the part of the path that is the same everywhere, with contains");
        }
        return;
    }
}

static void lint_item(struct check *c, const struct lint_value *v, struct slice item) {
    lint_blanks(c, v, item);
    lint_registry(c, v, item);
    if (is_path(v->field)) lint_path(c, v, item);
    lint_wildcard(c, v, item);
    lint_access(c, v, item);
    lint_hash(c, v, item);
    lint_variable(c, v, item);
}

/* ---- the whole value ---- */

static void lint_empty(struct check *c, const struct lint_value *v) {
    const char *effect =
        condition_is_negative(v->condition) ? "never matches, or always" : "matches everything, or only an empty field";
    finding_instead(finding_add(c->f, CODE_EMPTY_VALUE, v->at, "\"%s\" with an empty value %s",
                                rule_condition_name(v->condition), effect),
                    "write a value or take the line out");
}

static void lint_empty_token(struct check *c, const struct lint_value *v) {
    const char *effect = v->condition == COND_CONTAINS_ANY   ? "is contained in everything: the line always matches"
                         : v->condition == COND_EXCLUDES_ANY ? "is contained in everything: the line never matches"
                         : v->condition == COND_IS_ANY       ? "matches an empty field"
                                                             : "says nothing";
    finding_instead(finding_add(c->f, CODE_EMPTY_TOKEN, v->at, "an empty item between or behind ; %s", effect),
                    "take the ; out");
}

static void lint_field(struct check *c, const struct lint_value *v) {
    static const char *const names[] = {"RuleName",          "UtcTime",        "ProcessGuid",
                                        "ParentProcessGuid", "LogonGuid",      "SourceProcessGUID",
                                        "TargetProcessGUID", "SequenceNumber", NULL};
    if (is_one_of(v->field, names)) {
        finding_add(c->f, CODE_POINTLESS, v->at,
                    "the value of %s is new in every event or not yet known when rules are tried", show(v->field).s);
    }
    if ((v->condition == COND_LESS_THAN || v->condition == COND_MORE_THAN) && is_number(v->value)) {
        finding_instead(finding_add(c->f, CODE_TEXT_ORDER, v->at, "\"%s\" compares text: \"9\" comes after \"10\"",
                                    rule_condition_name(v->condition)),
                        "write the values out with is any, or begin with");
    }
}

void lint_value(struct check *c, const struct lint_value *v) {
    lint_field(c, v);
    lint_characters(c, v);
    if (!v->value.len) {
        lint_empty(c, v);
        return;
    }
    if (!condition_is_list(v->condition)) {
        lint_item(c, v, v->value);
        return;
    }
    struct slice rest = v->value, item;
    bool empty = false;
    size_t before = c->f->n;
    while (lint_token(&rest, &item)) {
        empty |= !item.len;
        if (item.len && c->f->n == before) lint_item(c, v, item); /* one bad item says it */
    }
    if (empty) lint_empty_token(c, v);
}
