/* Checks a Sysmon configuration before it may be pushed: what is an error to Sysmon, what it would drop without a word, what
 * it does but nobody means. Pure; hostile bytes in.
 *
 * An error is what Sysmon refuses or silently leaves out. What only a newer schema than the file names has is a warning: real
 * configurations do that, and a newer Sysmon takes it. */
#ifndef HAECHI_CHECK_H
#define HAECHI_CHECK_H

#include "buf.h"
#include "ruleset.h"

enum finding_kind { FINDING_ERROR, FINDING_WARNING };

struct finding {
    enum finding_kind kind;
    const char *code; /* stable, for scripts: "unknown-field", "empty-token"; static */
    struct place at;
    char *text;    /* what is wrong, one sentence, no line end; owned */
    char *instead; /* what to write; owned, NULL: nothing better is known */
};

struct findings {
    struct finding *list; /* in the order of the file */
    size_t n, cap;
    size_t n_errors, n_warnings;
    bool cut; /* CHECK_MAX_FINDINGS errors or warnings reached; counts go on */
};
#define CHECK_MAX_FINDINGS 1000u /* of each kind, so that warnings never hide an error */

/* All codes there are, for the manual and for scripts. */
struct finding_code {
    const char *code;
    enum finding_kind kind;
    const char *meaning; /* one sentence without a full stop */
};
extern const struct finding_code finding_codes[];
extern const size_t n_finding_codes;

void findings_free(struct findings *f);

struct check_options {
    uint32_t lowest_schema; /* of the hosts that it is for, hundredths; 0: not known. A file above it is an error */
    bool linux;             /* for Sysmon for Linux: paths, tags that never fire, encodings */
};

/* Fills *ret_findings (always; findings_free) and, when there is no error that keeps it from being understood, *ret
 * (ruleset_free; NULL otherwise). ST_OK: no error; ST_INVALID: at least one. */
MUST_USE enum status ruleset_check(struct slice bytes, const struct check_options *o, struct findings *ret_findings,
                                   struct ruleset **ret);

/* "FILE:12:5: error: ... [code]" lines, as compilers print them, with what to write instead behind it where that is known. */
void findings_text(const struct findings *f, const char *file, struct buf *out);
/* The errors first, all of them, then at most that many warnings and a line that says how many more there are. */
void findings_brief(const struct findings *f, const char *file, size_t max_warnings, struct buf *out);
/* The same as JSON, an object a line: file (left out when NULL), line, column, kind, code, message, instead. */
void findings_json(const struct findings *f, const char *file, struct buf *out);

#endif
