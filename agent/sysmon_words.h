/* What Sysmon printed -> did it take the configuration, and which sentence says so. Pure.
 *
 * An exit code proves nothing and neither does a line of success in the middle: runs that stop after "Configuration file
 * validated." changed nothing, and a file whose block was dropped ends with success as well. So: no complaint anywhere, and on
 * Windows the last line is "Configuration updated."; Sysmon for Linux says nothing when all is well.
 *
 * Parser generations differ in words (MSXML to version 12, libxml2 from 13, pugixml on Linux from 2026); what the system adds is
 * in its own language. */
#ifndef HAECHI_SYSMON_WORDS_H
#define HAECHI_SYSMON_WORDS_H

#include "buf.h"

enum sysmon_system { SYSMON_ON_WINDOWS, SYSMON_ON_LINUX };

enum sysmon_answer {
    SYSMON_ACCEPTED,
    SYSMON_REFUSED,      /* the configuration, or a part of it: the same file again gives the same */
    SYSMON_NOT_POSSIBLE, /* the host: no rights, driver or service not there, not installed */
    SYSMON_INDEFINITE    /* no complaint, but it did not say either that it is done */
};

struct sysmon_verdict {
    enum sysmon_answer answer;
    char reason[400]; /* one sentence; empty when accepted */
};

/* As captured from its standard output and error -> UTF-8 lines without carriage returns and control characters: UTF-16 with or
 * without mark, UTF-8, or a code page, of which only ASCII is kept. */
void sysmon_words_decode(struct slice captured, struct buf *out);

/* lines: as decoded, whole. exit_code: 0 when it ended as it should. */
void sysmon_words_judge(struct slice lines, enum sysmon_system system, int exit_code, struct sysmon_verdict *ret);

/* At most max bytes of the lines for a report: when it is more, the first half and the end. */
void sysmon_words_cut(struct slice lines, size_t max, struct buf *out);

#endif
