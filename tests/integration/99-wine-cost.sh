#!/bin/sh
# What an event costs the Windows agent without reading and rendering it: at most 6 µs of CPU, with TLS, spool and what Wine adds.
# timeout: 400
# alone
. "$(dirname "$0")/../lib.sh"
need x86_64-w64-mingw32-gcc
[ -e "${HAECHI_EXE:-$(dirname "$BIN")/windows/haechi-agent.exe}" ] || skip "haechi-agent.exe is not built (make windows)"
# The measurement scatters by a third, also on a quiet machine: the best of at most six tries counts, so this finds gross growth only.
for try in 1 2 3 4 5 6; do
    sh "$ROOT/tests/bench/bench_windows.sh" 60000 6 >"$TMP/try.log" 2>&1 && break
    [ $try -lt 6 ] || fail "$(grep -a -e FAILED -e 'the agent' "$TMP/try.log")"
done
grep -a 'the agent' "$TMP/try.log"
