/* Events of Sysmon about itself. Pure. */
#include "sysmon_note.h"

static void keep(char *out, size_t cap, struct slice s) {
    size_t n = s.len < cap ? s.len : cap - 1;
    while (n < s.len && n && (s.p[n] & 0xc0) == 0x80) n--;
    if (n) memcpy(out, s.p, n);
    out[n] = 0;
}

static bool has(struct slice text, struct slice part) {
    for (; part.len && text.len >= part.len; text = slice_from(text, 1)) {
        if (memcmp(text.p, part.p, part.len) == 0) return true;
    }
    return false;
}

bool sysmon_note_of(const struct event *ev, const char *canary, struct sysmon_note *ret) {
    uint64_t id = ev->event_id.v;
    if (id != 1 && id != 4 && id != 16 && id != 255) return false;
    if (id == 1 && !*canary) return false;
    if (!slice_eq(ev->provider, SLICE_LIT("Microsoft-Windows-Sysmon")) &&
        !slice_eq(ev->provider, SLICE_LIT("Linux-Sysmon")))
        return false;
    if (id == 1 && !has(event_value(ev, "CommandLine"), slice_str(canary))) return false;
    struct sysmon_note n = {.event = (unsigned)id, .time = ev->time};
    if (id == 16) {
        keep(n.hash, sizeof n.hash, event_value(ev, "ConfigurationFileHash"));
        keep(n.file, sizeof n.file, event_value(ev, "Configuration"));
        keep(n.text, sizeof n.text, ev->user_sid);
    } else if (id == 4) {
        keep(n.file, sizeof n.file, event_value(ev, "State"));
        keep(n.text, sizeof n.text, event_value(ev, "Version"));
    } else if (id == 255) {
        keep(n.file, sizeof n.file, event_value(ev, "ID"));
        keep(n.text, sizeof n.text, event_value(ev, "Description"));
    } else {
        keep(n.file, sizeof n.file, event_value(ev, "RuleName"));
    }
    *ret = n;
    return true;
}
