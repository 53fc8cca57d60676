#!/bin/sh
# Exactly once through kill -9 at 20 random times of agent and collector (the check from outside, with real events).
# timeout: 700
# flavour: release
. "$(dirname "$0")/../lib.sh"

check=$(shared checks/kill.py) || exit 77
mkdir -p "$TMP/project/build"
ln -s "$BIN" "$TMP/project/build/release"
python3 "$check" "$TMP/project" "$HAECHI_SHARED/data/bench/sysmon-100k.xml.zst" --events 20000 --kills 20 --port "$(free_port)"
