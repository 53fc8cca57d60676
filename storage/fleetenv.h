/* Inside storage/: the fleet environment's tables. */
#ifndef HAECHI_FLEETENV_H
#define HAECHI_FLEETENV_H

#include "fleetdb.h"
#include "partition.h"

/* after the tables of enum fleet_table */
enum { FLEETENV_SEQUENCES = FLEET_TABLES, FLEETENV_CURSORS, FLEETENV_TABLES };

MUST_USE enum status fleet_env_open(struct db *db, struct error *err);

#endif
