/* Installing without a person: what an installer, an image or an admin's script leaves for the agent, as text and back. Pure.
 *
 *     STATE/enroll.conf     token = "haechi-enroll.v1...."       or the token alone
 *                           name = "HOST"                        optional: instead of the host's own name
 *                           collectors = ["HOST:PORT"]           optional: asked in this order, instead of the token's address
 *
 * The file is for its owner alone, as the key is: who can change it chooses the collector. enroll_wait.h reads and removes it. */
#ifndef HAECHI_SETUP_H
#define HAECHI_SETUP_H

#include "conf.h"

#define SETUP_FILE "enroll.conf"
#define SETUP_FILE_MAX 16384u

struct setup_file { /* zero, or owned: setup_file_free */
    char *token, *name;
    struct conf_strings collectors; /* HOST:PORT each, the port never missing */
};
/* ST_FORMAT, ST_INVALID: the sentence names the place, never the token. The token itself is checked for its form. */
MUST_USE enum status setup_file_parse(const char *name, struct slice text, struct setup_file *ret, struct error *err);
void setup_file_free(struct setup_file *f); /* wipes the token */
/* HOST or HOST:PORT as HOST:PORT. */
MUST_USE enum status setup_full_address(struct slice address, struct buf *out, struct error *err);

/* The words of an installer. NULL or empty: not given. */
struct setup_words {
    const char *token;
    const char *server;   /* HOST[:PORT], several divided by commas, semicolons or blanks */
    const char *channels; /* NAME or "NAME: QUERY", several divided by semicolons */
};
/* Both texts, or a sentence that begins with the name of the word that is no good. *ret_enroll (wipe it) stays empty without a
 * token, *ret_config (lines of agent.toml) without server and channels. */
MUST_USE enum status setup_compose(const struct setup_words *w, struct buf *ret_enroll, struct buf *ret_config,
                                   struct error *err);

#endif
