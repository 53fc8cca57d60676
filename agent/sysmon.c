/* Which schema a version of Sysmon speaks: what it prints itself is not in the registry. Pure. */
#include "sysmon.h"
#include "text.h"

/* The first version with each schema, ascending. The one that is part of Windows counts in versions of Windows. */
static const struct {
    unsigned major, minor;
    char schema[5];
} firsts[] = {
    {5, 0, "3.20"},   {6, 0, "3.30"},  {6, 10, "3.40"}, {7, 0, "4.00"},   {8, 0, "4.10"},
    {9, 0, "4.20"},   {10, 0, "4.21"}, {10, 4, "4.22"}, {10, 42, "4.23"}, {11, 0, "4.30"},
    {11, 10, "4.32"}, {12, 0, "4.40"}, {13, 0, "4.50"}, {13, 10, "4.60"}, {13, 20, "4.70"},
    {13, 30, "4.81"}, {14, 0, "4.82"}, {14, 1, "4.83"}, {15, 0, "4.90"},  {15, 20, "4.91"},
};
#define INBOX_SCHEMA "4.91"
#define INBOX_FIRST_BUILD 20000u
#define LAST_MAJOR 15u /* of what the table was made from */

const char *sysmon_schema_of(const char *version) {
    struct slice rest = slice_str(version);
    uint64_t major = 0, minor = 0, build = 0;
    const char *found = "";
    if (!text_take_number(&rest, 10, &major) || !text_take(&rest, ".") || !text_take_number(&rest, 10, &minor))
        return "";
    if (major > LAST_MAJOR) return "";
    if (text_take(&rest, ".") && text_take_number(&rest, 10, &build) && major == 10 && minor == 0 &&
        build >= INBOX_FIRST_BUILD)
        return INBOX_SCHEMA;
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        if (major > firsts[i].major || (major == firsts[i].major && minor >= firsts[i].minor)) found = firsts[i].schema;
    }
    return found;
}
