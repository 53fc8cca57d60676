/* A folder of modules as one configuration: finds them on disk, ruleset_merge does the rest.
 *
 * The form of sysmon-modular: folders whose names begin with a digit (1_process_creation) hold the modules; other folders and the
 * files beside them are not modules. A folder without such folders holds the modules itself. Hidden files, and all that does
 * not end in .xml, are left alone. templates/sysmon_template.xml, where it is there, is the base unless one is named. */
#ifndef HAECHI_MODULES_H
#define HAECHI_MODULES_H

#include "buf.h"

#define MODULES_MAX 5000u

bool modules_is_folder(const char *path);
/* Appends the merged configuration to *ret_xml. base NULL: the template, if any. What is wrong with modules is printed on stderr, a
 * line each; *err says how much it was. *ret_n (may be NULL): how many modules there were. */
MUST_USE enum status modules_merge(const char *folder, const char *base, struct buf *ret_xml, size_t *ret_n,
                                   struct error *err);

#endif
