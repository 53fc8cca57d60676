/* rules: the table of its commands. Each has a file of its own (rules_<verb>.c) with the row that is named here. */
#include "commands.h"

const struct command *const rules_commands[] = {&rules_check_command, NULL};
