/* The bytes of a Sysmon configuration as a tree, with the place of everything in it. What Sysmon's own reader takes is taken:
 * UTF-8, UTF-16 little and big endian, ISO-8859-1, each with and without byte order mark and declaration, and white space
 * before the declaration. A DOCTYPE, and so every entity but the five of XML, is refused. Pure; hostile bytes in. */
#ifndef HAECHI_CONFIG_XML_H
#define HAECHI_CONFIG_XML_H

#include "buf.h"
#include "ruleset.h"

#define CONFIG_ATTRIBUTES_MAX 16u /* of one element */
#define CONFIG_ARENA_CAP ((size_t)192 * 1024 * 1024)

enum config_kind { CONFIG_ELEMENT, CONFIG_TEXT, CONFIG_CDATA, CONFIG_COMMENT, CONFIG_INSTRUCTION };

struct config_attribute {
    struct slice name, value;
    struct place at; /* of the name */
};

struct config_node {
    enum config_kind kind;
    uint32_t n_attributes;
    struct place at;   /* of its first character, for an element the '<' */
    struct slice text; /* an element's name, else the text; white space between elements is not kept */
    struct config_attribute *attributes;
    struct config_node *parent, *first, *last, *next;
};

struct config_doc { /* everything lives in its arena */
    struct arena arena;
    struct config_node *root;
    const char *encoding; /* as struct ruleset has it; static */
    bool has_bom;
    struct slice declared; /* the encoding that the XML declaration names; .p NULL: none */
    bool ascii;            /* no character beyond ASCII anywhere */
    struct slice text;     /* the whole file as UTF-8, without the mark */
    struct place end;      /* behind the last character */
};

/* On failure *err says what is wrong (without a place) and *ret_at where. ST_FORMAT, ST_TOOBIG (more than RULES_XML_MAX,
 * RULESET_NODES_MAX, RULESET_DEPTH_MAX, CONFIG_ATTRIBUTES_MAX), ST_DENIED (DOCTYPE), ST_NOMEM. */
MUST_USE enum status config_xml_parse(struct slice bytes, struct config_doc **ret, struct place *ret_at,
                                      struct error *err);
void config_xml_free(struct config_doc **d);

/* NULL: it has none of that name. */
const struct config_attribute *config_attribute(const struct config_node *n, const char *name);
/* What Sysmon takes as an element's value: its first run of text or CDATA; never .p NULL. *ret_cut (may be NULL): there is
 * more behind a comment, a CDATA section or an element, which Sysmon does not read. */
struct slice config_value(const struct config_node *n, bool *ret_cut);
/* The next element among siblings, n itself included; NULL: none. */
const struct config_node *config_element(const struct config_node *n);

#endif
