#!/bin/sh
# While every fdatasync of the collector fails, nothing is acknowledged: `send` must not succeed, nothing is shown, status says
# why. When syncing works again, everything arrives once. Moving the ack before the commit, or leaving the sync out, makes
# the failing send succeed and this test fail.
# timeout: 120
. "$(dirname "$0")/../lib.sh"
need strace

start_collector
enroll SYNC-PC
send SYNC-PC "$ROOT/tests/data/evtx/sysmon-made.evtx"
before=$(haechi events --host SYNC-PC --count)
[ "$before" -gt 0 ] || fail 'nothing was stored at first'

run_bg strace strace -f -qq -p "$COLLECTOR_PID" -e trace=fdatasync -e inject=fdatasync:error=EIO -o "$TMP/strace.out"
traced() { grep -q 'TracerPid:.[1-9]' "/proc/$COLLECTOR_PID/status"; }
wait_for 10 traced || :

if timeout 6 haechi-agent send --state "$TMP/SYNC-PC" "$ROOT/tests/data/demo/demo.xml" 2>"$TMP/send.err"; then
    fail 'acknowledged although no sync succeeded'
fi
grep -q 'fdatasync(.*EIO' "$TMP/strace.out" || fail "the collector did not try to sync: the ack would mean nothing"
same 'events while nothing can be synced' "$before" "$(haechi events --host SYNC-PC --count)"
contains 'status says why' "$(haechi status --json)" 'put/output error'

end strace
send SYNC-PC "$ROOT/tests/data/demo/demo.xml"
same 'events afterwards' $((before + 60)) "$(haechi events --host SYNC-PC --count)"
