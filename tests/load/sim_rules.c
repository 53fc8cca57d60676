/* Rulesets at simulated agents. */
#include "sim_rules.h"

#include <stdio.h>

static char *text_field(const char *text) {
    return (char *)(uintptr_t)text; /* protobuf-c does not write through it */
}

enum rules_fate rules_fate(const struct rules_options *o, uint32_t index) {
    const uint64_t shares[] = {o->fail, o->silent, o->drift, o->lose, o->hang};
    uint64_t place = (uint64_t)index * 37 % 100;
    for (int i = 0; i < 5; i++) {
        if (place < shares[i]) return (enum rules_fate)(FATE_FAILS + i);
        place -= shares[i];
    }
    return FATE_LOADS;
}

static void enter(struct sim_rules *r, uint32_t state, uint64_t next_ms, uint64_t now) {
    r->state = state;
    r->next_ms = next_ms;
    r->time = now;
}

bool sim_rules_offer(struct sim_rules *r, const struct rules_options *o, struct slice body, struct arena *a,
                     uint64_t now_ms, uint64_t now) {
    const Haechi__RulesOffer *offer = MSG_UNPACK(RulesOffer, rules_offer, body, a);
    const Haechi__RulesManifest *m =
        offer ? MSG_UNPACK(RulesManifest, rules_manifest, msg_slice(offer->manifest), a) : NULL;
    if (!m || m->digest.len != RULES_DIGEST_LEN || !offer->signature.len || !offer->xml_zstd.len) return false;
    bool again = r->has && m->serial == r->serial;
    bool old = m->serial < r->highest;
    if (again) return true; /* the same order */
    r->has = true;
    r->serial = m->serial;
    r->revision = m->revision;
    snprintf(r->ruleset, sizeof r->ruleset, "%s", m->ruleset);
    memcpy(r->digest, m->digest.data, RULES_DIGEST_LEN);
    r->lost_sysmon = false;
    if (old) {
        enter(r, RULES_REFUSED, 0, now);
        return true;
    }
    r->highest = m->serial;
    enter(r, RULES_RECEIVED, now_ms + o->delay_ms / 2, now);
    return true;
}

static bool goes_wrong(const struct sim_rules *r, const struct rules_options *o) {
    return !o->bad || o->bad == r->revision;
}

static bool tick_applied(struct sim_rules *r, const struct rules_options *o, enum rules_fate fate, uint64_t now_ms,
                         uint64_t now) {
    if (fate == FATE_SILENT) {
        r->next_ms = 0;
        r->goes_away = true;
        return true;
    }
    bool later = fate == FATE_DRIFTS || fate == FATE_LOSES;
    enter(r, fate == FATE_FAILS ? RULES_FAILED : RULES_LOADED, later ? now_ms + o->delay_ms + 1 : 0, now);
    return true;
}

bool sim_rules_tick(struct sim_rules *r, const struct rules_options *o, uint32_t index, uint64_t now_ms, uint64_t now) {
    if (!r->next_ms || now_ms < r->next_ms) return false;
    enum rules_fate fate = goes_wrong(r, o) ? rules_fate(o, index) : FATE_LOADS;
    switch (r->state) {
    case RULES_RECEIVED:
        enter(r, RULES_APPLIED, fate == FATE_HANGS ? 0 : now_ms + o->delay_ms - o->delay_ms / 2, now);
        return true;
    case RULES_APPLIED: return tick_applied(r, o, fate, now_ms, now);
    case RULES_LOADED:
        if (fate == FATE_DRIFTS) enter(r, RULES_DRIFTED, 0, now);
        r->lost_sysmon = fate == FATE_LOSES;
        r->next_ms = 0;
        return true;
    default: r->next_ms = 0; return false;
    }
}

void sim_rules_status(const struct sim_rules *r, Haechi__RulesStatus *ret) {
    haechi__rules_status__init(ret);
    ret->serial = r->serial;
    ret->ruleset = text_field(r->ruleset);
    ret->revision = r->revision;
    ret->digest = msg_bytes(slice_of(r->digest, sizeof r->digest));
    ret->state = r->state;
    ret->time = r->time;
    switch (r->state) {
    case RULES_APPLIED: ret->evidence = RULES_BY_WORDS; break;
    case RULES_LOADED:
        ret->evidence = RULES_BY_WORDS | RULES_BY_EVENT16 | RULES_BY_COPY;
        ret->words = text_field("Configuration updated.");
        break;
    case RULES_FAILED:
        ret->reason = text_field("Sysmon complains of the configuration");
        ret->words = text_field("Error: Incorrect XML configuration: simulated.xml");
        break;
    case RULES_REFUSED: ret->reason = text_field("the order is older than one that this host has had"); break;
    case RULES_DRIFTED:
        ret->reason = text_field("the rules in the registry are not those that were loaded");
        ret->evidence = RULES_BY_COPY;
        break;
    default: break;
    }
}

void sim_rules_sysmon(const struct sim_rules *r, Haechi__Sysmon *ret) {
    haechi__sysmon__init(ret);
    ret->state = r->lost_sysmon ? SYSMON_STOPPED : SYSMON_RUNNING;
    ret->version = text_field("15.15");
    ret->schema = text_field("4.90");
    ret->service = text_field("Sysmon64");
    ret->driver = text_field("SysmonDrv");
}

double sim_rules_rate(const struct sim_rules *r, const struct rules_options *o) {
    bool other = r->state == RULES_LOADED && goes_wrong(r, o);
    return (double)o->rate * (other ? (double)o->rate_percent / 100 : 1);
}
