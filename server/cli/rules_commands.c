/* rules: the table of its commands. Each has a file of its own (rules_<verb>.c) with the row that is named here. */
#include "commands.h"

const struct command *const rules_commands[] = {
    &rules_check_command,
    &rules_merge_command,
    &rules_push_command,
    &rules_simulate_command,
    &rules_list_command,
    &rules_show_command,
    &rules_diff_command,
    &rules_export_command,
    &rules_status_command,
    &rules_halt_command,
    &rules_resume_command,
    &rules_rollback_command,
    &rules_volume_command,
    &rules_noisy_command,
    &groups_command,
    &group_show_command,
    &group_set_command,
    &group_unassign_command,
    NULL,
};
