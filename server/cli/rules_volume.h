/* Volumes as tables: shared by the commands that show them. */
#ifndef HAECHI_RULES_VOLUME_H
#define HAECHI_RULES_VOLUME_H

#include <yyjson.h>

/* The answer of /api/v1/volume, or of a host's noise, for people. */
void print_volume(yyjson_val *o);

#endif
