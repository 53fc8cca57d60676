/* Running under the system's service manager, and the places that belong to the system. Bodies: service_win.c (the Service Control
 * Manager), places_win.c, service_posix.c (systemd does all of it: deploy/systemd). */
#ifndef HAECHI_SERVICE_H
#define HAECHI_SERVICE_H

#include "status.h"

enum service_verb { VERB_RUN, VERB_INSTALL, VERB_UNINSTALL, VERB_START, VERB_STOP };

struct service_options {
    const char *config, *state; /* for install: go into its command line; NULL: the defaults */
    const char *account;        /* for install: NULL is LocalSystem; else one that needs no password */
    /* VERB_RUN: the work, on a thread of the manager's, until run_stop(); its result is an exit code. */
    int (*work)(void *ctx);
    void *ctx;
};

/* "" (under the manager), install, uninstall, start, stop; ST_INVALID for any other word. */
MUST_USE enum status service_verb_parse(const char *word, enum service_verb *ret);
/* ST_OK when done: *ret_code is then the exit code of the work (0 for the other verbs). */
MUST_USE enum status service_run(enum service_verb verb, const struct service_options *o, int *ret_code,
                                 struct error *err);

const char *service_default_state(void);  /* of this system; valid for ever */
const char *service_default_config(void); /* likewise */
void service_prepare(void);               /* once, first thing in main */

#endif
