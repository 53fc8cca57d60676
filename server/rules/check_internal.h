/* What the parts of the checker share: check.c (the document), check_element.c, check_block.c,
 * check_option.c, lint.c (values), lint_blocks.c, shadow.c. */
#ifndef HAECHI_CHECK_INTERNAL_H
#define HAECHI_CHECK_INTERNAL_H

#include "check.h"
#include "check_codes.h"
#include "config_xml.h"
#include "schema.h"

struct check {
    const struct check_options *o;
    const struct config_doc *doc;
    struct findings *f;
    uint32_t schema;       /* that the file names; 0: none */
    unsigned hashes;       /* of HashAlgorithms, bits of CHECK_HASH_*; 0: absent */
    bool control_set_said; /* once a file is enough */
    uint64_t options;      /* seen before, by place in schema_options */
};

enum { CHECK_HASH_SHA1 = 1, CHECK_HASH_MD5 = 2, CHECK_HASH_SHA256 = 4, CHECK_HASH_IMPHASH = 8, CHECK_HASH_ALL = 15 };

/* ---- findings.c ---- */

/* NULL: there are too many already; it is counted. */
struct finding *finding_add(struct findings *f, enum finding_id id, struct place at, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* What to write instead; n may be NULL. */
void finding_instead(struct finding *n, const char *fmt, ...) PRINTF_LIKE(2, 3);
void findings_sort(struct findings *f);

/* Text of the file for a sentence: printable, cut after 60 bytes. */
struct shown {
    char s[260];
};
struct shown show(struct slice text);
/* "4.90" */
struct shown show_version(uint32_t hundredths);

/* ---- the parts ---- */

/* A thing of schemas [since, until) is used at `at`; `what`: "the condition 'is any'". */
void check_version(struct check *c, struct place at, const char *what, uint32_t since, uint32_t until);
/* `allowed` is NULL-terminated. */
void check_attributes(struct check *c, const struct config_node *n, const char *const *allowed);
void check_name(struct check *c, const struct config_node *n);
void check_stray(struct check *c, const struct config_node *parent);
void check_option(struct check *c, const struct config_node *n);
void check_block(struct check *c, const struct config_node *n, const struct schema_tag *tag);
bool is_field_of_any(struct slice name); /* of any event */

/* The name nearest to a mistyped one, or NULL. */
const char *near_name(struct slice word, const char *const *names, size_t n);
const char *near_tag(struct slice word);
const char *near_option(struct slice word);
const char *near_field(const struct schema_tag *tag, struct slice word);
const char *near_condition(struct slice word);

struct lint_value {
    const struct schema_tag *tag;
    struct slice field, value;
    enum rule_condition condition;
    struct place at;
};
void lint_value(struct check *c, const struct lint_value *v);
void lint_blocks(struct check *c, const struct ruleset *r);
void lint_shadow(struct check *c, const struct ruleset *r);

/* The next item of a list value, as list conditions split it; false: no more. *rest .p NULL after the last. */
bool lint_token(struct slice *rest, struct slice *ret);
bool condition_is_list(enum rule_condition c);
bool condition_is_negative(enum rule_condition c);

#endif
