/* Every code of the checker: id, code, kind, what it means. Codes are for scripts and never change their meaning. */
#ifndef HAECHI_CHECK_CODES_H
#define HAECHI_CHECK_CODES_H

#define FINDING_LIST(X)                                                                                                \
    X(CODE_NOT_XML, "not-xml", ERROR, "the file cannot be read: encoding, XML, DOCTYPE, or a limit")                   \
    X(CODE_NO_SYSMON, "no-sysmon-tag", ERROR, "the document's element is not Sysmon")                                  \
    X(CODE_SCHEMA, "schemaversion", ERROR, "schemaversion is missing, no version, or none that is known")              \
    X(CODE_SCHEMA_ABOVE, "schema-above-hosts", ERROR, "the file names a newer schema than a host has")                 \
    X(CODE_NEWER_HOSTS, "newer-than-hosts", ERROR, "a tag, field, condition or option that a host's Sysmon lacks")     \
    X(CODE_TAG, "unknown-tag", ERROR, "no event tag of Sysmon")                                                        \
    X(CODE_MISPLACED, "misplaced", ERROR, "an element that may not stand here")                                        \
    X(CODE_OPTION, "unknown-option", ERROR, "no option of Sysmon")                                                     \
    X(CODE_COMMAND_LINE, "command-line-option", ERROR, "an option of the command line that no file may have")          \
    X(CODE_OPTION_VALUE, "option-value", ERROR, "a value that the option does not take")                               \
    X(CODE_HASH, "hash-name", ERROR, "no hash algorithm of Sysmon")                                                    \
    X(CODE_FIELD, "unknown-field", ERROR, "no field of any event: the block and later ones of its tag are dropped")    \
    X(CODE_WRONG_FIELD, "wrong-field", ERROR,                                                                          \
      "a field that this event has not: the block and later ones of its tag are dropped")                              \
    X(CODE_MIXED_IDS, "mixed-ids", ERROR, "fields that no single event id has together: the block is dropped")         \
    X(CODE_CONDITION, "unknown-condition", ERROR, "no condition of Sysmon: it refuses the file")                       \
    X(CODE_ATTRIBUTE, "unknown-attribute", ERROR, "an attribute that the element does not have")                       \
    X(CODE_ONMATCH, "onmatch", ERROR, "onmatch is missing, stands beside default, or is neither include nor exclude")  \
    X(CODE_RELATION, "group-relation", ERROR, "a RuleGroup's groupRelation is missing or neither and nor or")          \
    X(CODE_NAME_LENGTH, "name-length", ERROR, "a name of more than 255 characters: Sysmon refuses the file")           \
    X(CODE_STRAY_TEXT, "stray-text", ERROR, "text between elements")                                                   \
    X(CODE_NOT_ON_LINUX, "not-on-linux", ERROR, "a tag that Sysmon for Linux does not know")                           \
    X(CODE_GONE, "gone-from-schema", ERROR, "a field or option that the schema of the file has no longer")             \
    X(CODE_NEWER, "newer-than-schema", WARNING, "a tag, field, condition or option newer than the schema of the file") \
    X(CODE_OLD_SCHEMA, "old-schema", WARNING, "a schema before 4.0, which Sysmon 7 and later refuse")                  \
    X(CODE_FUTURE_SCHEMA, "future-schema", WARNING, "a schema newer than this checker knows")                          \
    X(CODE_ENCODING, "encoding", WARNING, "an encoding that not every reader takes, or that the declaration denies")   \
    X(CODE_LARGE, "large-file", WARNING, "more than 1 MiB")                                                            \
    X(CODE_NO_RULES, "no-rules", WARNING, "no block at all: Sysmon's defaults hold")                                   \
    X(CODE_NO_HASHES, "no-hash-algorithms", WARNING, "without HashAlgorithms the version of Sysmon decides")           \
    X(CODE_OPTION_TWICE, "repeated-option", WARNING, "an option that stands twice")                                    \
    X(CODE_OPTION_FORM, "option-form", WARNING, "an option or value that only some versions take, or take later")      \
    X(CODE_OLD_DEFAULT, "old-default", WARNING, "default= is the old, inverse form of onmatch=")                       \
    X(CODE_RULE_RELATION, "rule-relation", WARNING, "a Rule's groupRelation is missing (or) or unknown (and)")         \
    X(CODE_REPEATED, "repeated-block", WARNING, "a second include or exclude block of a tag")                          \
    X(CODE_DROPS_ALL, "drops-everything", WARNING,                                                                     \
      "several blocks of a tag and no rule that includes: nothing is logged")                                          \
    X(CODE_EMPTY_INCLUDE, "empty-include", WARNING, "an empty include alone: the event is never logged")               \
    X(CODE_EMPTY_EXCLUDE, "empty-exclude", WARNING, "an empty exclude beside an include changes nothing")              \
    X(CODE_LOGS_ALL, "logs-everything", WARNING, "a frequent event without any filter")                                \
    X(CODE_EMPTY_RULE, "empty-rule", WARNING, "a Rule without fields")                                                 \
    X(CODE_AND_GROUP, "and-group", WARNING, "different fields of a block that must all match")                         \
    X(CODE_BOUND_ID, "bound-id", WARNING, "a field that matches in some events of the tag only")                       \
    X(CODE_SHADOWED, "shadowed-rule", WARNING, "an earlier rule matches all that this one matches")                    \
    X(CODE_EXCLUDED, "excluded-include", WARNING, "an exclude matches all that this include matches")                  \
    X(CODE_NEVER, "never-matches", WARNING, "conditions that cannot hold together")                                    \
    X(CODE_UNCOMPARED, "not-compared", WARNING, "too many rules to compare each with each")                            \
    X(CODE_NEGATIVE, "negative-in-or", WARNING, "a negative condition alone in an or matches nearly everything")       \
    X(CODE_COSTLY, "costly-block", WARNING, "many searches inside the text of a frequent event")                       \
    X(CODE_POINTLESS, "pointless-field", WARNING, "a field whose value no rule can know before")                       \
    X(CODE_EMPTY_VALUE, "empty-value", WARNING, "an empty value")                                                      \
    X(CODE_EMPTY_TOKEN, "empty-token", WARNING, "an empty item in a list")                                             \
    X(CODE_CUT_VALUE, "cut-value", WARNING, "a comment or CDATA section cuts the value")                               \
    X(CODE_BLANKS, "outer-blanks", WARNING, "blanks at an end of a value count")                                       \
    X(CODE_BLIND, "blind-character", WARNING, "a character that looks like another or like nothing")                   \
    X(CODE_HIVE, "hive-name", WARNING, "a registry path as Sysmon never writes it")                                    \
    X(CODE_CONTROL_SET, "control-set", WARNING, "CurrentControlSet is written differently by versions of Sysmon")      \
    X(CODE_SLASH, "path-separator", WARNING, "the other system's path separator")                                      \
    X(CODE_VARIABLE, "variable", WARNING, "%VAR% is not replaced everywhere")                                          \
    X(CODE_ACCESS, "granted-access", WARNING, "an access mask as Sysmon never writes it")                              \
    X(CODE_TEXT_ORDER, "text-order", WARNING, "less than and more than compare text, not numbers")                     \
    X(CODE_WILDCARD, "wildcard", WARNING, "there are no wildcards")                                                    \
    X(CODE_BARE_NAME, "bare-name", WARNING, "a file's name where the whole path is compared")                          \
    X(CODE_IMAGE_PATH, "image-path", WARNING, "image with a part of a path never matches")                             \
    X(CODE_HASH_VALUE, "hash-value", WARNING, "a hash that the event does not have in this form")                      \
    X(CODE_NAME_OLD, "name-too-long-for-old", WARNING, "a name that an older Sysmon cuts or refuses")                  \
    X(CODE_NAME_FORM, "name-form", WARNING, "a name that readers of key=value names misread")                          \
    X(CODE_LINUX, "linux", WARNING, "something that has no effect on Linux, or on Linux alone")

enum finding_id {
#define FINDING_ENUM(id, code, kind, meaning) id,
    FINDING_LIST(FINDING_ENUM)
#undef FINDING_ENUM
        CODE_COUNT
};

#endif
