/* What proves that rules are loaded. Pure. */
#include "rules_proof.h"

#include <stdio.h>

static bool same_rules(const struct sysmon *s, const uint8_t digest[RULES_DIGEST_LEN]) {
    return s->has_rules && memcmp(s->rules_digest, digest, RULES_DIGEST_LEN) == 0;
}

static bool names_file(const struct rules_kept *k, const struct sysmon *s) {
    return filehash_compare(&k->hash, slice_str(s->config_hash)) == FILEHASH_SAME;
}

static bool copy_proves(const struct rules_proof *p, const struct rules_kept *k, const struct sysmon *now,
                        enum sysmon_system system) {
    if (!now->has_rules) return false;
    if (system == SYSMON_ON_LINUX) return same_rules(now, k->order.digest);
    const struct rules_memory *m = rules_kept_recall(k, now->version, k->order.digest);
    bool changed = !same_rules(&p->before, now->rules_digest);
    /* Sysmon that keeps the file's hash and keeps another one was given another file. */
    if (filehash_compare(&k->hash, slice_str(now->config_hash)) == FILEHASH_OTHER) return false;
    if (changed || (m && same_rules(now, m->rules_digest))) return true;
    return !m && names_file(k, now) && (!names_file(k, &p->before) || p->event16);
}

void rules_proof_look(struct rules_proof *p, const struct rules_kept *k, const struct sysmon *now,
                      enum sysmon_system system, bool late) {
    if (late && system == SYSMON_ON_WINDOWS)
        p->copy = p->copy && same_rules(now, p->copy_digest);
    else
        p->copy = copy_proves(p, k, now, system);
    if (p->copy) memcpy(p->copy_digest, now->rules_digest, sizeof p->copy_digest);
}

/* The path has our file's own name, which nobody else uses, or is the copy that Sysmon for Linux makes of what it is given. */
static bool is_our_file(const struct rules_kept *k, const char *path) {
    static const char copy[] = "/config.xml";
    char name[20];
    size_t len = strlen(path);
    if (len >= sizeof copy - 1 && strcmp(path + len - (sizeof copy - 1), copy) == 0) return true;
    for (size_t i = 0; i < 8; i++) snprintf(name + 2 * i, 3, "%02x", k->order.digest[i]);
    return strstr(path, name) != NULL;
}

bool rules_proof_note(struct rules_proof *p, const struct rules_kept *k, const struct sysmon_note *n) {
    if (n->time < p->since) return false;
    if (n->event == 16) {
        enum filehash_answer a = filehash_compare(&k->hash, slice_str(n->hash));
        if (a == FILEHASH_SAME)
            p->event16 = true;
        else if (a == FILEHASH_NONE && is_our_file(k, n->file))
            p->event16_without_hash = true;
        else
            return false;
        return true;
    }
    if (n->event == 1 && *k->order.canary) {
        p->canary_seen = true;
        if (strcmp(n->file, k->order.canary) == 0)
            p->canary = true;
        else
            snprintf(p->canary_said, sizeof p->canary_said, "%.250s", n->file);
        return true;
    }
    if (n->event == 255 && !*p->trouble) {
        snprintf(p->trouble, sizeof p->trouble, "%.80s: %.280s", n->file, n->text);
        return true;
    }
    return false;
}

uint32_t rules_proof_evidence(const struct rules_proof *p) {
    return (p->words ? RULES_BY_WORDS : 0u) | (p->event16 ? RULES_BY_EVENT16 : 0u) | (p->copy ? RULES_BY_COPY : 0u) |
           (p->canary ? RULES_BY_CANARY : 0u);
}

static void add(char *out, const char *text) {
    size_t at = strlen(out);
    snprintf(out + at, RULES_REASON_MAX - at, "%s%s", at ? "; " : "", text);
}

bool rules_proof_holds(const struct rules_proof *p, const struct rules_kept *k, bool reads_events, char *missing) {
    char line[RULES_REASON_MAX];
    *missing = 0;
    if (!p->words) add(missing, "Sysmon did not say that it took them");
    if (!p->copy && !p->canary) add(missing, "the system's copy of the rules is not theirs");
    if (reads_events && !p->event16 && !p->event16_without_hash)
        add(missing, "no event 16 with the file's hash was seen");
    if (*k->order.canary && !p->canary) {
        if (p->canary_seen)
            snprintf(line, sizeof line, "the canary's event bears the RuleName \"%.100s\", not \"%.100s\"",
                     p->canary_said, k->order.canary);
        else
            snprintf(line, sizeof line, "the canary's event was not seen");
        add(missing, line);
    }
    bool holds = !*missing;
    if (!holds && *p->trouble) {
        snprintf(line, sizeof line, "Sysmon's event 255 says %.300s", p->trouble);
        add(missing, line);
    }
    return holds;
}
