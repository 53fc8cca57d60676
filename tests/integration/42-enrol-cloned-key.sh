#!/bin/sh
# One key in two places: both are cut and held with a clone alarm until an admin approves. send beside run, a restart and a
# lost connection are no clones.
. "$(dirname "$0")/../lib.sh"
demo=$ROOT/tests/data/demo/demo.xml
quick='uplink.retry_min = "1s"'
log_has() { grep -q "$1" "$TMP/$2.log"; }
state() { haechi host show A | sed -n 's/^state *//p'; }

start_collector
enroll A
start_agent A 'sources.journal = false' "$quick" 'uplink.retry_max = "2s"'
wait_for 10 log_has connected A
send A "$demo"
send A "$demo"
same 'send beside run' active "$(state)"
same 'run was not disturbed' 1 "$(grep -c connected "$TMP/A.log")"
refused 'another haechi-agent is running with' haechi-agent run --config "$TMP/A.conf"
kill_agent A
start_agent A 'sources.journal = false' "$quick" 'uplink.retry_max = "2s"'
wait_for 10 sh -c "[ \$(grep -c connected '$TMP/A.log') = 2 ]"
kill_collector
start_collector
wait_for 10 sh -c "[ \$(grep -c connected '$TMP/A.log') -ge 3 ]"
same 'restarts of both ends' active "$(state)"

cp -a "$TMP/A" "$TMP/copy"
start_agent copy 'sources.journal = false' "$quick" 'uplink.retry_max = "2s"'
for host in A copy; do
    wait_for 5 log_has 'clone alarm: .*live' $host
done
same 'state' held "$(state)"
contains 'why' "$(haechi host show A)" 'its key is live twice: 127.0.0.1:'
same 'both were cut' 2 "$(grep -c 'host A at .*clone alarm.*closing the connection' "$TMP/collector.log")"
wait_for 8 sh -c 'haechi audit --json | grep -q "\"action\":\"clone alarm\",\"object\":\"A\""'
refused 'this host is held .* haechi host approve A' haechi-agent send --state "$TMP/A" "$demo"

# it is held over a restart too
stop_collector
start_collector
same 'after a restart' held "$(state)"
refused 'this host is held .* haechi host approve A' haechi-agent send --state "$TMP/copy" "$demo"
stop_agent copy
haechi host approve A
same 'approved' active "$(state)"
send A "$demo"
same 'events' 60 "$(haechi events --host A --count)"
stop_agent A
