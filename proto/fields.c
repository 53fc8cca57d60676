/* Lookups in fields.def. The hash tables are filled once, before main; nothing changes them later. Pure. */
#include "event.h"
#include "fields.h"

static const struct slice field_names[] = {
#define FIELD(number, name) [number] = {(const uint8_t *)#name, sizeof #name - 1},
#include "fields.def"
};

static const struct slice commons[] = {
#define COMMON(number, text) [number] = {(const uint8_t *)(text), sizeof(text) - 1},
#include "fields.def"
};

static const struct known_provider providers[] = {
#define PROVIDER(number, name, guid, channel) \
    [number] = {{(const uint8_t *)(name), sizeof(name) - 1}, guid, {(const uint8_t *)(channel), sizeof(channel) - 1}},
#include "fields.def"
};

#define N_OF(array) (sizeof(array) / sizeof *(array))
#define SLOTS 1024u /* a power of two, well over the number of names */
#define COMMON_MAX_LEN 40

_Static_assert(N_OF(field_names) < SLOTS / 2 && N_OF(commons) < SLOTS / 2, "the hash tables are too small");

static uint16_t field_slots[SLOTS], common_slots[SLOTS]; /* number + 1; 0: free */

/* Length and four characters tell nearly all names apart. */
static uint32_t slot_of(struct slice s) {
    if (!s.len) return 0;
    uint32_t h = (uint32_t)s.len * 0x9e3779b1u;
    h = (h ^ s.p[0]) * 0x85ebca6bu;
    h = (h ^ s.p[s.len - 1]) * 0xc2b2ae35u;
    h = (h ^ s.p[s.len / 2]) * 0x27d4eb2fu;
    h = (h ^ s.p[s.len / 4]) * 0x165667b1u;
    return (h ^ h >> 15) & (SLOTS - 1);
}

static void fill(uint16_t *slots, const struct slice *texts, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!texts[i].p) continue;
        uint32_t at = slot_of(texts[i]);
        while (slots[at]) at = (at + 1) & (SLOTS - 1);
        slots[at] = (uint16_t)(i + 1);
    }
}

__attribute__((constructor)) static void fill_tables(void) {
    fill(field_slots, field_names, N_OF(field_names));
    fill(common_slots, commons, N_OF(commons));
}

static int look_up(const uint16_t *slots, const struct slice *texts, struct slice s) {
    for (uint32_t at = slot_of(s); slots[at]; at = (at + 1) & (SLOTS - 1)) {
        if (slice_eq(texts[slots[at] - 1], s)) return slots[at] - 1;
    }
    return -1;
}

uint32_t event_field_id(struct slice name) {
    if (!name.len) return 0;
    int n = look_up(field_slots, field_names, name);
    return n < 0 ? 0 : (uint32_t)n;
}

struct slice field_name_at(uint32_t number) {
    return number < N_OF(field_names) ? field_names[number] : (struct slice){NULL, 0};
}

const char *event_field_name(uint32_t id) {
    return (const char *)field_name_at(id).p;
}

int common_find(struct slice text) {
    return text.len > COMMON_MAX_LEN ? -1 : look_up(common_slots, commons, text);
}

struct slice common_at(uint32_t number) {
    return number < N_OF(commons) ? commons[number] : (struct slice){NULL, 0};
}

const struct known_provider *provider_find(struct slice name, uint32_t *ret_number) {
    for (uint32_t i = 1; i < N_OF(providers); i++) {
        if (!slice_eq(providers[i].name, name)) continue;
        *ret_number = i;
        return &providers[i];
    }
    return NULL;
}

const struct known_provider *provider_at(uint32_t number) {
    return number && number < N_OF(providers) && providers[number].name.p ? &providers[number] : NULL;
}

#define F(name) F_##name
#define SYSMON(id, tag, title, ...) static const uint32_t sysmon_fields_##id[] = {__VA_ARGS__, 0};
#include "fields.def"

static const struct sysmon_event sysmon_events[] = {
#define SYSMON(id, tag, title, ...) {id, tag, title, sysmon_fields_##id},
#include "fields.def"
};

const struct sysmon_event *sysmon_event_find(uint32_t id) {
    for (size_t i = 0; i < N_OF(sysmon_events); i++) {
        if (sysmon_events[i].id == id) return &sysmon_events[i];
    }
    return NULL;
}
