#!/bin/sh
# Every record of the real .evtx files, through agent, wire and store, comes back whole and once (the check from outside).
# timeout: 400
# flavour: release
. "$(dirname "$0")/../lib.sh"

check=$(shared checks/lossless.py) || exit 77
mkdir -p "$TMP/project/build"
ln -s "$BIN" "$TMP/project/build/release"
python3 "$check" "$TMP/project" "$HAECHI_SHARED/data/evtx" "$HAECHI_SHARED/data/ecs"
