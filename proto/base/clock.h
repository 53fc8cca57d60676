/* Time. Wall-clock times are Windows FILETIME: 100 ns since 1601-01-01 UTC, as every event carries them. Pure code
 * takes times as arguments; only wiring calls clock_wall() and clock_mono_ms(). */
#ifndef HAECHI_CLOCK_H
#define HAECHI_CLOCK_H

#include "slice.h"
#include "status.h"

#define FILETIME_SECOND UINT64_C(10000000)
#define FILETIME_DAY (UINT64_C(86400) * FILETIME_SECOND)
#define FILETIME_UNIX_EPOCH UINT64_C(116444736000000000) /* 1970-01-01 */

uint64_t clock_wall(void);    /* now, FILETIME; with test hooks shifted by HAECHI_TEST_CLOCK_S seconds */
uint64_t clock_mono_ms(void); /* monotonic milliseconds: for intervals and deadlines */
uint64_t clock_system(void);  /* clock_wall without that shift; bodies: clock_posix.c, clock_win.c */

int64_t filetime_to_unix(uint64_t ft); /* whole seconds, floor */
uint64_t filetime_from_unix(int64_t s);

#define FILETIME_TEXT_MAX 40

/* RFC 3339 UTC with `digits` fraction digits (0 to 9, the last two of 9 are 0): "2026-11-24T23:47:04.1234567Z".
 * Writes at most FILETIME_TEXT_MAX bytes with NUL; returns the length. Years 1601 to 60056. */
size_t filetime_format(uint64_t ft, int digits, char *out);

/* The opposite: "YYYY-MM-DD[T ]hh:mm:ss[.f{1,9}][Z|+00:00]". *ret_digits (may be NULL) is the number of fraction
 * digits. ST_FORMAT for anything else, also for digits below 100 ns that are not zero when exact is asked (see
 * ret_lost, may be NULL: true when digits beyond 100 ns were not zero and were cut). */
MUST_USE enum status filetime_parse(struct slice s, uint64_t *ret_ft, int *ret_digits, bool *ret_lost);

/* The day "2026-11-24" that holds ft; out has room for 11 bytes. And its first FILETIME. */
void filetime_day(uint64_t ft, char out[11]);
MUST_USE enum status filetime_from_day(struct slice day, uint64_t *ret_ft);

#endif
