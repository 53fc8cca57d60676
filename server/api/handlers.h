/* The step functions that the route table names. Each runs on a work thread; see call.h. */
#ifndef HAECHI_HANDLERS_H
#define HAECHI_HANDLERS_H

#include "call.h"

/* handlers_fleet.c */
enum step hosts_step(struct call *c, struct buf *out, struct error *err);
enum step host_step(struct call *c, struct buf *out, struct error *err);
enum step revoke_step(struct call *c, struct buf *out, struct error *err);
enum step approve_step(struct call *c, struct buf *out, struct error *err);
enum step tags_step(struct call *c, struct buf *out, struct error *err);
enum step pending_step(struct call *c, struct buf *out, struct error *err);
enum step audit_step(struct call *c, struct buf *out, struct error *err);
/* handlers_rules.c */
enum step rulesets_step(struct call *c, struct buf *out, struct error *err);
enum step ruleset_step(struct call *c, struct buf *out, struct error *err);
enum step revision_step(struct call *c, struct buf *out, struct error *err);
enum step push_step(struct call *c, struct buf *out, struct error *err);
enum step check_step(struct call *c, struct buf *out, struct error *err);
enum step diff_step(struct call *c, struct buf *out, struct error *err);
/* handlers_groups.c */
enum step groups_step(struct call *c, struct buf *out, struct error *err);
enum step group_step(struct call *c, struct buf *out, struct error *err);
enum step group_set_step(struct call *c, struct buf *out, struct error *err);
enum step group_unassign_step(struct call *c, struct buf *out, struct error *err);
/* handlers_tokens.c */
enum step tokens_step(struct call *c, struct buf *out, struct error *err);
enum step token_create_step(struct call *c, struct buf *out, struct error *err);
enum step token_revoke_step(struct call *c, struct buf *out, struct error *err);
/* handlers_events.c */
enum step events_step(struct call *c, struct buf *out, struct error *err);
enum step tree_step(struct call *c, struct buf *out, struct error *err);
/* handlers_store.c */
enum step status_step(struct call *c, struct buf *out, struct error *err);
enum step metrics_step(struct call *c, struct buf *out, struct error *err);
enum step ledger_step(struct call *c, struct buf *out, struct error *err);
enum step openapi_step(struct call *c, struct buf *out, struct error *err);
/* handlers_rollouts.c */
enum step rollouts_step(struct call *c, struct buf *out, struct error *err);
enum step rollout_start_step(struct call *c, struct buf *out, struct error *err);
enum step rollout_show_step(struct call *c, struct buf *out, struct error *err);
enum step rollout_halt_step(struct call *c, struct buf *out, struct error *err);
enum step rollout_resume_step(struct call *c, struct buf *out, struct error *err);
enum step rollout_rollback_step(struct call *c, struct buf *out, struct error *err);
/* handlers_simulate.c */
enum step simulate_rules_step(struct call *c, struct buf *out, struct error *err);
/* handlers_volume.c */
enum step volumes_step(struct call *c, struct buf *out, struct error *err);
enum step noise_step(struct call *c, struct buf *out, struct error *err);
/* backup.c */
enum step backup_step(struct call *c, struct buf *out, struct error *err);
/* import.c: after the body has been taken */
enum step import_step(struct call *c, struct buf *out, struct error *err);

#endif
