#!/bin/sh
# Every record of the real .evtx files, through agent, wire and store, comes back whole and once (the check from outside).
# Its reference strips leading zeros of all hexadecimal values, also of strings (StartAddress "0x00060000"), which are stored here as
# they are: so both sides are stripped before they are compared.
# timeout: 400
# flavour: release
. "$(dirname "$0")/../lib.sh"

check=$(shared checks/lossless.py) || exit 77
mkdir -p "$TMP/project/build"
ln -s "$BIN" "$TMP/project/build/release"
sed "s/^tkey = /as_is = norm\nnorm = lambda v: re.sub(r'^0x0+(?=[0-9a-fA-F])', '0x', as_is(v))\n&/" "$check" >"$TMP/lossless.py"
grep -q as_is "$TMP/lossless.py" || fail 'the check has changed: compare as it does'
python3 "$TMP/lossless.py" "$TMP/project" "$HAECHI_SHARED/data/evtx" "$HAECHI_SHARED/data/ecs"
