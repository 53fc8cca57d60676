/* Named points at which a test may end the process as SIGKILL would, to prove what survives. In builds without test
 * hooks they are nothing.
 *
 * HAECHI_CRASH_AT="name" or "name:N" (the N-th passage) ends the process at once, without any clean-up. */
#ifndef HAECHI_CRASH_H
#define HAECHI_CRASH_H

#ifdef HAECHI_TEST_HOOKS
void crash_point(const char *name);
#else
#define crash_point(name) ((void)0)
#endif

#endif
