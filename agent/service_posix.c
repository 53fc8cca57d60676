/* Services on POSIX systems are the service manager's: the program is the same with and without one. */
#include "service.h"

#include <signal.h>
#include <stddef.h>

enum status service_verb_parse(const char *word, enum service_verb *ret) {
    (void)word;
    *ret = VERB_RUN;
    return ST_OK;
}

enum status service_run(enum service_verb verb, const struct service_options *o, int *ret_code, struct error *err) {
    (void)verb;
    (void)o;
    (void)ret_code;
    return error_set(err, ST_VERSION,
                     "this is for Windows; here systemd runs `haechi-agent run`: systemctl enable --now haechi-agent");
}

const char *service_default_state(void) {
    return "/var/lib/haechi-agent";
}

const char *service_default_config(void) {
    return "/etc/haechi/agent.toml";
}

void service_prepare(void) {
    signal(SIGPIPE, SIG_IGN); /* a collector that goes away is an error to handle, not an end */
}
