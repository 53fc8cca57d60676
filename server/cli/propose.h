/* An exclude for a program's events of one id, from a sample of them: its full path and one more thing that they have in
 * common. Nothing is proposed where there is no such thing. Pure. */
#ifndef HAECHI_PROPOSE_H
#define HAECHI_PROPOSE_H

#include "exclude.h"

#include <yyjson.h>

#define PROPOSE_SAMPLE 2000u     /* events that are looked at */
#define PROPOSE_MAX_VALUES 3u    /* excludes of one program and id at most */
#define PROPOSE_COVER_PERCENT 60 /* of the sample at least, else it is not worth a rule */

struct propose_value {
    char *text; /* owned */
    size_t n;
};
struct propose_field {
    struct propose_value *values;
    size_t n, cap;
};

struct propose {
    uint32_t id;
    char *image; /* owned */
    size_t n_events;
    struct propose_field exact[4], folders[4]; /* by field of the id */
};

struct proposal {
    struct exclude exclude;
    char *value;    /* owned; the exclude borrows it */
    double covered; /* part of the sample */
};

/* False: events of this id cannot be excluded by program (no tag, or they name none). */
bool propose_begin(struct propose *p, uint32_t id, const char *image);
void propose_event(struct propose *p, yyjson_val *data); /* the event's "data" */
/* At most PROPOSE_MAX_VALUES; 0: nothing narrow enough covers enough of the sample. They borrow from p; free their values
 * with proposal_free. */
size_t propose_end(struct propose *p, struct proposal ret[PROPOSE_MAX_VALUES]);
void proposal_free(struct proposal *p);
void propose_deinit(struct propose *p);

const char *propose_subject(uint32_t id); /* the field that names the program: Image, SourceImage; NULL: none */
/* Sentences, one a line, about who could hide behind the exclude; nothing to say: nothing. */
void propose_warnings(const struct exclude *x, struct buf *out);

#endif
