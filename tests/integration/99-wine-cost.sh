#!/bin/sh
# What an event costs the Windows agent without reading and rendering it: at most 6 µs of CPU, with TLS, spool and what Wine adds.
# timeout: 300
# alone
. "$(dirname "$0")/../lib.sh"
need x86_64-w64-mingw32-gcc
[ -e "${HAECHI_EXE:-$(dirname "$BIN")/windows/haechi-agent.exe}" ] || skip "haechi-agent.exe is not built (make windows)"
sh "$ROOT/tests/bench/bench_windows.sh" 60000 6
