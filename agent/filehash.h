/* The hashes by which Sysmon names a file of configuration: MD5, SHA-1, SHA-256, whichever it was set to compute. They prove
 * nothing to anybody; they are compared with what Sysmon says of a file whose bytes we have. Pure. */
#ifndef HAECHI_FILEHASH_H
#define HAECHI_FILEHASH_H

#include "slice.h"

struct filehash {
    uint8_t md5[16], sha1[20], sha256[32];
};

void filehash_make(struct slice bytes, struct filehash *ret);

enum filehash_answer {
    FILEHASH_NONE, /* no hash that we know in it: empty, "-", IMPHASH alone */
    FILEHASH_SAME, /* at least one, and each that we know is this file's */
    FILEHASH_OTHER
};
/* text: "SHA256=HEX", several with commas between; in any case of letters; hex alone is known by its length. */
enum filehash_answer filehash_compare(const struct filehash *h, struct slice text);

#endif
