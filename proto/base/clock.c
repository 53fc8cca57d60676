/* FILETIME arithmetic by the civil calendar (proleptic Gregorian, days counted from 1601-01-01), and the clock for what is written. */
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t clock_wall(void) {
    uint64_t ft = clock_system();
#ifdef HAECHI_TEST_HOOKS
    const char *shift = getenv("HAECHI_TEST_CLOCK_S");
    if (shift) ft += (uint64_t)(strtoll(shift, NULL, 10) * (int64_t)FILETIME_SECOND);
#endif
    return ft;
}

int64_t filetime_to_unix(uint64_t ft) {
    return (int64_t)(ft / FILETIME_SECOND) - (int64_t)(FILETIME_UNIX_EPOCH / FILETIME_SECOND);
}

uint64_t filetime_from_unix(int64_t s) {
    return (uint64_t)(s + (int64_t)(FILETIME_UNIX_EPOCH / FILETIME_SECOND)) * FILETIME_SECOND;
}

struct civil {
    int year, month, day;
};

/* Days since 1601-01-01 <-> civil date. 1601 begins a 400-year cycle of 146,097 days. */
static struct civil civil_from_days(uint32_t days) {
    static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    uint32_t c400 = days / 146097, d = days % 146097;
    uint32_t c100 = d / 36524;
    if (c100 == 4) c100 = 3;
    d -= c100 * 36524;
    uint32_t c4 = d / 1461;
    d %= 1461;
    uint32_t c1 = d / 365;
    if (c1 == 4) c1 = 3;
    d -= c1 * 365;
    int year = (int)(1601 + c400 * 400 + c100 * 100 + c4 * 4 + c1);
    bool leap = c1 == 3 && (c4 != 24 || c100 == 3);
    int month = 1;
    while (month < 12 && d >= (uint32_t)before[month] + (leap && month >= 2)) month++;
    d -= (uint32_t)before[month - 1] + (leap && month > 2);
    return (struct civil){year, month, (int)d + 1};
}

static bool is_leap(int y) {
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int month_days(int y, int m) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[m - 1] + (m == 2 && is_leap(y));
}

static uint64_t days_from_civil(int y, int m, int d) {
    uint64_t n = (uint64_t)(y - 1601);
    uint64_t days = n * 365 + n / 4 - n / 100 + n / 400;
    for (int i = 1; i < m; i++) days += (uint64_t)month_days(y, i);
    return days + (uint64_t)d - 1;
}

size_t filetime_format(uint64_t ft, int digits, char *out) {
    struct civil c = civil_from_days((uint32_t)(ft / FILETIME_DAY));
    uint32_t s = (uint32_t)(ft % FILETIME_DAY / FILETIME_SECOND);
    int n = snprintf(out, FILETIME_TEXT_MAX, "%04d-%02d-%02dT%02u:%02u:%02u", c.year, c.month, c.day, s / 3600,
                     s / 60 % 60, s % 60);
    if (digits > 0) {
        char frac[10];
        snprintf(frac, sizeof frac, "%07u00", (unsigned)(ft % FILETIME_SECOND));
        n += snprintf(out + n, FILETIME_TEXT_MAX - (size_t)n, ".%.*s", digits > 9 ? 9 : digits, frac);
    }
    out[n++] = 'Z';
    out[n] = 0;
    return (size_t)n;
}

/* `n` decimal digits at *p, which moves past them; -1 when there are not as many. */
static int digits_at(const uint8_t **p, const uint8_t *end, int n) {
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (*p == end || **p < '0' || **p > '9') return -1;
        v = v * 10 + (*(*p)++ - '0');
    }
    return v;
}

static bool char_at(const uint8_t **p, const uint8_t *end, const char *any_of) {
    if (*p == end || !**p || !strchr(any_of, **p)) return false;
    (*p)++;
    return true;
}

static bool date_at(const uint8_t **p, const uint8_t *end, uint64_t *ret_days) {
    int y = digits_at(p, end, 4);
    if (!char_at(p, end, "-")) return false;
    int m = digits_at(p, end, 2);
    if (!char_at(p, end, "-")) return false;
    int d = digits_at(p, end, 2);
    if (y < 1601 || m < 1 || m > 12 || d < 1 || d > month_days(y, m)) return false;
    *ret_days = days_from_civil(y, m, d);
    return true;
}

MUST_USE enum status filetime_parse(struct slice s, uint64_t *ret_ft, int *ret_digits, bool *ret_lost) {
    const uint8_t *p = s.p, *end = s.p + s.len;
    uint64_t days;
    if (!date_at(&p, end, &days) || !char_at(&p, end, "T ")) return ST_FORMAT;
    int h = digits_at(&p, end, 2);
    if (!char_at(&p, end, ":")) return ST_FORMAT;
    int mi = digits_at(&p, end, 2);
    if (!char_at(&p, end, ":")) return ST_FORMAT;
    int sec = digits_at(&p, end, 2);
    if (h < 0 || h > 23 || mi < 0 || mi > 59 || sec < 0 || sec > 59) return ST_FORMAT;
    uint64_t frac = 0, unit = FILETIME_SECOND;
    int digits = 0;
    bool lost = false;
    if (char_at(&p, end, ".")) {
        while (p < end && *p >= '0' && *p <= '9' && digits < 9) {
            unit /= 10;
            frac += (uint64_t)(*p - '0') * unit;
            lost = lost || (unit == 0 && *p != '0');
            digits++;
            p++;
        }
        if (!digits) return ST_FORMAT;
    }
    if (!char_at(&p, end, "Zz") && end - p >= 6 && memcmp(p, "+00:00", 6) == 0) p += 6;
    if (p != end) return ST_FORMAT;
    *ret_ft = days * FILETIME_DAY + (uint64_t)(h * 3600 + mi * 60 + sec) * FILETIME_SECOND + frac;
    if (ret_digits) *ret_digits = digits;
    if (ret_lost) *ret_lost = lost;
    return ST_OK;
}

void filetime_day(uint64_t ft, char out[11]) {
    char text[FILETIME_TEXT_MAX];
    filetime_format(ft, 0, text);
    memcpy(out, text, 10);
    out[10] = 0;
}

MUST_USE enum status filetime_from_day(struct slice day, uint64_t *ret_ft) {
    const uint8_t *p = day.p, *end = day.p + day.len;
    uint64_t days;
    if (!date_at(&p, end, &days) || p != end) return ST_FORMAT;
    *ret_ft = days * FILETIME_DAY;
    return ST_OK;
}
