/* Encoded events from a peer, of which some values are picked: without harm, and the same as decoding gives. */
#include "event_pick.h"
#include "event.h"
#include "fields.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint32_t fields[] = {F_RuleName,    F_UtcTime, F_ProcessGuid, F_Image,
                                  F_CommandLine, F_Hashes,  F_LogonId,     F_User};
#define N (sizeof fields / sizeof *fields)

static struct slice first_value(const struct event *ev, uint32_t field) {
    for (size_t i = 0; i < ev->n_data; i++) {
        if (event_field_id(ev->data[i].name) == field) return ev->data[i].value;
    }
    return (struct slice){NULL, 0};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    uint8_t places[F_COUNT] = {0};
    struct event_wanted want = {places, F_COUNT, N};
    struct slice values[N];
    struct arena a, b;
    struct event ev;
    struct buf bytes = {0};
    enum event_origin origin;
    arena_init(&a, EVENT_ARENA_CAP);
    arena_init(&b, EVENT_ARENA_CAP);
    for (size_t i = 0; i < N; i++) places[fields[i]] = (uint8_t)(i + 1);
    if (event_pick(slice_of(data, len), 0, &want, &a, &origin, values) == ST_OK && origin != ORIGIN_OTHER) {
        size_t sum = 0;
        for (size_t i = 0; i < N; i++) {
            for (size_t k = 0; k < values[i].len; k++) sum += values[i].p[k];
        }
        if (sum == SIZE_MAX) abort();
    }
    /* what our own encoder makes of it is read alike */
    if (event_decode(slice_of(data, len), &b, &ev) == ST_OK && event_encode(&ev, &bytes) == ST_OK) {
        bool sysmon =
            slice_eq_str(ev.provider, "Microsoft-Windows-Sysmon") || slice_eq_str(ev.provider, "Linux-Sysmon");
        arena_reset(&a);
        if (event_pick(buf_slice(&bytes), ev.time, &want, &a, &origin, values)) abort();
        if ((origin != ORIGIN_OTHER) != sysmon) abort();
        for (size_t i = 0; i < N && sysmon; i++) {
            struct slice wanted = first_value(&ev, fields[i]);
            if (!wanted.p != !values[i].p || !slice_eq(wanted, values[i])) abort();
        }
    }
    buf_free(&bytes);
    arena_deinit(&a);
    arena_deinit(&b);
    return 0;
}
