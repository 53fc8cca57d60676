/* Texts for people about rules. Pure. */
#include "rules_text.h"
#include "clock.h"
#include "progress.h"
#include "rules_state.h"
#include "text.h"

static void put_line(struct buf *out, const char *key, const char *text) {
    if (!*text) return;
    buf_printf(out, "%s ", key);
    text_printable(out, slice_str(text), 1000);
    buf_str(out, "\n");
}

/* Sysmon's own, without its banner's empty lines: what a person looks for first when rules were not taken. */
static void put_words(struct buf *out, const char *words) {
    struct buf line = {0};
    for (; *words; words++) {
        bool more = line.len && line.p[line.len - 1] != ' ';
        if (*words != '\n')
            buf_byte(&line, (uint8_t)*words);
        else if (more)
            buf_str(&line, " | ");
    }
    put_line(out, "rules_words", buf_cstr(&line));
    buf_free(&line);
}

void rules_text_write(struct buf *out, const struct uplink_rules *rules) {
    char evidence[80], since[FILETIME_TEXT_MAX];
    if (!rules) return;
    rules_evidence_text(rules->evidence, evidence, sizeof evidence);
    filetime_format(rules->time, 0, since);
    put_line(out, "rules", rules->ruleset);
    buf_printf(out, "rules_revision %u\nrules_state %s\nrules_since %s\n", rules->revision,
               rules_state_name(rules->state), since);
    put_line(out, "rules_evidence", evidence);
    put_line(out, "rules_reason", rules->reason);
    if (rules->state != RULES_LOADED) put_words(out, rules->words);
}

void rules_text_explain(struct buf *out, struct slice file) {
    struct slice name = status_value(file, "rules"), reason = status_value(file, "rules_reason");
    struct slice evidence = status_value(file, "rules_evidence"), words = status_value(file, "rules_words");
    if (!name.len) return;
    buf_str(out, "rules:      ");
    text_printable(out, name, 256);
    buf_str(out, " revision ");
    text_printable(out, status_value(file, "rules_revision"), 20);
    buf_str(out, ", ");
    text_printable(out, status_value(file, "rules_state"), 20);
    buf_str(out, " since ");
    text_printable(out, status_value(file, "rules_since"), 40);
    if (evidence.len) {
        buf_str(out, " (evidence: ");
        text_printable(out, evidence, 80);
        buf_str(out, ")");
    }
    if (reason.len) {
        buf_str(out, "\n            ");
        text_printable(out, reason, 600);
    }
    if (words.len) {
        buf_str(out, "\n            Sysmon printed: ");
        text_printable(out, words, 1000);
    }
    buf_str(out, "\n");
}
