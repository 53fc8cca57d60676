/* The work of the rules' jobs: files, Sysmon, the canary. Blocking; one job at a time, on a thread of its own.
 *
 *     STATE/rules/state                what rules_kept.h says
 *     STATE/rules/0123456789abcdef.xml the configuration in force or on its way there, named by the first 8 bytes of its SHA-256,
 *                                      for the agent's account alone: Sysmon is given this file and no other
 *
 * Bodies: rules_run.c. */
#ifndef HAECHI_RULES_RUN_H
#define HAECHI_RULES_RUN_H

#include "rules.h"

/* What is kept of an earlier run; empty when there is nothing, or nothing that can be read (said so). dir: STATE/rules. */
void rules_run_read(const char *dir, struct buf *ret_state);
void rules_run_job(const char *dir, struct rules_job *j);
/* `haechi-agent canary WORD`: does nothing for a moment, to be seen doing it. An exit code. */
int rules_run_canary(const char *word);

#endif
