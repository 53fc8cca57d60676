#!/bin/sh
# SIGHUP takes over what can be reloaded and keeps everything as it was when the file has a mistake. SIGTERM in the middle of a transfer is
# orderly: the agent goes on where it was, nothing is lost and nothing comes twice.
. "$(dirname "$0")/../lib.sh"
need python3
log_has() { grep -qE "$1" "$TMP/collector.log"; }
printf '[log]\nlevel = "info"\n' >"$TMP/c.toml"
start_collector collector --config "$TMP/c.toml"
enroll A
printf '[log]\nlevel = "debug"\n[retention]\ndaays = 3\n' >"$TMP/c.toml"
kill -HUP "$COLLECTOR_PID"
wait_for 5 log_has 'the options stay as they were: .*c.toml:4:1: unknown key retention.daays; did you mean retention.days'
contains 'status tells it' "$(haechi status --json)" 'unknown key retention.daays'
grep -q ' debug ' "$TMP/collector.log" && fail 'a part of the bad file was taken over'
printf '[log]\nlevel = "debug"\n[listen]\naddress = "127.0.0.1:1"\n' >"$TMP/c.toml"
kill -HUP "$COLLECTOR_PID"
wait_for 5 log_has 'options read anew'
haechi-agent send --state "$TMP/A" "$ROOT/tests/data/demo/demo.xml"
wait_for 5 log_has ' debug '
same 'events' 60 "$(haechi events --host A --count)"

# stops in the middle of a transfer
for i in 0 1 2 3 4 5 6 7 8 9; do python3 "$ROOT/tests/integration/many_events.py" 10000 B $((i * 10000 + 1)) $((1764000000 + i * 10000)) >"$TMP/$i.xml"; done
printf '[log]\nlevel = "info"\n' >"$TMP/c.toml"
kill -HUP "$COLLECTOR_PID"
enroll B
run_bg transfer haechi-agent send --state "$TMP/B" "$TMP/0.xml" "$TMP/1.xml" "$TMP/2.xml" "$TMP/3.xml" "$TMP/4.xml" "$TMP/5.xml" "$TMP/6.xml" "$TMP/7.xml" "$TMP/8.xml" "$TMP/9.xml"
stops=0
while is_running transfer && [ $stops -lt 4 ]; do
    sleep 0.15
    stop_collector
    same 'exit code' 0 "$END_CODE"
    stops=$((stops + 1))
    start_collector collector --config "$TMP/c.toml"
done
while is_running transfer; do sleep 0.05; done
END_CODE=0
wait "$(cat "$TMP/.pid/transfer")" || END_CODE=$?
same 'the transfer' 0 "$END_CODE"
say "$stops stops: $(tail -n 1 "$TMP/transfer.log")"
same 'events' 100000 "$(haechi events --host B --count)"
same 'no hole' '' "$(haechi ledger --host B --holes)"
# an agent that runs is told goodbye, and comes back by itself
start_agent A 'sources.journal = false' 'uplink.retry_min = "1s"' 'uplink.retry_max = "1s"'
again() { [ "$(grep -c connected "$TMP/A.log")" = "$1" ]; }
wait_for 10 again 1
stop_collector
start_collector collector --config "$TMP/c.toml"
wait_for 20 again 2
stop_agent A
same 'the agent ends orderly' 0 "$END_CODE"
