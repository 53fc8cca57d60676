#!/bin/sh
# A backup while events arrive: the copy, put in the place of the data, serves every event that was acked before the backup began, and
# takes the rest; hosts, certificates, tokens and audit are in it.
. "$(dirname "$0")/../lib.sh"
need python3
many() { python3 "$ROOT/tests/integration/many_events.py" "$@"; }
count() { haechi events --host A --count; }

start_collector
enroll A
for i in 0 1 2 3 4 5 6; do many 15000 A $((i * 15000 + 1)) $((1764000000 + i * 15000)) >"$TMP/$i.xml"; done
send A "$TMP/0.xml" "$TMP/1.xml"
run_bg live haechi-agent send --state "$TMP/A" "$TMP/2.xml" "$TMP/3.xml" "$TMP/4.xml" "$TMP/5.xml"
begun() { before=$(count) && [ "$before" -gt 30000 ]; }
wait_for 10 begun
haechi backup "$TMP/copy"
same 'the copy is for its owner only' 700 "$(stat -c %a "$TMP/copy")"
refused 'copy' haechi backup "$TMP/copy"
while is_running live; do sleep 0.05; done
same 'the collector went on' 90000 "$(count)"
contains 'the audit log' "$(haechi audit --json)" '"action":"backup'
kill_collector

echo "$COLLECTOR_PORT" >"$TMP/copy.port"
start_collector copy
after=$(count)
say "$before events acked before the backup, $after in the copy, 90000 in the end"
[ "$after" -ge "$before" ] || fail "the copy has $after events, $before were acked before it was begun"
[ "$before" -lt 90000 ] || fail 'nothing arrived while it was made'
same 'its answers' "$after" "$(haechi events --host A --format json | wc -l)"
same 'its hosts' A "$(haechi hosts --json | sed 's/.*"name":"\([^"]*\)".*/\1/')"
# the agent knows no difference, and what is missing comes by being sent again
send A "$TMP/0.xml" "$TMP/1.xml" "$TMP/2.xml" "$TMP/3.xml" "$TMP/4.xml" "$TMP/5.xml" "$TMP/6.xml"
same 'all, once' 105000 "$(count)"
same 'no hole' '' "$(haechi ledger --host A --holes)"
same 'record ids that are there twice' '' "$(haechi events --host A --format json | sed 's/.*"record_id":\([0-9]*\).*/\1/' | sort | uniq -d)"
